"""What each part of the preset `best` brings: ``python -m tests.benchmarks.ablation DATA -o DIR``.

Every row is a `bob bio recon train` of the same length on the same faces, one part of the preset
changed; reconstructions a step stay equal, and there is no part on pixels alone. It goes on where
it stopped. The table, in Markdown, holds what the last validation measured: cosine on held-out
faces and on embeddings of nobody, SSIM. A decoder to start from shows more in few steps.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

from bob_recon_plugin.training import presets
from bob_recon_plugin.training.dataset import open_datasets
from bob_recon_plugin.training.run import LOG, Plan, train

#: Name of a row, and its settings beside the common ones.
ROWS: dict[str, dict[str, str]] = {
    "best": {},
    "no embeddings of nobody": {"nobody": "0", "batch_size": "ALL"},
    "identity as in the papers (squared error, weight 0.025)": {
        "identity_cosine": "0",
        "identity": "0.025",
    },
    "no jitter before the recogniser": {"jitter": "false"},
    "no mirrored faces": {"mirror": "false"},
    "no averaged weights": {"ema": "0"},
    "constant rate instead of a cosine": {"halve_every": "1000"},
}


def settings(row: dict[str, str], batch: int) -> dict[str, str]:
    """Settings of a row for so many reconstructions a step, half of them of nobody."""
    half = str(batch // 2)
    common = {"batch_size": half, "nobody": half, "warmup_steps": "30", "pixel_share": "0"}
    merged = {**common, **row}
    if merged["batch_size"] == "ALL":
        merged["batch_size"] = str(batch)
    return merged


def last_row(path: Path) -> dict[str, str]:
    """Read the last row of a training's log."""
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))[-1]


def table(results: dict[str, dict[str, str]]) -> str:
    """Draw the rows as Markdown."""
    lines = [
        "| preset | cosine, held-out faces | cosine, nobody | SSIM |",
        "|---|---|---|---|",
    ]
    for name, row in results.items():
        values = (float(row[f"val/{column}"]) for column in ("cosine", "nobody", "ssim"))
        lines.append(f"| {name} | " + " | ".join(f"{value:.3f}" for value in values) + " |")
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> None:
    """Train every row and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", nargs="+", help="folders of `bob bio recon prepare`")
    parser.add_argument("--output", "-o", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--batch", type=int, default=16, help="reconstructions a step")
    parser.add_argument("--width", type=float, default=0.25)
    parser.add_argument("--start-from", type=Path, help="decoder that every row starts from")
    parser.add_argument("--device", default="auto")
    options = parser.parse_args(arguments)
    dataset = open_datasets(options.data)
    results: dict[str, dict[str, str]] = {}
    for number, (name, row) in enumerate(ROWS.items()):
        print(name, flush=True)
        plan = Plan(
            "best",
            presets.get("best", settings(row, options.batch)),
            width=options.width,
            steps=options.steps,
            every=options.steps,
            start=options.start_from,
            device=options.device,
        )
        folder = options.output / f"{number}"
        train(dataset, folder, plan)
        results[name] = last_row(folder / LOG)
    print(table(results))


if __name__ == "__main__":
    main()
