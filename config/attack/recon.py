"""Attack the previous pipeline: `bob bio pipeline simple DATABASE PIPELINE recon`."""

from bob_recon_plugin.attack.chain import attack
from bob_recon_plugin.common.validation import told_to_user

with told_to_user():
    pipeline = attack(locals())
