"""Submit tasks to a cluster as its workers finish others, and report if nothing is finished.

When a worker dies, Dask counts this against every task that waits on the worker, and after some
deaths fails the task: jobs that end at their walltime would then end the run. Here only a few
tasks wait on a worker.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any

import click

from ..common.validation import InputError

if TYPE_CHECKING:
    from distributed import Client, Future

_PER_SLOT = 2  # the running task and the next
_MANY = 64  # slots of a cluster that grows without bounds
_DEATHS = 9  # deaths of workers that a task may be counted
_POLL = 0.05  # seconds to wait for a finished task
_CHECK = 1  # seconds between two checks of the workers
_ALONE = 60  # seconds without a worker before the first note
_STUCK = 600  # seconds without a finished task before the first note
_GONE = 600  # seconds without a worker before the run ends


class LostWorkersError(InputError):
    """All workers left, and none came back."""


class Window:
    """Tasks of a run, a few at a time; leaving the context releases the remaining ones.

    Parameters
    ----------
    client : distributed.Client
    finished : callable
        Called with every future that succeeds.
    resources : dict of str to float, optional
        What a worker must offer to compute a task, such as ``{"GPU": 1}``.
    """

    def __init__(
        self,
        client: Client,
        finished: Callable[[Future], None],
        resources: dict[str, float] | None = None,
    ):
        from distributed import as_completed

        self.client, self.finished, self.resources = client, finished, resources or {}
        self.running = as_completed(loop=client.loop)
        self.workers = _Workers(client, self.resources)

    def __enter__(self) -> Window:
        survive_deaths(self.client)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for future in list(self.running.futures):
            future.release()

    def call(self, function: Callable[..., Any]) -> Callable[..., Future]:
        """Return a function that computes ``function`` on a worker; it waits until there is room.

        Arguments may be futures of this window and delayed objects of Dask.

        Raises
        ------
        LostWorkersError
            If all workers left and none came back.
        Exception
            The exception of a task.
        """
        import dask

        def computed(*args: Any, **kwargs: Any) -> Future:
            while self.running.count() >= _PER_SLOT * self.workers.slots():
                self._wait()
            with dask.annotate(**({"resources": self.resources} if self.resources else {})):
                task = dask.delayed(function)(*args, **kwargs)
            # a fused or rewritten task would lose its resources
            future = self.client.compute(task, optimize_graph=False, sync=False)
            self.running.add(future)
            return future

        return computed

    def drain(self) -> None:
        """Wait for all tasks; raise as ``call`` does."""
        while not self.running.is_empty():
            self._wait()

    def _wait(self) -> None:
        while not self.running.has_ready():
            with self.running.thread_condition:
                self.running.thread_condition.wait(_POLL)
            self.workers.check()
        future = next(self.running)
        if future.status != "finished":
            future.result()  # raises
        self.workers.progressed()
        self.finished(future)


class _Workers:
    """The workers that may compute a task: their number, and the time without any."""

    def __init__(self, client: Client, resources: dict[str, float]):
        self.client, self.resources = client, resources
        self.count = self.threads = 0
        self.seen = False
        self.checked = float("-inf")
        self.progressed()

    def progressed(self) -> None:
        """Note that a task was finished."""
        self.progress = self.present = time.monotonic()
        self.next_stuck, self.next_alone = _STUCK, _ALONE

    def slots(self) -> int:
        """Return how many tasks can run at a time, on present and on expected workers."""
        self.check()
        adaptive = getattr(self.client.cluster, "_adaptive", None)
        # an adaptive cluster asks for no more workers than there are tasks
        return max(1, self.threads, min(adaptive.maximum, _MANY) if adaptive else 0)

    def check(self) -> None:
        """Count the workers, and report what takes too long."""
        now = time.monotonic()
        if now - self.checked < _CHECK:
            return
        self.checked = now
        known = self.client.scheduler_info()["workers"].values()
        able = [w for w in known if suffices(w.get("resources", {}), self.resources)]
        self.count, self.threads = len(able), sum(w["nthreads"] for w in able)
        if able:
            self.seen, self.present, self.next_alone = True, now, _ALONE
            self._report_stuck(now - self.progress)
        else:
            self._report_alone(now - self.present)

    def _report_stuck(self, seconds: float) -> None:
        if seconds < self.next_stuck:
            return
        self.next_stuck *= 2
        click.echo(
            f"\nNote: nothing has been finished for {_duration(seconds)} (workers: {self.count}). "
            "Parts may be large: smaller ones (--dask-partition-size) finish earlier. If the "
            "workers are idle, stop with Ctrl-C and run again; finished parts are kept.",
            err=True,
        )

    def _report_alone(self, seconds: float) -> None:
        waits = not self.seen or _submits_jobs(self.client.cluster)
        if seconds >= _GONE and not waits:
            raise LostWorkersError(
                f"`workers` must stay, or come back within {_duration(_GONE)}, got none any more; "
                "see their output, start workers and run again."
            )
        if seconds < self.next_alone:
            return
        self.next_alone *= 2
        end = "" if waits else f" The run ends if none comes back within {_duration(_GONE)}."
        address = self.client.scheduler_info()["address"]
        wanted = f" that offers {self.resources}" if self.resources else ""
        click.echo(
            f"\nNote: no worker{wanted} has been there for {_duration(seconds)}. Jobs may wait in "
            f"their queue; else start a worker (`dask worker {address}`), "
            f"or stop with Ctrl-C: finished parts are kept.{end}",
            err=True,
        )


def suffices(offer: dict[str, float], wanted: dict[str, float]) -> bool:
    """Return whether a worker offers all that is wanted."""
    return all(offer.get(name, 0) >= amount for name, amount in wanted.items())


def survive_deaths(client: Client) -> None:
    """Let the scheduler continue when workers die.

    The queue of distributed 2024.5 fails an assertion when a worker dies, and computes nothing any
    more, so tasks go to workers without the queue. A task may also be counted more deaths than the
    usual four, as it may only have waited on the workers. A scheduler that does not allow the
    change, or whose queue is in use, is not changed, and a note says what to do.
    """

    # pickled by value: the scheduler may not have this package
    def change(dask_scheduler: Any, deaths: int) -> bool:
        import math

        dask_scheduler.allowed_failures = max(deaths, dask_scheduler.allowed_failures)
        if not dask_scheduler.queued:
            dask_scheduler.WORKER_SATURATION = math.inf
        return math.isinf(dask_scheduler.WORKER_SATURATION)

    try:
        done, reason = client.run_on_scheduler(change, deaths=_DEATHS), "its queue is in use"
    except Exception as error:  # a scheduler of the user may raise anything
        done, reason = False, str(error)
    if not done:
        click.echo(
            f"Note: the Dask scheduler keeps its queue ({reason}) and may hang when a "
            "worker dies. Start it with DASK_DISTRIBUTED__SCHEDULER__WORKER_SATURATION=inf.",
            err=True,
        )


def _submits_jobs(cluster: Any) -> bool:
    """Return whether the workers are jobs, which may wait in a queue for long."""
    jobqueue = sys.modules.get("dask_jobqueue")
    return jobqueue is not None and isinstance(cluster, jobqueue.JobQueueCluster)


def _duration(seconds: float) -> str:
    return f"{seconds / 60:.0f} min" if seconds >= 60 else f"{seconds:.0f} s"
