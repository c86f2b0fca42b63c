"""Workers on this machine, each a process of its own."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING

from ..common.validation import InputError
from ._start import count, environment, size, started

if TYPE_CHECKING:
    from distributed import Client

_PATIENCE = 300  # seconds; a cold file server takes its time with imports


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
        Number of processes; by default as many as the cores allow. Leave it out
        with ``gpus``.
    threads : int
        Threads that the networks of one worker use.
    gpus : int or "all", optional
        Start one worker for each of so many GPUs instead; each sees its own alone.
    memory : str, optional
        Limit for one worker ("4GB"); by default an equal share of the machine's.

    Returns
    -------
    distributed.Client

    Raises
    ------
    InputError
        For wrong arguments, more GPUs than there are, or workers that do not start.
    """
    devices = [] if gpus is None else _devices(gpus)
    if devices and workers is not None:
        raise InputError(
            f"`workers` must be left out where `gpus` sets their number, got {workers!r}; drop one."
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
        # what `-w` adds to workers of GPUs has none
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
    """Return what CUDA_VISIBLE_DEVICES is to say, for each of the GPUs wanted."""
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
