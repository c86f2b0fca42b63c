"""Index-of-max hashing: the index of the nearest of some random directions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..common.validation import whole_number
from .matrices import gaussian
from .scheme import Scheme, checked
from .similarity import equal_share


@dataclass(frozen=True)
class IndexOfMax(Scheme):
    """IoM hashing by Gaussian random projection (GRP).

    For each group of random directions, a template contains the index of the direction with the
    largest product. Similarity is the share of equal indices; 1 / `directions` is chance.

    Parameters
    ----------
    hashes : int
        Number of groups, the length of a template.
    directions : int
        Number of directions in each group, at least 2.

    References
    ----------
    Z. Jin, J. Y. Hwang, Y.-L. Lai, S. Kim, A. B. J. Teoh, "Ranking-based locality sensitive
    hashing-enabled cancelable biometrics: index-of-max hashing", IEEE TIFS 13(2), 2018.

    Examples
    --------
    >>> codes = IndexOfMax(hashes=5, directions=3).protect([[1, 2], [2, 4]], key=7)
    >>> bool((codes[0] == codes[1]).all()), codes.shape, bool(codes.max() < 3)
    (True, (2, 5), True)
    """

    hashes: int = 300
    directions: int = 16

    def __post_init__(self) -> None:
        whole_number("hashes", self.hashes)
        whole_number("directions", self.directions, 2)

    def protect(self, embeddings: np.ndarray, key: int) -> np.ndarray:
        """Return indices of shape (n, hashes), in [0, directions - 1]."""
        rows = checked(embeddings)
        products = rows @ self.matrix(key, rows.shape[1]).T
        grouped = products.reshape(len(rows), self.hashes, self.directions)
        return grouped.argmax(axis=2).astype(np.float32)

    def similarity(self, enrolled: np.ndarray, presented: np.ndarray) -> np.ndarray:
        """Return the share of equal indices."""
        return equal_share(enrolled, presented)

    def matrix(self, key: int, size: int) -> np.ndarray:
        """Return the directions of a key, group by group, of shape (hashes * directions, size)."""
        return gaussian(key, self.hashes * self.directions, size)
