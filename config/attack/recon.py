"""Attack the pipeline chained before: `bob bio pipeline simple DATABASE PIPELINE recon`."""

from bob_recon_plugin.chain import attack

pipeline = attack(locals())
