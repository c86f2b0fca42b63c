"""ArcFace iResNet-100 under attack: `bob bio pipeline simple DATABASE recon-arcface`."""

from bob_recon_plugin._validation import told_to_user
from bob_recon_plugin.chain import attack, pipeline_for

with told_to_user():
    pipeline = pipeline_for(locals(), "arcface-iresnet100")
    pipeline = attack(locals())
