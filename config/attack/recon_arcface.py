"""ArcFace iResNet-100 under attack: `bob bio pipeline simple DATABASE recon-arcface`."""

from bob_recon_plugin._validation import told_to_user
from bob_recon_plugin.chain import attack, system

with told_to_user():
    pipeline = system(locals(), "arcface-iresnet100")
    pipeline = attack(locals())
