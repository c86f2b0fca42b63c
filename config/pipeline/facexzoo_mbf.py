"""Face recognition with FaceX-Zoo's MobileFaceNet: crop, embed, compare by cosine."""

from __future__ import annotations

from bob.bio.face.utils import lookup_config_from_database

from bob_recon_plugin.recognizers import bob_pipeline

annotation_type, fixed_positions, _ = lookup_config_from_database(locals().get("database"))
pipeline = bob_pipeline("facexzoo-mbf", annotation_type, fixed_positions)
transformer = pipeline.transformer
