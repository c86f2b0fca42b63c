"""A folder of one's own. Settings: ``bob config set bob_recon_plugin.folder.directory PATH``."""

from bob_recon_plugin.database import FolderDatabase

database = FolderDatabase()
