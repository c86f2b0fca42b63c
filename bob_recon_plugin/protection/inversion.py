"""InvertProtection: from stolen protected templates to embeddings for a decoder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..common.template_steps import TemplateStep
from ..common.validation import InputError, finite_matrix
from .comparison import check_scheme
from .estimates import estimate
from .keys import attackers_key, rows_by_key, subjects_key
from .scheme import Scheme
from .similarity import unit


class InvertProtection(TemplateStep):
    """Estimate embeddings from protected templates.

    The attacker knows the scheme and has protected templates, but no face and no embedding of the
    attacked people. Scenario and seed are those of :class:`ProtectedComparison`:

    - "stolen": the attacker has the tokens of the attacked people, and estimates their embeddings.
    - "normal": the attacker has, and presents, another token of the system. The estimate is an
      embedding that has the stolen template *with that token*: a pre-image, which does not
      resemble the attacked person.

    With another seed than the system's, "normal" is an attacker who inverts with another token
    than the presented one, without any useful knowledge.

    Parameters
    ----------
    scheme : Scheme
    scenario : {"normal", "stolen"}
    seed : int
    embedding_size : int
        Length ``d`` of the recogniser's embeddings.
    embedding_norm : float
        Norm of the estimates, since protected templates do not contain it: use the one of the
        decoder's card.

    Notes
    -----
    The decoder may be trained on unprotected embeddings, or on estimates from protected templates
    (``bob bio recon train --leak`` with :class:`ProtectTemplates` and this step). The estimate uses
    the key, so the network does not need it.

    References
    ----------
    B. Topcu, C. Karabat, M. Azadmanesh, H. Erdogan, "Practical security and privacy attacks
    against biometric hashing using sparse recovery", EURASIP Journal on Advances in Signal
    Processing 2016:100 (the key is known). A. Durbet, P.-M. Grollemund, P. Lafourcade, D. Migdal,
    K. Thiry-Atighehchi, "Authentication attacks on projection-based cancelable biometric schemes",
    SECRYPT 2022 (the attacker's own token).

    Examples
    --------
    >>> from bob_recon_plugin.protection import RandomProjection
    >>> scheme, seed = RandomProjection(size=3), 0
    >>> stolen = scheme.protect([[3, 0, 4]], subjects_key(seed, "anna"))
    >>> attack = InvertProtection(scheme, "stolen", seed, embedding_size=3, embedding_norm=10)
    >>> attack.transform(stolen, ["anna"]).round(3)
    array([[6., 0., 8.]], dtype=float32)
    """

    def __init__(
        self,
        scheme: Scheme,
        scenario: str = "normal",
        seed: int = 0,
        embedding_size: int = 512,
        embedding_norm: float | None = None,
    ):
        check_scheme(scheme, scenario)
        self.scheme = scheme
        self.scenario = scenario
        self.seed = seed
        self.embedding_size = embedding_size
        self.embedding_norm = embedding_norm

    @classmethod
    def before(
        cls, card: Any, scheme: Scheme, scenario: str = "normal", seed: int = 0
    ) -> InvertProtection:
        """Make the inversion for a decoder, by its :class:`ModelCard`."""
        return cls(scheme, scenario, seed, card.embedding_size, card.embedding_norm)

    def transform(self, X: object, subjects: Sequence[object] | None = None) -> np.ndarray:
        """Estimate embeddings.

        Parameters
        ----------
        X : array-like of shape (n, m)
            Protected templates; bits may be booleans.
        subjects : sequence of n subject ids
            The subject of each template. Not needed in the "normal" scenario, or if the scheme
            has no key.

        Returns
        -------
        float32 ndarray of shape (n, d)
            Each with the norm `embedding_norm`.

        Raises
        ------
        TypeError, ValueError
            For templates or subjects of a wrong type or number, or no `embedding_norm`.
        """
        check_scheme(self.scheme, self.scenario)
        rows = self._checked(X)
        if self.embedding_norm is None or not self.embedding_norm > 0:
            raise InputError(
                f"`embedding_norm` must be a positive number, got {self.embedding_norm}; use that "
                "of the decoder's card, or the mean norm of the recogniser's embeddings."
            )
        found = np.empty((len(rows), self.embedding_size), dtype=np.float32)
        for key, owned in rows_by_key(self._keys(len(rows), subjects)).items():
            found[owned] = estimate(self.scheme, rows[owned], key, self.embedding_size)
        return unit(found) * np.float32(self.embedding_norm)

    def _rows(self, X: object) -> np.ndarray:
        rows = finite_matrix("X", X, None, "pass one protected template a row.", bits=True)
        one = np.ones((1, self.embedding_size), np.float32)
        length = self.scheme.protect(one, attackers_key(self.seed)).shape[1]
        if rows.shape[1] != length:
            raise InputError(
                f"`X` must be templates of {self.scheme!r}, of length {length}, got "
                f"{rows.shape[1]}; use the scheme of the system."
            )
        return rows

    def _keys(self, n: int, subjects: Sequence[object] | None) -> list[int]:
        """Return the key to invert each of n templates with."""
        if self.scenario == "normal" or not self.scheme.keyed:
            return [attackers_key(self.seed)] * n
        if subjects is None or len(subjects) != n:
            given = "none" if subjects is None else len(subjects)
            raise InputError(
                f"`subjects` must have one subject for each of {n} templates, got {given}; their "
                "keys are needed."
            )
        return [subjects_key(self.seed, subject) for subject in subjects]
