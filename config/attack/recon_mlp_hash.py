"""Protect the templates of the previous pipeline with MLP-Hash.

    bob bio pipeline simple DATABASE PIPELINE recon-mlp-hash recon

A file before it may set `scenario = "stolen"`: impostors and attackers then present the token of
the claimed person.
"""

from bob_recon_plugin.attack.chain import protected
from bob_recon_plugin.common.validation import short_errors
from bob_recon_plugin.protection import MLPHash

with short_errors():
    pipeline, leak = protected(locals(), MLPHash())
