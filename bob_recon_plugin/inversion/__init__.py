"""From stolen templates to faces: reconstructors, refinement, damaged templates, adapters."""

from __future__ import annotations

from .adapter import Adapter
from .damage import NoisyLeak, PartialLeak, QuantizedLeak
from .reconstructor import FaceReconstructor, Reconstructor, shipped_decoder
from .refinement import RefinedReconstructor

__all__ = [
    "Adapter",
    "FaceReconstructor",
    "NoisyLeak",
    "PartialLeak",
    "QuantizedLeak",
    "Reconstructor",
    "RefinedReconstructor",
    "shipped_decoder",
]
