"""The system under attack: images to embeddings in real batches, each image read once."""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from bob.pipelines import CheckpointWrapper, DaskWrapper, Sample

from ._ahead import map_ahead
from ._memory import keep_freed_memory

_AHEAD = 32  # images read before their turn
_HELD = 64 << 20  # bytes of images that a step gets at once


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

    def embed(self, samples: Iterable[Any]) -> Iterator[Any]:
        """Take images through every step.

        Parameters
        ----------
        samples : iterable of Sample
            Images, lazy or not. A sample is read once, in a thread of its own,
            some images ahead.

        Yields
        ------
        array or None
            What the last step makes of each image; None where the face was not
            acquired.
        """
        keep_freed_memory()
        images = map_ahead(_read, samples, _AHEAD)
        first, *others = self.steps
        while block := _take(images, self.batch_size, first):
            for step in others:
                block = _through(step, block)
            yield from (sample.data for sample in block)


def _read(sample: Any) -> Sample:
    return Sample(sample.data, parent=sample)


def _take(images: Iterator[Sample], count: int, step: Any) -> list[Sample]:
    """Take up to ``count`` images through a step, as many at once as memory allows."""
    done: list[Sample] = []
    while len(done) < count and (held := _held(images, count - len(done))):
        done += _through(step, held)
    return done


def _held(images: Iterator[Sample], count: int) -> list[Sample]:
    """Hold up to ``count`` images, fewer where they are large."""
    held: list[Sample] = []
    size = 0
    while len(held) < count and size < _HELD and (image := next(images, None)) is not None:
        held.append(image)
        size += getattr(image.data, "nbytes", 0)
    return held


def _through(step: Any, samples: list[Sample]) -> list[Sample]:
    """Apply one step and hold its results, not the lazy samples that Bob's wrappers make."""
    return [Sample(sample.data, parent=sample) for sample in step.transform(samples)]


def positions_gap(one: dict[str, Any], other: dict[str, Any]) -> float:
    """Largest distance along an axis between two pairs of eye positions, in pixels."""
    return max(float(np.abs(np.subtract(one[eye], other[eye])).max()) for eye in ("reye", "leye"))
