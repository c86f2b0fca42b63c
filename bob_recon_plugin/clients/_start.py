"""Common parts of all clients: the environment of workers, checks, and the start."""

from __future__ import annotations

import asyncio
import os
import sys
from typing import TYPE_CHECKING, Any

from ..common.validation import InputError
from .window import survive_deaths

if TYPE_CHECKING:
    from distributed import Client


def environment(threads: int) -> dict[str, str]:
    """Return environment variables for a worker: threads, and the module path of this process."""
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    own = (sys.prefix + os.sep, sys.base_prefix + os.sep)
    folders = [p for p in map(os.path.abspath, filter(None, sys.path)) if os.path.isdir(p)]
    modules = os.pathsep.join(p for p in folders if not p.startswith(own))
    variables = dict.fromkeys(names, str(threads))
    # tasks run in a thread, whose own glibc arena would return large tensors after every batch
    variables["MALLOC_ARENA_MAX"] = "1"
    return variables | ({"PYTHONPATH": modules} if modules else {})


def count(name: str, value: object, least: int = 1) -> int:
    """Return ``value``, or raise InputError unless it is a whole number from ``least`` on."""
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise InputError(
            f"`{name}` must be a whole number from {least} on, got {value!r}; write one."
        )
    return value


def size(memory: str) -> int:
    """Return a size in bytes, or raise InputError if ``memory`` is not a size."""
    from dask.utils import parse_bytes

    try:
        return parse_bytes(memory)
    except (ValueError, AttributeError) as error:
        raise InputError(
            f"`memory` must be a size with a unit, got {memory!r}; write for instance '4GB'."
        ) from error


def started(cluster: Any, workers: int, patience: float | None = None) -> Client:
    """Start workers and return a client; close the cluster if this fails.

    Parameters
    ----------
    cluster : distributed.SpecCluster
        With a running scheduler.
    workers : int
        Number of workers to start.
    patience : float, optional
        Seconds within which all must report. Default: do not wait.
    """
    from distributed import Client

    async def start() -> None:
        await cluster

    client = None
    try:
        while len(cluster.worker_spec) < workers:
            cluster.worker_spec.update(cluster.new_worker_spec())
        # `scale` would only log an error, and the run would wait for ever
        cluster.sync(start)
        client = Client(cluster)
        survive_deaths(client)  # for Bob's own pipelines too
        if patience is not None:
            client.wait_for_workers(workers, timeout=patience)
    except BaseException as error:
        if client is not None:
            client.close()
        _close(cluster)
        if isinstance(error, asyncio.TimeoutError):
            raise InputError(
                f"`workers` must all start within {patience} s, got fewer than {workers}; see the "
                "output above, and start fewer or give them more `memory`."
            ) from error
        raise
    return client


def _close(cluster: Any) -> None:
    from distributed import Status

    for worker in cluster._created:  # Dask asserts that all have started
        if worker.status is Status.created:
            worker.status = Status.failed
    cluster.close()
