"""Quantise the templates of the previous pipeline to four bits: a baseline without protection.

bob bio pipeline simple DATABASE PIPELINE recon-quantised recon
"""

from bob_recon_plugin.attack.chain import protected
from bob_recon_plugin.common.validation import short_errors
from bob_recon_plugin.protection import QuantisedEmbedding

with short_errors():
    pipeline, leak = protected(locals(), QuantisedEmbedding(4))
