"""One Dask worker as a process with its own environment."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress

import psutil
from distributed.deploy.spec import ProcessInterface

_PATIENCE = 10  # seconds


class WorkerProcess(ProcessInterface):
    """Run ``dask worker`` as a child of this process.

    Workers of Dask's LocalCluster import the main program before their
    environment is set. Under ``bob`` they import every plugin, and torch then
    has counted its threads and GPUs already.

    Parameters
    ----------
    scheduler : str
        Address of the scheduler.
    name : object
        Name of the worker.
    arguments : sequence of str
        Arguments of ``dask worker``.
    environment : mapping
        Variables that are not those of this process.
    """

    def __init__(
        self,
        scheduler: str,
        name: object,
        arguments: Sequence[str],
        environment: Mapping[str, str],
    ):
        super().__init__(scheduler=scheduler, name=name)
        self.command = [sys.executable, "-m", "distributed.cli.dask_worker", scheduler]
        self.command += ["--name", str(name), "--nthreads", "1", "--no-dashboard"]
        self.command += ["--death-timeout", "60", *arguments]
        self.environment = environment
        self.process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Start the process; the worker reports to the scheduler some seconds later."""
        quiet = {"DASK_DISTRIBUTED__LOGGING__DISTRIBUTED": "warning"}
        self.process = await asyncio.create_subprocess_exec(
            *self.command, env={**os.environ, **quiet, **self.environment}
        )
        await super().start()

    async def close(self) -> None:
        """Terminate the worker, and kill it if it does not end."""
        if self.process is not None and self.process.returncode is None:
            family = psutil.Process(self.process.pid).children(recursive=True)
            self.process.terminate()
            try:
                await asyncio.wait_for(self.process.wait(), _PATIENCE)
            except asyncio.TimeoutError:
                self.process.kill()
                await self.process.wait()
            for child in family:
                with suppress(psutil.NoSuchProcess):
                    child.kill()
        await super().close()
