"""Random projection with a key, without binarisation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..common.validation import whole_number
from .matrices import gaussian
from .scheme import Scheme, at_most, checked
from .similarity import cosine, unit


@dataclass(frozen=True)
class RandomProjection(Scheme):
    """Multispace random projection of the normalised embedding to fewer dimensions.

    Similarity is the cosine. With as many dimensions as the embedding, the key is enough to compute
    the direction of the embedding exactly.

    Parameters
    ----------
    size : int
        Length of a template, at most the length of an embedding.

    References
    ----------
    A. B. J. Teoh, C. T. Yuang, "Cancelable biometrics realization with multispace random
    projections", IEEE Transactions on Systems, Man, and Cybernetics B 37(5), 2007.

    Examples
    --------
    >>> RandomProjection(size=2).protect(np.eye(3), key=7).shape
    (3, 2)
    """

    size: int = 256

    def __post_init__(self) -> None:
        whole_number("size", self.size)

    def protect(self, embeddings: np.ndarray, key: int) -> np.ndarray:
        """Return projections of shape (n, size)."""
        rows = checked(embeddings)
        return unit(rows) @ self.matrix(key, rows.shape[1]) / np.float32(self.size) ** 0.5

    def similarity(self, enrolled: np.ndarray, presented: np.ndarray) -> np.ndarray:
        """Return the cosine, in [-1, 1]."""
        return cosine(enrolled, presented)

    def matrix(self, key: int, embedding_size: int) -> np.ndarray:
        """Return the matrix of a key, of shape (embedding_size, size)."""
        return gaussian(key, embedding_size, at_most("size", self.size, embedding_size))
