"""What a reviewer asks of a rate: its spread over people, over folds, and the curve it is on."""

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
