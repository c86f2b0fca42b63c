"""Invert leaked templates and present the faces to the system under attack."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from bob.pipelines import DelayedSample, Sample, SampleSet

from ..common.description import describe, digest
from ..common.files import inside, whole_or_nothing
from ..common.validation import InputError, InputTypeError, real_numbers
from .checkpoints import Checkpoints
from .effort import Clock
from .system import System, core, crops_by_own_positions, positions_gap

TYPE_I = "type1"
TYPE_II = "type2"
ATTACKS = (TYPE_I, TYPE_II)
REENTRIES = ("camera", "recognizer")
_ALIGNED_WITHIN = 0.5  # pixels


def injected_steps(
    steps: Sequence[Any], reentry: str, positions: dict[str, tuple[float, float]]
) -> list[Any]:
    """Steps that a reconstruction passes through, by the point of re-entry.

    Parameters
    ----------
    steps : sequence of transformers
        Of the system under attack.
    reentry : {"camera", "recognizer"}
        Before the first step, or behind it, which must be a cropper that cuts
        as the decoder does.
    positions : dict
        Where the decoder puts the eyes, (y, x).
    """
    if reentry == "camera":
        return [crops_by_own_positions(step) for step in steps]
    cropper = core(steps[0])
    crops_to = getattr(cropper, "cropped_positions", None)
    if not isinstance(crops_to, dict) or len(steps) < 2:
        raise InputError(
            "`reentry='recognizer'` must find a face cropper as the first step, got "
            f"{type(cropper).__name__}; use reentry='camera'."
        )
    if positions_gap(crops_to, positions) > _ALIGNED_WITHIN:
        raise InputError(
            f"`reentry='recognizer'` must find a cropper with the decoder's eye positions "
            f"{positions}, got {crops_to}; use reentry='camera'."
        )
    return list(steps[1:])


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


def through(leak: Sequence[Any], rows: np.ndarray, subjects: Sequence[str]) -> np.ndarray:
    """Templates of n subjects behind what happens to them: shapes (n, m) to (n, d)."""
    for step in leak:
        more = (subjects,) if getattr(step, "needs_subjects", False) else ()
        rows = step.transform(rows, *more)
    return rows


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


def _kept(face: np.ndarray, path: Path | None) -> np.ndarray:
    """Return a (3, H, W) uint8 face, and write it as PNG."""
    if path is not None:
        # OpenCV packs more than twice as fast as Pillow; its first channel is blue
        _, content = cv2.imencode(".png", cv2.merge([*face[::-1]]))
        with whole_or_nothing(path) as part:
            part.write_bytes(content.tobytes())
    return face


@dataclass(frozen=True)
class Presenter:
    """Turns leaked templates into probe templates of the attacked system.

    Parameters
    ----------
    system : System
        The part of the attacked system that a face passes through.
    algorithm : BioAlgorithm
        Makes the probe templates.
    reconstructor : FaceReconstructor
        Embeddings of shape (n, d) to faces uint8 of shape (n, 3, H, W).
    positions : dict
        Eye positions (y, x) in every reconstructed face.
    faces : Path or None
        Folder where the faces are kept as ``TYPE/KEY.png``; None keeps none.
    checkpoints : Checkpoints
        Of the presented faces' embeddings.
    leak : sequence of transformers
        What the attacker makes of stolen templates before the decoder sees them: see
        :class:`~bob_recon_plugin.attack.pipeline.AttackPipeline`.
    """

    system: System
    algorithm: Any
    reconstructor: Any
    positions: dict[str, tuple[float, float]]
    faces: Path | None
    checkpoints: Checkpoints
    leak: Sequence[Any] = ()

    def __call__(self, attack: str, templates: Sequence[Sample]) -> tuple[list[Sample], Clock]:
        """Invert templates and present the faces.

        Parameters
        ----------
        attack : str
            "type1" or "type2": becomes ``probe_attack_type`` in the scores.
        templates : sequence of Sample
            Leaked ones, of vectors.

        Returns
        -------
        list of Sample, Clock
            The attack probes, one an embedding; and what it took, in this run or in the
            earlier one that left the checkpoint.
        """
        started = time.perf_counter()
        owners: list[tuple[Sample, str]] = []
        vectors: list[np.ndarray] = []
        for template in templates:
            rows = as_vectors(template)
            suffixes = [""] if len(rows) == 1 else [f"-{i}" for i in range(len(rows))]
            owners += [(template, f"{attack}/{template.key}{s}") for s in suffixes]
            vectors.extend(rows)
        keys = [key for _, key in owners]
        # a face is that of its template, whatever its name
        parts = [f"{key} {digest(describe(row))}" for key, row in zip(keys, vectors, strict=True)]
        if kept := self.checkpoints.load(attack, parts):
            presented, clock = kept
            self._draw_again(owners, vectors)
        else:
            faces = self._faces(owners, self._leaked(owners, vectors))
            presented = list(self.system.embed(faces))
            clock = Clock.since(started, len(keys))
            self.checkpoints.save(attack, parts, presented, clock)
        probes = [
            SampleSet(
                [Sample(embedding, key=key)],
                parent=template,
                key=key,
                template_id=key,
                references=_targets(attack, template),
                attack_type=attack,
            )
            for embedding, (template, key) in zip(presented, owners, strict=True)
        ]
        return self.algorithm.create_templates_from_samplesets(probes, enroll=False), clock

    def _leaked(
        self, owners: Sequence[tuple[Sample, str]], vectors: Sequence[np.ndarray]
    ) -> np.ndarray:
        """Stolen vectors, of shape (n, d), as the decoder will see them."""
        subjects = [str(template.subject_id) for template, _ in owners]
        return through(self.leak, np.stack(vectors), subjects)

    def _faces(self, owners: Sequence[tuple[Sample, str]], vectors: np.ndarray) -> Iterator[Sample]:
        """Faces in the order of the vectors, decoded a batch at a time."""
        size = self.system.batch_size
        for start in range(0, len(vectors), size):
            faces = self.reconstructor.transform(vectors[start : start + size])
            for face, (template, key) in zip(faces, owners[start : start + size], strict=True):
                yield self._sample(face, template, key)

    def _draw_again(self, owners: Sequence[tuple[Sample, str]], vectors: list[np.ndarray]) -> None:
        """Write faces that are wanted and not there, in the batches of the first time."""
        if self.faces is None or all((self.faces / f"{key}.png").is_file() for _, key in owners):
            return
        for sample in self._faces(owners, self._leaked(owners, vectors)):
            _ = sample.data  # writes the file

    def _sample(self, face: np.ndarray, template: Sample, key: str) -> Sample:
        """Make the sample of a face, whose file is written when the face is read."""
        height, width = face.shape[1:]
        # some croppers want a bounding box: the whole picture is the face
        annotations = dict(self.positions, topleft=(0, 0), bottomright=(height, width))
        path = None if self.faces is None else inside(self.faces, f"{key}.png")
        load = partial(_kept, face, path)
        return DelayedSample(load, parent=template, key=key, annotations=annotations)


def _targets(attack: str, template: Sample) -> list[str]:
    if attack == TYPE_I:
        return [str(template.template_id)]
    return list(template.references)
