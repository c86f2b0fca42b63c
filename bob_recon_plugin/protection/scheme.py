"""Scheme: the base class of template protection schemes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import numpy as np

from ..common.rows import embedding_rows
from ..common.validation import InputError


class Scheme(ABC):
    """A template protection scheme, a frozen dataclass of its parameters.

    All schemes here depend only on the direction of an embedding: an embedding of twice the norm
    has the same protected template.

    Attributes
    ----------
    keyed : bool
        Whether templates depend on the key.
    """

    keyed: ClassVar[bool] = True

    @abstractmethod
    def protect(self, embeddings: np.ndarray, key: int) -> np.ndarray:
        """Protect embeddings with a key.

        Parameters
        ----------
        embeddings : array-like of shape (n, d)
            Finite and not zero, of any norm.
        key : int
            At least 0. The same key gives the same templates, in every process.

        Returns
        -------
        float32 ndarray of shape (n, m)

        Raises
        ------
        TypeError, ValueError
            For embeddings of a wrong type or shape, not finite, zero, or with too few dimensions.
        """

    @abstractmethod
    def similarity(self, enrolled: np.ndarray, presented: np.ndarray) -> np.ndarray:
        """Compare protected templates.

        Parameters
        ----------
        enrolled, presented : ndarray of shapes (n, m) and (k, m)

        Returns
        -------
        float64 ndarray of shape (n, k)
            Higher is more similar.
        """


def checked(embeddings: object) -> np.ndarray:
    """Return embeddings as a finite float32 array of shape (n, d), without rows of zeros."""
    return embedding_rows(
        "embeddings", embeddings, None, "pass one embedding a row as the recogniser makes them."
    )


def at_most(name: str, value: int, size: int) -> int:
    """Return a number of directions; raise ValueError if it is above the embedding size."""
    if value > size:
        raise InputError(
            f"`{name}` must be at most the length of the embeddings, {size}, got {value}; more "
            "directions cannot be orthonormal."
        )
    return value
