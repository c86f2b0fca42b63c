"""The synthetic demo faces that ship with the package."""

from bob_recon_plugin.common.command import check_command
from bob_recon_plugin.common.validation import told_to_user
from bob_recon_plugin.database import DemoDatabase

with told_to_user():
    check_command()
    database = DemoDatabase()
