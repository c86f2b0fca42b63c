"""Face recognition with EdgeFace-S: crop, embed, compare by cosine."""

from bob_recon_plugin.attack.chain import pipeline_for
from bob_recon_plugin.common.validation import short_errors

with short_errors():
    pipeline = pipeline_for(locals(), "edgeface-s")
transformer = pipeline.transformer
