"""Embeddings of four bits a dimension, a baseline that protects nothing, in the pipeline before.

    bob bio pipeline simple DATABASE PIPELINE recon-quantised recon

A file before it may say `scenario = "stolen"`: impostors and attacker hold the key too.
"""

from bob_recon_plugin.attack.chain import protected
from bob_recon_plugin.common.validation import told_to_user
from bob_recon_plugin.protection import QuantisedEmbedding

with told_to_user():
    pipeline, leak = protected(locals(), QuantisedEmbedding(4))
