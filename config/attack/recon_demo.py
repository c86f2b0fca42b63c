"""Attack arcface-mbf on the synthetic demo faces, offline: `bob bio pipeline simple recon-demo`."""

from bob_recon_plugin.attack.chain import attack
from bob_recon_plugin.common.command import check_command
from bob_recon_plugin.common.validation import short_errors
from bob_recon_plugin.database import DemoDatabase
from bob_recon_plugin.recognizers import bob_pipeline

with short_errors():
    check_command()
    database = DemoDatabase()
    pipeline = bob_pipeline("arcface-mbf", database.annotation_type, database.fixed_positions)
    pipeline = attack(locals())
