"""Quantise the templates of the previous pipeline to four bits: a baseline without protection.

bob bio pipeline simple DATABASE PIPELINE recon-quantised recon
"""

from bob_recon_plugin.attack.chain import protected
from bob_recon_plugin.common.validation import told_to_user
from bob_recon_plugin.protection import QuantisedEmbedding

with told_to_user():
    pipeline, leak = protected(locals(), QuantisedEmbedding(4))
