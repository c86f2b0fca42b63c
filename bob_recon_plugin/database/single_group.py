"""The base class of databases with one group: faces, sample sets, and Bob's interface."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np
from bob.bio.base.pipelines import Database
from bob.pipelines import DelayedSample, SampleSet

from ..common.validation import one_of
from ..images.geometry import Positions

_GROUP = "dev"


class Face(NamedTuple):
    """One image of a person.

    Attributes
    ----------
    key : str
        Unique name of the image; Bob also uses it as a file name.
    subject_id : str
        Identifier of the person.
    load : callable
        Returns the image, ndarray of shape (3, H, W). It must be importable by Dask's workers.
    annotations : dict or None
        (y, x) of ``reye`` and ``leye``, in pixels.
    """

    key: str
    subject_id: str
    load: Callable[[], np.ndarray]
    annotations: Positions | None


def sample_set(face: Face, references: Iterable[str] | None = None) -> SampleSet:
    """Make the sample set of one image; for a probe, with the ``references`` to compare it to.

    All probes get the same attributes in the same order, since Bob takes the columns of a score
    file from the first probe.
    """
    identity = {"key": face.key, "template_id": face.key, "subject_id": face.subject_id}
    annotations = None if face.annotations is None else dict(face.annotations)
    sample = DelayedSample(face.load, **identity, annotations=annotations)
    # a separate list, since Dask would copy a shared one with each probe
    extra = {} if references is None else {"references": list(references)}
    return SampleSet([sample], **identity, **extra)


class SingleGroupDatabase(Database):
    """A database without training data whose only group is ``dev``.

    Parameters
    ----------
    references, probes : list of SampleSet
        From :func:`sample_set`.
    protocol : str
    score_all_vs_all : bool
        Whether every probe is compared to all references, or only to its ``references``.
    annotation_type : str
    fixed_positions : dict or None
    """

    def __init__(
        self,
        references: list[SampleSet],
        probes: list[SampleSet],
        *,
        protocol: str,
        score_all_vs_all: bool,
        annotation_type: str,
        fixed_positions: Positions | None,
    ) -> None:
        super().__init__(
            protocol=protocol,
            score_all_vs_all=score_all_vs_all,
            annotation_type=annotation_type,
            fixed_positions=fixed_positions,
            memory_demanding=False,
        )
        self._references = references
        self._probes = probes

    def groups(self) -> list[str]:
        """Return the only group."""
        return [_GROUP]

    def background_model_samples(self) -> list[DelayedSample]:
        """Return an empty list, since there are no training data."""
        return []

    def references(self, group: str = _GROUP) -> list[SampleSet]:
        """Return the sample sets to enrol."""
        one_of("group", group, self.groups())
        return self._references

    def probes(self, group: str = _GROUP) -> list[SampleSet]:
        """Return the sample sets that are compared to the references."""
        one_of("group", group, self.groups())
        return self._probes

    def all_samples(self, groups: str | Iterable[str] | None = None) -> list[DelayedSample]:
        """Return every image once, even if it is both reference and probe."""
        for group in [groups] if isinstance(groups, str) else groups or ():
            one_of("groups", group, self.groups())
        samples = (sample for each in self._references + self._probes for sample in each)
        return list({sample.key: sample for sample in samples}.values())
