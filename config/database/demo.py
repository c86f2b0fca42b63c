"""The synthetic demo faces that ship with the package."""

from bob_recon_plugin.common.command import check_command
from bob_recon_plugin.common.validation import short_errors
from bob_recon_plugin.database import DemoDatabase

with short_errors():
    check_command()
    database = DemoDatabase()
