"""Who owns which reference, and what leaks of it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from bob.pipelines import Sample, SampleSet

from ..common.validation import InputError, InputTypeError, real_numbers
from .checkpoints import Checkpoints
from .system import System


@dataclass(frozen=True)
class Leaking:
    """The system whose templates leaked, where it is not the one under attack.

    Attributes
    ----------
    system : System
        Embeds images.
    algorithm : BioAlgorithm
        Makes what it stores.
    checkpoints : Checkpoints
        Of its embeddings.
    """

    system: System
    algorithm: Any
    checkpoints: Checkpoints


@dataclass
class Gallery:
    """Which references a subject owns, to find the targets of a leaked template."""

    by_subject: dict[str, list[tuple[str, frozenset[str]]]] = field(
        default_factory=lambda: defaultdict(list)
    )

    @classmethod
    def of(cls, references: Sequence[SampleSet]) -> Gallery:
        """Collect subject, template and image keys of reference SampleSets."""
        gallery = cls()
        for reference in references:
            gallery.add(reference, (str(sample.key) for sample in reference.samples))
        return gallery

    def add(self, reference: Any, images: Iterable[str]) -> None:
        """Note the owner of a template, and the keys of the images it was enrolled from."""
        owned = self.by_subject[str(reference.subject_id)]
        owned.append((str(reference.template_id), frozenset(images)))

    def targets(self, probe: SampleSet, score_all_vs_all: bool) -> list[str]:
        """Templates of the probe's own subject that the protocol compares it with.

        A reference enrolled from the probe's own images is left out: inverting
        that one is a Type-I attack.
        """
        owned = self.by_subject.get(str(probe.subject_id), [])
        images = {str(sample.key) for sample in probe.samples}
        compared = None if score_all_vs_all else {str(r) for r in probe.references}
        return [
            template_id
            for template_id, enrolled in owned
            if not (images & enrolled) and (compared is None or template_id in compared)
        ]


def leaked_templates(
    features: Sequence[SampleSet], targets: Sequence[list[str]], algorithm: Any
) -> list[Sample]:
    """What a system would store of each sample set, with the references that it is to open.

    A set of which no image was acquired stores nothing, so nothing leaks.
    """
    acquired = [
        (one, references)
        for one, references in zip(features, targets, strict=True)
        if any(sample.data is not None for sample in one.samples)
    ]
    if not acquired:
        return []
    templates = algorithm.create_templates_from_samplesets([one for one, _ in acquired], True)
    for template, (_, references) in zip(templates, acquired, strict=True):
        template.references = references
    return templates


def as_vectors(template: Sample) -> np.ndarray:
    """Embeddings that a template consists of, float32 of shape (k, d), or bits of it.

    Raises TypeError for a template that is not made of embeddings, InputError
    for NaN or infinity; both name the template.
    """
    try:
        vectors = np.atleast_2d(real_numbers(template.data, bits=True))
        kind = f"shape {vectors.shape}"
    except TypeError as error:
        vectors, kind = np.empty((0, 0)), str(error)
    if vectors.ndim != 2 or vectors.size == 0:
        raise InputTypeError(
            f"template {template.key!r} must be a vector or a list of vectors to be inverted, got "
            f"{type(template.data).__name__} of {kind}; attack a system "
            "whose algorithm stores embeddings, such as Bob's Distance."
        )
    if not np.isfinite(vectors).all():
        raise InputError(
            f"the embeddings of template {template.key!r} must be finite, got NaN or infinity; "
            "check this image and the recognition model, remove its checkpoint and run again."
        )
    return vectors if vectors.dtype == bool else vectors.astype(np.float32, copy=False)
