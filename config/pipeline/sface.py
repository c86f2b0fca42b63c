"""Face recognition with SFace: crop, embed, compare by cosine."""

from __future__ import annotations

from bob.bio.face.utils import lookup_config_from_database

from bob_recon_plugin.recognizers import bob_pipeline

annotation_type, fixed_positions, _ = lookup_config_from_database(locals().get("database"))
pipeline = bob_pipeline("sface", annotation_type, fixed_positions)
transformer = pipeline.transformer
