"""What refinement gains, and for whom: ``python -m tests.benchmarks.refinement --lfw DIR``.

The faces of each decoder, plain and refined against its own recognition model with several
budgets, are presented to that model and to another one that took no part (`--judge`). What
one gains and the other does not is fit to a network, not likeness to a person.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click
import numpy as np

from bob_recon_plugin.attack.chain import shipped_decoder
from bob_recon_plugin.common.validation import told_to_user
from bob_recon_plugin.decoders import read_card
from bob_recon_plugin.evaluation import metrics
from bob_recon_plugin.evaluation.scores import Scores
from bob_recon_plugin.inversion.reconstructor import FaceReconstructor
from bob_recon_plugin.inversion.refinement import RefinedReconstructor
from bob_recon_plugin.report.tables import short

from .fast_attack import KINDS, Protocol, System, cosine, read_protocol
from .results import _database, database_option, lfw_option, rate_cell

_FMR = 1e-3
_TIMED = 8  # faces


def first(protocol: Protocol, number: int) -> Protocol:
    """The protocol with the first so many attacks of each type; bona fide comparisons stay."""
    attacks = {kind: protocol.pairs[kind][:number] for kind in KINDS[2:]}
    return replace(protocol, pairs={**protocol.pairs, **attacks})


@dataclass(frozen=True)
class Seen:
    """What one recognition model makes of some faces.

    Attributes
    ----------
    point : OperatingPoint
        At FMR 1e-3.
    cosines : mapping of str to float64 ndarray
        Of "type1" and "type2".
    """

    point: metrics.OperatingPoint
    cosines: Mapping[str, np.ndarray]


def judged(system: System, enrolled: np.ndarray, faces: np.ndarray, positions: Any) -> Seen:
    """Present reconstructions of `protocol.leaked` to a system, with its own templates enrolled."""
    pairs = system.protocol.pairs
    presented = np.full_like(enrolled, np.nan)
    presented[system.protocol.leaked] = system.presented(faces, positions)
    cosines = {
        kind: cosine(
            enrolled[pairs[kind][:, 0]],
            (presented if kind in KINDS[2:] else enrolled)[pairs[kind][:, 1]],
        )
        for kind in KINDS
    }
    attacks = {kind: cosines[kind] for kind in KINDS[2:]}
    rates = Scores(cosines["genuine"], cosines["impostor"], attacks)
    (point,) = metrics.evaluate(rates, fmrs=[_FMR])
    return Seen(point, attacks)


@dataclass(frozen=True)
class Row:
    """One decoder's faces, refined or not, before both systems."""

    label: str
    refinement: str
    own: Seen
    other: Seen
    change: float
    seconds: float


def measure(
    decoder: Path,
    systems: Sequence[System],
    enrolled: Sequence[np.ndarray],
    budgets: Sequence[int],
    options: Mapping[str, Any],
    device: str = "auto",
) -> Iterator[Row]:
    """Attack with the plain faces of a decoder, then with refined ones.

    Parameters
    ----------
    decoder : Path
    systems : pair of System
        The one whose templates leak, and the one that took no part.
    enrolled : pair of ndarray of shape (n, d)
        Embeddings of the protocol's images by each.
    budgets : sequence of int
        Steps.
    options : mapping
        Of the refinement.
    device : str
        Of all networks.

    Yields
    ------
    Row
        Plain, then each budget over the embedding, then over pixels.
    """
    own = systems[0]
    plain = FaceReconstructor(decoder, own.recognizer.name, own.sha256, device=device)
    templates = enrolled[0][own.protocol.leaked]
    card = plain.card()
    before = plain.transform(templates)

    def row(told: str, faces: np.ndarray, reconstructor: Any) -> Row:
        seen = [judged(s, e, faces, card.positions) for s, e in zip(systems, enrolled, strict=True)]
        change = float(np.abs(faces.astype(np.float32) - before).mean())
        return Row(card.decoder, told, *seen, change, seconds(reconstructor, templates))

    yield row("none", before, plain)
    for over in ("embedding", "pixels"):
        refined = RefinedReconstructor(plain, over, device=device, **options)
        found = refined.transform_at(templates, budgets)
        for steps, faces in zip(budgets, found, strict=True):
            refined.set_params(steps=steps)
            yield row(f"{over}, {steps} steps", faces, refined)


def seconds(reconstructor: Any, templates: np.ndarray) -> float:
    """Seconds of the processor a face, of the first eight together."""
    templates = templates[:_TIMED]
    reconstructor.transform(templates[:2])  # loads what is not loaded
    started = time.process_time()
    reconstructor.transform(templates)
    return (time.process_time() - started) / len(templates)


def _inverted(decoders: Sequence[Path]) -> str:
    """Name of the one recogniser that all decoders invert."""
    names = sorted({read_card(path).recognizer for path in decoders})
    if len(names) > 1:
        raise ValueError(
            f"`decoders` must be made for one recogniser, got {', '.join(names)}; "
            "measure them one after the other."
        )
    return names[0]


def table(rows: Sequence[Row], names: Sequence[str]) -> str:
    """Write the rows as a Markdown table."""
    header = ["decoder", "refined over"]
    for name in names:
        header += [f"{name}: Type-I", "Type-II", "mean cosine I / II"]
    header += ["change, grey levels", "processor s a face"]
    lines = [header, ["---"] * len(header)]
    for row in rows:
        cells = [row.label, row.refinement]
        for seen in (row.own, row.other):
            cells += [rate_cell(seen.point.sar[kind]) for kind in KINDS[2:]]
            cells.append(" / ".join(f"{seen.cosines[kind].mean():.3f}" for kind in KINDS[2:]))
        lines.append([*cells, f"{row.change:.1f}", f"{row.seconds:.3f}"])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def footnote(protocol: Protocol, names: Sequence[str], seen: Sequence[Seen]) -> str:
    """How many attacks a table is of, and the threshold and the TMR of each system."""
    sizes = {kind: len(protocol.pairs[kind]) for kind in KINDS}
    limits = [
        f"{name} {one.point.threshold:.3f} (TMR {rate_cell(one.point.tmr)})"
        for name, one in zip(names, seen, strict=True)
    ]
    return (
        f"- {protocol.name}: the first {sizes['type1']} attacks of Type-I and the first "
        f"{sizes['type2']} of Type-II; thresholds at FMR {short(_FMR)} on "
        f"{sizes['impostor']:,} impostors, as cosines: {'; '.join(limits)}."
    )


@click.command()
@click.argument("decoders", nargs=-1, type=click.Path(path_type=Path))
@lfw_option
@database_option
@click.option("--cache", type=click.Path(path_type=Path), help="Folder that keeps embeddings.")
@click.option("--judge", default="edgeface-s", show_default=True, help="The other recogniser.")
@click.option("-n", "number", default=300, show_default=True, help="Attacks of each type.")
@click.option("--steps", default="5,10,20", show_default=True, help="Budgets.")
@click.option("--enough", type=float, help="Of the refinement, as the options below.")
@click.option("--stay", type=float)
@click.option("--rate", type=float)
@click.option("--jitter/--no-jitter", default=None)
@click.option("--device", default="auto", show_default=True)
def refinement(
    decoders: tuple[Path, ...],
    lfw: str | None,
    database: str,
    cache: Path | None,
    judge: str,
    number: int,
    steps: str,
    device: str,
    **options: Any,
) -> None:
    """Print, as Markdown, what refinement does to the faces of DECODERS (default: the shipped one).

    \b
        python -m tests.benchmarks.refinement --database demo -n 20 --steps 5
        python -m tests.benchmarks.refinement --lfw LFW --cache embedded
        python -m tests.benchmarks.refinement --lfw LFW --cache embedded linear/decoder.safetensors
    """
    with told_to_user():
        given = {name: value for name, value in options.items() if value is not None}
        budgets = [int(step) for step in steps.split(",")]
        paths = decoders or (shipped_decoder(),)
        names = (_inverted(paths), judge)
        protocol = first(read_protocol(_database(database, lfw)), number)
        systems = [System(name, protocol, device) for name in names]
        enrolled = [system.enrolled(cache) for system in systems]
        rows: list[Row] = []
        for path in paths:
            for row in measure(path, systems, enrolled, budgets, given, device):
                rows.append(row)
                click.echo(table([row], names).splitlines()[-1], err=True)  # it takes long
        click.echo(table(rows, names) + "\n")
        click.echo(footnote(protocol, names, (rows[0].own, rows[0].other)))
        click.echo(f"- Refinement: {given or 'its defaults'}; white box of the first model.")


if __name__ == "__main__":
    refinement()
