"""The demo, offline, on faces of nobody: `bob bio pipeline simple recon-demo`."""

from bob_recon_plugin._command import check_command
from bob_recon_plugin._validation import told_to_user
from bob_recon_plugin.chain import attack
from bob_recon_plugin.database import DemoDatabase
from bob_recon_plugin.recognizers import bob_pipeline

with told_to_user():
    check_command()
    database = DemoDatabase()
    pipeline = bob_pipeline("arcface-mbf", database.annotation_type, database.fixed_positions)
    pipeline = attack(locals())
