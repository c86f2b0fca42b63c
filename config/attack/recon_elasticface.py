"""Attack ElasticFace iResNet-100: `bob bio pipeline simple DATABASE recon-elasticface`."""

from bob_recon_plugin.attack.chain import attack, pipeline_for
from bob_recon_plugin.common.validation import short_errors

with short_errors():
    pipeline = pipeline_for(locals(), "elasticface-iresnet100")
    pipeline = attack(locals())
