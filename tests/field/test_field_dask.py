"""Workers that die while many parts wait, and runs that nobody works at."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import dask
import pytest
from distributed import Client, LocalCluster

from bob_recon_plugin import clients
from bob_recon_plugin.clients import window
from bob_recon_plugin.common.validation import InputError
from tests import toy
from tests.clusters import connected, finished, once, same

PEOPLE, PART = 30, 2  # 15 parts of each kind, on two workers
PATIENCE = 150  # seconds after which a run counts as one that hangs


@pytest.fixture(scope="module")
def decoder(tmp_path_factory) -> Path:
    return toy.decoder(tmp_path_factory.mktemp("decoder") / "toy.safetensors")


@pytest.fixture(scope="module")
def undisturbed(decoder, tmp_path_factory) -> list[dict[str, str]]:
    output = tmp_path_factory.mktemp("undisturbed")
    run(decoder, output)
    return toy.rows(output / "scores-dev.csv")


def run(decoder: Path, output: Path, client: Client | None = None, pause: float = 0) -> None:
    """Run as Bob's command does, with parts of two images; closes a client that hangs."""
    pipeline = toy.attack(decoder, toy.SlowRecognizer(pause=pause), part_size=PART)
    pipeline.identity["system"] = "the slow one or the fast one"
    end = time.monotonic() + PATIENCE
    with once(lambda: client is not None and time.monotonic() > end, lambda: client.close()):
        parts = {"dask_n_partitions": None, "dask_partition_size": PART if client else None}
        toy.execute(pipeline, output, toy.ToyDatabase(PEOPLE, 1), client, **parts)


@contextmanager
def ours() -> Iterator[Client]:
    """The client of `-l recon-local`."""
    client = clients.local(workers=2)
    with client.cluster, client:
        yield client


@contextmanager
def nannies() -> Iterator[Client]:
    """Dask's own workers, each restarted by its nanny, as those of Bob's `local-parallel`."""
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as local,
        Client(local) as client,
    ):
        yield client


def kill_each(client: Client) -> None:
    """End both workers by force, one after the other."""
    for pid in client.run(os.getpid).values():
        os.kill(pid, signal.SIGKILL)
        time.sleep(1)


@pytest.mark.slow
@pytest.mark.parametrize("start", [ours, nannies])
def test_workers_that_die_while_many_parts_wait(decoder, tmp_path, undisturbed, start):
    with start() as client, once(lambda: finished(tmp_path) >= 3, lambda: kill_each(client)):
        run(decoder, tmp_path, client, pause=0.1)
    same(toy.rows(tmp_path / "scores-dev.csv"), undisturbed)


@pytest.mark.slow
def test_a_worker_of_the_users_own_scheduler_dies_while_many_parts_wait(
    decoder,
    tmp_path,
    undisturbed,
    cluster,
):
    _, (first, _), about = cluster
    out = tmp_path / "out"
    with connected(about, 2) as client, once(lambda: finished(out) >= 3, first.kill):
        run(decoder, out, client, pause=0.1)
    same(toy.rows(out / "scores-dev.csv"), undisturbed)


@pytest.mark.slow
def test_a_run_whose_workers_are_all_gone_ends_and_goes_on(
    decoder,
    tmp_path,
    undisturbed,
    cluster,
    monkeypatch,
    capfd,
):
    monkeypatch.setattr(window, "_ALONE", 1)
    monkeypatch.setattr(window, "_GONE", 4)
    _, workers, about = cluster
    out = tmp_path / "out"

    def kill() -> None:
        for worker in workers:
            worker.kill()

    expected = r"`workers` must stay, or come back within 4 s, got none any more; .* kept in .*out"
    with (
        connected(about, 2) as client,
        once(lambda: finished(out) >= 3, kill),
        pytest.raises(InputError, match=expected),
    ):
        run(decoder, out, client, pause=0.1)
    assert "Note: no worker has been there for" in (said := capfd.readouterr().err)
    assert "The run ends if none comes back within 4 s" in said
    run(decoder, out)
    same(toy.rows(out / "scores-dev.csv"), undisturbed)


def hands_over(client: Client, function: Callable[..., object]) -> list[object]:
    """Compute a function on a cluster as the parts of a run are computed."""
    found: list[object] = []
    with window.Window(client, lambda future: found.append(future.result())) as some:
        some.call(function)()
        some.drain()
    return found


@pytest.fixture
def threads() -> Iterator[Client]:
    with (
        LocalCluster(n_workers=1, processes=False, dashboard_address=None) as local,
        Client(local) as client,
    ):
        yield client


def test_a_run_that_finishes_nothing_for_long_says_so(threads, monkeypatch, capfd):
    monkeypatch.setattr(window, "_STUCK", 2)
    assert hands_over(threads, lambda: time.sleep(3.5)) == [None]
    said = capfd.readouterr().err
    assert said.count("Note: nothing has been finished for") == 1  # next after twice as long
    assert "(workers: 1)" in said


def test_a_scheduler_that_keeps_its_queue_is_told(capfd):
    with (
        dask.config.set({"distributed.scheduler.blocked-handlers": ["run_function"]}),
        LocalCluster(n_workers=1, processes=False, dashboard_address=None) as local,
        Client(local) as client,
    ):
        assert hands_over(client, lambda: 7) == [7]
    said = capfd.readouterr().err
    assert "Start it with DASK_DISTRIBUTED__SCHEDULER__WORKER_SATURATION=inf" in said


def test_what_a_task_raises_ends_the_run(threads):
    def wrong() -> None:
        raise ZeroDivisionError("in a task")

    with pytest.raises(ZeroDivisionError, match="in a task"):
        hands_over(threads, wrong)
