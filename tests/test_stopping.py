"""Ctrl-C and SIGTERM end every subcommand with a status of their own and a sentence."""

from __future__ import annotations

import importlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from PIL import Image

from bob_recon_plugin.cli import recon
from tests.faces import demo_faces

#: Arguments that each takes, though what they name does not exist.
ARGUMENTS = {
    "adapt": ["a", "b", "-o", "out"],
    "matrix": ["database", "system", "-o", "out"],
    "metrics": ["scores.csv"],
    "prepare": ["faces", "-r", "arcface-mbf", "-o", "out"],
    "reconstruct": ["vectors.npy", "-o", "out"],
    "report": ["run"],
    "synthesize": ["-n", "3", "-o", "out"],
    "train": ["data", "-o", "out"],
}
WAYS = {
    "Ctrl-C": (signal.SIGINT, 130),
    "time limit": (signal.SIGTERM, 143),
}


REFUSED = {
    "a full disk": (
        OSError(28, "No space left on device", "out/x"),
        "`out/x` must be a usable file or",
    ),
    "no libGL": (ImportError("libGL.so.1: cannot open"), "run `apt-get install libgl1"),
}


@pytest.mark.parametrize("error", REFUSED)
@pytest.mark.parametrize("name", recon.list_commands(click.Context(recon)))
def test_every_subcommand_shows_what_the_system_refuses_as_one_sentence(name, error, monkeypatch):
    raised, message = REFUSED[error]

    def work(**_: object) -> None:
        raise raised

    command = recon.get_command(click.Context(recon), name)
    monkeypatch.setattr(command, "callback", work)
    result = CliRunner().invoke(recon, [name, *ARGUMENTS[name]])
    assert result.exit_code == 1
    assert result.output.startswith("Error: ")
    assert message in " ".join(result.output.split())


def stopped_by(how: signal.Signals, by_jobqueue: bool = False):
    """What a command does instead of its work."""

    def work(**_: object) -> None:
        if by_jobqueue:  # as its import does
            importlib.reload(importlib.import_module("dask_jobqueue.runner"))
        os.kill(os.getpid(), how)
        time.sleep(5)

    return work


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", recon.list_commands(click.Context(recon)))
def test_every_subcommand_says_what_is_kept(name, way, monkeypatch):
    how, status = WAYS[way]
    command = recon.get_command(click.Context(recon), name)
    monkeypatch.setattr(command, "callback", stopped_by(how))
    handlers = [signal.getsignal(number) for number, _ in WAYS.values()]
    result = CliRunner().invoke(recon, [name, *ARGUMENTS[name]])
    assert result.exit_code == status
    (line,) = [line for line in result.output.splitlines() if line]
    assert line.startswith("Stopped. ")
    if "-o" in ARGUMENTS[name] and name != "adapt":
        assert line.endswith("kept in out: the same command goes on from there.")
    else:
        assert "run the same command again" in line
    assert [signal.getsignal(number) for number, _ in WAYS.values()] == handlers


def test_ctrl_c_is_no_success_once_dask_jobqueue_is_imported(monkeypatch):
    command = recon.get_command(click.Context(recon), "prepare")
    monkeypatch.setattr(command, "callback", stopped_by(signal.SIGINT, by_jobqueue=True))
    result = CliRunner().invoke(recon, ["prepare", *ARGUMENTS["prepare"], "--force"])
    assert result.exit_code == 130
    assert "Leave out --force, which would start from the beginning." in result.output


def test_a_cell_that_is_stopped_stops_the_matrix_with_one_sentence(monkeypatch):
    @click.command()
    def cell() -> None:
        stopped_by(signal.SIGTERM)()

    command = recon.get_command(click.Context(recon), "matrix")
    # as Bob's pipeline is run: click makes an Abort of what stops it
    monkeypatch.setattr(command, "callback", lambda **_: cell.main([], standalone_mode=False))
    result = CliRunner().invoke(recon, ["matrix", *ARGUMENTS["matrix"]])
    assert result.exit_code == 143
    assert result.output.count("Stopped.") == 1


@pytest.mark.slow
def test_a_stopped_prepare_ends_with_130_and_goes_on(tmp_path):
    (tmp_path / "faces").mkdir()
    for i, face in enumerate(demo_faces(60)):
        Image.fromarray(face.transpose(1, 2, 0)).save(tmp_path / "faces" / f"{i}.png")
    bob = str(Path(sys.executable).with_name("bob"))
    command = [bob, "bio", "recon", "prepare", "faces", "-r", "arcface-mbf", "-o", "out"]
    command += ["--shard-size", "2"]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    options = {"env": environment, "cwd": tmp_path, "text": True}
    with subprocess.Popen(
        command,
        stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        **options,
    ) as process:
        while not list(tmp_path.glob("out/shard-*.json")):
            assert process.poll() is None
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Stopped. The shards made so far are kept in out: the same command goes on" in told
    assert "Traceback" not in told
    done = subprocess.run(command, capture_output=True, timeout=120, **options)
    assert done.returncode == 0, done.stderr
    assert "60 faces for arcface-mbf" in done.stdout
