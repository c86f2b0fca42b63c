"""The printed table holds the right numbers and says what they rest on."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from inspect import signature
from pathlib import Path

import click
import numpy as np
import pytest
from click.testing import CliRunner, Result

from bob_recon_plugin.cli import recon
from bob_recon_plugin.evaluation.metrics import evaluate
from bob_recon_plugin.evaluation.scores import Scores
from bob_recon_plugin.report.tables import FORMATS, render, short


def write(path: Path, scores: dict[str, list[float]]) -> Path:
    lines = ["probe_subject_id,bio_ref_subject_id,score,probe_attack_type"]
    for kind, values in scores.items():
        probe = "B" if kind == "impostor" else "A"
        attack = "" if kind in ("genuine", "impostor") else kind
        lines += [f"{probe},A,{value},{attack}" for value in values]
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture
def dev(tmp_path: Path) -> Path:
    """1000 impostors 0.000 to 0.999: at FMR 1e-2 the threshold is 0.990."""
    return write(
        tmp_path / "scores-dev.csv",
        {
            "genuine": [*[2.0] * 199, 0.5, float("nan")],
            "impostor": [i / 1000 for i in range(1000)],
            "type1": [1.0] * 971 + [0.9] * 29,
            "type2": [0.99] * 40 + [0.2] * 60,
        },
    )


@pytest.fixture
def eval_(tmp_path: Path) -> Path:
    return write(
        tmp_path / "scores-eval.csv",
        {"genuine": [2.0, 0.1], "impostor": [1.0, 0.1, 0.1, 0.1], "type1": [1.0, 0.0]},
    )


def run(*arguments: object) -> Result:
    # click mixed both streams into one before 8.2, unless told otherwise
    old = "mix_stderr" in signature(CliRunner).parameters
    runner = CliRunner(mix_stderr=False) if old else CliRunner()
    return runner.invoke(recon, ["metrics", *map(str, arguments)])


def test_text_table(dev: Path) -> None:
    result = run(dev, "--fmr", "1e-2")
    assert result.exit_code == 0, result.output
    header, _, row, _, *notes = result.output.splitlines()
    assert header.split("  ")[0] == "FMR target"
    assert all(label in header for label in ("Threshold", "TMR", "SAR Type-I ", "SAR Type-II"))
    assert row.split()[:2] == ["1e-2", "0.99"]
    assert "1 % (10/1000)" in row
    assert "99.50 % (199/200, 95 % CI 97.2-100.0)" in row
    assert "97.10 % (971/1000, 95 % CI 95.9-98.0)" in row
    assert "40.00 % (40/100, 95 % CI 30.3-50.3)" in row
    assert notes[0] == (
        "Thresholds from dev, reported on dev "
        "(200 genuine, 1000 impostor, 1000 type1, 100 type2 scores)."
    )
    assert notes[1] == "Not acquired (NaN, in no rate): 1 genuine in dev."
    assert "lowest dev impostor score" in notes[2]
    assert "score >= threshold" in notes[2]
    assert "Warning" not in result.output


def test_default_targets_and_the_warning(dev: Path) -> None:
    output = run(dev).output
    assert [line.split()[0] for line in output.splitlines()[2:4]] == ["1e-2", "1e-3"]
    warnings = [line for line in output.splitlines() if line.startswith("Warning")]
    assert warnings == [
        "Warning: Too few impostors for FMR 1e-3: 1e-3 x 1000 = 1 dev scores, fewer than 10, set "
        "the threshold. It and its rates change with each of them; compare runs at a higher FMR, "
        "or use the interval over people (`bob bio recon report`)."
    ]


def test_eval_is_reported_at_the_thresholds_of_dev(dev: Path, eval_: Path) -> None:
    output = run(dev, eval_, "--fmr", "1e-2").output
    assert "25 % (1/4)" in output
    assert "50.00 % (1/2" in output
    assert "Type-II" not in output
    assert "Thresholds from dev, reported on eval (2 genuine, 4 impostor, 2 type1" in output
    assert "Not acquired (NaN, in no rate): 1 genuine in dev; none in eval." in output


def test_csv_is_tidy_and_exact(dev: Path) -> None:
    result = run(dev, "--format", "csv", "--fmr", "1e-2", "--fmr", "1e-3")
    rows = list(csv.DictReader(io.StringIO(result.stdout)))
    assert [(r["rate"], r["attack_type"]) for r in rows[:4]] == [
        ("FMR", ""),
        ("TMR", ""),
        ("SAR", "type1"),
        ("SAR", "type2"),
    ]
    assert [(float(r["threshold"]), r["few_impostors"]) for r in rows[::4]] == [
        (0.99, "false"),
        (0.999, "true"),
    ]
    assert (rows[1]["k"], rows[1]["n"], rows[1]["value"]) == ("199", "200", "0.995")
    assert rows[1]["not_acquired"] == "1"
    assert result.stderr.startswith("Warning: Too few impostors for FMR 1e-3")
    assert result.stderr.count("\n") == 1


def test_json_holds_rates_and_notes(dev: Path) -> None:
    content = json.loads(run(dev, "--format", "json", "--fmr", "1e-3").stdout)
    (point,) = content["operating_points"]
    assert (point["target"], point["threshold"], point["few_impostors"]) == (1e-3, 0.999, True)
    assert point["sar"]["type1"]["k"] == 971
    assert point["not_acquired"]["dev"]["genuine"] == 1
    assert content["notes"][-1].startswith("Warning: Too few impostors for FMR 1e-3")


def test_markdown_is_a_table(dev: Path) -> None:
    lines = run(dev, "--format", "markdown", "--fmr", "1e-2").output.splitlines()
    assert lines[0] == "| FMR target | Threshold | FMR | TMR | SAR Type-I | SAR Type-II |"
    assert lines[1].count("---") == lines[2].count(" | ") + 1 == 6
    assert lines[4].startswith("- Thresholds from dev")


def test_licit_file_is_told_apart(tmp_path: Path) -> None:
    path = write(tmp_path / "licit.csv", {"genuine": [0.9], "impostor": [0.1]})
    assert "No attack rows, so no SAR: give the full score file" in run(path).output


@pytest.mark.parametrize("format", FORMATS)
def test_attack_that_was_never_acquired(format: str) -> None:
    points = evaluate(Scores([0.9], [0.1], {"a|b": [np.nan]}), fmrs=[0.5])
    table = render(points, format)
    expected = {
        "text": "no score (0/0)",
        "markdown": "SAR a\\|b",
        "csv": "SAR,a|b,0,0,,0.0,1.0,1",
        "json": '"value": null',
    }
    assert expected[format] in table


def test_unknown_format_and_no_points_are_refused() -> None:
    points = evaluate(Scores([0.9], [0.1]))
    with pytest.raises(ValueError, match=r"`format` must be one of 'text'.* got 'html'"):
        render(points, "html")
    with pytest.raises(ValueError, match="`points` must hold at least one operating point"):
        render([])


@pytest.mark.parametrize(
    ("value", "text"), [(1e-3, "1e-3"), (0.25, "2.5e-1"), (1e-5, "1e-5"), (0, "0"), (1, "1e0")]
)
def test_short_rates(value: float, text: str) -> None:
    assert short(value) == text


def test_faults_are_one_sentence_and_a_failure(tmp_path: Path, dev: Path) -> None:
    missing = run(tmp_path / "nowhere.csv")
    assert (missing.exit_code, missing.stderr.count("\n")) == (2, 1)
    assert missing.stderr.startswith("Error: `scores` must be an existing file, got")
    cut = tmp_path / "cut.csv"
    cut.write_text("probe_subject_id,bio_ref_subject_id,score\nA,A,0.9\nA,")
    assert "got 2 on line 3 of" in run(cut).stderr
    alone = write(tmp_path / "genuine.csv", {"genuine": [0.9]})
    assert "Error: `dev.impostor` must hold at least one score" in run(alone).stderr
    assert "Error: `eval.impostor` must hold at least one score" in run(dev, alone).stderr
    beyond = run(dev, "--fmr", "2")
    assert beyond.exit_code == 2
    assert "2.0 is not in the range 0<=x<=1" in beyond.stderr


def test_help_teaches_by_example() -> None:
    group = CliRunner().invoke(recon, ["--help"]).output
    assert "bob bio pipeline simple recon-demo -o results" in group
    assert "metrics" in group.split("Commands:")[1]
    assert "bob bio recon metrics results/scores-dev.csv" in run("--help").output


def test_unknown_subcommand_is_refused() -> None:
    result = CliRunner().invoke(recon, ["metric"])
    assert result.exit_code == 2
    assert "No such command 'metric'" in result.output


def test_every_file_of_the_folder_is_a_command() -> None:
    context = click.Context(recon)
    for name in recon.list_commands(context):
        command = recon.get_command(context, name)
        assert isinstance(command, click.Command), name
        assert command.name == name


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; from bob_recon_plugin.cli import recon; "
        "recon(['--help'], standalone_mode=False); recon(['metrics', '--help'], "
        "standalone_mode=False); "
        "print('HEAVY', {'numpy', 'scipy', 'torch', 'bob', 'matplotlib'} & set(sys.modules))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.splitlines()[-1] == "HEAVY set()"


@pytest.mark.slow
def test_bob_bio_finds_the_command(dev: Path) -> None:
    from bob.bio.base.script.bio import bio

    result = CliRunner().invoke(bio, ["recon", "metrics", str(dev), "--fmr", "1e-2"])
    assert result.exit_code == 0, result.output
    assert "40.00 % (40/100" in result.output
