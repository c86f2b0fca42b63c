"""Attack arcface-mbf on the synthetic demo faces, offline: `bob bio pipeline simple recon-demo`."""

from bob_recon_plugin.attack.chain import attack
from bob_recon_plugin.common.command import check_command
from bob_recon_plugin.common.validation import told_to_user
from bob_recon_plugin.database import DemoDatabase
from bob_recon_plugin.recognizers import bob_pipeline

with told_to_user():
    check_command()
    database = DemoDatabase()
    pipeline = bob_pipeline("arcface-mbf", database.annotation_type, database.fixed_positions)
    pipeline = attack(locals())
