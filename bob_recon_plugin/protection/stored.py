"""ProtectTemplates: what a system that protects templates stores of embeddings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin

from .._validation import InputError, finite_matrix
from .comparison import SCENARIOS, check
from .keys import places, subjects_key
from .scheme import Scheme


class ProtectTemplates(TransformerMixin, BaseEstimator):
    """Protect embeddings, each under the key of its subject.

    With :class:`InvertProtection` behind it, it makes of an attacker's own faces what such
    an attacker gets of a victim's, for ``bob bio recon train --leak``.

    Parameters
    ----------
    scheme : Scheme
    seed : int
        Of the keys: the attacker's own, of which any is as good.

    Examples
    --------
    >>> from bob_recon_plugin.protection import BioHashing
    >>> ProtectTemplates(BioHashing(bits=2)).transform([[1, 2], [3, 4]], ["anna", "bert"]).shape
    (2, 2)
    """

    needs_subjects = True

    def __init__(self, scheme: Scheme, seed: int = 0):
        check(scheme, SCENARIOS[0])
        self.scheme = scheme
        self.seed = seed

    def fit(self, X: object = None, y: object = None) -> ProtectTemplates:
        """Do nothing; there for scikit-learn."""
        return self

    def transform(self, X: np.ndarray, subjects: Sequence[object]) -> np.ndarray:
        """Protect embeddings of shape (n, d), of n subjects: float32 of shape (n, m)."""
        rows = finite_matrix("X", X, None, "pass one embedding a row.")
        if len(subjects) != len(rows):
            raise InputError(
                f"`subjects` must be the owners of {len(rows)} embeddings, got {len(subjects)}."
            )
        keys = [subjects_key(self.seed, subject) for subject in subjects]
        groups = places(keys).items() if self.scheme.keyed else [(0, [*range(len(rows))])]
        hashed = [(owned, self.scheme.protect(rows[owned], key)) for key, owned in groups]
        size = hashed[0][1].shape[1] if hashed else 0
        found = np.empty((len(rows), size), dtype=np.float32)
        for owned, protected in hashed:
            found[owned] = protected
        return found

    def _more_tags(self) -> dict[str, Any]:
        return {"requires_fit": False}
