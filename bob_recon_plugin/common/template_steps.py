"""Template steps: what happens to a stolen template before it is decoded."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Sequence
from typing import TypeVar

import numpy as np

from .fixed_transformer import FixedTransformer
from .validation import finite_matrix

Model = TypeVar("Model")


class TemplateStep(FixedTransformer):
    """One step: a damage, a repair, a protection, its inversion, or a map to another model.

    A step learns nothing from the rows that it transforms, so results do not depend on batches or
    their order. It is described by its ``get_params``, files by their content. A step whose
    results depend on more must have a method ``describe()``; see
    :mod:`bob_recon_plugin.common.description`.
    """

    @abstractmethod
    def transform(self, X: object, subjects: Sequence[object] | None = None) -> np.ndarray:
        """Transform rows.

        Parameters
        ----------
        X : array-like of shape (n, d)
        subjects : sequence of n subject ids, optional
            The subject of each row, for steps that depend on keys.

        Returns
        -------
        ndarray of shape (n, e)
        """

    def leads_to(self, model: Model) -> Model:
        """Return the recognition model of the output, given the one of the input.

        Raises
        ------
        ValueError
            For a model whose embeddings the step cannot take.
        """
        return model

    def _rows(self, X: object) -> np.ndarray:
        return finite_matrix("X", X, None, "pass one row a template.")


def apply_steps(steps: Iterable[TemplateStep], X: object, subjects: Sequence[object]) -> np.ndarray:
    """Apply all steps to templates of n subjects, from shape (n, m) to (n, d)."""
    rows = np.asarray(X)
    for step in steps:
        rows = step.transform(rows, subjects)
    return rows
