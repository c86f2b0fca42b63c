"""ElasticFace iResNet-100 under attack: `bob bio pipeline simple DATABASE recon-elasticface`."""

from bob.bio.face.utils import lookup_config_from_database

from bob_recon_plugin._validation import told_to_user
from bob_recon_plugin.chain import attack
from bob_recon_plugin.recognizers import bob_pipeline

with told_to_user():
    annotation_type, fixed_positions, _ = lookup_config_from_database(locals().get("database"))
    pipeline = bob_pipeline("elasticface-iresnet100", annotation_type, fixed_positions)
    pipeline = attack(locals())
