"""MOBIO, all subjects. Settings: ``bob config set bob.db.mobio.directory PATH``."""

from bob_recon_plugin.database import MobioDatabase

database = MobioDatabase("mobile0-male-female")
