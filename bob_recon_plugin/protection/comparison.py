"""ProtectedComparison: a Bob algorithm that stores and compares protected templates."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from bob.bio.base.pipelines import BioAlgorithm
from bob.pipelines import Sample, SampleSet

from ..common.validation import InputError, InputTypeError, one_of
from .keys import attackers_key, rows_by_key, subjects_key
from .scheme import Scheme

SCENARIOS = ("normal", "stolen")


class ProtectedComparison(BioAlgorithm):
    """Protect templates with one key a subject, and compare them with the scheme's similarity.

    Enrolment stores the protected mean embedding. A probe is protected with the key of the token
    that is presented with it. The scenario defines which token that is.

    Parameters
    ----------
    scheme : Scheme
    scenario : {"normal", "stolen"}
        "normal": every person presents their own token, including zero-effort impostors, and the
        attacker presents a token that the system issued to the attacker. "stolen": impostors and
        attackers present the token of the claimed person.
    seed : int
        For the keys that the system issues.
    probes_score_fusion : str
        Fusion of the scores of a probe with several images, as in Bob's ``Distance``.

    Notes
    -----
    Sample sets must have a ``subject_id``. Sample sets of attacks have an ``attack_type``, and the
    subject whose template leaked.

    References
    ----------
    Both scenarios: H. Otroshi Shahreza, V. Krivokuća Hahn, S. Marcel, "MLP-Hash: Protecting face
    templates via hashing of randomized multi-layer perceptron", EUSIPCO 2023.
    """

    def __init__(
        self,
        scheme: Scheme,
        scenario: str = "normal",
        seed: int = 0,
        probes_score_fusion: str = "max",
    ):
        super().__init__(probes_score_fusion=probes_score_fusion)
        check_scheme(scheme, scenario)  # now, not after all images are embedded
        self.scheme = scheme
        self.scenario = scenario
        self.seed = seed

    def create_templates(self, list_of_feature_sets: Sequence[Any], enroll: bool) -> list[Any]:
        """Return the mean embedding where enrolled, else all embeddings of each probe."""
        pooled = []
        for features in list_of_feature_sets:
            rows = np.empty((0, 0)) if not len(features) else np.vstack(features)
            pooled.append(rows.mean(axis=0) if enroll else rows)
        return pooled

    def create_templates_from_samplesets(
        self, list_of_samplesets: Sequence[SampleSet], enroll: bool
    ) -> list[Sample]:
        """Protect templates with the key of the subject, or of the person who presents the probe.

        Probes of the "stolen" scenario stay embeddings: they are protected in :meth:`compare`, with
        the key of each reference.

        Returns
        -------
        list of Sample
            References have data of shape (m,). Probes of k images have data of shape (k, m), or
            (k, d) in the "stolen" scenario.
        """
        templates = super().create_templates_from_samplesets(list_of_samplesets, enroll)
        if not enroll and self.scenario == "stolen":
            return templates
        keys = [self._key(s, enroll) for s in list_of_samplesets]
        for key, rows in rows_by_key(keys).items():
            held = [i for i in rows if np.size(templates[i].data)]
            if not held:
                continue
            several = [np.atleast_2d(templates[i].data) for i in held]
            hashed = self.scheme.protect(np.concatenate(several), key)
            ends = np.cumsum([len(each) for each in several])[:-1]
            for i, protected in zip(held, np.split(hashed, ends), strict=True):
                templates[i].data = protected[0] if enroll else protected
        return templates

    def compare(self, enroll_templates: Any, probe_templates: Any) -> np.ndarray:
        """Compare every enrolled template with every probe.

        Parameters
        ----------
        enroll_templates : SampleBatch
            Enrolled samples, with their subjects. In the "normal" scenario, any sequence of arrays.
        probe_templates : sequence of ndarray
            From :meth:`create_templates_from_samplesets`.

        Returns
        -------
        float64 ndarray of shape (references, probes)
        """
        enrolled = np.stack([np.asarray(e) for e in enroll_templates])
        probes = [np.atleast_2d(p) for p in probe_templates]
        if not probes:  # Bob calls this if no probe could be acquired
            return np.empty((len(enrolled), 0))
        presented = np.concatenate(probes)
        if self.scenario == "normal":
            every = self.scheme.similarity(enrolled, presented)
        else:
            every = np.empty((len(enrolled), len(presented)))
            for key, rows in rows_by_key(self._keys_of(enroll_templates)).items():
                hashed = self.scheme.protect(presented, key)
                every[rows] = self.scheme.similarity(enrolled[rows], hashed)
        starts = np.cumsum([0, *map(len, probes)])
        several = [every[:, a:b] for a, b in pairwise(starts)]
        return np.stack([self.fuse_probe_scores(s, axis=1) for s in several], axis=1)

    def _key(self, sample_set: Any, enroll: bool) -> int:
        if not enroll and getattr(sample_set, "attack_type", None):
            return attackers_key(self.seed)
        return subjects_key(self.seed, _subject(sample_set))

    def _keys_of(self, batch: Any) -> list[int]:
        samples = getattr(batch, "samples", None)
        if samples is None:
            raise InputTypeError(
                "`enroll_templates` must be a SampleBatch of samples with a `subject_id`, got "
                f"{type(batch).__name__}; pass SampleBatch(templates)."
            )
        return [subjects_key(self.seed, _subject(sample)) for sample in samples]


def check_scheme(scheme: object, scenario: object) -> None:
    """Raise TypeError or ValueError unless these are a scheme and a scenario."""
    if not isinstance(scheme, Scheme):
        raise InputTypeError(f"`scheme` must be a Scheme, got {scheme!r}; try BioHashing().")
    one_of("scenario", scenario, SCENARIOS)


def _subject(sample: Any) -> str:
    try:
        return str(sample.subject_id)
    except AttributeError:
        raise InputError(
            f"sample {getattr(sample, 'key', sample)!r} must have a `subject_id`, whose key "
            "protects its template, got none; use a database with subject ids."
        ) from None
