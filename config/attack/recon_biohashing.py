"""Protect the templates of the previous pipeline with BioHashing.

    bob bio pipeline simple DATABASE PIPELINE recon-biohashing recon

A file before it may set `scenario = "stolen"`: impostors and attackers then present the token of
the claimed person.
"""

from bob_recon_plugin.attack.chain import protected
from bob_recon_plugin.common.validation import short_errors
from bob_recon_plugin.protection import BioHashing

with short_errors():
    pipeline, leak = protected(locals(), BioHashing())
