"""LFW, view 2. Settings: ``bob config set bob.bio.face.lfw.directory PATH``."""

from bob_recon_plugin.common.command import check_command
from bob_recon_plugin.common.validation import short_errors
from bob_recon_plugin.database import LFWDatabase

with short_errors():
    check_command()
    database = LFWDatabase()
