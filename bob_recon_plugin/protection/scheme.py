"""What every protection scheme is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import numpy as np

from ..common.rows import embedding_rows
from ..common.validation import InputError


class Scheme(ABC):
    """A template protection scheme: parameters only, frozen, compared and hashed by them.

    Every scheme here looks at the direction of an embedding alone: one of
    twice the length has the same protected template.

    Attributes
    ----------
    keyed : bool
        Whether templates depend on the key.
    """

    keyed: ClassVar[bool] = True

    @abstractmethod
    def protect(self, embeddings: np.ndarray, key: int) -> np.ndarray:
        """Protect embeddings under a key.

        Parameters
        ----------
        embeddings : array-like of shape (n, d)
            Finite and not zero, of any length in space.
        key : int
            Not negative; the same key gives the same templates, in every process.

        Returns
        -------
        float32 ndarray of shape (n, m)

        Raises
        ------
        TypeError, ValueError
            For embeddings of another type or shape, not finite, zero, or of too few dimensions.
        """

    @abstractmethod
    def similarity(self, enrolled: np.ndarray, presented: np.ndarray) -> np.ndarray:
        """Compare protected templates of one key, or of one each.

        Parameters
        ----------
        enrolled, presented : ndarray of shapes (n, m) and (k, m)

        Returns
        -------
        float64 ndarray of shape (n, k)
            Higher is more alike.
        """


def checked(embeddings: object) -> np.ndarray:
    """Return embeddings as a finite float32 array of shape (n, d), none of zeros alone."""
    return embedding_rows(
        "embeddings", embeddings, None, "pass one embedding a row as the recogniser makes them."
    )


def whole(name: str, value: object, least: int = 1) -> None:
    """Raise ValueError unless a parameter is a whole number from ``least`` on."""
    if not isinstance(value, int | np.integer) or isinstance(value, bool) or value < least:
        raise InputError(f"`{name}` must be a whole number from {least} on, got {value!r}.")


def at_most(name: str, value: int, size: int) -> int:
    """Return a number of directions, or raise ValueError where embeddings have fewer."""
    if value > size:
        raise InputError(
            f"`{name}` must be at most the length of the embeddings, {size}, got {value}; more "
            "directions cannot be orthonormal."
        )
    return value
