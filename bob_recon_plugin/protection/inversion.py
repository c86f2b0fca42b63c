"""InvertProtection: from stolen protected templates to embeddings that a decoder can read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..common.template_steps import TemplateStep
from ..common.validation import InputError, finite_matrix
from .comparison import check
from .estimates import estimate
from .keys import attackers_key, places, subjects_key
from .scheme import Scheme
from .similarity import unit


class InvertProtection(TemplateStep):
    """Estimate the embeddings behind protected templates.

    The attacker knows the scheme, holds protected templates, and has no face
    and no embedding of the people attacked. What else, the scenario says; it
    is the one of :class:`ProtectedComparison`, with its seed.

    - "stolen": the attacker holds the tokens of the people attacked, and
      estimates their embeddings.
    - "normal": the attacker holds a token of their own, and presents it.
      Estimated is what has the stolen template *under that token*: a
      pre-image, which looks like nobody.

    With a seed that is not the system's, "normal" is an attacker who inverts
    under another token than the one presented, so knows nothing.

    Parameters
    ----------
    scheme : Scheme
    scenario : {"normal", "stolen"}
    seed : int
    embedding_size : int
        Length ``d`` of the recogniser's embeddings.
    embedding_norm : float
        Length in space that estimates are given, as protected templates do
        not tell it: that of the decoder's card.

    Notes
    -----
    The decoder may be the one for unprotected embeddings, or one that was
    trained on estimates of protected templates, behind :class:`ProtectTemplates`
    (``bob bio recon train --leak``): the estimate takes care of the key, which
    a network would have to read otherwise.

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
        check(scheme, scenario)
        self.scheme = scheme
        self.scenario = scenario
        self.seed = seed
        self.embedding_size = embedding_size
        self.embedding_norm = embedding_norm

    @classmethod
    def before(
        cls, card: Any, scheme: Scheme, scenario: str = "normal", seed: int = 0
    ) -> InvertProtection:
        """Make the inversion whose estimates a decoder's :class:`ModelCard` asks for."""
        return cls(scheme, scenario, seed, card.embedding_size, card.embedding_norm)

    def transform(self, X: object, subjects: Sequence[object] | None = None) -> np.ndarray:
        """Estimate embeddings.

        Parameters
        ----------
        X : array-like of shape (n, m)
            Protected templates; bits may be booleans.
        subjects : sequence of n subject ids
            Whose templates they are. Not needed where the scenario is
            "normal", or the scheme has no key.

        Returns
        -------
        float32 ndarray of shape (n, d)
            Of norm `embedding_norm` each.

        Raises
        ------
        TypeError, ValueError
            For templates or subjects of another type or number, or no
            `embedding_norm`.
        """
        check(self.scheme, self.scenario)
        rows = self._checked(X)
        if self.embedding_norm is None or not self.embedding_norm > 0:
            raise InputError(
                f"`embedding_norm` must be a positive number, got {self.embedding_norm}; take that "
                "of the decoder's card, or the mean norm of the recogniser's embeddings."
            )
        found = np.empty((len(rows), self.embedding_size), dtype=np.float32)
        for key, owned in places(self._keys(len(rows), subjects)).items():
            found[owned] = estimate(self.scheme, rows[owned], key, self.embedding_size)
        return unit(found) * np.float32(self.embedding_norm)

    def _rows(self, X: object) -> np.ndarray:
        rows = finite_matrix("X", X, None, "pass one protected template a row.", bits=True)
        one = np.ones((1, self.embedding_size), np.float32)
        length = self.scheme.protect(one, attackers_key(self.seed)).shape[1]
        if rows.shape[1] != length:
            raise InputError(
                f"`X` must be templates of {self.scheme!r}, of length {length}, got "
                f"{rows.shape[1]}; name the scheme that the system has."
            )
        return rows

    def _keys(self, n: int, subjects: Sequence[object] | None) -> list[int]:
        """Keys under which to invert each of n templates."""
        if self.scenario == "normal" or not self.scheme.keyed:
            return [attackers_key(self.seed)] * n
        if subjects is None or len(subjects) != n:
            told = "none" if subjects is None else len(subjects)
            raise InputError(
                f"`subjects` must be the owners of {n} templates, got {told}; their keys decide."
            )
        return [subjects_key(self.seed, subject) for subject in subjects]
