"""Score files that would give wrong rates without a word."""

from __future__ import annotations

import csv
import json
import re
from inspect import signature
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from bob_recon_plugin.attack.knowledge import Threat
from bob_recon_plugin.attack.summary import write_summary
from bob_recon_plugin.cli import recon
from bob_recon_plugin.evaluation.findings import analyse
from bob_recon_plugin.evaluation.metrics import evaluate
from bob_recon_plugin.evaluation.run_folder import open_run
from bob_recon_plugin.evaluation.scores import load, read
from bob_recon_plugin.report.build import Options, write_report

HEADER = (
    "probe_template_id,probe_subject_id,bio_ref_template_id,bio_ref_subject_id,score,"
    "probe_attack_type"
)
THREAT = Threat(1, "net-a", "net-a", "none")
SHARED = Path(__file__).resolve().parents[3] / "shared"


def rows_of(
    people: int = 20, genuine: float = 0.7, type1: float = 0.6, type2: float = 0.5, seed: int = 0
) -> list[str]:
    """Rows of everyone against everyone, impostors about 0, with both attacks."""
    draw = np.random.default_rng(seed)
    rows = []
    for i in range(people):
        for j in range(people):
            score = draw.normal(genuine if i == j else 0.0, 0.1)
            rows.append(f"p{i}-2,p{i},p{j}-1,p{j},{score:.6f},")
    for i in range(people):
        for attack, score in (("type1", type1), ("type2", type2)):
            rows.append(f"{attack}/p{i}-2,p{i},p{i}-1,p{i},{draw.normal(score, 0.1):.6f},{attack}")
    return rows


def write(path: Path, rows: list[str]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([HEADER, *rows]) + "\n")
    return path


def negated(rows: list[str]) -> list[str]:
    cells = [row.split(",") for row in rows]
    return [",".join([*c[:4], f"{-float(c[4]):.6f}", c[5]]) for c in cells]


def run(*arguments: object) -> Result:
    # click mixed both streams into one before 8.2, unless told otherwise
    old = "mix_stderr" in signature(CliRunner).parameters
    runner = CliRunner(mix_stderr=False) if old else CliRunner()
    return runner.invoke(recon, [*map(str, arguments)])


def words(text: str) -> str:
    """Text without tags, on one line, with ordinary spaces."""
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", "", text))


def page(paths: list[Path], output: Path, **options: object) -> str:
    options = {"replicates": 0, "quality": 0} | options
    written = write_report(paths, output, Options(**options))  # type: ignore[arg-type]
    return written[0].read_text(encoding="utf-8")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "scores-dev.csv"


# -- distances -------------------------------------------------------------------


def test_distances_are_refused_until_they_are_called_so(file: Path, tmp_path: Path) -> None:
    write(file, negated(rows_of()))
    for command in ("metrics", "report"):
        done = run(command, file, *(["-o", tmp_path / "r.html"] if command == "report" else []))
        assert done.exit_code == 2
        told = words(done.stderr)
        assert "`scores` must be similarities" in told
        assert "genuine scores below those of impostors (medians -0.7" in told
        assert "--distances" in told
    for reader in (load, read):
        with pytest.raises(ValueError, match="`scores` must be similarities"):
            reader(file)


def test_distances_give_the_rates_of_the_similarities(file: Path, tmp_path: Path) -> None:
    right = write(tmp_path / "right.csv", rows_of())
    write(file, negated(rows_of()))
    expected = json.loads(run("metrics", right, "--format", "json").stdout)
    found = json.loads(run("metrics", file, "--distances", "--format", "json").stdout)
    assert (expected["accepted"], found["accepted"]) == (
        "score >= threshold",
        "distance <= threshold",
    )
    for one, other in zip(expected["operating_points"], found["operating_points"], strict=True):
        assert other["threshold"] == -one["threshold"]
        assert [other[k] for k in ("fmr", "tmr", "sar")] == [one[k] for k in ("fmr", "tmr", "sar")]
    text = run("metrics", file, "--distances").stdout
    assert "highest dev impostor distance" in text
    assert "accepted when distance <= threshold" in text
    assert f"{found['operating_points'][0]['threshold']:.6g}" in text.splitlines()[2]
    comma = run("metrics", file, "--distances", "--format", "csv")
    first = next(csv.DictReader(comma.stdout.splitlines()))
    assert float(first["threshold"]) == found["operating_points"][0]["threshold"]
    assert "accepted when distance <= threshold" in comma.stderr


def test_a_report_of_distances_says_that_scores_are_negated(file: Path, tmp_path: Path) -> None:
    write(file, negated(rows_of()))
    done = run(
        "report", file, "--distances", "-o", tmp_path / "r.html", "--replicates", 0, "--quality", 0
    )
    assert done.exit_code == 0, done.stderr
    text = words((tmp_path / "r.html").read_text(encoding="utf-8"))
    assert "Scores are distances with their sign changed" in text


def test_similarities_are_not_taken_for_distances(file: Path) -> None:
    write(file, rows_of())
    done = run("metrics", file, "--distances")
    assert done.exit_code == 2
    assert "`scores` must be distances where `--distances` is given" in words(done.stderr)


def test_a_system_of_chance_is_not_called_distances(file: Path) -> None:
    for seed in range(5):
        write(file, rows_of(genuine=0.0, seed=seed))
        assert load(file).genuine.size == 20


@pytest.mark.parametrize("name", ["distances", "every-row-twice", "nan-as-attack-type"])
def test_reported_files_get_a_sentence(name: str) -> None:
    folder = SHARED / "cases" / "scores"
    if not folder.is_dir():
        pytest.skip(f"needs the cases in {folder}, which are not part of the project")
    done = run("metrics", folder / f"{name}.csv")
    assert done.exit_code == 2
    expected = {
        "distances": "genuine scores below those of impostors (medians 0.4",
        "every-row-twice": "got 400 bona fide rows that repeat one (first: line 442",
        "nan-as-attack-type": "`probe_attack_type` must be empty on bona fide rows, got the text "
        "'nan' on line 2",
    }
    assert expected[name] in words(done.stderr)
    right = evaluate(load(folder / "right.csv"))
    if name == "distances":
        other = evaluate(load(folder / "distances.csv", distances=True))
        assert [(p.tmr, p.sar) for p in other] == [(p.tmr, p.sar) for p in right]


# -- rows that count twice, or for another person ----------------------------------


def test_a_comparison_that_stands_twice_is_refused(file: Path) -> None:
    rows = ["a1,A,a0,A,0.9,", "b1,B,a0,A,0.1,", "a0,A,a0,A,0.8,type1", "a1,A,a0,A,nan,"]
    write(file, rows)
    for reader in (load, read):
        with pytest.raises(
            ValueError,
            match=r"each bona fide comparison once, got 1 bona fide rows that repeat one "
            r"\(first: line 5, a1 with a0\)",
        ):
            reader(file)


def test_one_pair_may_be_compared_once_for_each_attack(file: Path) -> None:
    rows = ["a1,A,a0,A,0.9,", "b1,B,a0,A,0.1,", "a1,A,a0,A,0.8,type1", "a1,A,a0,A,0.7,mask"]
    scores = load(write(file, rows))
    assert (scores.attacks["type1"], scores.attacks["mask"]) == (0.8, 0.7)
    assert scores.cautions == ()


def test_an_attack_that_stands_twice_is_cautioned(file: Path, tmp_path: Path) -> None:
    rows = rows_of()
    write(file, [*rows, rows[-2], rows[-2]])
    (caution,) = load(file).cautions
    assert "2 of 22 type1 rows" in caution
    assert "first: line 442" in caution
    for form in ("text", "markdown", "json", "csv"):
        done = run("metrics", file, "--format", form)
        assert caution in done.stdout + done.stderr
    assert "2 of 22 type1 rows" in words(page([file], tmp_path / "r.html"))


def test_files_without_template_columns_cannot_tell(file: Path) -> None:
    file.write_text("probe_subject_id,bio_ref_subject_id,score\nA,A,0.9\nA,A,0.9\nB,A,0.1\n")
    assert load(file).genuine.tolist() == [0.9, 0.9]


def test_an_inverted_template_is_compared_with_its_owner(file: Path) -> None:
    write(file, [*rows_of(), "type1/p0-2,p0,p1-1,p1,0.1,type1"])
    with pytest.raises(
        ValueError, match=r"`type1` rows must compare one person with .*, got 1 of 21 .*line 442"
    ):
        load(file)


def test_another_attack_on_another_person_is_cautioned(file: Path) -> None:
    write(file, [*rows_of(), "x,p0,p0-1,p0,0.4,mask", "x,p0,p1-1,p1,0.1,mask"])
    (caution,) = load(file).cautions
    assert "1 of 2 mask rows compare two people (first: line 443, p0 with p1)" in caution


def test_ids_that_differ_in_writing_only_are_cautioned(file: Path) -> None:
    rows = rows_of()
    rows[21] = rows[21].replace("p1-2,p1,", "p1-2,P01,")
    write(file, rows)
    (caution,) = load(file).cautions
    assert "1 impostor rows" in caution
    assert "line 23, P01 with p1" in caution


def test_white_space_makes_no_other_person_and_no_attack(file: Path) -> None:
    write(file, ["a1, A ,a0,A,0.9, ", "b1,B,a0,A,0.1,", "a0,A,a0, A,0.8,type1 "])
    scores = load(file)
    assert scores.genuine.tolist() == [0.9]
    assert {name: values.tolist() for name, values in scores.attacks.items()} == {"type1": [0.8]}


@pytest.mark.parametrize("text", ["nan", "NaN", "None", "none", "null", "NULL", "NA", "<NA>"])
def test_an_empty_attack_type_that_became_a_text_is_named(file: Path, text: str) -> None:
    write(file, ["a1,A,a0,A,0.9,", f"a1,A,a0,A,0.9,{text}"])
    with pytest.raises(ValueError, match=f"`probe_attack_type` must .* '{text}' on line 3"):
        load(file)


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (HEADER.replace("probe_attack_type", "attack_type"), "got the column attack_type instead"),
        (f"{HEADER},score", "each column once, got score twice"),
    ],
)
def test_a_header_that_hides_a_column_is_refused(file: Path, header: str, message: str) -> None:
    row = ",".join(["a1", "A", "a0", "A", "0.9", "0.1", "0.2"][: header.count(",") + 1])
    file.write_text(f"{header}\n{row}\n")
    with pytest.raises(ValueError, match=message):
        load(file)


@pytest.mark.parametrize("text", ["", " ", "nan", "None"])
def test_a_missing_subject_is_nobody(file: Path, text: str) -> None:
    write(file, ["a1,A,a0,A,0.9,", f"b1,{text},b0,{text},0.9,"])
    with pytest.raises(ValueError, match=r"`probe_subject_id` must name a person, .*on line 3"):
        load(file)


# -- dev and eval ------------------------------------------------------------------


def test_one_file_is_not_two_groups(file: Path, tmp_path: Path) -> None:
    write(file, rows_of())
    copy = write(tmp_path / "scores-eval.csv", rows_of())
    for other in (file, copy):
        done = run("metrics", file, other)
        assert done.exit_code == 2
        assert "dev and eval must be two sets of scores" in words(done.stderr)
    with pytest.raises(ValueError, match="dev and eval must be two sets of scores"):
        open_run(tmp_path)


def test_groups_are_not_swapped(file: Path, tmp_path: Path) -> None:
    write(file, rows_of())
    eval_ = write(tmp_path / "scores-eval.csv", rows_of(seed=1))
    assert run("metrics", file, eval_).exit_code == 0
    assert "dev sets the threshold" in words(run("metrics", eval_, file).stderr)
    assert "the eval scores alone" in words(run("metrics", eval_).stderr)


# -- a system that does not work -----------------------------------------------------


def test_a_system_that_knows_nobody_gets_no_reassuring_headline(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(file, rows_of(genuine=0.05, type1=0.0, type2=0.0))
    point = analyse(open_run(file), replicates=0).points[0]
    assert point.tmr.value < 0.8
    told = (
        "This system does not recognise its own users: "
        f"TMR {100 * point.tmr.value:.2f} % ({point.tmr.k} of 20) at FMR 1e-2"
    )
    todo = "check colour order, value range and crop"
    for form in ("text", "markdown", "json"):
        output = run("metrics", file, "--format", form).stdout
        assert told in output
        assert todo in output
    assert told in run("metrics", file, "--format", "csv").stderr
    html = page([file], tmp_path / "r.html")
    assert "<h1>This system does not recognise its own users.</h1>" in html
    assert "stolen templates open the system" not in html
    assert todo in words(html)
    write_summary(file, {}, THREAT, None, {})
    assert told in capsys.readouterr().out


def test_a_system_that_works_is_not_doubted(file: Path, tmp_path: Path) -> None:
    write(file, rows_of())
    assert "recognise its own users" not in run("metrics", file).stdout
    assert "recognise its own users" not in page([file], tmp_path / "r.html")


def test_the_headline_of_several_runs_names_the_most_exposed(tmp_path: Path) -> None:
    safe = write(tmp_path / "safe" / "scores-dev.csv", rows_of(type1=0.0, seed=1)).parent
    open_ = write(tmp_path / "open" / "scores-dev.csv", rows_of(type1=0.7, seed=2)).parent
    broken = write(tmp_path / "broken" / "scores-dev.csv", rows_of(0, seed=3) + rows_of(
        genuine=0.05, type1=0.0, seed=3)).parent  # fmt: skip
    html = page([safe, open_, broken], tmp_path / "r.html")
    heading = words(re.search("<h1>(.*)</h1>", html).group(1))  # type: ignore[union-attr]
    assert heading == "All 20 stolen templates open the most exposed of 3 runs."
    text = words(html)
    assert text.index("Run open, ") < text.index("Run safe, ")
    assert "Run broken: This system does not recognise its own users" in text
    assert re.search(r"TMR \d+\.\d\d %", text[text.index("Inverted system") :])
    html = page([safe, broken], tmp_path / "r.html")
    rate = analyse(open_run(safe), replicates=0).opened[0]
    assert rate is not None
    assert f"{rate.k} of 20" in html or "None of 20" in html


# -- few impostors -------------------------------------------------------------------


def test_a_threshold_of_few_impostors_is_marked_in_the_table(file: Path, tmp_path: Path) -> None:
    write(file, rows_of(40))  # 1560 impostors: 15 carry 1e-2, one carries 1e-3
    for form in ("text", "markdown"):
        loose, strict = run("metrics", file, "--format", form).stdout.splitlines()[2:4]
        assert "under 10 impostors" not in loose
        assert "1e-3 (under 10 impostors)" in strict
    html = page([file], tmp_path / "r.html")
    rows = re.findall(r"<tr data-fmr.*?</tr>", html, re.S)
    assert ["under 10 impostors" in row for row in rows] == [False, True]
    other = write(tmp_path / "b" / "scores-dev.csv", rows_of(40, seed=1))
    matrix = page([file, other], tmp_path / "r.html").split('<table class="matrix">')[1:]
    marked = [
        ("1e-3" in part, "under 10 impostors" in part.split("</table>")[0]) for part in matrix
    ]
    assert marked == [(False, False)] * 2 + [(True, True)] * 2


def test_the_interval_over_people_stands_beside_the_exact_one(file: Path, tmp_path: Path) -> None:
    write(file, rows_of(40, type1=0.3, type2=0.3))
    findings = analyse(open_run(file), replicates=100)
    spread = findings.spreads[0].sar["type1"]
    assert spread.low < spread.high
    header = words(page([file], tmp_path / "r.html", replicates=100)).split("Rates")[0]
    assert f"{100 * spread.low:.1f} to {100 * spread.high:.1f} % over people" in header


def test_faces_are_judged_where_the_headline_is(file: Path) -> None:
    write(file, rows_of(40))
    shown = {}

    class Sheet:
        def write(self, _scores: Path, threshold: float, caption: str, _picture: Path) -> bool:
            shown.update(threshold=threshold, caption=caption)
            return True

    write_summary(file, {}, THREAT, Sheet(), {})  # type: ignore[arg-type]
    loose, _ = evaluate(load(file))
    assert shown["threshold"] == loose.threshold
    assert "FMR 1e-2" in shown["caption"]
