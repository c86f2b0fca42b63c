"""The work of an attack, cut into parts: what one task does, on any machine.

References are embedded and enrolled part by part; the templates of all parts
make the `Gallery` that probes are compared with. Type-I attacks need their own
part alone, so they run while others still enrol.
"""

from __future__ import annotations

import pickle
import time
import uuid
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cloudpickle
from bob.pipelines import Sample, SampleSet

from ..evaluation.scores import TYPE_I, TYPE_II
from .checkpoints import Checkpoints
from .comparison import Comparison
from .effort import Clock
from .failures import Failures
from .gallery import Gallery, Leaking, leaked_templates
from .options import AttackOptions
from .presenting import Presenter, injected_steps
from .system import System

REFERENCES, PROBES, BONA_FIDE = "references", "probes", "bona-fide"


@dataclass(frozen=True)
class Packed:
    """Sample sets on their way to a worker: a tenth of their size, no matter to Dask."""

    content: bytes

    @classmethod
    def of(cls, sets: Sequence[SampleSet]) -> Packed:
        """Pack sample sets."""
        return cls(zlib.compress(cloudpickle.dumps(list(sets), pickle.HIGHEST_PROTOCOL), 1))

    def unpack(self) -> list[SampleSet]:
        """Return them."""
        return pickle.loads(zlib.decompress(self.content))


def cut(sets: Sequence[SampleSet], images: int) -> Iterator[list[SampleSet]]:
    """Cut sample sets into parts of about so many images, the same in every run."""
    part: list[SampleSet] = []
    count = 0
    for sample_set in sets:
        if part and count + len(sample_set) > images:
            yield part
            part, count = [], 0
        part.append(sample_set)
        count += len(sample_set)
    if part:
        yield part


@dataclass
class Enrolled:
    """Templates of a part of the references.

    Attributes
    ----------
    templates : list of Sample
    images : list of list of str
        Keys of the images that each was enrolled from.
    embeddings : dict of str to array
        What the system made of an image, by its :func:`token`.
    clock : Clock
        Of the embedding.
    leaked : list of Sample
        Templates that the attacker holds: these, or those of another system.
    leaked_embeddings : dict of str to array
        What that system made of an image.
    failures : dict of (str, str) to str
        Reasons of images that were not acquired, by kind and key.
    """

    templates: list[Sample]
    images: list[list[str]]
    embeddings: dict[bytes, Any]
    clock: Clock
    leaked: list[Sample]
    leaked_embeddings: dict[bytes, Any]
    failures: Failures


class References:
    """All enrolled templates, and the embeddings that probes need not be given again."""

    def __init__(self, algorithm: Any, parts: Sequence[Enrolled]):
        templates = [template for part in parts for template in part.templates]
        self.comparison = Comparison(algorithm, templates)
        self.gallery = Gallery()
        images = (keys for part in parts for keys in part.images)
        for template, keys in zip(templates, images, strict=True):
            self.gallery.add(template, keys)
        self.embeddings = _joined(part.embeddings for part in parts)
        self.leaked_embeddings = _joined(part.leaked_embeddings for part in parts)


def _joined(some: Iterable[dict[bytes, Any]]) -> dict[bytes, Any]:
    return {name: embedding for each in some for name, embedding in each.items()}


def token(sample: Any) -> bytes | None:
    """Equal for two lazy samples that are one image with the same annotations; None: unknown."""
    load = getattr(sample, "_load", None)
    if load is None:
        return None
    about = {k: v for k, v in vars(sample).items() if k in ("key", "annotations")}
    try:
        return pickle.dumps((about, load, getattr(sample, "_delayed_attributes", None)))
    except (pickle.PicklingError, AttributeError, TypeError):
        return None


@dataclass(frozen=True)
class Written:
    """Scores that a task has written, and what it took.

    Attributes
    ----------
    files : dict of str to Path
        By kind: "bona-fide", "type1", "type2".
    done : dict of str to Clock
        By step: "embed", "attack", "compare".
    images : int
        Images of the part, for the progress bar.
    failures : dict of (str, str) to str
        Reasons of images that were not acquired, by kind and key.
    """

    files: dict[str, Path] = field(default_factory=dict)
    done: dict[str, Clock] = field(default_factory=dict)
    images: int = 0
    failures: Failures = field(default_factory=dict)

    def __add__(self, other: Written) -> Written:
        steps = (*self.done, *other.done)
        done = {s: self.done.get(s, Clock()) + other.done.get(s, Clock()) for s in steps}
        files, failures = self.files | other.files, self.failures | other.failures
        return Written(files, done, self.images + other.images, failures)


@dataclass(frozen=True)
class Spec:
    """What every task must know besides the systems and its part; small, the same for all.

    Parameters
    ----------
    options : AttackOptions
    reconstructor : Reconstructor
    positions : dict
        Eye positions (y, x) in every reconstructed face.
    algorithm : BioAlgorithm
        Of the attacked system.
    kept : tuple of str
        ``features_dir`` of the user's own checkpoint layers, see :func:`~.system.bare`.
    checkpoints, embedded : Checkpoints
        Of the attacks, and of what the attacked system makes of images.
    folder : Path
        Of the scores that tasks write.
    faces : Path or None
        Folder of the reconstructed faces; None keeps none.
    all_vs_all : bool
        Whether bona fide probes are compared with every reference.
    excluded : tuple of str
        Metadata that is not written.
    leaking : Leaking or None
        The system whose templates leaked; None: the one under attack.
    """

    options: AttackOptions
    reconstructor: Any
    positions: dict[str, tuple[float, float]]
    algorithm: Any
    kept: tuple[str, ...]
    checkpoints: Checkpoints
    embedded: Checkpoints
    folder: Path
    faces: Path | None
    all_vs_all: bool
    excluded: tuple[str, ...]
    leaking: Leaking | None

    def work(self, steps: Sequence[Any]) -> Work:
        """Put together what tasks do, with the fitted steps of the attacked system."""
        size = self.options.batch_size
        system = System(steps, self.kept, size)
        injected = injected_steps(system.steps, self.options.reentry, self.positions)
        presenter = Presenter(
            System(injected, self.kept, size),
            self.algorithm,
            self.reconstructor,
            self.positions,
            self.faces,
            self.checkpoints,
            self.options.leak,
        )
        return Work(self, system, presenter)


@dataclass(frozen=True)
class Work:
    """What tasks do, each on its part."""

    spec: Spec
    system: System
    presenter: Presenter

    def enrol(self, part: Packed | list[SampleSet]) -> Enrolled:
        """Embed a part of the references and make their templates."""
        sets = _unpacked(part)
        featured, clock, failures = _embed(self.system, self.spec.embedded, REFERENCES, sets, {})
        templates = _enrolled(featured, self.spec.algorithm)
        images = [[str(image.key) for image in s.samples] for s in sets]
        embeddings = _by_token(sets, featured)
        if self.spec.leaking is None or TYPE_I not in self.spec.options.attacks:
            stored = [template for template in templates if template.data is not None]
            return Enrolled(templates, images, embeddings, clock, stored, {}, failures)
        leaking = self.spec.leaking
        featured, spent, more = _embed(leaking.system, leaking.checkpoints, REFERENCES, sets, {})
        own = [[str(one.template_id)] for one in sets]
        leaked = leaked_templates(featured, own, leaking.algorithm)
        found, failures = _by_token(sets, featured), more | failures
        return Enrolled(templates, images, embeddings, clock + spent, leaked, found, failures)

    def gather(self, parts: Sequence[Enrolled]) -> References:
        """Bring all templates together."""
        return References(self.spec.algorithm, parts)

    def attack_templates(self, enrolled: Enrolled) -> Written:
        """Type-I: invert templates, each against itself."""
        images = sum(map(len, enrolled.images))
        before = Written({}, {"embed": enrolled.clock}, images, enrolled.failures)
        if TYPE_I not in self.spec.options.attacks:
            return before
        comparison = Comparison(self.spec.algorithm, enrolled.templates)
        return before + self._attack(TYPE_I, enrolled.leaked, comparison)

    def compare(self, references: References, part: Packed | list[SampleSet]) -> Written:
        """Compare a part of the probes, and attack with their templates (Type-II)."""
        sets = _unpacked(part)
        known = references.embeddings
        featured, clock, failures = _embed(self.system, self.spec.embedded, PROBES, sets, known)
        probes = self.spec.algorithm.create_templates_from_samplesets(featured, enroll=False)
        bona_fide = self._write(BONA_FIDE, probes, references.comparison, self.spec.all_vs_all)
        images = sum(map(len, sets))
        before = Written({}, {"embed": clock}, images, failures) + bona_fide
        if TYPE_II not in self.spec.options.attacks:
            return before
        leaked, clock, more = self._leaked_probes(sets, featured, references)
        before = Written({}, {"embed": clock}, 0, more) + before
        return before + self._attack(TYPE_II, leaked, references.comparison)

    def _leaked_probes(
        self, sets: Sequence[SampleSet], featured: Sequence[SampleSet], references: References
    ) -> tuple[list[Sample], Clock, Failures]:
        """Templates of genuine probes, with the references of their subjects."""
        targets = [references.gallery.targets(one, self.spec.all_vs_all) for one in sets]
        owned = [i for i, of_subject in enumerate(targets) if of_subject]
        targets = [targets[i] for i in owned]
        genuine, known = [sets[i] for i in owned], references.leaked_embeddings
        leaking = self.spec.leaking
        if leaking is None or not genuine:
            of_own = [featured[i] for i in owned]
            return leaked_templates(of_own, targets, self.spec.algorithm), Clock(), {}
        kept = leaking.checkpoints
        found, clock, failures = _embed(leaking.system, kept, PROBES, genuine, known)
        return leaked_templates(found, targets, leaking.algorithm), clock, failures

    def _attack(self, attack: str, leaked: Sequence[Sample], comparison: Comparison) -> Written:
        if not leaked:
            return Written()
        probes, clock = self.presenter(attack, leaked)
        # an attack probe is compared with its targets alone
        return Written({}, {"attack": clock}) + self._write(attack, probes, comparison, False)

    def _write(
        self, kind: str, probes: Sequence[Sample], comparison: Comparison, all_vs_all: bool
    ) -> Written:
        started = time.perf_counter()
        path = self.spec.folder / f"{kind}-{uuid.uuid4().hex}.csv"
        rows = comparison.write(probes, path, all_vs_all, self.spec.excluded)
        return Written({kind: path}, {"compare": Clock.since(started, rows)})


def _embed(
    system: System,
    checkpoints: Checkpoints,
    kind: str,
    sets: Sequence[SampleSet],
    known: dict[bytes, Any],
) -> tuple[list[SampleSet], Clock, Failures]:
    """Give every sample of the sets what a system makes of it, in one go.

    Images that an earlier run could not acquire are tried again: they may be mended.
    """
    started = time.perf_counter()
    samples = [sample for s in sets for sample in s.samples]
    names = checkpoints.names(samples)
    kept = checkpoints.load(kind, names)
    unknown = [known.get(token(sample) or b"") if known else None for sample in samples]
    found, clock = kept or (unknown, Clock())
    new = [i for i, embedding in enumerate(found) if embedding is None]
    reasons: dict[str, str] = {}
    for i, embedding in zip(new, system.embed([samples[i] for i in new], reasons), strict=True):
        found[i] = embedding
    acquired = sum(found[i] is not None for i in new)
    if kept is None or acquired:
        clock += Clock.since(started, acquired) if acquired else Clock()
        checkpoints.save(kind, names, found, clock)
    features = iter(found)
    featured = [
        SampleSet([Sample(next(features), key=s.key) for s in one.samples], parent=one)
        for one in sets
    ]
    return featured, clock, {(kind, key): reason for key, reason in reasons.items()}


def _enrolled(featured: Sequence[SampleSet], algorithm: Any) -> list[Sample]:
    """Templates of references; None where no image was acquired, which Bob refuses to enrol."""
    acquired = [any(sample.data is not None for sample in one.samples) for one in featured]
    sets = [one for one, there in zip(featured, acquired, strict=True) if there]
    made = iter(algorithm.create_templates_from_samplesets(sets, enroll=True) if sets else [])
    return [
        next(made) if there else Sample(None, parent=one)
        for one, there in zip(featured, acquired, strict=True)
    ]


def _by_token(sets: Sequence[SampleSet], featured: Sequence[SampleSet]) -> dict[bytes, Any]:
    """What a system made of each image that it acquired, by its token."""
    return {
        name: feature.data
        for before, after in zip(sets, featured, strict=True)
        for image, feature in zip(before.samples, after.samples, strict=True)
        if feature.data is not None and (name := token(image)) is not None
    }


def _unpacked(part: Packed | list[SampleSet]) -> list[SampleSet]:
    return part.unpack() if isinstance(part, Packed) else part
