"""Dask clients: what a job says, what a worker sees, and scores from a real Slurm."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
import time
from contextlib import ExitStack, suppress
from importlib.metadata import entry_points
from pathlib import Path

import click
import dask
import pytest
import torch
from bob.bio.base.script.pipeline_simple import pipeline_simple
from clapper.config import load
from click.testing import CliRunner
from distributed import Client, SpecCluster, Status, default_client

from bob_recon_plugin import clients
from bob_recon_plugin.clients import jobs, processes
from bob_recon_plugin.common.validation import InputError
from tests import inside, slurm, toy
from tests.clusters import once
from tests.inside import seen

ROOT = Path(__file__).parents[1]
MAKE = {"slurm": clients.slurm, "sge": clients.sge}
#: each takes a job and keeps its script
QUEUE = {
    "sbatch": 'cp "$1" job.sh; echo "Submitted batch job 1"',
    "qsub": 'cp "$1" job.sh; echo "Your job 1 has been submitted"',
    "scancel": "exit 0",
    "qdel": "exit 0",
}


@pytest.fixture(autouse=True)
def _no_settings(tmp_path, monkeypatch):
    """Neither settings of this user nor files of this folder decide a test, nothing goes on."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "xdg"))
    monkeypatch.chdir(tmp_path)
    yield
    with suppress(ValueError):  # no client is left
        while True:  # the last one first: each sets back what Dask computes with
            default_client().close(timeout=60)
    for cluster in list(SpecCluster._instances):
        cluster.close(timeout=60)
    assert dask.config.get("scheduler", None) is None


@pytest.fixture
def no_queue(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))


@pytest.fixture
def queue(tmp_path, monkeypatch) -> Path:
    """Commands of a queue that takes every job and runs none."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name, text in QUEUE.items():
        (folder / name).write_text(f"#!/bin/sh\n{text}\n")
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return folder


def resources(client: Client) -> list[dict[str, float]]:
    return [w["resources"] for w in client.scheduler_info()["workers"].values()]


# -- what a user gets wrong ------------------------------------------------------


@pytest.mark.parametrize(("make", "command"), [("slurm", "sbatch"), ("sge", "qsub")])
def test_without_the_queue_it_says_so_at_once(no_queue, make, command):
    with pytest.raises(InputError, match=f"`{command}` must be on PATH .* got none; run on"):
        MAKE[make]()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"cores": 0}, "`cores` must be a whole number from 1 on, got 0"),
        ({"gpus": -1}, "`gpus` must be a whole number from 0 on, got -1"),
        ({"jobs": 2.5}, "`jobs` must be a whole number from 1 on, got 2.5"),
        ({"jobs": (3, 2)}, "`jobs` must be a whole number from 3 on, got 2"),
        ({"jobs": (1, 2, 3)}, r"`jobs` must be a number or \(least, most\), got \(1, 2, 3\)"),
        ({"memory": "lots"}, "`memory` must be a size with a unit, got 'lots'"),
        ({"interface": "ib99"}, r"`interface` must be one of this machine \(lo.* got 'ib99'"),
    ],
)
@pytest.mark.parametrize("make", MAKE)
def test_jobs_that_cannot_be(queue, make, options, says):
    with pytest.raises(InputError, match=says):
        MAKE[make](**options)
    assert not Path("job.sh").exists()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"workers": 0}, "`workers` must be a whole number from 1 on, got 0"),
        ({"threads": "2"}, "`threads` must be a whole number from 1 on, got '2'"),
        ({"memory": "lots"}, "`memory` must be a size with a unit, got 'lots'"),
        ({"gpus": 2}, "`gpus` must be at most the number of GPUs that torch sees, got 2 of 1"),
        ({"gpus": "some"}, "`gpus` must be a whole number from 1 on, got 'some'"),
        ({"gpus": 1, "workers": 2}, "`workers` must be left out if `gpus` sets their number"),
    ],
)
def test_workers_here_that_cannot_be(monkeypatch, options, says):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(InputError, match=says):
        clients.local(**options)


@pytest.mark.parametrize(("make", "command"), [("slurm", "sbatch"), ("sge", "qsub")])
def test_a_refused_job_is_told_in_the_words_of_the_queue(queue, make, command):
    (queue / command).write_text("#!/bin/sh\necho invalid partition: nope >&2\nexit 1\n")
    with pytest.raises(
        InputError, match=f"`{command}` must accept the job, got 'invalid partition: nope'; change"
    ):
        MAKE[make](queue="nope")
    assert all(cluster.status is Status.closed for cluster in SpecCluster._instances)


def test_workers_here_that_do_not_start_are_told(monkeypatch):
    monkeypatch.setattr(processes, "_PATIENCE", 0.01)
    with pytest.raises(InputError, match=r"`workers` must all start within 0\.01 s, got fewer"):
        clients.local(workers=1)
    assert all(cluster.status is Status.closed for cluster in SpecCluster._instances)


def test_jobs_that_do_not_start_are_told(queue, monkeypatch, capfd):
    monkeypatch.setattr(jobs, "_A_WHILE", 0.1)
    clients.slurm()
    end = time.monotonic() + 10
    said = ""
    while "squeue --me" not in said and time.monotonic() < end:
        time.sleep(0.05)
        said += capfd.readouterr().err
    assert "Note: no job has reported for 0.1 s. `squeue --me` shows whether they wait" in said


# -- resources and files of `-l` -------------------------------------------------


@pytest.mark.parametrize("name", ["recon-slurm", "recon-sge", "recon-local-gpu"])
def test_resources_without_what_they_need_say_so(no_queue, monkeypatch, name):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(click.ClickException, match=r"`(sbatch|qsub|gpus)` must be"):
        load([name], entry_point_group="dask.client", attribute_name="dask_client")


@pytest.mark.parametrize(
    ("name", "make", "options"),
    [
        ("recon-local", "local", {}),
        ("recon-local-gpu", "local", {"gpus": "all"}),
        ("recon-slurm", "slurm", {"jobs": (1, 16)}),
        ("recon-sge", "sge", {"jobs": (1, 16)}),
    ],
)
def test_resources_build(monkeypatch, name, make, options):
    monkeypatch.setattr(clients, make, lambda **given: given)
    client = load([name], entry_point_group="dask.client", attribute_name="dask_client")
    assert client == options


def test_every_resource_is_tested_here():
    ours = {e.name for e in entry_points(group="dask.client") if "recon_plugin" in e.value}
    assert ours == {"recon-local", "recon-local-gpu", "recon-slurm", "recon-sge"}


def test_a_file_of_two_lines_shows_the_sentence_alone(no_queue):
    lines = "from bob_recon_plugin.clients import slurm\ndask_client = slurm(queue='cpu')\n"
    Path("mine.py").write_text(lines)
    result = CliRunner().invoke(pipeline_simple, ["-l", "mine.py"])
    assert result.exit_code == 2
    assert result.output.startswith("Error: `sbatch` must be on PATH")


# -- what a job says -------------------------------------------------------------


def test_options_end_up_in_the_job_of_slurm(queue, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", [str(tmp_path / "my code"), *sys.path])
    (tmp_path / "my code").mkdir()
    client = clients.slurm(
        queue="gpu",
        cores=4,
        memory="8GB",
        jobs=1,
        gpus=1,
        walltime="02:00:00",
        account="faces",
        interface="lo",
        directives=["--exclude=node7"],
        worker_extra_args=["--lifetime 50m"],
        job_script_prologue=["module load cuda"],
    )
    script = Path("job.sh").read_text()
    for line in ("-p gpu", "--cpus-per-task=4", "--mem=8G", "-t 02:00:00", "-A faces"):
        assert f"#SBATCH {line}\n" in script
    assert "#SBATCH --gres=gpu:1\n#SBATCH --exclude=node7\n" in script
    assert f"\ncd {tmp_path}\nexport OMP_NUM_THREADS=4\n" in script
    assert f"export PYTHONPATH='{tmp_path}/my code:" in script
    assert "\nmodule load cuda\n" in script
    command = script.splitlines()[-1]
    assert command.startswith(f"{sys.executable} -m distributed.cli.dask_worker tcp://127.0.0.1:")
    assert "--nthreads 1 " in command
    assert command.endswith("--resources GPU=1 --lifetime 50m --interface lo")
    body = client.cluster.job_script().splitlines()
    assert body[:-1] == script.splitlines()[:-1]


def test_the_account_is_that_of_bobs_settings(queue, tmp_path):
    (tmp_path / "xdg").mkdir()
    (tmp_path / "xdg" / "bobrc.toml").write_text('[slurm]\naccount = "mine"\n')
    clients.slurm(jobs=(0, 3))
    script = Path("job.sh").read_text()
    assert "#SBATCH -A mine\n" in script
    assert "gpu" not in script.lower()


def test_options_end_up_in_the_job_of_sge(queue, tmp_path):
    options = {"queue": "q_gpu", "project": "faces", "cores": 3, "gpus": 1, "jobs": 1}
    clients.sge(parallel_environment="pe_mth", directives=["-l mem_free=8G"], **options)
    script = Path("job.sh").read_text()
    for line in ("-q q_gpu", "-P faces", "-S /bin/bash", "-pe pe_mth 3", "-l gpu=1", "-cwd"):
        assert f"#$ {line}\n" in script
    assert "#$ -l mem_free=8G\n" in script
    assert f"\ncd {tmp_path}\nexport OMP_NUM_THREADS=3\n" in script
    assert script.rstrip().endswith("--resources GPU=1")
    clients.sge(gpus=1, gpu_resource=None)
    assert "#$ -l gpu" not in Path("job.sh").read_text()


# -- what a worker sees ----------------------------------------------------------


def test_workers_here_use_their_own_threads_and_see_what_the_client_sees(tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    client = clients.local(workers=2, threads=1)
    workers = list(client.run(seen).values())
    expected = {"threads": 1, "folder": str(tmp_path), "module": inside.__file__}
    assert [{**w, "gpu": None} for w in workers] == [{**expected, "gpu": None}] * 2
    assert resources(client) == [{}, {}]


@pytest.mark.slow
def test_each_worker_with_a_gpu_sees_its_own(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
    client = clients.local(gpus="all", threads=2, memory="4GB")
    assert resources(client) == [{"GPU": 1}, {"GPU": 1}]
    client.cluster.scale(3)
    client.wait_for_workers(3, timeout=60)
    workers = client.run(seen).values()
    assert sorted(str(w["gpu"]) for w in workers) == ["", "3", "5"]
    assert {w["threads"] for w in workers} == {2}
    assert client.submit(seen, resources={"GPU": 1}).result(timeout=60)["gpu"] in ("3", "5")


# -- a real queue ----------------------------------------------------------------


@pytest.fixture(scope="module")
def real_slurm():
    """A Slurm on this machine, for as long as the tests of this file run."""
    if reason := slurm.unavailable():
        pytest.skip(reason)
    with ExitStack() as stack:
        try:
            conf = stack.enter_context(slurm.running())
        except (RuntimeError, TimeoutError) as error:
            pytest.skip(str(error))
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        patch.setenv("SLURM_CONF", str(conf))
        yield


def squeue(*options: str) -> list[str]:
    done = subprocess.run(["squeue", "-h", *options], capture_output=True, text=True, check=True)
    return done.stdout.split()


def rows(path: Path) -> tuple[list[dict[str, str]], list[float]]:
    with open(path, newline="") as handle:
        table = list(csv.DictReader(handle))
    return table, [float(row.pop("score")) for row in table]


@pytest.mark.slow
@pytest.mark.cluster
def test_scores_from_slurm_are_those_without_dask(real_slurm, tmp_path):
    decoder = toy.decoder(tmp_path / "toy.safetensors")
    Path("chain.py").write_text(
        "from tests.toy import ToyDatabase, system\n"
        f"database, pipeline, decoder = ToyDatabase(), system(), {str(decoder)!r}\n"
    )
    Path("mine.py").write_text(
        "from bob_recon_plugin.clients import slurm\n"
        "dask_client = slurm(queue='cpu', memory='2GB', jobs=2)\n"
    )
    bob = [Path(sys.executable).with_name("bob"), "bio", "pipeline", "simple", "chain.py", "recon"]
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    for name, options in {"plain": ["--no-dask"], "slurm": ["-l", "mine.py", "-n", "2"]}.items():
        done = subprocess.run(
            [*bob, "-o", name, *options],
            env={**os.environ, "PYTHONPATH": path},
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, done.stderr
    plain, plain_scores = rows(tmp_path / "plain" / "scores-dev.csv")
    queued, queued_scores = rows(tmp_path / "slurm" / "scores-dev.csv")
    assert len(plain) == 6 * 3 * 6 + 6 + 6 * 3
    assert queued == plain
    assert queued_scores == pytest.approx(plain_scores, abs=1e-5)
    assert len(list(tmp_path.glob("logs/dask-worker-*.err"))) == 2
    assert squeue("-t", "PENDING,RUNNING") == []


@pytest.mark.slow
@pytest.mark.cluster
def test_jobs_of_slurm_get_cores_and_gpus_and_are_replaced(real_slurm, tmp_path):
    client = clients.slurm(cores=2, gpus=1, jobs=1, memory="1GB")
    task = client.submit(seen, resources={"GPU": 1}, pure=False)
    assert task.result(timeout=60) == {
        "threads": 2,
        "gpu": "0",
        "folder": str(tmp_path),
        "module": inside.__file__,
    }
    (first,) = squeue("-o", "%i")
    subprocess.run(["scancel", first], check=True)
    end = time.monotonic() + 60
    while squeue("-o", "%i", "-t", "RUNNING") in ([], [first]):
        assert time.monotonic() < end
        time.sleep(0.5)
    assert client.submit(seen, pure=False).result(timeout=60)["threads"] == 2


@pytest.mark.slow
@pytest.mark.cluster
def test_jobs_of_slurm_that_are_cancelled_while_many_parts_wait_cost_nothing(real_slurm, tmp_path):
    decoder = toy.decoder(tmp_path / "toy.safetensors")
    Path("chain.py").write_text(
        "from tests.toy import SlowRecognizer, ToyDatabase, system\n"
        "database, pipeline = ToyDatabase(12, 1), system(SlowRecognizer(pause=0.1))\n"
        f"decoder, part_size = {str(decoder)!r}, 1\n"
    )
    Path("mine.py").write_text(
        "from bob_recon_plugin.clients import slurm\n"
        "dask_client = slurm(queue='cpu', memory='2GB', jobs=2)\n"
    )
    bob = [Path(sys.executable).with_name("bob"), "bio", "pipeline", "simple", "chain.py", "recon"]
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    options = {"env": {**os.environ, "PYTHONPATH": path}, "capture_output": True, "text": True}
    done = subprocess.run([*bob, "-o", "plain", "--no-dask"], timeout=120, check=True, **options)
    cancelled: list[str] = []

    def cancel() -> None:
        for job in squeue("-o", "%i", "-t", "RUNNING"):
            subprocess.run(["scancel", "--signal=KILL", "--full", job], check=True)
            cancelled.append(job)
            time.sleep(2)

    with once(lambda: len(list(Path("slurm").rglob("*.h5"))) >= 3, cancel):
        done = subprocess.run([*bob, "-o", "slurm", "-l", "mine.py"], timeout=420, **options)
    assert done.returncode == 0, done.stderr
    assert cancelled
    plain, plain_scores = rows(tmp_path / "plain" / "scores-dev.csv")
    queued, queued_scores = rows(tmp_path / "slurm" / "scores-dev.csv")
    assert queued == plain
    assert queued_scores == pytest.approx(plain_scores, abs=1e-5)
