"""Index-of-max hashing: of some random directions, which the embedding is nearest to."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .matrices import gaussian
from .scheme import Scheme, checked, whole
from .similarity import equal_share


@dataclass(frozen=True)
class IndexOfMax(Scheme):
    """IoM hashing by Gaussian random projection (GRP).

    A template holds, for each of many groups of random directions, the index
    of the one with the largest product. Compared by the share of equal
    indices, 1 in `directions` by chance.

    Parameters
    ----------
    hashes : int
        Groups: the length of a template.
    directions : int
        In each group, two or more.

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
        whole("hashes", self.hashes)
        whole("directions", self.directions, 2)

    def protect(self, embeddings: np.ndarray, key: int) -> np.ndarray:
        """Return indices of shape (n, hashes), from 0 on."""
        rows = checked(embeddings)
        products = rows @ self.matrix(key, rows.shape[1]).T
        grouped = products.reshape(len(rows), self.hashes, self.directions)
        return grouped.argmax(axis=2).astype(np.float32)

    def similarity(self, enrolled: np.ndarray, presented: np.ndarray) -> np.ndarray:
        """Share of equal indices."""
        return equal_share(enrolled, presented)

    def matrix(self, key: int, size: int) -> np.ndarray:
        """Directions of a key, group after group, of shape (hashes * directions, size)."""
        return gaussian(key, self.hashes * self.directions, size)
