"""Images in a local folder. Settings: ``bob config set bob_recon_plugin.folder.directory PATH``."""

from bob_recon_plugin.common.command import check_command
from bob_recon_plugin.common.validation import short_errors
from bob_recon_plugin.database import FolderDatabase

with short_errors():
    check_command()
    database = FolderDatabase()
