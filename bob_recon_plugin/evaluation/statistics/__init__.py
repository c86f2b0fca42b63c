"""Beyond single rates: their spread over people and folds, curves, and linkability."""

from __future__ import annotations

from .bootstrap import Resampled, Spread, bootstrap
from .curves import Curves, trace
from .folds import Folded, MeanRate, cross_validate
from .linkability import d_sys, maximal_linkability

__all__ = [
    "Curves",
    "Folded",
    "MeanRate",
    "Resampled",
    "Spread",
    "bootstrap",
    "cross_validate",
    "d_sys",
    "maximal_linkability",
    "trace",
]
