"""Invert leaked templates and present the faces to the system under attack.

The functions here work on one partition: a plain list of Bob samples. The
pipeline calls them on whole lists, or maps them over a Dask bag.
"""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from bob.pipelines import Sample, SampleSet
from PIL import Image
from tqdm import tqdm

from ._files import whole_or_nothing
from ._validation import InputError

TYPE_I = "type1"
TYPE_II = "type2"
ATTACKS = (TYPE_I, TYPE_II)


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
            images = frozenset(str(sample.key) for sample in reference.samples)
            gallery.by_subject[str(reference.subject_id)].append(
                (str(reference.template_id), images)
            )
        return gallery

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


def genuine_templates(
    probe_features: Sequence[SampleSet],
    algorithm: Any,
    gallery: Gallery,
    score_all_vs_all: bool,
) -> list[Sample]:
    """What the system would store of each genuine probe, with the references it targets.

    A probe of which no image was acquired stores nothing, so nothing leaks.
    """
    owned = [
        (probe, targets)
        for probe in probe_features
        if (targets := gallery.targets(probe, score_all_vs_all))
        and any(sample.data is not None for sample in probe.samples)
    ]
    if not owned:
        return []
    templates = algorithm.create_templates_from_samplesets([p for p, _ in owned], enroll=True)
    for template, (_, targets) in zip(templates, owned, strict=True):
        template.references = targets
    return templates


def as_vectors(template: Sample) -> np.ndarray:
    """Embeddings that a template consists of, of shape (k, d).

    Raises TypeError for a template that is not made of embeddings, InputError
    for NaN or infinity; both name the template.
    """
    vectors: np.ndarray
    try:
        vectors = np.atleast_2d(np.asarray(template.data, dtype=np.float32))
    except (TypeError, ValueError):
        vectors = np.empty((0, 0, 0))
    if vectors.ndim != 2 or vectors.size == 0:
        raise TypeError(
            f"template {template.key!r} must be a vector or a list of vectors to be inverted, got "
            f"{type(template.data).__name__} of shape {np.shape(template.data)}; attack a system "
            "whose algorithm stores embeddings, such as Bob's Distance."
        )
    if not np.isfinite(vectors).all():
        raise InputError(
            f"the embeddings of template {template.key!r} must be finite, got NaN or infinity; "
            "check this image and the recognition model, remove its checkpoint and run again."
        )
    return vectors


def _blocks(items: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]


def _write_png(face: np.ndarray, path: Path) -> None:
    """Write a (3, H, W) uint8 face."""
    with whole_or_nothing(path) as part:
        Image.fromarray(face.transpose(1, 2, 0)).save(part, format="png")


@dataclass
class Presenter:
    """Turns leaked templates into probe templates of the attacked system.

    Parameters
    ----------
    attack_type : str
        "type1" or "type2": becomes ``probe_attack_type`` in the scores.
    reconstructor : FaceReconstructor
        Embeddings of shape (n, d) to faces uint8 of shape (n, 3, H, W).
    steps : list of transformers
        The part of the attacked system that a face passes through, fitted.
    algorithm : BioAlgorithm
        Makes the probe templates.
    positions : dict
        Eye positions (y, x) in every reconstructed face.
    faces_directory : Path or None
        Where the faces are kept as PNG; None keeps none.
    batch_size : int
        Templates inverted and presented at a time.
    progress : bool
        Show a progress bar on a terminal; for runs without Dask, which has its own.
    """

    attack_type: str
    reconstructor: Any
    steps: list[Any]
    algorithm: Any
    positions: dict[str, tuple[float, float]]
    faces_directory: Path | None
    batch_size: int
    progress: bool = False

    def __call__(self, templates: Sequence[Sample]) -> list[Sample]:
        """Invert, present, and return the attack probes, one an embedding."""
        attacks: list[Sample] = []
        hidden = None if self.progress else True  # None: shown on terminals
        with tqdm(total=len(templates), desc=self.attack_type, disable=hidden) as bar:
            for block in _blocks(list(templates), self.batch_size):
                attacks.extend(self._present(block))
                bar.update(len(block))
        return attacks

    def _present(self, templates: Sequence[Sample]) -> list[Sample]:
        owners: list[tuple[Sample, str]] = []
        vectors: list[np.ndarray] = []
        for template in templates:
            rows = as_vectors(template)
            suffixes = [""] if len(rows) == 1 else [f"-{i}" for i in range(len(rows))]
            owners += [(template, f"{self.attack_type}/{template.key}{s}") for s in suffixes]
            vectors.extend(rows)
        faces = self.reconstructor.transform(np.stack(vectors))
        samples = []
        for face, (template, key) in zip(faces, owners, strict=True):
            if self.faces_directory is not None:
                _write_png(face, self.faces_directory / f"{key}.png")
            samples.append(self._sample(face, template, key))
        for step in self.steps:
            samples = step.transform(samples)
        probes = [
            SampleSet(
                [Sample(sample.data, parent=sample)],
                parent=template,
                key=key,
                template_id=key,
                references=self._targets(template),
                attack_type=self.attack_type,
            )
            for sample, (template, key) in zip(samples, owners, strict=True)
        ]
        return self.algorithm.create_templates_from_samplesets(probes, enroll=False)

    def _sample(self, face: np.ndarray, template: Sample, key: str) -> Sample:
        height, width = face.shape[1:]
        # some croppers want a bounding box: the whole picture is the face
        annotations = dict(self.positions, topleft=(0, 0), bottomright=(height, width))
        return Sample(face, parent=template, key=key, annotations=annotations)

    def _targets(self, template: Sample) -> list[str]:
        if self.attack_type == TYPE_I:
            return [str(template.template_id)]
        return list(template.references)


def _rewrap(wrapper: Any, change: Any) -> Any:
    """Copy nested Bob wrappers with another estimator at the core."""
    if not hasattr(wrapper, "estimator"):
        return change(wrapper)
    wrapper = copy.copy(wrapper)
    wrapper.estimator = _rewrap(wrapper.estimator, change)
    if hasattr(wrapper, "_dask_state"):
        wrapper._dask_state = wrapper.estimator
    if getattr(wrapper, "transform_extra_arguments", None) == ():
        wrapper.transform_extra_arguments = (("annotations", "annotations"),)
    return wrapper


def core(step: Any) -> Any:
    """Return the estimator inside nested Bob wrappers."""
    while hasattr(step, "estimator"):
        step = step.estimator
    return step


def crops_by_own_positions(step: Any) -> Any:
    """Return the step, cropping each face by the positions the sample brings.

    A cropper set to ``fixed_positions`` (a database of aligned copies) would
    cut reconstructions at the eyes of the database's images; this one cuts
    them at their own.
    """
    if getattr(core(step), "fixed_positions", None) is None:
        return step

    def freed(cropper: Any) -> Any:
        cropper = copy.copy(cropper)
        cropper.fixed_positions = None
        return cropper

    return _rewrap(step, freed)
