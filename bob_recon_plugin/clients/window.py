"""Hand tasks to a cluster as its workers finish them, and say so where nothing is finished.

A scheduler that holds all tasks of a run blames each task that waits on a worker for the death
of that worker, and soon gives it up: jobs that end at their walltime would end the run. Here few
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

_PER_SLOT = 2  # one that is computed and the next
_MANY = 64  # slots, where a cluster grows without bounds
_DEATHS = 9  # of workers that one task may see
_GLANCE = 0.05  # seconds that a look at what is finished takes at most
_LOOK = 1  # seconds between two looks at the workers
_ALONE = 60  # seconds without a worker after which it is said
_STUCK = 600  # seconds with nothing finished after which it is said
_GONE = 600  # seconds after which workers that left count as lost


class LostWorkersError(InputError):
    """All workers left, and none came back."""


class Window:
    """Tasks of a run, a few at a time; leaving the context lets go of those that are left.

    Parameters
    ----------
    client : distributed.Client
    finished : callable
        Called with every future that ends well.
    resources : dict of str to float, optional
        What a worker must offer to compute a task, as ``{"GPU": 1}``.
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
        bear_deaths(self.client)
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
        """Return what computes ``function`` on a worker, once there is room; may wait.

        Its arguments may be futures of this window and Dask's delayed objects.

        Raises
        ------
        LostWorkersError
            Where all workers left, and none came back.
        Exception
            What a task raised.
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
        """Wait for all tasks; raises as ``call`` does."""
        while not self.running.is_empty():
            self._wait()

    def _wait(self) -> None:
        while not self.running.has_ready():
            with self.running.thread_condition:
                self.running.thread_condition.wait(_GLANCE)
            self.workers.look()
        future = next(self.running)
        if future.status != "finished":
            future.result()  # raises
        self.workers.moved()
        self.finished(future)


class _Workers:
    """The workers that may compute a task: how many there are, and for how long none was."""

    def __init__(self, client: Client, resources: dict[str, float]):
        self.client, self.resources = client, resources
        self.count = self.threads = 0
        self.seen = False
        self.looked = float("-inf")
        self.moved()

    def moved(self) -> None:
        """Something was finished."""
        self.progress = self.present = time.monotonic()
        self.next_stuck, self.next_alone = _STUCK, _ALONE

    def slots(self) -> int:
        """Tasks that the workers compute at a time, those that are yet to come included."""
        self.look()
        adaptive = getattr(self.client.cluster, "_adaptive", None)
        # it asks for no more workers than there are tasks
        return max(1, self.threads, min(adaptive.maximum, _MANY) if adaptive else 0)

    def look(self) -> None:
        """Count the workers, and tell what lasts too long."""
        now = time.monotonic()
        if now - self.looked < _LOOK:
            return
        self.looked = now
        known = self.client.scheduler_info()["workers"].values()
        able = [w for w in known if suffices(w.get("resources", {}), self.resources)]
        self.count, self.threads = len(able), sum(w["nthreads"] for w in able)
        if able:
            self.seen, self.present, self.next_alone = True, now, _ALONE
            self._tell_stuck(now - self.progress)
        else:
            self._tell_alone(now - self.present)

    def _tell_stuck(self, seconds: float) -> None:
        if seconds < self.next_stuck:
            return
        self.next_stuck *= 2
        click.echo(
            f"\nNote: nothing has been finished for {_spoken(seconds)} (workers: {self.count}). "
            "Parts may be long: smaller ones (--dask-partition-size) show more. If the workers do "
            "nothing, stop with Ctrl-C and run again; what is finished is kept.",
            err=True,
        )

    def _tell_alone(self, seconds: float) -> None:
        waits = not self.seen or _submits_jobs(self.client.cluster)
        if seconds >= _GONE and not waits:
            raise LostWorkersError(
                f"`workers` must stay, or come back within {_spoken(_GONE)}, got none any more; "
                "see what they printed, start workers and run again."
            )
        if seconds < self.next_alone:
            return
        self.next_alone *= 2
        end = "" if waits else f" The run ends when none comes back within {_spoken(_GONE)}."
        address = self.client.scheduler_info()["address"]
        wanted = f" that offers {self.resources}" if self.resources else ""
        click.echo(
            f"\nNote: no worker{wanted} has been there for {_spoken(seconds)}. Jobs may wait in "
            f"their queue; else start a worker (`dask worker {address}`), "
            f"or stop with Ctrl-C: what is finished is kept.{end}",
            err=True,
        )


def suffices(offer: dict[str, float], wanted: dict[str, float]) -> bool:
    """Say whether a worker offers all that is wanted."""
    return all(offer.get(name, 0) >= amount for name, amount in wanted.items())


def bear_deaths(client: Client) -> None:
    """Let the scheduler live through the death of workers.

    The queue of distributed 2024.5 fails an assertion when a worker dies, and nothing is computed
    any more: tasks go to workers at once instead. A task may also see more workers die than the
    usual four, as what it waits behind is no fault of its own. A scheduler that does not allow the
    change, or whose queue is in use, stays as it is; then what to do is said.
    """

    def change(dask_scheduler: Any, deaths: int) -> bool:  # by value: it may not have this package
        import math

        dask_scheduler.allowed_failures = max(deaths, dask_scheduler.allowed_failures)
        if not dask_scheduler.queued:
            dask_scheduler.WORKER_SATURATION = math.inf
        return math.isinf(dask_scheduler.WORKER_SATURATION)

    try:
        done, reason = client.run_on_scheduler(change, deaths=_DEATHS), "its queue is in use"
    except Exception as error:  # whatever a scheduler of the user's own raises
        done, reason = False, str(error)
    if not done:
        click.echo(
            f"Note: the Dask scheduler keeps its queue ({reason}), and may stop for ever when a "
            "worker dies. Start it with DASK_DISTRIBUTED__SCHEDULER__WORKER_SATURATION=inf.",
            err=True,
        )


def _submits_jobs(cluster: Any) -> bool:
    """Whether workers are jobs that may wait in a queue for long."""
    jobqueue = sys.modules.get("dask_jobqueue")
    return jobqueue is not None and isinstance(cluster, jobqueue.JobQueueCluster)


def _spoken(seconds: float) -> str:
    return f"{seconds / 60:.0f} min" if seconds >= 60 else f"{seconds:.0f} s"
