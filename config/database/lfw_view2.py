"""LFW, view 2. Settings: ``bob config set bob.bio.face.lfw.directory PATH``."""

from bob_recon_plugin.database import LFWDatabase

database = LFWDatabase()
