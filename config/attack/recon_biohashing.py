"""BioHashing between the embedding and the comparison of the pipeline chained before.

    bob bio pipeline simple DATABASE PIPELINE recon-biohashing recon

A file before it may say `scenario = "stolen"`: impostors and attacker hold the key too.
"""

from bob_recon_plugin.attack.chain import protected
from bob_recon_plugin.common.validation import told_to_user
from bob_recon_plugin.protection import BioHashing

with told_to_user():
    pipeline, leak = protected(locals(), BioHashing())
