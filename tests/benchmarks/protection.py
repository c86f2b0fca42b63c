"""Protected templates under attack: ``python -m tests.benchmarks.protection --lfw LFW``.

Each scheme is attacked with the shipped decoder, behind an estimate of the embedding from the
protected template. Thresholds are those of the protected system. Images are embedded once, and
templates inverted once a scheme and a token, as in :mod:`tests.benchmarks.fast_attack`.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click
import numpy as np
from bob.bio.base.algorithm import Distance
from bob.pipelines import Sample, SampleBatch, SampleSet

from bob_recon_plugin.common.files import sha256, whole_or_nothing
from bob_recon_plugin.common.validation import told_to_user
from bob_recon_plugin.evaluation import metrics
from bob_recon_plugin.evaluation.scores import Scores
from bob_recon_plugin.inversion.reconstructor import FaceReconstructor
from bob_recon_plugin.protection import (
    BioHashing,
    IndexOfMax,
    InvertProtection,
    MLPHash,
    ProtectedComparison,
    QuantisedEmbedding,
    RandomProjection,
    Scheme,
)
from bob_recon_plugin.report.style import count
from bob_recon_plugin.report.tables import notes, short

from .fast_attack import KINDS, Protocol, System, cosine, read_protocol
from .results import _database, database_option, lfw_option, rate_cell

ATTACKS = KINDS[2:]
SCHEMES: dict[str, Scheme] = {
    "BioHashing, 512 bits": BioHashing(),
    "MLP-Hash, 512 bits, one hidden layer of 512": MLPHash(),
    "IoM-GRP, 300 indices of 16": IndexOfMax(),
    "random projection, 256 of 512": RandomProjection(),
    "4 bits a dimension": QuantisedEmbedding(4),
    "1 bit a dimension": QuantisedEmbedding(1),
}
TOKENS = {
    "stolen": "stolen",
    "own": "the attacker's own",
    "other": "the attacker's own, inverted under another",
}


@dataclass(frozen=True)
class Case:
    """A scheme, and the token that the attacker presents.

    Attributes
    ----------
    label : str
    scheme : Scheme or None
        None is the unprotected system.
    token : str
        A key of `TOKENS`; "" where there is no key.
    """

    label: str
    scheme: Scheme | None = None
    token: str = ""

    @property
    def scenario(self) -> str:
        """Of `ProtectedComparison` and `InvertProtection`."""
        return "stolen" if self.token == "stolen" else "normal"

    def algorithm(self) -> Any:
        """What compares."""
        return (
            Distance() if self.scheme is None else ProtectedComparison(self.scheme, self.scenario)
        )

    def leak(self, card: Any) -> list[InvertProtection]:
        """What the attacker does to templates before a decoder sees them."""
        if self.scheme is None:
            return []
        seed = 1 if self.token == "other" else 0
        return [InvertProtection.before(card, self.scheme, self.scenario, seed)]


def cases(tokens: Sequence[str] = tuple(TOKENS), only: str = "") -> list[Case]:
    """All of the table: the unprotected system, each scheme with each token, what has no key.

    Schemes without ``only`` in their names are left out.

    Raises
    ------
    ValueError
        When none is left.
    """
    chosen = {label: s for label, s in SCHEMES.items() if only.lower() in label.lower()}
    if not chosen:
        raise ValueError(f"`only` must be in a name of {', '.join(SCHEMES)}, got {only!r}.")
    keyed = [(label, scheme) for label, scheme in chosen.items() if scheme.keyed]
    return [
        Case("none"),
        *(Case(label, scheme) for label, scheme in chosen.items() if not scheme.keyed),
        *(Case(label, scheme, token) for token in tokens for label, scheme in keyed),
    ]


@dataclass(frozen=True)
class Measured:
    """A row of the table.

    Attributes
    ----------
    case : Case
    points : list of OperatingPoint
    estimate : float
        Mean cosine of the estimated embeddings to those behind the templates.
    """

    case: Case
    points: list[metrics.OperatingPoint]
    estimate: float


def measure(
    case: Case,
    system: System,
    enrolled: np.ndarray,
    reconstructor: FaceReconstructor,
    cache: Path | None = None,
    fmrs: Sequence[float] = (1e-2, 1e-3),
) -> Measured:
    """Protect, steal, estimate, decode, present, and compare.

    Parameters
    ----------
    case : Case
    system : System
    enrolled : ndarray of shape (n, d)
        Of `System.enrolled`.
    reconstructor : FaceReconstructor
    cache : Path, optional
        Folder that keeps the embeddings of reconstructions.
    fmrs : sequence of float
        Target false match rates, in [0, 1].
    """
    protocol, algorithm = system.protocol, case.algorithm()
    leaked, leak = protocol.leaked, case.leak(reconstructor.card())
    everyone = _sets(protocol, enrolled)
    templates: list[Any] = [None] * len(everyone)
    bona_fide, estimates = list(templates), np.full_like(enrolled, np.nan)
    for places in _by_subject(everyone):  # a scheme makes the matrices of a key once
        owned = [everyone[place] for place in places]
        stored = algorithm.create_templates_from_samplesets(owned, enroll=True)
        probes = algorithm.create_templates_from_samplesets(owned, enroll=False)
        for place, template, probe in zip(places, stored, probes, strict=True):
            templates[place], bona_fide[place] = template, probe
        stolen = np.intersect1d(places, leaked)
        if len(stolen):
            rows = np.stack([templates[place].data for place in stolen]).astype(np.float32)
            for step in leak:
                rows = step.transform(rows, [templates[place].subject_id for place in stolen])
            estimates[stolen] = rows
    presented = np.full_like(enrolled, np.nan)
    presented[leaked] = _presented(system, reconstructor, estimates[leaked], cache)
    attacks = algorithm.create_templates_from_samplesets(
        _sets(protocol, presented, leaked, attack_type="attack"), enroll=False
    )
    found = scores(
        algorithm, protocol, templates, bona_fide, dict(zip(leaked.tolist(), attacks, strict=True))
    )
    rates = Scores(found["genuine"], found["impostor"], {kind: found[kind] for kind in ATTACKS})
    alike = float(cosine(estimates[leaked], enrolled[leaked]).mean())
    return Measured(case, metrics.evaluate(rates, fmrs=fmrs), alike)


def _presented(
    system: System, reconstructor: FaceReconstructor, estimates: np.ndarray, cache: Path | None
) -> np.ndarray:
    """Embeddings of the faces decoded from estimates; from the cache if they are there."""
    about = f"{system.sha256} {sha256(reconstructor.checkpoint)}".encode() + estimates.tobytes()
    name = f"presented-{hashlib.sha256(about).hexdigest()[:24]}.npy"
    if cache is not None and (cache / name).is_file():
        return np.load(cache / name)
    faces = reconstructor.transform(estimates)
    found = system.presented(faces, reconstructor.card().positions)
    if cache is not None:
        with whole_or_nothing(cache / name) as part, part.open("wb") as stream:
            np.save(stream, found)
    return found


def scores(
    algorithm: Any,
    protocol: Protocol,
    templates: Sequence[Any],
    bona_fide: Sequence[Any],
    attacks: Mapping[int, Any],
) -> dict[str, np.ndarray]:
    """Scores of the protocol's comparisons, by kind and in its order.

    Parameters
    ----------
    algorithm : BioAlgorithm
    protocol : Protocol
    templates, bona_fide : sequence of Sample
        Of every image, as reference and as probe.
    attacks : mapping of int to Sample
        Probes of reconstructions, by the place of the image whose template leaked.
    """
    found = {kind: np.empty(len(pairs)) for kind, pairs in protocol.pairs.items()}
    # reference by reference: a scheme makes the matrices of a key once
    for place, template in enumerate(templates):
        for kind, pairs in protocol.pairs.items():
            rows = np.flatnonzero(pairs[:, 0] == place)
            if len(rows):
                probes = attacks if kind in ATTACKS else bona_fide
                several = [probes[other].data for other in pairs[rows, 1].tolist()]
                found[kind][rows] = algorithm.compare(SampleBatch([template]), several)[0]
    return found


def _sets(
    protocol: Protocol, embeddings: np.ndarray, places: Iterable[int] | None = None, **about: str
) -> list[SampleSet]:
    """Sample sets of one embedding each, of all images or of some."""
    return [
        SampleSet(
            [Sample(embeddings[place], key=str(place))],
            key=str(place),
            template_id=str(place),
            subject_id=str(protocol.samples[place].subject_id),
            **about,
        )
        for place in (range(len(embeddings)) if places is None else places)
    ]


def _by_subject(sets: Sequence[SampleSet]) -> list[list[int]]:
    """Places of the sample sets of each subject."""
    places: dict[str, list[int]] = {}
    for place, one in enumerate(sets):
        places.setdefault(one.subject_id, []).append(place)
    return list(places.values())


# -- Markdown ----------------------------------------------------------------


def table(measured: Sequence[Measured]) -> str:
    """Write what was measured as a Markdown table."""
    header = ["protection", "token presented"]
    for point in measured[0].points:
        header += [f"{name}, FMR {short(point.target)}" for name in ("TMR", "Type-I", "Type-II")]
    header += ["threshold", "cosine of estimate"]
    lines = [header, ["---"] * len(header), *(_cells(row) for row in measured)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _cells(row: Measured) -> list[str]:
    cells = [row.case.label, TOKENS.get(row.case.token, "")]
    for point in row.points:
        cells += [rate_cell(rate) for rate in (point.tmr, point.sar["type1"], point.sar["type2"])]
    limits = " / ".join(f"{_plain(row, point.threshold):.3f}" for point in row.points)
    return [*cells, limits, f"{row.estimate:.3f}"]


def _plain(row: Measured, threshold: float) -> float:
    """Bob's `Distance` writes a cosine less one."""
    return threshold + 1 if row.case.scheme is None else threshold


def footnotes(protocol: Protocol, measured: Sequence[Measured]) -> list[str]:
    """What a reader must know beside the table, one sentence each."""
    sizes: Mapping[str, int] = {kind: len(pairs) for kind, pairs in protocol.pairs.items()}
    return [
        f"{protocol.name}: {len(protocol.samples):,} images, {sizes['genuine']:,} genuine and "
        f"{sizes['impostor']:,} impostor comparisons, {sizes['type1']:,} Type-I and "
        f"{sizes['type2']:,} Type-II attacks; white box, re-entry at the camera.",
        "Token stolen: impostors and the attacker present the target's. Otherwise everybody "
        "presents their own.",
        *(line for line in notes(measured[0].points) if "SAR:" not in line),
    ]


def fewer(protocol: Protocol, attacks: int) -> Protocol:
    """Keep so many attacks of each type, spread evenly over the protocol's list.

    Genuine and impostor comparisons, which set the thresholds, are all kept.
    """
    pairs = dict(protocol.pairs)
    for kind in ATTACKS:
        kept = np.linspace(0, len(pairs[kind]) - 1, min(attacks, len(pairs[kind]))).astype(int)
        pairs[kind] = pairs[kind][kept]
    return replace(protocol, pairs=pairs)


@click.command()
@lfw_option
@database_option
@click.option(
    "--decoder", type=click.Path(path_type=Path), help="Instead of the one shipped for arcface-mbf."
)
@click.option(
    "--token",
    "tokens",
    multiple=True,
    type=click.Choice(list(TOKENS)),
    default=tuple(TOKENS),
    help="Rows of these alone, beside those without key.",
)
@click.option("--only", default="", metavar="TEXT", help="Schemes with this in their names.")
@click.option(
    "--attacks",
    type=click.IntRange(1),
    help="So many of each type, not all: faster, with wider intervals.",
)
@click.option("--cache", type=click.Path(path_type=Path), help="Folder that keeps embeddings.")
@click.option("--device", default="auto", show_default=True)
def protection(
    lfw: str | None,
    database: str,
    decoder: Path | None,
    tokens: tuple[str, ...],
    only: str,
    attacks: int | None,
    cache: Path | None,
    device: str,
) -> None:
    """Print what protection is worth as Markdown.

    \b
    Without any data, then with LFW (all folds of its view2/pairs.txt):
        python -m tests.benchmarks.protection --database demo
        python -m tests.benchmarks.protection --lfw LFW --cache embedded
    """
    from bob_recon_plugin.attack.chain import shipped_decoder

    with told_to_user():
        started = time.perf_counter()
        chosen = cases(tokens, only)
        protocol = read_protocol(_database(database, lfw))
        if attacks is not None:
            protocol = fewer(protocol, attacks)
        path = decoder or shipped_decoder()
        system = System(FaceReconstructor(path).card().recognizer, protocol, device)
        reconstructor = FaceReconstructor(
            path, system.recognizer.name, system.sha256, device=device
        ).validate()
        enrolled = system.enrolled(cache)
        measured = []
        for case in chosen:
            measured.append(measure(case, system, enrolled, reconstructor, cache))
            click.echo(" | ".join(_cells(measured[-1])), err=True)  # each takes minutes
        click.echo(table(measured) + "\n")
        click.echo("\n".join(f"- {line}" for line in footnotes(protocol, measured)))
        click.echo(f"- Measured in {count(round(time.perf_counter() - started))} s.")


if __name__ == "__main__":
    protection()
