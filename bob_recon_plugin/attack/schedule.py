"""Run the parts of an attack: here, on a scheduler of Dask's, or on a cluster."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dask
from bob.pipelines import SampleSet
from dask.delayed import Delayed
from tqdm import tqdm
from tqdm.dask import TqdmCallback

from ..clients.window import LostWorkersError, Window, suffices
from ..common.stopping import stoppable
from ..common.validation import InputError
from .failures import Tally
from .tasks import Enrolled, Packed, Work, Written, cut

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@dataclass(frozen=True)
class Schedule:
    """The parts of a run and where they are computed.

    Parameters
    ----------
    work : callable
        Given how to call (at once, or ``dask.delayed``), makes the Work of all parts.
    references, probes : sequence of SampleSet
    part_size : int
        Images of a part: the unit of work, of checkpoints, and of what a stopped run loses.
    resources : dict of str to float
        What a worker must offer to compute a part, as ``{"GPU": 1}``.
    checkpoints : Path or None
        Where finished parts are kept; named in messages.
    folder : Path
        Where tasks write scores; goes when a run ends, in whatever way it can.
    """

    work: Callable[[Callable[..., Any]], Any]
    references: Sequence[SampleSet]
    probes: Sequence[SampleSet]
    part_size: int
    resources: dict[str, float]
    checkpoints: Path | None
    folder: Path

    @property
    def images(self) -> int:
        """Images of all references and probes."""
        return sum(map(len, self.references)) + sum(map(len, self.probes))

    def run(self, tally: Tally, scheduler: Any = None) -> list[Written]:
        """Compute every part.

        Parameters
        ----------
        tally : Tally
            Counts images that were not acquired.
        scheduler : None, str or Client
            None: here, one part after the other. A name: one of Dask's own
            schedulers. A client: its cluster.

        Raises
        ------
        InputError
            When the disk is full, workers die, or the scheduler is lost, with
            what is kept and what to do; when too many images were not acquired.
        """
        with self.resumable():
            if scheduler is None:
                return self._here(tally)
            if isinstance(scheduler, str):
                tasks = list(self._tasks(dask.delayed, Packed.of))
                with TqdmCallback(desc="attack", unit="part", disable=None):
                    done = list(dask.compute(*tasks, scheduler=scheduler))
                for written in done:
                    tally.add(written.failures)
                return done
            return self._on_cluster(scheduler, tally)

    def _tasks(self, call: Callable[..., Any], pack: Callable[..., Any]) -> Iterator[Any]:
        """Call every part; what is yielded holds all of the work.

        Under ``dask.delayed`` the number of tasks is that of the parts.
        """
        work = self.work(call)
        enrol, attack = call(_enrol), call(_attack_templates)
        enrolled = [enrol(work, pack(part)) for part in cut(self.references, self.part_size)]
        references = call(_gather)(work, enrolled)
        for part in enrolled:
            yield attack(work, part)
        compare = call(_compare)
        for part in cut(self.probes, self.part_size):
            yield compare(work, references, pack(part))

    def _here(self, tally: Tally) -> list[Written]:
        def counted(function: Callable[..., Any]) -> Callable[..., Any]:
            def call(*arguments: Any, **more: Any) -> Any:
                made = function(*arguments, **more)
                if isinstance(made, Enrolled | Written):
                    tally.add(made.failures)
                return made

            return call

        done = []
        # None: shown on terminals
        with tqdm(total=self.images, desc="attack", unit="image", disable=None) as bar:
            for written in self._tasks(counted, list):
                done.append(written)
                bar.update(written.images)
        return done

    def _on_cluster(self, client: Any, tally: Tally) -> list[Written]:
        self._check_resources(client)
        with tqdm(total=self.images, desc="attack", unit="image", disable=None) as bar:
            done: dict[Any, Written] = {}

            def finished(future: Any) -> None:
                if future.key in results:
                    done[future.key] = future.result()
                    tally.add(done[future.key].failures)
                    bar.update(done[future.key].images)

            results: dict[Any, None] = {}  # in the order of the parts
            with Window(client, finished, self.resources) as window:
                for future in self._tasks(window.call, Packed.of):
                    results[future.key] = None
                window.drain()
        return [done[key] for key in results]

    def _check_resources(self, client: Any) -> None:
        workers = client.scheduler_info()["workers"].values()
        offers = [worker.get("resources", {}) for worker in workers]
        if offers and not any(suffices(offer, self.resources) for offer in offers):
            raise InputError(
                f"`resources` must be what a worker offers, got {self.resources}, which none of "
                f"the {len(offers)} workers has; start workers with it, or drop the option."
            )

    def clean(self) -> None:
        """Remove the folder of the tasks' scores."""
        shutil.rmtree(self.folder, ignore_errors=True)
        with suppress(OSError):  # another run is at work there
            self.folder.parent.rmdir()

    @contextmanager
    def resumable(self) -> Iterator[None]:
        """Tell what is kept when a run ends before its time."""
        kept = (
            f"What was finished is kept in {self.checkpoints}: the same command goes on from there."
            if self.checkpoints
            else "Nothing is kept without checkpoints: run again, without --memory."
        )
        with stoppable(kept):
            try:
                yield
            except Exception as error:
                self.clean()
                if (sentence := _sentence(error, self.checkpoints)) is None:
                    raise
                raise InputError(f"{sentence} {kept}") from error
            except BaseException:
                self.clean()
                raise


def _sentence(error: Exception, place: Path | None) -> str | None:
    """What happened to a disk or a cluster, in words; None where it was something else."""
    from distributed import KilledWorker
    from distributed.comm import CommClosedError

    if isinstance(error, LostWorkersError):
        return error.message
    if isinstance(error, OSError) and error.errno in _FULL:
        return (
            f"the disk must have room for the results, got {error.strerror!r} at "
            f"{error.filename or place}; make room and run again."
        )
    if isinstance(error, KilledWorker):
        return (
            "workers must live through a part, got one part that ended several of them "
            f"({error.last_worker}); give them more memory, or cut smaller parts with "
            "--dask-partition-size."
        )
    if isinstance(error, CancelledError | CommClosedError):
        return (
            f"the Dask scheduler must stay in reach, got a lost connection ({error}); start it "
            "again."
        )
    return None


def _enrol(work: Work, part: Any) -> Any:
    return work.enrol(part)


def _gather(work: Work, parts: Any) -> Any:
    return work.gather(parts)


def _attack_templates(work: Work, enrolled: Any) -> Written:
    return work.attack_templates(enrolled)


def _compare(work: Work, references: Any, part: Any) -> Written:
    return work.compare(references, part)


class ScheduledAttack(Delayed):
    """What Bob's command gets and computes at its end: `Schedule.run`, then the files.

    Bob computes a Delayed with the client that the user chose and returns; the
    client gets no other hook.
    """

    __slots__ = ("_finish", "_schedule", "_tally")

    @classmethod
    def of(
        cls, schedule: Schedule, tally: Tally, finish: Callable[[list[Written]], Any]
    ) -> ScheduledAttack:
        """Make one that computes the schedule and hands the result to ``finish``."""
        nothing = dask.delayed(None)
        self = cls(nothing.key, nothing.dask, layer=nothing._layer)
        self._schedule, self._tally, self._finish = schedule, tally, finish
        return self

    def compute(self, scheduler: Any = "single-threaded", **_: Any) -> Any:
        """Compute every part, then finish here."""
        return self._finish(self._schedule.run(self._tally, scheduler))
