"""ProtectTemplates: what a system that protects templates stores of embeddings."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..common.rows import embedding_rows
from ..common.template_steps import TemplateStep
from ..common.validation import InputError
from .comparison import SCENARIOS, check
from .keys import places, subjects_key
from .scheme import Scheme


class ProtectTemplates(TemplateStep):
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

    def __init__(self, scheme: Scheme, seed: int = 0):
        check(scheme, SCENARIOS[0])
        self.scheme = scheme
        self.seed = seed

    def transform(self, X: object, subjects: Sequence[object] | None = None) -> np.ndarray:
        """Protect embeddings.

        Parameters
        ----------
        X : array-like of shape (n, d)
            Integers or floats; only directions count.
        subjects : sequence of n subject ids
            Whose embeddings they are. Not needed where the scheme has no key.

        Returns
        -------
        float32 ndarray of shape (n, m)

        Raises
        ------
        TypeError, ValueError
            For embeddings or subjects of another type or number.
        """
        check(self.scheme, SCENARIOS[0])
        rows = self._checked(X)
        keys = self._keys(len(rows), subjects)
        hashed = [
            (owned, self.scheme.protect(rows[owned], key)) for key, owned in places(keys).items()
        ]
        size = hashed[0][1].shape[1] if hashed else 0
        found = np.empty((len(rows), size), dtype=np.float32)
        for owned, protected in hashed:
            found[owned] = protected
        return found

    def _rows(self, X: object) -> np.ndarray:
        return embedding_rows("X", X, None, "pass one embedding a row.")

    def _keys(self, n: int, subjects: Sequence[object] | None) -> list[int]:
        """Keys under which to protect each of n embeddings."""
        if subjects is None and not self.scheme.keyed:
            return [0] * n
        if subjects is None or len(subjects) != n:
            told = "none" if subjects is None else len(subjects)
            raise InputError(f"`subjects` must be the owners of {n} embeddings, got {told}.")
        return [subjects_key(self.seed, s) if self.scheme.keyed else 0 for s in subjects]
