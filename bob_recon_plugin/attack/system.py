"""The system under attack: images to embeddings in real batches, each image read once."""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import cv2
import numpy as np
from bob.bio.face.preprocessor import FaceCrop
from bob.pipelines import CheckpointWrapper, DaskWrapper, Sample, SampleSet, ToDaskBag

from ..common.memory import keep_freed_memory
from ..common.threads import map_ahead
from ..common.validation import InputError
from ..images.reading import UNREADABLE

_AHEAD = 32  # images read before their turn
_HELD = 64 << 20  # bytes of images that a step gets at once
#: what a step raises on an image that does not suit it; other errors are the step's own
_UNSUITABLE = (ArithmeticError, LookupError, TypeError, ValueError, cv2.error)


def bare(step: Any, kept: Collection[str] = ()) -> Any:
    """Return a step without the Dask and checkpoint layers that Bob's command puts around it.

    Parameters
    ----------
    step : transformer
        Of samples.
    kept : collection of str
        ``features_dir`` of checkpoint layers that are the user's own.
    """
    while isinstance(step, DaskWrapper | CheckpointWrapper):
        if isinstance(step, CheckpointWrapper) and step.features_dir in kept:
            break
        step = step.estimator
    return step


def steps_of(transformer: Any) -> list[Any]:
    """Return the steps of a transformer that transform.

    Under Dask the first step only makes the bag; None and "passthrough" are no steps.
    """
    steps = [step for _, step in getattr(transformer, "steps", [("", transformer)])]
    return [s for s in steps if hasattr(s, "transform") and not isinstance(s, ToDaskBag)]


def core(step: Any) -> Any:
    """Return the estimator inside nested Bob wrappers."""
    while hasattr(step, "estimator"):
        step = step.estimator
    return step


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


@dataclass(frozen=True)
class System:
    """The steps of a Bob pipeline, run over batches instead of sample sets.

    Bob hands sample sets to a step one by one, so that a probe of one image is
    a batch of one, and its lazy samples read an image at every look. Here the
    images of many sets go through each step together, in memory.

    Parameters
    ----------
    steps : sequence of transformers
        Of samples, fitted; the last one gives embeddings.
    kept : collection of str
        As for :func:`bare`.
    batch_size : int
        Images that go through the steps together.
    """

    steps: Sequence[Any]
    kept: tuple[str, ...] = ()
    batch_size: int = 64

    def __post_init__(self) -> None:
        object.__setattr__(self, "steps", [bare(step, self.kept) for step in self.steps])

    def embed(
        self, samples: Iterable[Any], failures: dict[str, str] | None = None
    ) -> Iterator[Any]:
        """Take images through every step.

        Parameters
        ----------
        samples : iterable of Sample
            Images, lazy or not. A sample is read once, in a thread of its own,
            some images ahead.
        failures : dict, optional
            Gets the reason of every image that was not acquired, by its key: the
            file cannot be read, a step refuses the image or gives nothing for it, or
            the embedding is not finite. Without it, errors arrive here. A step that
            refuses every image of a batch is at fault itself: its error arrives in any case.

        Yields
        ------
        array or None
            What the last step makes of each image; None where the face was not
            acquired.
        """
        keep_freed_memory()
        images = map_ahead(partial(_read, failures=failures), samples, _AHEAD)
        first, *others = self.steps
        while block := _take(images, self.batch_size, first, failures):
            for step in others:
                block = _through(step, block, failures)
            if failures is not None:
                block = [_finite(sample, failures) for sample in block]
            yield from (sample.data for sample in block)


def _read(sample: Any, failures: dict[str, str] | None) -> Sample:
    try:
        return Sample(sample.data, parent=sample)
    except UNREADABLE as error:
        if failures is None:
            raise
        failures[str(sample.key)] = _said(error)
        return Sample(None, parent=sample)


def _said(error: BaseException) -> str:
    """The text of an error in one line."""
    return " ".join(str(error).split()) or type(error).__name__


def _take(
    images: Iterator[Sample], count: int, step: Any, failures: dict[str, str] | None
) -> list[Sample]:
    """Take up to ``count`` images through a step, as many at once as memory allows."""
    done: list[Sample] = []
    while len(done) < count and (held := _held(images, count - len(done))):
        done += _through(step, held, failures)
    return done


def _held(images: Iterator[Sample], count: int) -> list[Sample]:
    """Hold up to ``count`` images, fewer where they are large."""
    held: list[Sample] = []
    size = 0
    while len(held) < count and size < _HELD and (image := next(images, None)) is not None:
        held.append(image)
        size += getattr(image.data, "nbytes", 0)
    return held


def _through(
    step: Any, samples: list[Sample], failures: dict[str, str] | None = None
) -> list[Sample]:
    """Apply one step to the images that there are.

    Bob's wrappers would hand the annotations of those that there are not to others.
    """
    there = [sample for sample in samples if sample.data is not None]
    if not there:
        return samples
    made = iter(_applied(step, there, failures))
    done = [sample if sample.data is None else next(made) for sample in samples]
    if failures is not None:
        for sample in done:
            if sample.data is None:
                failures.setdefault(str(sample.key), _nothing_from(step, sample))
    return done


def _applied(step: Any, samples: list[Sample], failures: dict[str, str] | None) -> list[Sample]:
    """Apply a step; where it refuses a batch, to one image after the other."""
    try:
        return _held_results(step, samples)
    except _UNSUITABLE as error:
        if failures is None or isinstance(error, OSError):
            raise
        refused: dict[str, str] = {}
        done = [_alone(step, sample, refused) for sample in samples]
        if len(refused) == len(samples) > 1:
            raise
    failures |= refused
    return done


def _held_results(step: Any, samples: list[Sample]) -> list[Sample]:
    """Results of a step, not the lazy samples that Bob's wrappers make."""
    return [Sample(sample.data, parent=sample) for sample in step.transform(samples)]


def _alone(step: Any, sample: Sample, refused: dict[str, str]) -> Sample:
    try:
        return _held_results(step, [sample])[0]
    except _UNSUITABLE as error:
        refused[str(sample.key)] = f"{type(core(step)).__name__}: {_said(error)}"
        return Sample(None, parent=sample)


def _nothing_from(step: Any, sample: Sample) -> str:
    """Why a step gave nothing."""
    found = f"{type(core(step)).__name__} found no face"
    if getattr(sample, "annotations", None) is None:
        return f"there are no eye positions, and {found}"
    return found


def _finite(sample: Sample, failures: dict[str, str]) -> Sample:
    """The sample, without its embedding where that is not finite."""
    data = sample.data
    if not isinstance(data, np.ndarray) or data.dtype.kind != "f" or np.isfinite(data).all():
        return sample
    failures[str(sample.key)] = "its embedding is NaN or infinity"
    return Sample(None, parent=sample)


def check_eyes(steps: Sequence[Any], sets: Iterable[SampleSet]) -> None:
    """Refuse images without any eye position in front of a cropper that cannot find eyes.

    Parameters
    ----------
    steps : sequence of transformers
        Of the system.
    sets : iterable of SampleSet
        Of the database.

    Raises
    ------
    InputError
        When no image brings eyes.
    """
    cropper = core(steps[0])
    if type(cropper) is not FaceCrop or cropper.annotator or cropper.fixed_positions:
        return
    if any(getattr(image, "annotations", None) for one in sets for image in one.samples):
        return
    raise InputError(
        "the images must have eye positions, got none in the database, and the system has no "
        "annotator that finds them; put annotations.csv with the columns path, reye_y, reye_x, "
        "leye_y, leye_x into the folder, or, where all images are aligned copies, write "
        "`fixed_positions` into a Python file: `database = FolderDatabase(FOLDER, "
        "fixed_positions=INSIGHTFACE_EYES)`."
    )
