"""Invert leaked templates and present the faces to the system under attack."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from bob.pipelines import DelayedSample, Sample, SampleSet

from ..common.description import describe, digest
from ..common.files import inside, whole_or_nothing
from ..common.template_steps import TemplateStep, apply_steps
from ..common.validation import InputError
from ..evaluation.scores import TYPE_I
from ..images.geometry import same_place
from .checkpoints import Checkpoints
from .effort import Clock
from .gallery import as_vectors
from .system import System, core, crops_by_own_positions

REENTRIES = ("camera", "recognizer")


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
    if not same_place(crops_to, positions):
        raise InputError(
            f"`reentry='recognizer'` must find a cropper with the decoder's eye positions "
            f"{positions}, got {crops_to}; use reentry='camera'."
        )
    return list(steps[1:])


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
    leak: Sequence[TemplateStep] = ()

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
        return apply_steps(self.leak, np.stack(vectors), subjects)

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
