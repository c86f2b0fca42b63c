"""FixedTransformer: the base class of transformers that learn nothing."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin

from .validation import InputError


class FixedTransformer(TransformerMixin, BaseEstimator, ABC):
    """A transformer of rows that learns nothing, so that `fit` is not needed.

    Attributes
    ----------
    n_features_in_ : int
        Number of columns seen by `fit`; set only by a `fit` with data.
    """

    @abstractmethod
    def _rows(self, X: object) -> np.ndarray:
        """Return ``X`` as a valid array of shape (n, d); raise TypeError or ValueError."""

    def fit(self, X: object = None, y: object = None) -> Any:
        """Check ``X`` if it is given; nothing is learnt.

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
        """Return ``X`` as rows; raise ValueError unless they have as many columns as in `fit`."""
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
