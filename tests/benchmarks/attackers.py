"""Decoders for one leaked model before several systems: ``python -m tests.benchmarks.attackers``.

The table tells, decoder by decoder, which attack each system was under (by what its attacker
knows), how often it opened, and what a face costs. The sheet shows the faces.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np

from bob_recon_plugin.attack.chain import shipped_decoder
from bob_recon_plugin.attack.knowledge import Threat
from bob_recon_plugin.common.validation import told_to_user
from bob_recon_plugin.decoders import DECODERS, ModelCard
from bob_recon_plugin.inversion.reconstructor import FaceReconstructor
from bob_recon_plugin.recognizers import identify
from bob_recon_plugin.report.tables import short

from . import sheet
from .fast_attack import KINDS, Protocol, System, aligned, cosine, read_protocol
from .refinement import _FMR, Seen, _inverted, first, footnote, judged, seconds
from .results import _database, database_option, lfw_option, people, rate_cell

_SIDE = 160  # of a face on the sheet, in pixels
_PEOPLE = 12


@dataclass(frozen=True)
class Row:
    """One decoder before every system."""

    label: str
    card: ModelCard
    threats: Sequence[Threat]
    seen: Sequence[Seen]
    seconds: float


def measure(
    decoders: Sequence[Path],
    labels: Sequence[str],
    systems: Sequence[System],
    enrolled: Sequence[np.ndarray],
    device: str = "auto",
) -> Iterator[Row]:
    """Invert templates of the first system with each decoder, and present the faces to all.

    Parameters
    ----------
    decoders : sequence of Path
    labels : sequence of str
        A name for each, or none: then what the file is.
    systems : sequence of System
    enrolled : sequence of ndarray of shape (n, d)
        Embeddings of the protocol's images by each.
    device : str
        Of all networks.
    """
    leaked = systems[0]
    templates = enrolled[0][leaked.protocol.leaked]
    known = [identify(system.transformer) for system in systems]
    for number, path in enumerate(decoders):
        reconstructor = FaceReconstructor(path, known[0].name, known[0].sha256, device=device)
        card = reconstructor.card()
        faces = reconstructor.transform(templates)
        seen = [judged(s, e, faces, card.positions) for s, e in zip(systems, enrolled, strict=True)]
        threats = [Threat.of(known[0], attacked, card) for attacked in known]
        label = labels[number] if labels else card.decoder
        yield Row(label, card, threats, seen, seconds(reconstructor, templates))


def table(rows: Sequence[Row], names: Sequence[str]) -> str:
    """Write the rows as a Markdown table."""
    header = ["decoder", "gradients of"]
    for name in names:
        header += [f"{name}: attack", "Type-I", "Type-II", "mean cosine I / II"]
    lines = [[*header, "processor s a face"], ["---"] * (len(header) + 1)]
    for row in rows:
        cells = [row.label, row.threats[0].judge]
        for threat, seen in zip(row.threats, row.seen, strict=True):
            cells.append(str(threat.number))
            cells += [rate_cell(seen.point.sar[kind]) for kind in KINDS[2:]]
            cells.append(" / ".join(f"{seen.cosines[kind].mean():.3f}" for kind in KINDS[2:]))
        lines.append([*cells, f"{row.seconds:.3f}"])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def draw_sheet(
    protocol: Protocol,
    decoders: Sequence[Path],
    rows: Sequence[Row],
    system: System,
    enrolled: np.ndarray,
    device: str = "auto",
) -> Any:
    """Draw twelve people, what every decoder makes of them, and whole pictures where it has some.

    Cosines are those of the attack, to the template that each face was made from.
    """
    chosen = people(protocol, _PEOPLE)
    templates = enrolled[chosen]
    drawn = []
    for path, row in zip(decoders, rows, strict=True):
        reconstructor = FaceReconstructor(path, device=device)
        faces = reconstructor.transform(templates)
        found = cosine(templates, system.presented(faces, row.card.positions))
        threshold = row.seen[0].point.threshold
        drawn.append(sheet.Row(row.label, faces, found, threshold))
        if DECODERS[row.card.decoder].draws_portraits:
            whole = reconstructor.set_params(portraits=True)
            pictures = whole.transform(templates)
            found = cosine(templates, system.presented(pictures, whole.card().positions))
            drawn.append(sheet.Row(f"{row.label}, whole picture", pictures, found, threshold))
    card = rows[0].card
    originals = [aligned(protocol, place, card.positions, faces.shape[2:]) for place in chosen]
    caption = [
        f"{protocol.name}: the first {len(chosen)} people by name who are enrolled, the first "
        "image of each; nothing was chosen by looking.",
        f"Below each face what {system.recognizer.name} makes of it: the cosine to the template "
        f"it was made from; accepted at FMR {short(_FMR)} unless it says rejected.",
    ]
    return sheet.draw(np.stack(originals), drawn, caption, side=_SIDE)


@click.command()
@click.argument("decoders", nargs=-1, type=click.Path(path_type=Path))
@lfw_option
@database_option
@click.option("--label", "labels", multiple=True, help="Name of a decoder, in order.")
@click.option("--cache", type=click.Path(path_type=Path), help="Folder that keeps embeddings.")
@click.option("--attacked", multiple=True, help="Recogniser of another system; repeatable.")
@click.option("-n", "number", type=click.IntRange(1), help="Attacks of each type; default: all.")
@click.option("--sheet", "picture", type=click.Path(path_type=Path), help="PNG of twelve people.")
@click.option("--device", default="auto", show_default=True)
def attackers(
    decoders: tuple[Path, ...],
    lfw: str | None,
    database: str,
    labels: tuple[str, ...],
    cache: Path | None,
    attacked: tuple[str, ...],
    number: int | None,
    picture: Path | None,
    device: str,
) -> None:
    """Print, as Markdown, what DECODERS (default: the shipped one) do to several systems.

    \b
        python -m tests.benchmarks.attackers --database demo -n 20 --sheet sheet.png
        python -m tests.benchmarks.attackers --lfw LFW --cache embedded --attacked edgeface-s \\
            black-box/decoder.safetensors

    The sheet shows faces of real people where the database does: it is not for publication
    without their licence.
    """
    with told_to_user():
        paths = decoders or (shipped_decoder(),)
        if labels and len(labels) != len(paths):
            raise ValueError(
                f"`--label` must be there once for each of {len(paths)} decoders, "
                f"got {len(labels)}; repeat it in the order of the decoders."
            )
        names = (_inverted(paths), *attacked)
        protocol = read_protocol(_database(database, lfw))
        protocol = protocol if number is None else first(protocol, number)
        systems = [System(name, protocol, device) for name in names]
        enrolled = [system.enrolled(cache) for system in systems]
        rows: list[Row] = []
        for row in measure(paths, labels, systems, enrolled, device):
            rows.append(row)
            click.echo(table([row], names).splitlines()[-1], err=True)  # it takes long
        click.echo(table(rows, names) + "\n")
        click.echo(footnote(protocol, names, rows[0].seen))
        if picture is not None:
            drawn = draw_sheet(protocol, paths, rows, systems[0], enrolled[0], device)
            sheet.write(drawn, picture)


if __name__ == "__main__":
    attackers()
