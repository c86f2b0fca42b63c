"""What happens to a stolen template before a decoder sees it, step by step."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Sequence
from typing import TypeVar

import numpy as np

from .rows import FixedTransformer
from .validation import finite_matrix

Model = TypeVar("Model")


class TemplateStep(FixedTransformer):
    """One step: damage, a repair, a protection, its inversion, or a map to another model.

    It learns nothing from the rows that it transforms, so that batches and their order do not
    count. ``get_params`` tells two steps apart, files among them by content; a step that reads
    more than that says so in a method ``describe()``, see
    :func:`~bob_recon_plugin.common.description.describe`.
    """

    @abstractmethod
    def transform(self, X: object, subjects: Sequence[object] | None = None) -> np.ndarray:
        """Transform rows.

        Parameters
        ----------
        X : array-like of shape (n, d)
        subjects : sequence of n subject ids, optional
            Whose rows they are, where a step depends on keys.

        Returns
        -------
        ndarray of shape (n, e)
        """

    def leads_to(self, model: Model) -> Model:
        """Recognition model of the embeddings that come out, where those of ``model`` go in.

        Raises
        ------
        ValueError
            For a model whose embeddings it does not take.
        """
        return model

    def _rows(self, X: object) -> np.ndarray:
        return finite_matrix("X", X, None, "pass one row a template.")


def through(steps: Iterable[TemplateStep], X: object, subjects: Sequence[object]) -> np.ndarray:
    """Take templates of n subjects through every step: shapes (n, m) to (n, d)."""
    rows = np.asarray(X)
    for step in steps:
        rows = step.transform(rows, subjects)
    return rows
