"""What goes wrong in a long run: it goes on, or says what to do; run again, it ends the same."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bob_recon_plugin.attack import checkpoints
from bob_recon_plugin.attack import pipeline as attack_pipeline
from bob_recon_plugin.attack import tasks as parts
from bob_recon_plugin.common.validation import InputError
from tests import toy
from tests.clusters import connected, finished, once, same

PEOPLE, PROBES, PART = 12, 2, 4


@pytest.fixture(scope="module")
def decoder(tmp_path_factory) -> Path:
    return toy.decoder(tmp_path_factory.mktemp("decoder") / "toy.safetensors")


def run(decoder: Path, output: Path, client=None, **options) -> None:
    """Run as Bob's command does, with parts of four images."""
    recognizer = toy.SlowRecognizer(pause=options.pop("pause", 0))
    pipeline = toy.attack(decoder, recognizer, part_size=PART, **options)
    pipeline.identity["system"] = "the slow one or the fast one"
    parts = {"dask_n_partitions": None, "dask_partition_size": PART if client else None}
    toy.execute(pipeline, output, toy.ToyDatabase(PEOPLE, PROBES), client, **parts)


@pytest.fixture(scope="module")
def undisturbed(decoder, tmp_path_factory) -> list[dict[str, str]]:
    output = tmp_path_factory.mktemp("undisturbed")
    run(decoder, output)
    return toy.rows(output / "scores-dev.csv")


def stamps(output: Path) -> dict[Path, int]:
    """When each finished part was written: one that is not done again keeps its time."""
    return {p: p.stat().st_mtime_ns for p in (output / "checkpoints").rglob("*.h5")}


# -- the disk ----------------------------------------------------------------


def test_a_full_disk_is_told_and_the_same_command_goes_on(
    decoder, tmp_path, monkeypatch, undisturbed
):
    save = checkpoints.Checkpoints.save

    def full(self, kind, keys, embeddings, clock):
        if finished(tmp_path) >= 3:
            raise OSError(errno.ENOSPC, "No space left on device", str(self.path(kind, keys)))
        save(self, kind, keys, embeddings, clock)

    monkeypatch.setattr(checkpoints.Checkpoints, "save", full)
    expected = r"must have room for the results, got 'No space left on device' at .*\.h5; make room"
    with pytest.raises(InputError, match=expected):
        run(decoder, tmp_path)
    monkeypatch.undo()
    assert not (tmp_path / "scores-dev.csv").exists()
    before = stamps(tmp_path)
    assert len(before) == 3
    run(decoder, tmp_path)
    same(toy.rows(tmp_path / "scores-dev.csv"), undisturbed)
    assert before.items() <= stamps(tmp_path).items()
    assert not list(tmp_path.rglob("*.part"))


def test_a_disk_that_fills_up_when_scores_are_joined(decoder, tmp_path, monkeypatch, undisturbed):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device", str(tmp_path / "scores-dev.csv"))

    monkeypatch.setattr(attack_pipeline, "merge", full)
    with pytest.raises(InputError, match=r"must have room for the results.*kept in .*checkpoints"):
        run(decoder, tmp_path)
    assert not (tmp_path / "tmp").exists()
    monkeypatch.undo()
    before = stamps(tmp_path)
    run(decoder, tmp_path)
    same(toy.rows(tmp_path / "scores-dev.csv"), undisturbed)
    assert before == stamps(tmp_path)


@pytest.mark.slow
def test_a_real_disk_that_is_full(decoder, tmp_path, undisturbed):
    small = tmp_path / "small"
    small.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=96k", "tmpfs", str(small)]
    try:
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("needs the right to mount a file system of 96 kB")
    try:
        with pytest.raises(InputError, match="No space left on device"):
            run(decoder, small / "out")
        subprocess.run([*mount[:4], "remount,size=9m", *mount[5:]], check=True)
        run(decoder, small / "out")
        same(toy.rows(small / "out" / "scores-dev.csv"), undisturbed)
    finally:
        subprocess.run(["umount", str(small)], check=True)


# -- the user ----------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    ("how", "status"),
    [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -9)],
    ids=["Ctrl-C", "time limit", "kill -9"],
)
def test_a_stopped_command_goes_on(decoder, tmp_path, how, status, undisturbed):
    chain = tmp_path / "chain.py"
    chain.write_text(
        "from tests.toy import SlowRecognizer, ToyDatabase, system\n"
        f"database = ToyDatabase({PEOPLE}, {PROBES})\n"
        "pipeline = system(SlowRecognizer())\n"
        f"decoder, part_size = {str(decoder)!r}, {PART}\n"
    )
    bob = str(Path(sys.executable).with_name("bob"))
    command = [bob, *f"bio pipeline simple {chain} recon --no-dask -o {tmp_path / 'out'}".split()]
    here = Path(__file__).parents[1]
    environment = {**os.environ, "PYTHONPATH": str(here), "XDG_CONFIG_HOME": str(tmp_path)}
    pipes = {"stderr": subprocess.PIPE, "text": True, "preexec_fn": _heed_interrupts}
    with (
        subprocess.Popen(command, env=environment, cwd=tmp_path, **pipes) as process,
        once(lambda: finished(tmp_path / "out") >= 2, lambda: process.send_signal(how)),
    ):
        _, told = process.communicate(timeout=300)
    assert process.returncode == status
    if how != signal.SIGKILL:
        assert f"Stopped. What was finished is kept in {tmp_path}/out/checkpoints" in told
        assert "Traceback" not in told
    assert not (tmp_path / "out/scores-dev.csv").exists()
    before = stamps(tmp_path / "out")
    assert before
    done = subprocess.run(
        command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    same(toy.rows(tmp_path / "out" / "scores-dev.csv"), undisturbed)
    assert before.items() <= stamps(tmp_path / "out").items()


def _heed_interrupts() -> None:
    """A shell's background jobs ignore Ctrl-C, and so would what they start."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_a_part_that_ends_its_workers_is_told(decoder, tmp_path, monkeypatch):
    from distributed import KilledWorker

    def killed(*_):
        raise KilledWorker("compare-1", "tcp://127.0.0.1:4321", 3)

    monkeypatch.setattr(parts.Work, "compare", killed)
    expected = r"live through a part.*127.0.0.1:4321.*smaller parts.*kept in .*checkpoints"
    with pytest.raises(InputError, match=expected):
        run(decoder, tmp_path)
    assert not (tmp_path / "tmp").exists()
    assert finished(tmp_path) == 2 * PEOPLE / PART  # references, and Type-I


# -- the cluster -------------------------------------------------------------


@pytest.mark.slow
def test_a_worker_that_dies_costs_nothing_but_time(decoder, tmp_path, cluster, undisturbed):
    _, workers, about = cluster
    out = tmp_path / "out"
    with connected(about, 2) as client, once(lambda: finished(out) >= 2, workers[0].kill):
        run(decoder, out, client, pause=0.2)
    assert workers[0].poll() is not None
    assert workers[1].poll() is None
    same(toy.rows(out / "scores-dev.csv"), undisturbed)


@pytest.mark.slow
def test_a_lost_scheduler_is_told_and_the_same_command_goes_on(
    decoder, tmp_path, cluster, undisturbed
):
    scheduler, _, about = cluster
    out = tmp_path / "out"
    expected = r"scheduler must stay in reach.* kept in .*out/checkpoints"
    with (
        connected(about, 2) as client,
        once(lambda: finished(out) >= 3, scheduler.kill),
        pytest.raises(InputError, match=expected),
    ):
        run(decoder, out, client, pause=0.2)
    before = stamps(out)
    assert before
    run(decoder, out)
    same(toy.rows(out / "scores-dev.csv"), undisturbed)
    assert before.items() <= stamps(out).items()


@pytest.mark.slow
def test_parts_go_to_workers_that_offer_what_is_asked_for(decoder, tmp_path, undisturbed):
    from distributed import Client, LocalCluster, Scheduler, SpecCluster, Worker

    expected = r"got {'GPU': 1}, which none of the 2 workers has"
    local = {"n_workers": 2, "threads_per_worker": 1, "processes": False}
    with (
        LocalCluster(dashboard_address=None, **local) as plain,
        Client(plain) as client,
        pytest.raises(InputError, match=expected),
    ):
        run(decoder, tmp_path / "none", client, resources={"GPU": 1})

    workers = {
        name: {"cls": Worker, "options": {"nthreads": 1, "resources": offer}}
        for name, offer in (("plain", {}), ("gpu", {"GPU": 1}))
    }
    scheduler = {"cls": Scheduler, "options": {"dashboard_address": ":0"}}
    with SpecCluster(workers, scheduler, asynchronous=False) as mixed, Client(mixed) as client:
        client.wait_for_workers(2, timeout=60)
        with dask_log(client) as places:
            run(decoder, tmp_path / "some", client, resources={"GPU": 1})
        assert places() == {"gpu"}
    same(toy.rows(tmp_path / "some" / "scores-dev.csv"), undisturbed)


@contextmanager
def dask_log(client) -> Iterator[Callable[[], set[str]]]:
    """Names of the workers that computed something."""
    names = {address: w["id"] for address, w in client.scheduler_info()["workers"].items()}
    started = time.time()

    def places() -> set[str]:
        stream = client.get_task_stream(start=started)
        return {str(names[task["worker"]]) for task in stream}

    client.get_task_stream(start=started)  # the scheduler begins to take notes
    yield places
