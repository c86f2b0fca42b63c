"""Clocks, and programs that take turns in processes of their own."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import click


@dataclass(frozen=True)
class Lap:
    """Seconds of one piece of work: of the clock, and of all processors together."""

    wall: float
    cpu: float


def clock(device: str) -> tuple[float, float]:
    """Read both clocks when the device has done what it was given."""
    if device == "cuda":
        import torch

        torch.cuda.synchronize()
    return time.perf_counter(), time.process_time()


def lap(start: tuple[float, float], device: str, n: int = 1) -> Lap:
    """Seconds since a reading of :func:`clock`, of one of n pieces."""
    wall, cpu = clock(device)
    return Lap((wall - start[0]) / n, (cpu - start[1]) / n)


def timed(work: Callable[[], Any], n: int, device: str) -> Lap:
    """Seconds of one of n calls."""
    start = clock(device)
    for _ in range(n):
        work()
    return lap(start, device, n)


def peak_kb() -> int:
    """Peak memory of this program; getrusage would count that of whoever started it."""
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1])  # type: ignore[index]


def spread(values: Sequence[float], form: str = ".2f", unit: str = "") -> str:
    """Median of rounds, and their range."""
    return f"{median(values):{form}}{unit} ({min(values):{form}}-{max(values):{form}})"


def run(module: str, job: str, threads: int | None = None, **arguments: Any) -> dict[str, Any]:
    """Run a job of a module that calls :func:`serve` in a process of so many threads."""
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    own = {} if threads is None else dict.fromkeys(names, str(threads))
    done = subprocess.run(
        [sys.executable, "-m", f"tests.benchmarks.{module}", job, json.dumps(arguments)],
        env={**os.environ, **own},
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise click.ClickException(f"{job} failed:\n{done.stderr[-3000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def serve(jobs: Mapping[str, Callable[..., Any]]) -> None:
    """Do the job that the command line names; print what it returns as JSON, in the last line."""
    name, arguments = sys.argv[1:]
    print(json.dumps(jobs[name](**json.loads(arguments))))
