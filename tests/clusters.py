"""Runs of the toy system that are disturbed: when to strike, and on what."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest


def finished(output: Path) -> int:
    return len(list((output / "checkpoints").rglob("*.h5")))


def same(found: list[dict[str, str]], expected: list[dict[str, str]]) -> None:
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert float(one.pop("score")) == pytest.approx(float(other["score"]), abs=1e-9)
        assert one == {k: v for k, v in other.items() if k != "score"}


@contextmanager
def once(condition: Callable[[], bool], act: Callable[[], None]) -> Iterator[None]:
    """Do something in a thread when a condition comes true."""
    over = threading.Event()

    def watch() -> None:
        while not over.is_set():
            if condition():
                act()
                return
            time.sleep(0.02)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


@contextmanager
def killable(tmp_path: Path) -> Iterator[tuple[subprocess.Popen, list[subprocess.Popen], str]]:
    """A scheduler and two workers, each a process that can be killed."""
    about = tmp_path / "scheduler.json"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    common = {"env": environment, "cwd": tmp_path, "stderr": subprocess.DEVNULL}
    dask = [sys.executable, "-m"]
    shared = ["--scheduler-file", str(about), "--no-dashboard"]
    serve = [*dask, "distributed.cli.dask_scheduler", "--port", "0", "--host", "127.0.0.1"]
    work = [*dask, "distributed.cli.dask_worker", "--no-nanny", "--nthreads", "1"]
    scheduler = subprocess.Popen([*serve, *shared], **common)
    workers = [
        subprocess.Popen([*work, "--death-timeout", "20", *shared], **common) for _ in range(2)
    ]
    try:
        yield scheduler, workers, str(about)
    finally:
        for process in [*workers, scheduler]:
            process.kill()
            process.wait()


@contextmanager
def connected(about: str, workers: int) -> Iterator[object]:
    from distributed import Client

    client = Client(scheduler_file=about, timeout=60)
    try:
        client.wait_for_workers(workers, timeout=120)
        yield client
    finally:
        with suppress(Exception):
            client.close(timeout=5)
