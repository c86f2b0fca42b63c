"""Face recognition with SFace: crop, embed, compare by cosine."""

from bob_recon_plugin._validation import told_to_user
from bob_recon_plugin.chain import pipeline_for

with told_to_user():
    pipeline = pipeline_for(locals(), "sface")
transformer = pipeline.transformer
