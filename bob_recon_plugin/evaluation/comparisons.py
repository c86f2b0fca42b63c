"""What scores are: their classes, the scores of each class, and who was compared with whom."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from ..common.validation import InputError

BONA_FIDE = ("genuine", "impostor")
#: attacks on the person whose template was inverted
TYPE_I, TYPE_II = ATTACKS = ("type1", "type2")


@dataclass(frozen=True, eq=False)
class Scores:
    """Comparison scores of one group, by class; a higher score means more similar.

    NaN, Bob's mark of a failure to acquire, is removed from the arrays and counted in
    `not_acquired`: rates are shares of acquired scores, as in Bob's own reports.

    Parameters
    ----------
    genuine : array-like of shape (n_genuine,)
        Bona fide probes against a reference of the same subject.
    impostor : array-like of shape (n_impostor,)
        Zero-effort impostors: bona fide probes against another subject.
    attacks : mapping of str to array-like of shape (n_attack,)
        By attack type, the content of ``probe_attack_type``: ``"type1"`` for a reconstruction
        against the template it was made from, ``"type2"`` against another template of the subject.
    distances : bool
        Whether these are distances with their sign changed.
    cautions : tuple of str
        Doubts about the file that a reader of the rates must know, a sentence each.

    Attributes
    ----------
    genuine, impostor, attacks
        As given, as float64 without NaN; `attacks` is sorted by name.
    not_acquired : dict of str to int
        Number of NaN scores of ``"genuine"``, ``"impostor"`` and each attack type.

    Raises
    ------
    ValueError
        If an attack type is called "genuine" or "impostor".

    Examples
    --------
    >>> scores = Scores([0.9, float("nan")], [0.1, 0.2], {"type1": [0.8]})
    >>> scores.genuine, scores.not_acquired
    (array([0.9]), {'genuine': 1, 'impostor': 0, 'type1': 0})
    """

    genuine: np.ndarray
    impostor: np.ndarray
    attacks: Mapping[str, np.ndarray] = field(default_factory=dict)
    distances: bool = False
    cautions: tuple[str, ...] = ()
    not_acquired: Mapping[str, int] = field(init=False)

    def __post_init__(self) -> None:
        for name in self.attacks:
            check_attack_name(name)
        given = {"genuine": self.genuine, "impostor": self.impostor}
        given |= dict(sorted(self.attacks.items()))
        raw = {name: np.asarray(values, dtype=np.float64) for name, values in given.items()}
        missing = {name: np.isnan(values) for name, values in raw.items()}
        kept = {name: raw[name][~missing[name]] for name in raw}
        object.__setattr__(self, "genuine", kept.pop("genuine"))
        object.__setattr__(self, "impostor", kept.pop("impostor"))
        object.__setattr__(self, "attacks", kept)
        object.__setattr__(self, "not_acquired", {k: int(v.sum()) for k, v in missing.items()})


def check_attack_name(name: str) -> None:
    """Raise ValueError for an attack type with the name of a bona fide class."""
    if name in BONA_FIDE:
        raise InputError(
            f"`attacks` must not use the name of a bona fide class, got {name!r}; "
            "rename that attack type."
        )


@dataclass(frozen=True, eq=False)
class Comparisons:
    """Every row of a score file: its score, its class, and who was compared with whom.

    Rates need `Scores` only. The identities are needed to resample people, to split folds and to
    find the face of a score.

    Attributes
    ----------
    score : ndarray of shape (n,), float64
        In the order of the file; NaN for a failure to acquire.
    kind : ndarray of shape (n,), int16
        Index into `kinds`.
    kinds : tuple of str
        ``"genuine"``, ``"impostor"``, then the attack types in alphabetical order.
    probe_subject, reference_subject : ndarray of shape (n,), int32
        Index into `subjects`.
    subjects : tuple of str
    probe, reference : ndarray of shape (n,), int32
        Index into `templates`: ``probe_template_id`` and ``bio_ref_template_id``. All -1 if the
        file lacks the column.
    templates : tuple of str
    distances, cautions
        As of `Scores`.
    """

    score: np.ndarray
    kind: np.ndarray
    kinds: tuple[str, ...]
    probe_subject: np.ndarray
    reference_subject: np.ndarray
    subjects: tuple[str, ...]
    probe: np.ndarray
    reference: np.ndarray
    templates: tuple[str, ...]
    distances: bool = False
    cautions: tuple[str, ...] = ()

    @property
    def attacks(self) -> tuple[str, ...]:
        """Attack types, in alphabetical order."""
        return self.kinds[len(BONA_FIDE) :]

    def rows(self, kind: str) -> np.ndarray:
        """Indices of the rows of a class, those without a score included."""
        return np.flatnonzero(self.kind == self.kinds.index(kind))

    def compared(self, row: int) -> tuple[str, str]:
        """Return the template ids of probe and reference of a row, "" if the file lacks them."""
        ids = (self.probe[row], self.reference[row])
        probe, reference = (self.templates[i] if i >= 0 else "" for i in ids)
        return probe, reference

    def scores(self) -> Scores:
        """Return the scores by class, as `bob_recon_plugin.evaluation.scores.load` does."""
        by_kind = {kind: self.score[self.rows(kind)] for kind in self.kinds}
        genuine, impostor = (by_kind.pop(kind) for kind in BONA_FIDE)
        return Scores(genuine, impostor, by_kind, self.distances, self.cautions)
