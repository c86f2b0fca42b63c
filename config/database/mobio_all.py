"""MOBIO, all subjects. Settings: ``bob config set bob.db.mobio.directory PATH``."""

from bob_recon_plugin.common.command import check_command
from bob_recon_plugin.common.validation import short_errors
from bob_recon_plugin.database import MobioDatabase

with short_errors():
    check_command()
    database = MobioDatabase("mobile0-male-female")
