"""What each part of the preset `best` brings: ``python -m tests.benchmarks.ablation DATA -o DIR``.

Every row is a `bob bio recon train` of the same length on the same faces, parts of the preset
changed; reconstructions a step stay equal. It goes on where it stopped. From nothing, the rows tell
what is learnt first; ``--start-from`` a decoder, what a part brings later. The table, in
Markdown, holds what the last validation measured: cosine on held-out faces and on sampled
embeddings, SSIM. ``--judge`` adds the cosine on the held-out part of other prepared faces: trained
on synthetic faces, measured on real ones.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from bob_recon_plugin.faces.dataset import FaceDataset, open_datasets
from bob_recon_plugin.inversion.reconstructor import FaceReconstructor
from bob_recon_plugin.recognizers import RecognizerTransformer
from bob_recon_plugin.training import presets
from bob_recon_plugin.training.run import DECODER, LOG, Plan, train

#: Name of a row, its preset, and what it changes. "faces" is the share of a step's
#: reconstructions whose face is known; the others are of sampled embeddings.
ROWS: dict[str, tuple[str, dict[str, str]]] = {
    "`best`": ("best", {}),
    "no sampled embeddings": ("best", {"faces": "1"}),
    "three quarters of a step sampled, not half": ("best", {"faces": "0.25"}),
    "identity weight 0.5, not 1": ("best", {"identity_cosine": "0.5"}),
    "identity as in the papers: squared error, weight 0.025": (
        "best",
        {"identity_cosine": "0", "identity": "0.025"},
    ),
    "no jitter before the recogniser": ("best", {"jitter": "false"}),
    "no mirrored faces": ("best", {"mirror": "false"}),
    "no averaged weights": ("best", {"ema": "0"}),
    "constant rate, no cosine": ("best", {"halve_every": "1000000"}),
    "`icip2022`": ("icip2022", {"faces": "1"}),
}


def settings(preset: str, row: dict[str, str], batch: int) -> dict[str, str]:
    """Settings of a row for so many reconstructions a step; none learns on pixels alone."""
    own = presets.get(preset)
    row = dict(row)
    share = float(row.pop("faces", own.batch_size / own.samples))
    faces = max(2, round(share * batch))
    common = {"batch_size": str(faces), "sampled": str(batch - faces)}
    return common | {"pixel_share": "0", "warmup_steps": "30"} | row


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


def table(results: dict[str, dict[str, str]]) -> str:
    """Draw the rows as Markdown."""
    columns = {
        "val/cosine": "cosine, held-out faces",
        "val/sampled": "cosine, sampled embeddings",
        "judge": "cosine, held-out faces of the judge",
        "val/ssim": "SSIM",
    }
    shown = {key: title for key, title in columns.items() if key in next(iter(results.values()))}
    lines = [f"| preset | {' | '.join(shown.values())} |", "|---" * (1 + len(shown)) + "|"]
    for name, row in results.items():
        cells = " | ".join(f"{float(row[key]):.3f}" for key in shown)
        lines.append(f"| {name} | {cells} |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Train every row and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", nargs="+", help="folders of `bob bio recon prepare`")
    parser.add_argument("--output", "-o", type=Path, required=True)
    parser.add_argument("--judge", nargs="+", help="other folders of `bob bio recon prepare`")
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--batch", type=int, default=16, help="reconstructions a step")
    parser.add_argument("--width", type=float, default=0.25)
    parser.add_argument("--start-from", type=Path, help="decoder that every row starts from")
    parser.add_argument("--device", default="auto")
    options = parser.parse_args(arguments)
    dataset = open_datasets(options.data)
    others = open_datasets(options.judge) if options.judge else None
    results: dict[str, dict[str, str]] = {}
    for number, (name, (preset, changes)) in enumerate(ROWS.items()):
        print(name, flush=True)
        plan = Plan(
            preset,
            presets.get(preset, settings(preset, changes, options.batch)),
            width=options.width,
            steps=options.steps,
            every=options.steps,
            patience=0,
            start=options.start_from,
            device=options.device,
        )
        folder = options.output / f"{number:02d}"
        decoder = folder / DECODER
        if not _finished(folder / LOG, options.steps):
            train(dataset, folder, plan)
        results[name] = last_row(folder / LOG)
        if others is not None:
            results[name]["judge"] = str(judge(decoder, others))
    print(table(results))
    if others is not None and options.start_from:
        before = judge(options.start_from, others)
        print(f"\nThe decoder they start from: {before:.3f} on held-out faces of the judge.")


def _finished(log: Path, steps: int) -> bool:
    return log.is_file() and int(last_row(log)["step"]) == steps


if __name__ == "__main__":
    main()
