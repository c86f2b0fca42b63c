"""Rows of embeddings: what can be one, how long it is, and transformers that learn nothing."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin

from .validation import InputError, finite_matrix

_WITHIN = 2.0  # real photographs lie within 1.5 times the mean norm; at 2 a decoder loses 0.03


class FixedTransformer(TransformerMixin, BaseEstimator, ABC):
    """A transformer of rows that needs no `fit`, as it learns nothing.

    Attributes
    ----------
    n_features_in_ : int
        Columns of what `fit` saw; only after a `fit` with data.
    """

    @abstractmethod
    def _rows(self, X: object) -> np.ndarray:
        """Return ``X`` as an array of shape (n, d), or raise an error that says what is wrong."""

    def fit(self, X: object = None, y: object = None) -> Any:
        """Check ``X``, if it is given: nothing is learnt.

        Parameters
        ----------
        X : array-like of shape (n, d), optional
            As for `transform`.
        y : object
            Not used.

        Raises
        ------
        TypeError, ValueError
            For an ``X`` that `transform` refuses.
        """
        if X is not None:
            self.n_features_in_ = self._rows(X).shape[1]
        return self

    def _checked(self, X: object) -> np.ndarray:
        """Rows of ``X``, of as many columns as those of `fit`, if there was one."""
        rows = self._rows(X)
        columns = getattr(self, "n_features_in_", rows.shape[1])
        if rows.shape[1] != columns:
            raise InputError(
                f"`X` must have shape (n, {columns}), as in `fit`, got {rows.shape}; "
                "fit again for another length."
            )
        return rows

    def _more_tags(self) -> dict[str, Any]:
        return {"requires_fit": False, "preserves_dtype": []}


def embedding_rows(name: str, values: object, columns: int | None, remedy: str) -> np.ndarray:
    """Return ``values`` as float32 embeddings of shape (n, columns).

    Raises TypeError and ValueError as :func:`finite_matrix`, and ValueError for rows of zeros.
    """
    rows = finite_matrix(name, values, columns, remedy)
    silent = ~rows.any(axis=1)
    if silent.any():
        raise InputError(
            f"`{name}` must have a direction in each row, got only zeros in {int(silent.sum())} of "
            f"{len(rows)} rows (first: row {int(np.flatnonzero(silent)[0])}); leave them out."
        )
    return rows


def at_norm(rows: np.ndarray, norm: float | None, recognizer: str) -> np.ndarray:
    """Bring embeddings that were scaled before they were stored to the norm they had.

    A comparison by cosines sees directions alone, but a decoder or an adapter sees the norm.
    Each row is looked at alone: one between half and twice ``norm`` stays as it is, to the bit.
    One sentence warns of scaled rows; it is the same for every batch.

    Parameters
    ----------
    rows : float32 ndarray of shape (n, d)
        None of zeros alone.
    norm : float or None
        Mean norm of the recogniser's embeddings; None: not known, and rows stay.
    recognizer : str
        Its name, for the warning.

    Returns
    -------
    float32 ndarray of shape (n, d)
    """
    if norm is None:
        if len(rows):
            warnings.warn(
                f"nothing is known of the norms that embeddings of {recognizer} have; pass them as "
                "the model makes them, not normalised.",
                stacklevel=4,
            )
        return rows
    factors = scale_factors(np.linalg.norm(rows.astype(np.float64), axis=1), norm)
    scaled = factors != 1
    if not scaled.any():
        return rows
    warnings.warn(
        f"embeddings of {recognizer} should have norms near {norm:.3g}, got rows of less than half "
        "or more than twice that; only their direction is used.",
        stacklevel=4,
    )
    found = rows.copy()
    found[scaled] = rows[scaled] * factors[scaled, None]
    return found


def scale_factors(norms: np.ndarray, norm: float) -> np.ndarray:
    """Factors of rows of some norms, both of shape (n,): 1 near ``norm``, and for no length."""
    kept = (norms >= norm / _WITHIN) & (norms <= norm * _WITHIN) | (norms == 0)
    return np.where(kept, 1, norm / np.where(kept, norm, norms))
