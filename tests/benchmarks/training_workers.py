"""A process each for our training and for the loop it is compared with, at work in turns.

How a process treats memory and denormal numbers holds for all of it, so the two cannot share one.
Each trains when it is asked to, says how long it took, and sleeps in between.
"""

from __future__ import annotations

import multiprocessing
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Job:
    """What both processes train.

    Parameters
    ----------
    data : str
        Folder of prepared faces.
    preset : str
        Name of a preset, and what is set otherwise; it trains without its first part on pixels.
    settings : dict of str to str
    width : float
        Of the decoder.
    device : str
        "cpu" or "cuda".
    loaders : int
        Worker processes of the plain loop's DataLoader.
    images : str
        Folder of PNG files that the plain loop reads.
    vgg16 : str or None
        Weights file for the perceptual term.
    """

    data: str
    preset: str
    settings: dict[str, str]
    width: float
    device: str
    loaders: int
    images: str
    vgg16: str | None = None


@dataclass(frozen=True)
class Lap:
    """Seconds a step: of the clock, and of all processors together."""

    wall: float
    cpu: float


class Turns:
    """The worker's end of the line: when to train, and for how long.

    Parameters
    ----------
    line : Connection
    device : str
    parts : callable, optional
        Answers the order "parts": the number of repetitions to seconds by name.
    """

    def __init__(self, line: Connection, device: str):
        self.line, self.device = line, device
        self.parts: Callable[[int], dict[str, Lap]] | None = None
        self.left = 0

    def begin(self) -> bool:
        """Wait for the next turn; False at the end."""
        while True:
            order, n = self.line.recv()
            if order == "stop":
                return False
            if order == "steps":
                self.n = self.left = n
                self.clock = clock(self.device)
                return True
            assert self.parts is not None
            self.line.send(self.parts(n))

    def step_done(self) -> bool:
        """Count a step; at the end of the turn tell the time and wait. False at the end of all."""
        self.left -= 1
        if self.left:
            return True
        now = clock(self.device)
        self.line.send(_lap(self.clock, now, self.n))
        return self.begin()


def clock(device: str) -> tuple[float, float]:
    """Read both clocks when the device has done what it was given."""
    if device == "cuda":
        import torch

        torch.cuda.synchronize()
    return time.perf_counter(), time.process_time()


def _lap(start: tuple[float, float], end: tuple[float, float], n: int) -> Lap:
    return Lap((end[0] - start[0]) / n, (end[1] - start[1]) / n)


def timed(work: Callable[[], Any], n: int, device: str) -> Lap:
    """Seconds of one of n calls."""
    start = clock(device)
    for _ in range(n):
        work()
    return _lap(start, clock(device), n)


class Worker:
    """The other end: a process that trains one way."""

    def __init__(self, way: str, job: Job):
        context = multiprocessing.get_context("spawn")
        self.way = way
        self.line, theirs = context.Pipe()
        # not a daemon: those may not start a DataLoader's processes
        self.process = context.Process(target=_work, args=(way, job, theirs))
        self.process.start()
        theirs.close()

    def steps(self, n: int) -> Lap:
        """Train n steps."""
        return self._ask("steps", n)

    def parts(self, n: int) -> dict[str, Lap]:
        """Time the parts of a step, n times each."""
        return self._ask("parts", n)

    def _ask(self, order: str, n: int) -> Any:
        self.line.send((order, n))
        try:
            answer = self.line.recv()
        except EOFError as error:
            raise RuntimeError(f"the {self.way} training ended; run with more memory.") from error
        if isinstance(answer, str):
            raise RuntimeError(f"the {self.way} training failed:\n{answer}")
        return answer

    def stop(self) -> None:
        """End the process."""
        if self.process.is_alive():
            with suppress(OSError):  # it may end on its own
                self.line.send(("stop", 0))
            self.process.join(60)
        if self.process.is_alive():
            self.process.kill()


@contextmanager
def working(job: Job) -> Iterator[tuple[Worker, Worker]]:
    """Start ours and the plain one."""
    workers = (Worker("ours", job), Worker("plain", job))
    try:
        yield workers
    finally:
        for worker in workers:
            worker.stop()


def _work(way: str, job: Job, line: Connection) -> None:
    turns = Turns(line, job.device)
    try:
        if way == "ours":
            from .training_ours import run
        else:
            from .training_plain import run
        with tempfile.TemporaryDirectory() as folder:
            run(job, turns, Path(folder))
    except Exception:  # whatever it is, the other end must not wait
        line.send(traceback.format_exc())
