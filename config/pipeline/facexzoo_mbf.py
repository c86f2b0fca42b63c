"""Face recognition with FaceX-Zoo's MobileFaceNet: crop, embed, compare by cosine."""

from bob_recon_plugin.attack.chain import pipeline_for
from bob_recon_plugin.common.validation import told_to_user

with told_to_user():
    pipeline = pipeline_for(locals(), "facexzoo-mbf")
transformer = pipeline.transformer
