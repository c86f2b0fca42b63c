"""BioHashing: signs of a projection on orthonormal directions drawn with the key."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..common.validation import whole_number
from .matrices import orthonormal
from .scheme import Scheme, at_most, checked
from .similarity import equal_bits


@dataclass(frozen=True)
class BioHashing(Scheme):
    """Bit ``i`` is the sign of the product of the embedding and direction ``i`` of the key.

    Similarity is the share of equal bits; 1/2 is chance.

    Parameters
    ----------
    bits : int
        Length of a template, at most the length of an embedding.

    References
    ----------
    A. T. B. Jin, D. N. C. Ling, A. Goh, "Biohashing: two factor authentication featuring
    fingerprint data and tokenised random number", Pattern Recognition 37(11), 2004; here with the
    threshold at zero.

    Examples
    --------
    >>> BioHashing(bits=4).protect([[1, 2, 3, 4], [-1, -2, -3, -4]], key=7).sum(axis=0)
    array([1., 1., 1., 1.], dtype=float32)
    """

    bits: int = 512

    def __post_init__(self) -> None:
        whole_number("bits", self.bits)

    def protect(self, embeddings: np.ndarray, key: int) -> np.ndarray:
        """Return zeros and ones of shape (n, bits)."""
        rows = checked(embeddings)
        size = rows.shape[1]
        directions = orthonormal(key, size, at_most("bits", self.bits, size))
        return (rows @ directions > 0).astype(np.float32)

    def similarity(self, enrolled: np.ndarray, presented: np.ndarray) -> np.ndarray:
        """Return the share of equal bits."""
        return equal_bits(enrolled, presented)
