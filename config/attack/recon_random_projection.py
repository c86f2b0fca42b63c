"""Protect the templates of the previous pipeline with a random projection.

    bob bio pipeline simple DATABASE PIPELINE recon-random-projection recon

A file before it may set `scenario = "stolen"`: impostors and attackers then present the token of
the claimed person.
"""

from bob_recon_plugin.attack.chain import protected
from bob_recon_plugin.common.validation import short_errors
from bob_recon_plugin.protection import RandomProjection

with short_errors():
    pipeline, leak = protected(locals(), RandomProjection())
