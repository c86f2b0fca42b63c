"""Quantised embeddings, a baseline without protection."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..common.validation import whole_number
from .scheme import Scheme, checked
from .similarity import cosine, unit

_WIDEST = 3.0  # standard deviations; values beyond get the outermost level


@dataclass(frozen=True)
class QuantisedEmbedding(Scheme):
    """Each dimension rounded to one of ``2 ** bits`` levels; there is no key.

    A baseline, to show what the key of another scheme adds. Levels are evenly spaced between minus
    and plus three standard deviations, which are assumed equal for all dimensions. Similarity is
    the cosine.

    Parameters
    ----------
    bits : int
        Bits for each dimension.

    Examples
    --------
    >>> QuantisedEmbedding(bits=1).protect([[0.2, -4.0, 3.0]], key=0)
    array([[ 1.5, -1.5,  1.5]], dtype=float32)
    """

    keyed = False

    bits: int = 4

    def __post_init__(self) -> None:
        whole_number("bits", self.bits)

    def protect(self, embeddings: np.ndarray, key: int) -> np.ndarray:
        """Return the middles of the levels, of shape (n, d); the key is not used."""
        rows = checked(embeddings)
        levels = 2**self.bits
        step = 2 * _WIDEST / levels
        scaled = unit(rows) * rows.shape[1] ** 0.5
        level = np.clip(np.floor((scaled + _WIDEST) / step), 0, levels - 1)
        return ((level + 0.5) * step - _WIDEST).astype(np.float32)

    def similarity(self, enrolled: np.ndarray, presented: np.ndarray) -> np.ndarray:
        """Return the cosine, in [-1, 1]."""
        return cosine(enrolled, presented)
