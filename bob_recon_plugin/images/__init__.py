"""Images: eye positions, crops, annotation files, reading."""

from __future__ import annotations

from .geometry import BOB_EYES, INSIGHTFACE_EYES
from .reading import load_image

__all__ = ["BOB_EYES", "INSIGHTFACE_EYES", "load_image"]
