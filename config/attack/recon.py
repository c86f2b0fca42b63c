"""Attack the previous pipeline: `bob bio pipeline simple DATABASE PIPELINE recon`."""

from bob_recon_plugin.attack.chain import attack
from bob_recon_plugin.common.validation import short_errors

with short_errors():
    pipeline = attack(locals())
