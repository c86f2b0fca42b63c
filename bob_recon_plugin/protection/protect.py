"""ProtectTemplates: from embeddings to protected templates, for training."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..common.rows import embedding_rows
from ..common.template_steps import TemplateStep
from ..common.validation import InputError
from .comparison import SCENARIOS, check_scheme
from .keys import rows_by_key, subjects_key
from .scheme import Scheme


class ProtectTemplates(TemplateStep):
    """Protect embeddings, each with the key of its subject.

    For ``bob bio recon train --leak``: this step and then :class:`InvertProtection` change the
    attacker's training embeddings as those of the attacked people are changed.

    Parameters
    ----------
    scheme : Scheme
    seed : int
        For the keys. Any seed will do, since the attacker draws these keys.

    Examples
    --------
    >>> from bob_recon_plugin.protection import BioHashing
    >>> ProtectTemplates(BioHashing(bits=2)).transform([[1, 2], [3, 4]], ["anna", "bert"]).shape
    (2, 2)
    """

    def __init__(self, scheme: Scheme, seed: int = 0):
        check_scheme(scheme, SCENARIOS[0])
        self.scheme = scheme
        self.seed = seed

    def transform(self, X: object, subjects: Sequence[object] | None = None) -> np.ndarray:
        """Protect embeddings.

        Parameters
        ----------
        X : array-like of shape (n, d)
            Integers or floats; only their directions are used.
        subjects : sequence of n subject ids
            The subject of each embedding. Not needed if the scheme has no key.

        Returns
        -------
        float32 ndarray of shape (n, m)

        Raises
        ------
        TypeError, ValueError
            For embeddings or subjects of a wrong type or number.
        """
        check_scheme(self.scheme, SCENARIOS[0])
        rows = self._checked(X)
        keys = rows_by_key(self._keys(len(rows), subjects))
        hashed = [(owned, self.scheme.protect(rows[owned], key)) for key, owned in keys.items()]
        size = hashed[0][1].shape[1] if hashed else 0
        found = np.empty((len(rows), size), dtype=np.float32)
        for owned, protected in hashed:
            found[owned] = protected
        return found

    def _rows(self, X: object) -> np.ndarray:
        return embedding_rows("X", X, None, "pass one embedding a row.")

    def _keys(self, n: int, subjects: Sequence[object] | None) -> list[int]:
        """Return the key to protect each of n embeddings with."""
        if subjects is None and not self.scheme.keyed:
            return [0] * n
        if subjects is None or len(subjects) != n:
            given = "none" if subjects is None else len(subjects)
            raise InputError(
                f"`subjects` must have one subject for each of {n} embeddings, got {given}; their "
                "keys are needed."
            )
        return [subjects_key(self.seed, s) if self.scheme.keyed else 0 for s in subjects]
