"""Workers on this machine, one process each."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING

from ..common.validation import InputError
from ._start import count, environment, size, started

if TYPE_CHECKING:
    from distributed import Client

_PATIENCE = 300  # seconds; imports from a cold file server are slow


def local(
    workers: int | None = None,
    threads: int = 1,
    gpus: int | str | None = None,
    memory: str | None = None,
) -> Client:
    """Start workers as processes of this machine.

    Parameters
    ----------
    workers : int, optional
        Number of processes. Default: as many as there are cores for. Not with
        ``gpus``.
    threads : int
        Threads that the networks of one worker use.
    gpus : int or "all", optional
        Start this number of workers, each with one GPU that only it sees.
    memory : str, optional
        Limit of one worker ("4GB"). Default: an equal share of the machine.

    Returns
    -------
    distributed.Client

    Raises
    ------
    InputError
        For wrong arguments, more GPUs than exist, or workers that do not start.
    """
    devices = [] if gpus is None else _devices(gpus)
    if devices and workers is not None:
        raise InputError(
            f"`workers` must be left out if `gpus` sets their number, got {workers!r}; give one."
        )
    from dask.system import CPU_COUNT
    from distributed import Scheduler, SpecCluster

    from ._process import WorkerProcess

    variables = environment(count("threads", threads))
    if workers is None:
        workers = len(devices) or max(1, CPU_COUNT // threads)
    limit = size(memory) if memory is not None else 1 / count("workers", workers)
    cluster = SpecCluster(
        scheduler={
            "cls": Scheduler,
            "options": {"host": "127.0.0.1", "port": 0, "dashboard_address": ":8787"},
        },
        # workers that `-w` adds to those with GPUs have none
        worker=_spec(WorkerProcess, limit, variables, "" if devices else None),
        silence_logs=logging.WARNING,
    )
    for device in devices:
        cluster.worker_spec[f"gpu-{device}"] = _spec(WorkerProcess, limit, variables, device)
    return started(cluster, workers, _PATIENCE)


def _spec(process: type, limit: float, variables: dict[str, str], gpu: str | None) -> dict:
    seen = {} if gpu is None else {"CUDA_VISIBLE_DEVICES": gpu}
    arguments = ["--memory-limit", str(limit), *(["--resources", "GPU=1"] if gpu else [])]
    return {"cls": process, "options": {"arguments": arguments, "environment": variables | seen}}


def _devices(gpus: int | str) -> list[str]:
    """Return CUDA_VISIBLE_DEVICES for each of the wanted GPUs."""
    import torch

    seen = torch.cuda.device_count()
    wanted = seen if gpus == "all" else count("gpus", gpus)
    if not 1 <= wanted <= seen:
        raise InputError(
            f"`gpus` must be at most the number of GPUs that torch sees, got {gpus!r} of {seen}; "
            "see `nvidia-smi`, or start workers without GPUs: `-l recon-local`."
        )
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    return (named.split(",") if named else [str(i) for i in range(seen)])[:wanted]
