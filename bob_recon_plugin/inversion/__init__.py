"""From stolen templates to faces: the reconstructor, its refinement, damage, adapters."""

from __future__ import annotations

from .adapter import Adapter
from .damage import NoisyLeak, PartialLeak, QuantizedLeak
from .reconstructor import FaceReconstructor
from .refinement import RefinedReconstructor

__all__ = [
    "Adapter",
    "FaceReconstructor",
    "NoisyLeak",
    "PartialLeak",
    "QuantizedLeak",
    "RefinedReconstructor",
]
