"""Protect the templates of the previous pipeline with index-of-max hashing.

    bob bio pipeline simple DATABASE PIPELINE recon-index-of-max recon

A file before it may set `scenario = "stolen"`: impostors and attackers then present the token of
the claimed person.
"""

from bob_recon_plugin.attack.chain import protected
from bob_recon_plugin.common.validation import short_errors
from bob_recon_plugin.protection import IndexOfMax

with short_errors():
    pipeline, leak = protected(locals(), IndexOfMax())
