"""Attack ArcFace iResNet-100: `bob bio pipeline simple DATABASE recon-arcface`."""

from bob_recon_plugin.attack.chain import attack, pipeline_for
from bob_recon_plugin.common.validation import short_errors

with short_errors():
    pipeline = pipeline_for(locals(), "arcface-iresnet100")
    pipeline = attack(locals())
