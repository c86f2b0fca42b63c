"""What an attack costs, as ratios measured side by side: ``python -m tests.benchmarks.scale``."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import click
from tqdm import tqdm

from .common import line, table
from .turns import run, spread

Run = Callable[..., Mapping[str, Any]]


@dataclass(frozen=True)
class Part:
    """Programs that take turns, and how they compare.

    `jobs` has the name of each program's job, its threads and its arguments; `value` takes what is
    compared out of what a job returns; `ratios` are titles with two names of programs.
    """

    jobs: Mapping[str, tuple[str, int, Mapping[str, Any]]]
    value: Callable[[Mapping[str, Any]], float]
    unit: str
    ratios: Sequence[tuple[str, str, str]]

    def rows(self, run: Run, rounds: int) -> list[list[str]]:
        """Run every program once a round; rows of the table."""
        laps: dict[str, list[float]] = {name: [] for name in self.jobs}
        for _ in tqdm(range(rounds), desc=self.ratios[0][0], disable=None):
            for name, (job, threads, arguments) in self.jobs.items():
                laps[name].append(self.value(run(job, threads, **arguments)))
        medians = ", ".join(f"{name} {median(values):,.4g}" for name, values in laps.items())
        rows = []
        for title, one, other in self.ratios:
            found = [a / b for a, b in zip(laps[one], laps[other], strict=True)]
            told = "" if rows else f"{medians} {self.unit}"
            rows.append([title, f"{spread(found)}, {rounds} rounds", told])
        return rows


def attack(lfw: str | None, decoder: Path, n: int, threads: int) -> Part:
    """The attack stage against a bare loop, and against Bob's own wrappers."""
    common = {"decoder": str(decoder), "n": n}
    some = {**common, "n": max(n // 5, 10), "lfw": lfw}
    jobs = {
        "ours": ("ours", threads, {**common, "lfw": lfw}),
        "bare": ("bare", threads, {**common, "tuned": False}),
        "tuned": ("bare", threads, {**common, "tuned": True}),
        "stock": ("stock", threads, some),
    }
    what = f"attack stage, {n:,} templates, full-width DSCasConv, {threads} threads"
    ratios = [
        (f"{what}: of a bare loop", "ours", "bare"),
        ("the same: of a bare loop tuned like it", "ours", "tuned"),
        ("the same: times Bob's own wrappers", "ours", "stock"),
    ]
    return Part(jobs, lambda lap: lap["images"] / lap["seconds"], "faces/s", ratios)


def command(lfw: str | None, threads: int) -> Part:
    """The whole command with both attacks against Bob's bona fide part alone."""
    programs = {"ours": True, "stock": False}
    jobs = {n: ("command", threads, {"lfw": lfw, "attacked": a}) for n, a in programs.items()}
    told = "whole command with both attacks: time over that of Bob's bona fide part alone"
    return Part(jobs, lambda lap: lap["seconds"], "s", [(told, "ours", "stock")])


def workers(lfw: str | None, n: int) -> Part:
    """One worker of one thread against two: on one core against two, and as they come.

    As they come, one worker leaves the other core to the client, the scheduler, and the threads
    that read and write files.
    """
    plans = {"one": (1, 1), "two": (2, 2), "one, on all cores": (1, None)}
    jobs = {
        name: ("workers", 1, {"lfw": lfw, "n": n, "count": count, "cores": cores})
        for name, (count, cores) in plans.items()
    }
    what = f"local Dask, {n} references and {n} probes: one worker on one core over two on two"
    every = "the same: one worker on all cores over two"
    ratios = [(what, "one", "two"), (every, "one, on all cores", "two")]
    return Part(jobs, lambda lap: lap["seconds"], "s", ratios)


def memory(run: Run, few: int, many: int) -> list[list[str]]:
    """Rows of the peak memory of the client, for many probes over few."""
    rows = []
    for dask, where in ((False, "without Dask"), (True, "with Dask, its scheduler included")):
        laps = {n: run("memory", 1, probes=n, dask=dask) for n in (few, many)}
        told = ", ".join(f"{n:,} probes: {lap['peak_mb']:.0f} MB" for n, lap in laps.items())
        ratio = laps[many]["peak_mb"] / laps[few]["peak_mb"]
        rows.append([f"peak memory of the client, {where}", f"{ratio:.2f}, 1 round", told])
    return rows


PARTS = ("attack", "command", "workers", "memory")


@click.command()
@click.option("--lfw", type=click.Path(exists=True), help="LFW, aligned; default: the demo faces.")
@click.option("--part", "parts", multiple=True, type=click.Choice(PARTS), default=PARTS)
@click.option("--rounds", type=click.IntRange(1), default=5, show_default=True)
@click.option("--threads", type=click.IntRange(1), default=2, show_default=True)
@click.option("--templates", type=click.IntRange(10), default=1000, show_default=True)
@click.option("--probes", type=click.IntRange(10_000), default=100_000, show_default=True)
def scale(
    lfw: str | None, parts: Sequence[str], rounds: int, threads: int, templates: int, probes: int
) -> None:
    """Measure the attack against bare networks and stock Bob, its workers, and its memory.

    Every figure is the median and the range of rounds in which the compared programs take turns,
    each in a process of its own. `python -m tests.benchmarks.decoder_speed` looks at the decoder
    alone.

    \b
    Everything, on LFW (an hour on two cores), or one part on the demo faces:
        python -m tests.benchmarks.scale --lfw LFW
        python -m tests.benchmarks.scale --part attack --templates 200 --rounds 3
    """
    from .scale_jobs import write_decoder

    lfw = None if lfw is None else str(Path(lfw).absolute())
    job = partial(run, "scale_jobs")
    with tempfile.TemporaryDirectory() as folder:
        decoder = write_decoder(Path(folder, "full-width.safetensors"))
        made: dict[str, Callable[[], list[list[str]]]] = {
            "attack": lambda: attack(lfw, decoder, templates, threads).rows(job, rounds),
            "command": lambda: command(lfw, threads).rows(job, rounds),
            "workers": lambda: workers(lfw, templates // 2).rows(job, rounds),
            "memory": lambda: memory(job, probes // 10, probes),
        }
        rows = []
        for part in parts:
            rows += made[part]()
            click.echo(line(rows[-1]), err=True)
    click.echo(table(["what", "ratio", "measured"], rows))


if __name__ == "__main__":
    scale()
