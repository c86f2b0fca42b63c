"""The transfer matrix: every pair of systems once, cells that are done left alone."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from click.testing import CliRunner

from bob_recon_plugin.attack import matrix as transfer
from bob_recon_plugin.cli import recon
from bob_recon_plugin.evaluation.metrics import Rate
from bob_recon_plugin.report.matrix import Matrix, to_markdown
from tests import toy

DATABASE = """
from tests.toy import ToyDatabase
database = ToyDatabase(people=5)
"""
SYSTEM = """
from tests.toy import ToyRecognizer, system
pipeline = system(ToyRecognizer({seed}))
"""


@pytest.fixture
def chain(tmp_path, monkeypatch) -> dict[str, str]:
    """A database, two toy systems and their decoders, as files."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "xdg"))
    monkeypatch.chdir(tmp_path)
    Path("toys.py").write_text(DATABASE)
    for seed in (0, 1):
        Path(f"s{seed}.py").write_text(SYSTEM.format(seed=seed))
        toy.decoder(tmp_path / f"d{seed}.safetensors", seed)
    return {f"s{seed}.py": f"d{seed}.safetensors" for seed in (0, 1)}


def arguments(chain: dict[str, str], *more: str) -> list[str]:
    decoders = [f"--decoder={system}={decoder}" for system, decoder in chain.items()]
    return ["matrix", "toys.py", *chain, *decoders, "-o", "out", "--pass", "--no-dask", *more]


def test_every_cell_is_a_run_and_is_run_once(chain):
    result = CliRunner().invoke(recon, arguments(chain))
    assert result.exit_code == 0, f"{result.output}\n{result.exception!r}"
    assert "| s" not in result.output  # named by the recognition model, and by the run
    with open("out/matrix.csv", newline="") as stream:
        found = {(r["run"], r["fmr_target"], r["attack_type"]): r for r in csv.DictReader(stream)}
    assert {run for run, _, _ in found} == {f"s{i}-on-s{a}" for i in (0, 1) for a in (0, 1)}
    for run in ("s0-on-s0", "s1-on-s1"):  # an exact inverse opens what it was made for
        assert found[run, "0.01", "type1"]["k"] == "5"
    before = {path: path.stat().st_mtime_ns for path in Path("out").rglob("scores-dev.csv")}
    assert len(before) == 4
    again = CliRunner().invoke(recon, arguments(chain))
    assert again.output.count("is done") == 4
    assert before == {path: path.stat().st_mtime_ns for path in Path("out").rglob("scores-dev.csv")}
    assert Path("out/type1-fmr-0.01.png").is_file()


def test_systems_may_score_by_distances(chain):
    distances = "from bob.bio.base.algorithm import Distance\n"
    distances += "pipeline.biometric_algorithm = Distance(factor=1)\n"
    for system in chain:
        Path(system).write_text(Path(system).read_text() + distances)
    refused = CliRunner().invoke(recon, arguments(chain))
    assert refused.exit_code == 2
    assert "if they are distances, give `--distances` to" in " ".join(refused.output.split())
    result = CliRunner().invoke(recon, arguments(chain, "--distances"))
    assert result.exit_code == 0, f"{result.output}\n{result.exception!r}"
    with open("out/matrix.csv", newline="") as stream:
        rows = {(r["run"], r["fmr_target"], r["attack_type"]): r for r in csv.DictReader(stream)}
    assert rows["s0-on-s0", "0.01", "type1"]["k"] == "5"
    assert float(rows["s0-on-s0", "0.01", "type1"]["threshold"]) > 0  # a distance


def test_a_cell_that_was_stopped_is_run_again(chain):
    planned = transfer.cells("toys.py", list(chain), chain, Path("out").absolute())
    ran: list[list[str]] = []

    def stopped(arguments: list[str]) -> None:
        ran.append(arguments)
        if len(ran) == 2:
            raise KeyboardInterrupt

    assert planned[0].run(stopped, "toys.py", ["-g", "dev"])
    with pytest.raises(KeyboardInterrupt):
        planned[1].run(stopped, "toys.py", ["-g", "dev"])
    assert not planned[0].run(stopped, "toys.py", ["-g", "dev"])
    assert planned[1].run(stopped, "toys.py", ["-g", "dev"])
    assert planned[0].run(stopped, "toys.py", ["-g", "eval"])  # other options are another run
    assert ran[1] == ran[2]
    folder = str(planned[1].folder)
    expected = ["s0.py", "recon-leaked", "s1.py", f"{folder}/cell.py", "recon", "-o", folder]
    assert ran[1] == ["toys.py", *expected, "-g", "dev"]


def test_a_missing_decoder_is_told_before_anything_runs(chain):
    result = CliRunner().invoke(recon, ["matrix", "toys.py", *chain, "-o", "out"])
    assert result.exit_code == 2
    assert "bob config set bob_recon_plugin.decoders.ToyRecognizer TRAINED/" in result.output
    assert not Path("out").exists()


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--decoder", "s9.py=d0.safetensors"], "must be for one of the systems s0.py, s1.py"),
        (["--decoder", "s0.py"], "must be SYSTEM=FILE, got 's0.py'"),
        (["--decoder", "s0.py=gone.safetensors"], "must be an existing file"),
    ],
)
def test_wrong_decoders_are_told(chain, more, message):
    result = CliRunner().invoke(recon, ["matrix", "toys.py", *chain, "-o", "out", *more])
    assert result.exit_code == 2
    assert message in " ".join(result.output.split())


def test_a_system_given_twice_is_refused(chain):
    with pytest.raises(ValueError, match=r"must have names of their own, got s0\.py, \./s0\.py"):
        transfer.cells("toys.py", ["s0.py", "./s0.py"], {}, Path("out"))


def test_the_table():
    cells = {("a", "a"): Rate.of(9, 10), ("a", "b"): Rate.of(0, 10)}
    table = Matrix("type1", 1e-3, ["a"], ["a", "b", "c"], cells)
    assert to_markdown(table).splitlines() == [
        "| inverted | a | b | c |",
        "| --- | --- | --- | --- |",
        "| a | 90.00 % (9/10, 55.5-99.7) | 0 % (0/10, 0-30.8) | not run |",
    ]
