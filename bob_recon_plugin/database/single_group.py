"""What databases of one group share: faces, sample sets, and the answers Bob asks for."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np
from bob.bio.base.pipelines import Database
from bob.pipelines import DelayedSample, SampleSet

from ..common.validation import one_of
from ..images.annotations import Positions

_GROUP = "dev"


class Face(NamedTuple):
    """One image of a person.

    Attributes
    ----------
    key : str
        Unique name of the image: features are stored in a file of this name.
    subject_id : str
        The person.
    load : callable
        Returns the image, ndarray of shape (3, H, W); importable, so that workers can load it.
    annotations : dict or None
        Eyes as (y, x).
    """

    key: str
    subject_id: str
    load: Callable[[], np.ndarray]
    annotations: Positions | None


def sample_set(face: Face, references: Iterable[str] | None = None) -> SampleSet:
    """Make the template of one image; a probe also lists the ``references`` it is compared to.

    Every probe gets the same attributes in the same order: Bob writes the columns
    of a score file in the order that its first probe has.
    """
    identity = {"key": face.key, "template_id": face.key, "subject_id": face.subject_id}
    annotations = None if face.annotations is None else dict(face.annotations)
    sample = DelayedSample(face.load, **identity, annotations=annotations)
    # a list of its own: Dask copies what probes share
    extra = {} if references is None else {"references": list(references)}
    return SampleSet([sample], **identity, **extra)


class SingleGroupDatabase(Database):
    """A database without training data whose only group is ``dev``.

    Parameters
    ----------
    references, probes : list of SampleSet
        As :func:`sample_set` makes them.
    protocol : str
    score_all_vs_all : bool
        Whether every probe meets every reference, or only those it lists.
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
        """Return the one group."""
        return [_GROUP]

    def background_model_samples(self) -> list[DelayedSample]:
        """Return no samples: nothing is trained on this database."""
        return []

    def references(self, group: str = _GROUP) -> list[SampleSet]:
        """Return the templates to enrol."""
        one_of("group", group, self.groups())
        return self._references

    def probes(self, group: str = _GROUP) -> list[SampleSet]:
        """Return the templates that are compared to the references."""
        one_of("group", group, self.groups())
        return self._probes

    def all_samples(self, groups: str | Iterable[str] | None = None) -> list[DelayedSample]:
        """Return every image once, also one that is both reference and probe."""
        for group in [groups] if isinstance(groups, str) else groups or ():
            one_of("groups", group, self.groups())
        samples = (sample for each in self._references + self._probes for sample in each)
        return list({sample.key: sample for sample in samples}.values())
