"""LFW, view 2. Settings: ``bob config set bob.bio.face.lfw.directory PATH``."""

from bob_recon_plugin.common.command import check_command
from bob_recon_plugin.common.validation import told_to_user
from bob_recon_plugin.database import LFWDatabase

with told_to_user():
    check_command()
    database = LFWDatabase()
