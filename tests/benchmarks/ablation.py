"""What each part of the preset `best` brings: ``python -m tests.benchmarks.ablation DATA``."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import click
import numpy as np

from bob_recon_plugin.common.validation import told_to_user
from bob_recon_plugin.faces.dataset import FaceDataset, open_datasets
from bob_recon_plugin.inversion.reconstructor import FaceReconstructor
from bob_recon_plugin.recognizers import RecognizerTransformer
from bob_recon_plugin.training import presets
from bob_recon_plugin.training.run import DECODER, LOG, Plan, train

from .common import table as markdown

_PAPERS = {"identity_cosine": "0", "identity": "0.025"}
#: Name of a row, its preset, and what it changes. "faces" is the share of a step's
#: reconstructions whose face is known; the others are of nobody.
ROWS: dict[str, tuple[str, dict[str, str]]] = {
    "`best`": ("best", {}),
    "no embeddings of nobody": ("best", {"faces": "1"}),
    "three quarters of a step of nobody, not half": ("best", {"faces": "0.25"}),
    "identity weight 0.5, not 1": ("best", {"identity_cosine": "0.5"}),
    "identity as in the papers: squared error, weight 0.025": ("best", _PAPERS),
    "no jitter before the recogniser": ("best", {"jitter": "false"}),
    "no mirrored faces": ("best", {"mirror": "false"}),
    "no averaged weights": ("best", {"ema": "0"}),
    "constant rate, no cosine": ("best", {"halve_every": "1000000"}),
    "`icip2022`": ("icip2022", {"faces": "1"}),
}


def settings(preset: str, row: dict[str, str], batch: int) -> dict[str, str]:
    """Settings of a row for so many reconstructions a step; none learns on pixels alone."""
    own, row = presets.get(preset), dict(row)
    faces = max(2, round(batch * float(row.pop("faces", own.batch_size / own.samples))))
    common = {"batch_size": str(faces), "nobody": str(batch - faces), "pixel_share": "0"}
    return common | {"warmup_steps": "30"} | row


def last_row(path: Path) -> dict[str, str]:
    """Read the last row of a training's log."""
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))[-1]


def judge(decoder: Path, dataset: FaceDataset) -> float:
    """Mean cosine between the held-out embeddings of a dataset and their reconstructions'."""
    leaked = dataset.embeddings[dataset.validation, 0]
    faces = FaceReconstructor(decoder, dataset.about.recognizer).transform(leaked)
    found = RecognizerTransformer(dataset.about.recognizer).transform(faces)
    norms = np.linalg.norm(found, axis=1) * np.linalg.norm(leaked, axis=1)
    return float(((found * leaked).sum(axis=1) / norms).mean())


def table(rows: dict[str, dict[str, str]]) -> str:
    """Draw the rows as Markdown."""
    columns = {
        "val/cosine": "cosine, held-out faces",
        "val/nobody": "cosine, nobody",
        "judge": "cosine, held-out faces of the judge",
        "val/ssim": "SSIM",
    }
    shown = {key: title for key, title in columns.items() if key in next(iter(rows.values()))}
    cells = [[name, *(f"{float(row[key]):.3f}" for key in shown)] for name, row in rows.items()]
    return markdown(["preset", *shown.values()], cells)


@click.command()
@click.argument("data", nargs=-1, required=True)
@click.option("--output", "-o", type=click.Path(path_type=Path), required=True)
@click.option("--judge", "judges", multiple=True, help="Another folder of prepared faces.")
@click.option("--steps", type=click.IntRange(1), default=600, show_default=True)
@click.option("--batch", default=16, show_default=True, help="Reconstructions a step.")
@click.option("--width", default=0.25, show_default=True)
@click.option("--start-from", "start", type=click.Path(path_type=Path), help="Of every row.")
@click.option("--device", default="auto", show_default=True)
def ablation(
    data: tuple[str, ...], output: Path, judges: tuple[str, ...], batch: int, **plan: Any
) -> None:
    """Train with one part of the preset `best` changed a row, and print what that costs or brings.

    DATA are folders of `bob bio recon prepare`. Rows have the same length, faces and
    reconstructions a step; the command goes on where it stopped. From nothing, the rows tell what
    is learnt first; with --start-from, what a part brings later. Printed is what the last
    validation measured: cosine on held-out faces and on sampled embeddings, SSIM; --judge adds the
    cosine on the held-out part of other prepared faces.

    \b
        python -m tests.benchmarks.ablation synthetic-mbf --judge celeba-mbf -o ablation
    """
    with told_to_user():
        dataset = open_datasets(data)
        others = open_datasets(judges) if judges else None
        rows: dict[str, dict[str, str]] = {}
        for number, name in enumerate(ROWS):
            click.echo(name, err=True)
            preset, changes = ROWS[name]
            chosen = presets.get(preset, settings(preset, changes, batch))
            folder = output / f"{number:02d}"
            log, every = folder / LOG, plan["steps"]
            if not log.is_file() or int(last_row(log)["step"]) < every:
                train(dataset, folder, Plan(preset, chosen, every=every, patience=0, **plan))
            rows[name] = last_row(log)
            if others is not None:
                rows[name]["judge"] = str(judge(folder / DECODER, others))
        click.echo(table(rows))
        if others is not None and plan["start"]:
            before = judge(plan["start"], others)
            click.echo(f"\nThe decoder they start from: {before:.3f} on faces of the judge.")


if __name__ == "__main__":
    ablation()
