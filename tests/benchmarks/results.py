"""The results table: ``python -m tests.benchmarks.results --lfw DIR DECODER.safetensors ...``.

The numbers are those of ``bob bio pipeline simple DATABASE PIPELINE recon``, in a fraction of its
time (:mod:`tests.benchmarks.fast_attack`).
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click

from bob_recon_plugin.common.validation import told_to_user
from bob_recon_plugin.report.matrix import rate_cell
from bob_recon_plugin.report.style import count
from bob_recon_plugin.report.tables import notes, render, short

from .fast_attack import Attacked, Protocol, System, aligned, attack, read_protocol
from .training_facts import Training, read_training

_PEOPLE = 24


@dataclass(frozen=True)
class Entry:
    """A row of the table."""

    label: str
    decoder: Path
    attacked: Attacked
    training: Training


def measure(
    protocol: Protocol,
    checkpoints: Sequence[Path],
    labels: Sequence[str] = (),
    cache: Path | None = None,
    device: str = "auto",
    keep: Sequence[int] = (),
) -> list[Entry]:
    """Attack the system of each decoder with it.

    Parameters
    ----------
    protocol : Protocol
    checkpoints : sequence of Path
    labels : sequence of str
        A name for each, or none.
    cache : Path, optional
        Folder for the embeddings of the protocol's images.
    device : str
        Of all networks.
    keep : sequence of int
        Places of the images whose reconstructions are to be shown.

    Raises
    ------
    FileNotFoundError, ValueError
        For a decoder, a recogniser or labels that do not fit, before any work.
    """
    from bob_recon_plugin.decoders import read_card

    if labels and len(labels) != len(checkpoints):
        raise ValueError(
            f"`labels` must be one for each of {len(checkpoints)} decoders, got {len(labels)}; "
            "repeat --label in the order of the decoders."
        )
    cards = [read_card(path) for path in checkpoints]
    systems = {c.recognizer: System(c.recognizer, protocol, device) for c in cards}
    enrolled: dict[str, Any] = {}
    entries = []
    for number, (path, card) in enumerate(zip(checkpoints, cards, strict=True)):
        name = card.recognizer
        if name not in enrolled:
            enrolled[name] = systems[name].enrolled(cache)
        done = attack(path, systems[name], enrolled[name], keep=keep, device=device)
        label = labels[number] if labels else _label(done)
        entries.append(Entry(label, path, done, read_training(path, done.card)))
    return entries


def _label(attacked: Attacked) -> str:
    card = attacked.card
    if card.decoder != "dscasconv":
        return card.decoder
    return f"DSCasConv, width {card.decoder_parameters['width']:g}"


# -- Markdown ----------------------------------------------------------------


def table(entries: Sequence[Entry]) -> str:
    """Write the entries as a Markdown table."""
    targets = [short(point.target) for point in entries[0].attacked.points]
    header = ["decoder", "recogniser", "preset", "trained on"]
    for target in targets:
        header += [f"{name}, FMR {target}" for name in ("TMR", "Type-I", "Type-II")]
    header += ["mean cosine I / II", "mean SSIM", "parameters", "training"]
    rows = [_cells(entry) for entry in entries]
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(
        "| " + " | ".join(c.replace("|", "\\|") for c in line) + " |" for line in lines
    )


def _cells(entry: Entry) -> list[str]:
    done, training = entry.attacked, entry.training
    cells = [entry.label, done.card.recognizer, training.preset, training.data]
    for point in done.points:
        cells += [rate_cell(rate) for rate in (point.tmr, point.sar["type1"], point.sar["type2"])]
    means = [done.cosines[kind].mean() for kind in ("type1", "type2")]
    return [
        *cells,
        " / ".join(f"{mean:.3f}" for mean in means),
        f"{done.ssim:.3f}",
        f"{done.parameters / 1e6:.1f} M",
        training_cell(training),
    ]


def training_cell(training: Training) -> str:
    """Faces, epochs, steps, device and minutes of a training, as far as they are recorded.

    Examples
    --------
    >>> training_cell(Training("best", "", 3331, 5000, 5204, 160000, 24.9, 60.4, "card", "cpu"))
    '3,331 faces x 24.9 epochs (step 5,000 of 5,204, 160,000 images); cpu; 60 min'
    """
    words = [] if training.faces is None else [f"{training.faces:,} faces"]
    if training.epochs is not None:
        words[-1:] = [f"{' '.join(words[-1:])} x {training.epochs:.1f} epochs"]
    if training.step is not None:
        images = f", {training.images:,} images" if training.images is not None else ""
        words.append(f"(step {training.step:,} of {training.steps:,}{images})")
    parts = [" ".join(words), training.device or "device not recorded"]
    if training.minutes is None:
        parts.append("minutes not recorded")
    else:
        about = "about " if training.minutes_of == "log" else ""
        parts.append(f"{about}{training.minutes:.0f} min")
    return "; ".join(part for part in parts if part)


def footnotes(protocol: Protocol, entries: Sequence[Entry]) -> list[str]:
    """What a reader must know beside the table, one sentence each."""
    sizes = {kind: len(pairs) for kind, pairs in protocol.pairs.items()}
    told = [
        f"{protocol.name}: {len(protocol.samples):,} images, {sizes['genuine']:,} genuine and "
        f"{sizes['impostor']:,} impostor comparisons, {sizes['type1']:,} references; white box, "
        "re-entry at the camera, cosine.",
        "SSIM: each reconstruction against the aligned image behind its template "
        f"({len(protocol.leaked):,} of them).",
    ]
    for name in dict.fromkeys(entry.attacked.card.recognizer for entry in entries):
        first = next(e.attacked for e in entries if e.attacked.card.recognizer == name)
        limits = ", ".join(f"{p.threshold:.3f} at {short(p.target)}" for p in first.points)
        told.append(f"Thresholds of {name}, as cosines: {limits}.")
    return told + [line for line in notes(entries[0].attacked.points) if "SAR:" not in line]


# -- JSON --------------------------------------------------------------------


def as_plain(protocol: Protocol, entries: Sequence[Entry]) -> dict[str, Any]:
    """Everything of the table with every digit, JSON-ready."""
    from bob_recon_plugin.common.files import sha256
    from bob_recon_plugin.common.record import versions

    return {
        "database": {
            "name": protocol.name,
            "images": len(protocol.samples),
            "pixels_sha256": protocol.digest,
            **{kind: len(pairs) for kind, pairs in protocol.pairs.items()},
        },
        "reentry": "camera",
        "versions": versions(),
        "rows": [_plain(entry, sha256(entry.decoder)) for entry in entries],
    }


def _plain(entry: Entry, digest: str) -> dict[str, Any]:
    done = entry.attacked
    rates: Mapping[str, Any] = json.loads(render(done.points, "json"))
    return {
        "label": entry.label,
        "decoder": {"file": entry.decoder.name, "sha256": digest},
        "recognizer": done.card.recognizer,
        "recognizer_sha256": done.card.recognizer_sha256,
        "parameters": done.parameters,
        "training": asdict(entry.training),
        "operating_points": rates["operating_points"],
        "mean_cosine": {kind: float(values.mean()) for kind, values in done.cosines.items()},
        "mean_ssim": done.ssim,
        "card": asdict(done.card),
    }


# -- the sheet ---------------------------------------------------------------


def people(protocol: Protocol, number: int = _PEOPLE) -> list[int]:
    """Places of the first enrolled images of the first people by name."""
    first: dict[str, tuple[str, int]] = {}
    for place in protocol.pairs["type1"][:, 0]:
        sample = protocol.samples[place]
        found = (str(sample.key), int(place))
        first[sample.subject_id] = min(found, first.get(sample.subject_id, found))
    return [first[subject][1] for subject in sorted(first)[:number]]


def draw_sheet(protocol: Protocol, entries: Sequence[Entry], chosen: Sequence[int]) -> Any:
    """Draw the chosen people's originals and what every decoder makes of their templates."""
    import numpy as np

    from . import sheet

    row_of = {int(place): row for row, place in enumerate(protocol.pairs["type1"][:, 0])}
    rows = []
    for entry in entries:
        done = entry.attacked
        rows.append(
            sheet.Row(
                f"{entry.label}, {done.card.recognizer}",
                np.stack([done.faces[place] for place in chosen]),
                done.cosines["type1"][[row_of[place] for place in chosen]],
                done.points[-1].threshold,
            )
        )
    card = entries[0].attacked.card
    height, width = next(iter(entries[0].attacked.faces.values())).shape[1:]
    originals = [aligned(protocol, p, card.positions, (height, width)) for p in chosen]
    target = short(entries[0].attacked.points[-1].target)
    caption = [
        f"{protocol.name}: the first {len(chosen)} people by name who are enrolled, the first "
        "image of each; nothing was chosen by looking.",
        "Below each face the cosine of its reconstruction to the template it was made from "
        f"(Type-I); accepted at FMR {target} unless it says rejected.",
    ]
    return sheet.draw(np.stack(originals), rows, caption)


# -- the command -------------------------------------------------------------

lfw_option = click.option(
    "--lfw", type=click.Path(), help="LFW in Bob's layout, aligned to 112 x 112."
)
database_option = click.option(
    "--database",
    type=click.Choice(["lfw", "demo"]),
    default="lfw",
    show_default=True,
    help="demo: the faces that ship with the package, of people who do not exist.",
)


@click.command()
@click.argument("decoders", nargs=-1, required=True, type=click.Path(path_type=Path))
@lfw_option
@database_option
@click.option("--label", "--labels", "labels", multiple=True, help="Name of a decoder, in order.")
@click.option("--json", "json_path", type=click.Path(path_type=Path), help="Every digit.")
@click.option(
    "--sheet", type=click.Path(path_type=Path), help="PNG of 24 people and their reconstructions."
)
@click.option("--cache", type=click.Path(path_type=Path), help="Folder that keeps embeddings.")
@click.option("--device", default="auto", show_default=True)
def results(
    decoders: tuple[Path, ...],
    lfw: str | None,
    database: str,
    labels: tuple[str, ...],
    json_path: Path | None,
    sheet: Path | None,
    cache: Path | None,
    device: str,
) -> None:
    """Print the table of results of DECODERS as Markdown.

    \b
    Without any data, then with LFW (all folds of its view2/pairs.txt):
        python -m tests.benchmarks.results --database demo DECODER.safetensors
        python -m tests.benchmarks.results --lfw LFW --cache embedded A.safetensors B.safetensors

    The sheet shows faces of real people where the database does: it is not for publication
    without their licence.
    """
    with told_to_user():
        started = time.perf_counter()
        protocol = read_protocol(_database(database, lfw))
        chosen = people(protocol) if sheet is not None else []
        entries = measure(protocol, decoders, labels, cache, device, chosen)
        click.echo(table(entries) + "\n")
        click.echo("\n".join(f"- {line}" for line in footnotes(protocol, entries)))
        click.echo(f"- Measured in {count(round(time.perf_counter() - started))} s.")
        if json_path is not None:
            from bob_recon_plugin.common.record import write_json

            write_json(json_path, as_plain(protocol, entries))
        if sheet is not None:
            from .sheet import write

            write(draw_sheet(protocol, entries, chosen), sheet)


def _database(name: str, lfw: str | None) -> Any:
    from bob_recon_plugin.database import DemoDatabase, LFWDatabase
    from bob_recon_plugin.images import INSIGHTFACE_EYES

    if name == "demo" and lfw is None:
        return DemoDatabase()
    if lfw is None:
        raise ValueError("`--lfw` must be a folder, got none; or say --database demo.")
    return LFWDatabase(original_directory=lfw, fixed_positions=INSIGHTFACE_EYES)


if __name__ == "__main__":
    results()
