"""What an attack costs, as ratios measured side by side: ``python -m tests.benchmarks.scale``.

Every figure is the median of rounds in which the compared programs take turns, each in a process
of its own. ``python -m tests.benchmarks.decoder_speed`` looks at the decoder alone.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import click
from tqdm import tqdm

from bob_recon_plugin.common.record import write_json

Run = Callable[..., dict[str, float]]


def run(job: str, threads: int, **arguments: Any) -> dict[str, float]:
    """Run a job of :mod:`tests.benchmarks.scale_jobs` in a process of its own."""
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    done = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks.scale_jobs", job, json.dumps(arguments)],
        env={**os.environ, **dict.fromkeys(names, str(threads))},
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise click.ClickException(f"{job} failed:\n{done.stderr[-3000:]}")
    return json.loads(done.stdout.splitlines()[-1])


@dataclass(frozen=True)
class Figure:
    """A ratio of two programs, round by round."""

    name: str
    wanted: str
    rounds: Sequence[float]
    told: str

    def row(self) -> str:
        """Return it as a row of the table."""
        low, high = min(self.rounds), max(self.rounds)
        value = f"**{median(self.rounds):.2f}** ({low:.2f}-{high:.2f}, {len(self.rounds)} rounds)"
        return f"| {self.name} | {self.wanted} | {value} | {self.told} |"


def _rate(lap: dict[str, float]) -> float:
    return lap["images"] / lap["seconds"]


def attack(run: Run, lfw: str | None, rounds: int, n: int, threads: int) -> list[Figure]:
    """The attack stage against a bare loop, and against Bob's own wrappers."""
    from .scale_jobs import write_decoder

    with tempfile.TemporaryDirectory() as folder:
        decoder = str(write_decoder(Path(folder) / "full-width.safetensors"))
        laps: dict[str, list[float]] = {"ours": [], "bare": [], "tuned": [], "stock": []}
        for _ in tqdm(range(rounds), desc="attack stage", disable=None):
            laps["ours"].append(_rate(run("ours", threads, decoder=decoder, n=n, lfw=lfw)))
            for name in ("bare", "tuned"):
                took = run("bare", threads, decoder=decoder, n=n, tuned=name == "tuned")
                laps[name].append(_rate(took))
            some = max(n // 5, 10)
            laps["stock"].append(_rate(run("stock", threads, decoder=decoder, n=some, lfw=lfw)))
    told = ", ".join(f"{name} {median(rates):.1f}" for name, rates in laps.items())
    what = f"attack stage, {n:,} templates, full-width DSCasConv, {threads} threads"
    told += " faces/s"
    return [
        Figure(f"{what}: of a bare loop", ">= 0.9", _ratios(laps, "ours", "bare"), told),
        Figure("the same: of a bare loop tuned like it", "", _ratios(laps, "ours", "tuned"), ""),
        Figure("the same: times Bob's own wrappers", ">= 3", _ratios(laps, "ours", "stock"), ""),
    ]


def _ratios(laps: dict[str, list[float]], one: str, other: str) -> list[float]:
    return [a / b for a, b in zip(laps[one], laps[other], strict=True)]


def command(run: Run, lfw: str | None, rounds: int, threads: int) -> list[Figure]:
    """The whole command with both attacks against Bob's bona fide part alone."""
    laps: dict[str, list[float]] = {"ours": [], "stock": []}
    for _ in tqdm(range(rounds), desc="whole command", disable=None):
        for name in laps:
            took = run("command", threads, lfw=lfw, attacked=name == "ours")
            laps[name].append(took["seconds"])
    told = ", ".join(f"{name} {median(seconds):.0f} s" for name, seconds in laps.items())
    name = "whole command with both attacks: time over that of Bob's bona fide part alone"
    return [Figure(name, "<= 1", _ratios(laps, "ours", "stock"), told)]


def workers(run: Run, lfw: str | None, rounds: int, n: int) -> list[Figure]:
    """One worker of one thread against two: on one core against two, and as they come.

    As they come, one worker leaves the other core to the client, the scheduler, and the threads
    that read and write files.
    """
    plans = {"one": (1, 1), "two": (2, 2), "one, on all cores": (1, None)}
    laps: dict[str, list[float]] = {name: [] for name in plans}
    for _ in tqdm(range(rounds), desc="workers", disable=None):
        for name, (count, cores) in plans.items():
            took = run("workers", 1, lfw=lfw, count=count, n=n, cores=cores)
            laps[name].append(took["seconds"])
    told = ", ".join(f"{name} {median(seconds):.0f} s" for name, seconds in laps.items())
    what = f"local Dask, {n} references and {n} probes: one worker on one core over two on two"
    return [
        Figure(what, ">= 1.7", _ratios(laps, "one", "two"), told),
        Figure(
            "the same: one worker on all cores over two",
            "",
            _ratios(laps, "one, on all cores", "two"),
            "",
        ),
    ]


def memory(run: Run, few: int, many: int) -> list[Figure]:
    """Peak memory of the client for few and for many probes; bytes of the graph."""
    figures = []
    for dask, where in ((False, "without Dask"), (True, "with Dask, its scheduler included")):
        laps = [run("memory", 1, probes=probes, dask=dask) for probes in (few, many)]
        told = ", ".join(
            f"{probes:,} probes: {lap['peak_mb']:.0f} MB, {lap['seconds']:.0f} s"
            for probes, lap in zip((few, many), laps, strict=True)
        )
        if dask:
            told += f"; graph {laps[1]['graph_mb']:.1f} MB (wanted < 50)"
        ratio = laps[1]["peak_mb"] / laps[0]["peak_mb"]
        figures.append(Figure(f"peak memory of the client, {where}", "<= 1.3", [ratio], told))
    return figures


def table(figures: Sequence[Figure]) -> str:
    """Draw the figures as Markdown."""
    lines = ["| what | wanted | ratio | measured |", "|---|---|---|---|"]
    return "\n".join([*lines, *(figure.row() for figure in figures)])


PARTS = ("attack", "command", "workers", "memory")


@click.command()
@click.option("--lfw", type=click.Path(exists=True), help="LFW, aligned; default: the demo faces.")
@click.option("--part", "parts", multiple=True, type=click.Choice(PARTS), help="Default: all.")
@click.option("--rounds", type=click.IntRange(1), default=5, show_default=True)
@click.option("--threads", type=click.IntRange(1), default=2, show_default=True)
@click.option("--templates", type=click.IntRange(10), default=1000, show_default=True)
@click.option("--probes", type=click.IntRange(2000), default=100_000, show_default=True)
@click.option("--json", "json_path", type=click.Path(path_type=Path), help="Every round.")
def scale(
    lfw: str | None,
    parts: tuple[str, ...],
    rounds: int,
    threads: int,
    templates: int,
    probes: int,
    json_path: Path | None,
) -> None:
    """Measure the attack against bare networks and stock Bob, and its memory.

    \b
    Everything, on LFW (an hour on two cores), or one part on the demo faces:
        python -m tests.benchmarks.scale --lfw LFW
        python -m tests.benchmarks.scale --part attack --templates 200 --rounds 3
    """
    lfw = None if lfw is None else str(Path(lfw).absolute())
    made: dict[str, Callable[[], list[Figure]]] = {
        "attack": lambda: attack(run, lfw, rounds, templates, threads),
        "command": lambda: command(run, lfw, rounds, threads),
        "workers": lambda: workers(run, lfw, rounds, templates // 2),
        "memory": lambda: memory(run, probes // 10, probes),
    }
    figures: list[Figure] = []
    for part in parts or PARTS:
        figures += made[part]()
        if json_path is not None:
            write_json(json_path, [vars(figure) for figure in figures])
    click.echo(table(figures))


if __name__ == "__main__":
    scale()
