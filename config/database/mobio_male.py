"""MOBIO, male subjects. Settings: ``bob config set bob.db.mobio.directory PATH``."""

from bob_recon_plugin.common.command import check_command
from bob_recon_plugin.common.validation import told_to_user
from bob_recon_plugin.database import MobioDatabase

with told_to_user():
    check_command()
    database = MobioDatabase("mobile0-male")
