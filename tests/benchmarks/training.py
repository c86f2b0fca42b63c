"""How fast training runs: ``python -m tests.benchmarks.training DATA``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

import click
from tqdm import tqdm

from bob_recon_plugin.cli._options import pairs_like
from bob_recon_plugin.common.validation import short_errors

from .turns import run, spread

Clocks = Mapping[str, float]  # seconds a step, "wall" and "cpu"


def report(samples: int, ours: Sequence[Clocks], plain: Sequence[Clocks]) -> str:
    """Write laps, round by round, of steps of so many reconstructions as Markdown."""
    lines = ["| training | images/s | ms a step | processor ms a step |", "|---|---|---|---|"]
    for name, laps in (("ours", ours), ("straightforward loop", plain)):
        wall, cpu = (median(lap[clock] for lap in laps) for clock in ("wall", "cpu"))
        lines.append(f"| {name} | {samples / wall:.1f} | {1e3 * wall:.0f} | {1e3 * cpu:.0f} |")
    for clock, told in (("wall", "by the clock"), ("cpu", "in processor time")):
        ratios = [b[clock] / a[clock] for a, b in zip(ours, plain, strict=True)]
        lines += ["", f"Ours is {spread(ratios)} times as fast {told}, {len(ratios)} rounds."]
    return "\n".join(lines)


@click.command()
@click.argument("data", type=click.Path())
@click.option("--preset", default="best", show_default=True)
@click.option(
    "--set",
    "settings",
    multiple=True,
    callback=pairs_like("NAME=VALUE", "; as in --set sampled=8"),
    metavar="NAME=VALUE",
)
@click.option("--width", default=0.4375, show_default=True, help="Of DSCasConv.")
@click.option("--repeat", type=click.IntRange(1), default=3, show_default=True, help="Rounds.")
@click.option("--steps", type=click.IntRange(1), default=10, show_default=True, help="Of a turn.")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto")
def training(
    data: str,
    preset: str,
    settings: dict[str, str],
    width: float,
    repeat: int,
    steps: int,
    device: str,
) -> None:
    """Compare the speed of our training on DATA with that of a straightforward loop.

    DATA is a folder of `bob bio recon prepare`. Both have the same networks, batch, losses and
    optimiser, and take turns, each in a process of its own. The first part of a preset, on pixels
    alone, is left out: what is measured is the longer, slower part. So is a perceptual term:
    `--set perceptual=0` for a preset that has one.

    \b
        OMP_NUM_THREADS=1 python -m tests.benchmarks.training data --preset icip2022
    """
    import torch

    from bob_recon_plugin.training import presets

    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    with short_errors():
        chosen = presets.get(preset, settings)
        common = {"data": data, "preset": preset, "settings": settings, "width": width}
        common |= {"device": device, "n": steps}
        laps: dict[str, list[Any]] = {"ours": [], "plain": []}
        for _ in tqdm(range(repeat), desc="rounds", disable=None):
            for name, found in laps.items():
                found.append(run("training_jobs", name, **common))
    click.echo(f"{preset}, {chosen.batch_size} faces and {chosen.sampled} sampled embeddings\n")
    click.echo(report(chosen.samples, laps["ours"], laps["plain"]))


if __name__ == "__main__":
    training()
