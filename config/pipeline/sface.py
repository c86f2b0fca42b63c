"""Face recognition with SFace: crop, embed, compare by cosine."""

from bob_recon_plugin._validation import told_to_user
from bob_recon_plugin.chain import system

with told_to_user():
    pipeline = system(locals(), "sface")
transformer = pipeline.transformer
