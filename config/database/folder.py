"""Images in a local folder. Settings: ``bob config set bob_recon_plugin.folder.directory PATH``."""

from bob_recon_plugin.common.command import check_command
from bob_recon_plugin.common.validation import told_to_user
from bob_recon_plugin.database import FolderDatabase

with told_to_user():
    check_command()
    database = FolderDatabase()
