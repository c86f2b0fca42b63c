"""Attack the pipeline chained before: `bob bio pipeline simple DATABASE PIPELINE recon`."""

from bob_recon_plugin._validation import told_to_user
from bob_recon_plugin.chain import attack

with told_to_user():
    pipeline = attack(locals())
