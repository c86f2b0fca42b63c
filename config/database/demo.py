"""The faces that ship with the package."""

from bob_recon_plugin.database import DemoDatabase

database = DemoDatabase()
