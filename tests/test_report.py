"""The page says what Bob, bob.measure and scikit-learn say, and can be read by anyone."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
import subprocess
import sys
from inspect import signature
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image
from sklearn.metrics import det_curve, roc_curve

from bob_recon_plugin.cli import recon
from bob_recon_plugin.evaluation.findings import judge
from bob_recon_plugin.evaluation.metrics import evaluate
from bob_recon_plugin.evaluation.run_folder import open_run
from bob_recon_plugin.evaluation.scores import load
from bob_recon_plugin.report.build import Options, write_report
from bob_recon_plugin.report.matrix import shade
from bob_recon_plugin.report.pictures import choose
from bob_recon_plugin.report.style import colour, fmr_words, limits, number, percent
from tests.pages import Page, plain

COLUMNS = "probe_template_id,probe_subject_id,bio_ref_template_id,bio_ref_subject_id,score"
POSITIONS = {"reye": [51.6963, 38.2946], "leye": [51.5014, 73.5318]}
QUICK = Options(replicates=50, quality=0)


def rows_of(group: str, people: int = 30, shift: float = 0.0, seed: int = 0) -> list[str]:
    """Score rows of a small system: every one against every one, with both attacks."""
    draw = np.random.default_rng(seed)
    rows = []
    for i in range(people):
        for j in range(people):
            score = draw.normal(0.7 if i == j else 0.0, 0.15)
            rows.append(f"{group}{i}/1,{group}{i},{group}{j}/0,{group}{j},{score:.4f},")
        first, second = draw.normal([0.6, 0.35 + shift], 0.12)
        rows.append(f"type1/{group}{i}/0,{group}{i},{group}{i}/0,{group}{i},{first:.4f},type1")
        rows.append(f"type2/{group}{i}/1,{group}{i},{group}{i}/0,{group}{i},{second:.4f},type2")
    return rows


def write(path: Path, rows: list[str], header: str = f"{COLUMNS},probe_attack_type") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


def a_run(folder: Path, inverted: str = "net-a", attacked: str = "net-a", **more: object) -> Path:
    """A run's folder, with a record and the faces of Type-I."""
    rows = rows_of("P", **more)  # type: ignore[arg-type]
    rows[3] = re.sub(r"[^,]*,$", "nan,", rows[3])  # an impostor who was not acquired
    write(folder / "scores-dev.csv", rows)
    record = {
        "identity": {
            "algorithm": {"class": "bob.bio.base.algorithm.Distance"},
            "database": {"class": "ToyDatabase", "protocol": "toy"},
            "decoder": {"name": "linear", "preset": "", "recognizer": inverted, "sha256": "d" * 64},
            "recognizer": {"name": attacked, "sha256": "a" * 64},
            "reentry": "camera",
            "system": {"class": "toy.Pipeline"},
        },
        "settings": {
            "attacked": {"system": "Pipeline(steps=[<toy>])", "algorithm": "Distance()"},
            "leak": [],
        },
        "card": {"seed": 7, "training_data": "100 faces of nobody", "positions": POSITIONS},
        "command": "bob bio pipeline simple toy recon",
        "versions": {"python": "3.11", "torch": "2.4"},
    }
    (folder / "recon-run.json").write_text(json.dumps(record))
    for i in range(30):
        face = folder / "faces" / "type1" / f"P{i}" / "0.png"
        face.parent.mkdir(parents=True)
        Image.new("RGB", (112, 112), (8 * i, 100, 100)).save(face)
    return folder


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    return a_run(tmp_path / "run")


def report(*arguments: object) -> Result:
    # click mixed both streams into one before 8.2, unless told otherwise
    old = "mix_stderr" in signature(CliRunner).parameters
    runner = CliRunner(mix_stderr=False) if old else CliRunner()
    return runner.invoke(recon, ["report", *map(str, arguments)])


def page_of(folder: Path, **options: object) -> Page:
    (path, *_) = write_report([folder], folder.parent / "r.html", Options(**options))  # type: ignore[arg-type]
    return Page(path.read_text(encoding="utf-8"))


# -- what it says ----------------------------------------------------------------


def test_the_page_says_what_the_scores_say(run_folder: Path) -> None:
    page = page_of(run_folder, replicates=50, quality=0)
    points = evaluate(load(run_folder / "scores-dev.csv"))
    header, *rows = page.values["rates"]
    assert header == []
    for point, row in zip(points, rows, strict=True):
        rates = [point.fmr, point.tmr, point.sar["type1"], point.sar["type2"]]
        assert row == [point.threshold, *(rate.value for rate in rates)]
    # 869 impostors: ten of them carry no threshold at either FMR, so the looser one leads
    opened = points[0].sar["type1"]
    assert f"{opened.k} of 30 stolen templates open" in page.text or "All 30" in page.text
    assert f"{opened.k}/30" in page.tables["rates"][1][4]
    assert plain(limits(opened.low, opened.high)) in page.tables["rates"][1][4]
    assert "Too few impostors for FMR 1e-3: 1e-3 x 869 = 0.869 dev scores, fewer" in page.text
    assert page.values["acquired"][1] == [0, 1, 0, 0]
    assert page.tables["acquired"][1][2] == "1 of 870"


def test_what_was_run_is_told(run_folder: Path) -> None:
    text = page_of(run_folder, replicates=20, seed=5, quality=0).text
    for told in (
        "net-a, attacked with its own templates",
        "database ToyDatabase (toy)",
        "linear, SHA-256 " + "d" * 64,
        "net-a, SHA-256 " + "a" * 64,
        "Its training seed7",
        "100 faces of nobody",
        "bob bio pipeline simple toy recon",
        "python 3.11, torch 2.4",
        "20 replicates",
        "seed 5, 30 people",
        "from 869 impostors of dev",
        "Pipeline(steps=[<toy>])",
        "plain embeddings, without protection",
    ):
        assert told in text, told


def test_dev_sets_the_threshold_and_eval_is_reported(run_folder: Path) -> None:
    write(run_folder / "scores-eval.csv", rows_of("E", people=12, seed=3))
    page = page_of(run_folder, replicates=20, quality=0)
    expected = evaluate(load(run_folder / "scores-dev.csv"), load(run_folder / "scores-eval.csv"))
    assert page.values["rates"][1][0] == expected[0].threshold
    assert page.values["rates"][1][3] == expected[0].sar["type1"].value
    assert "Thresholds from dev, reported on eval" in page.text
    assert [row[0] for row in page.tables["acquired"][1:]] == ["dev", "eval"]
    assert "12 people" in page.text


def test_templates_are_counted_once_however_often_they_are_attacked(tmp_path: Path) -> None:
    rows = rows_of("P", people=20)
    rows += [f"type1/P{i}/0-1,P{i},P{i}/0,P{i},-1,type1" for i in range(20)]
    write(tmp_path / "scores-dev.csv", rows)
    verdict = judge(open_run(tmp_path / "scores-dev.csv"), replicates=0)
    assert verdict.points[0].sar["type1"].n == 40
    assert verdict.opened[0] is not None
    assert (verdict.opened[0].k, verdict.opened[0].n) == (verdict.points[0].sar["type1"].k, 20)


def test_best_median_worst_and_failures(run_folder: Path) -> None:
    verdict = judge(open_run(run_folder), replicates=0)
    chosen = choose(verdict, "type2", 4)
    scores = {title: verdict.run.dev.score[rows].tolist() for title, (_, rows) in chosen.items()}
    every = sorted(verdict.scores.attacks["type2"].tolist(), reverse=True)
    assert scores["Best"] == every[:4]
    assert scores["Median"] == every[13:17]
    assert scores["Worst"] == every[-4:]
    rejected = [s for s in every if s < verdict.points[0].threshold]
    assert scores["Failures"][0] == rejected[0]
    assert scores["Failures"][-1] == rejected[-1]
    assert chosen["Failures"][0] == f"{len(rejected)} rejected, 0 not acquired; 4 shown."


# -- agreement -------------------------------------------------------------------


def test_curves_and_thresholds_agree_with_scikit_learn(run_folder: Path) -> None:
    verdict = judge(open_run(run_folder), replicates=0)
    genuine, impostor = verdict.scores.genuine, verdict.scores.impostor
    truth = np.r_[np.ones(len(genuine)), np.zeros(len(impostor))]
    both = np.r_[genuine, impostor]
    fpr, tpr, at = roc_curve(truth, both, drop_intermediate=False)
    for point in verdict.points:
        allowed = fpr <= point.target
        assert fpr[allowed].max() == point.fmr.value
        same = np.flatnonzero(at >= point.threshold)[-1]
        assert (fpr[same], tpr[same]) == (point.fmr.value, point.tmr.value)
    false_accept, false_reject, cuts = det_curve(truth, both)
    curves = verdict.curves
    for fmr, fnmr, threshold in zip(false_accept, false_reject, cuts, strict=True):
        index = int(np.searchsorted(-curves.threshold, -threshold))
        assert curves.threshold[index] == threshold
        assert (curves.fmr[index], 1 - curves.tmr[index]) == pytest.approx((fmr, fnmr))


@pytest.mark.slow
@pytest.mark.parametrize("target", [1e-2, 0.1])
def test_the_page_agrees_with_bob(run_folder: Path, target: float) -> None:
    from bob.bio.base.script.vulnerability import vulnerability
    from bob.measure import far_threshold, farfrr

    page = page_of(run_folder, fmrs=(target,), replicates=0, quality=0)
    threshold, fmr, tmr, first, second = page.values["rates"][1]
    scores = load(run_folder / "scores-dev.csv")
    assert threshold == far_threshold(scores.impostor, scores.genuine, target)
    assert (fmr, 1 - tmr) == pytest.approx(farfrr(scores.impostor, scores.genuine, threshold))
    options = ["metrics", "--criterion", "far", "--far-value", str(target)]
    done = CliRunner().invoke(vulnerability, [*options, str(run_folder / "scores-dev.csv")])
    assert done.exit_code == 0, done.output
    k, n = map(int, re.search(r"Attack Presentation Match.*\((\d+)/(\d+)\)", done.output).groups())  # type: ignore[union-attr]
    assert (first + second) * 30 == pytest.approx(k)
    assert n == 60


@pytest.mark.realfaces
def test_the_published_rates_of_a_reproduction(shared_data: Path, tmp_path: Path) -> None:
    (path, *_) = write_report([shared_data / "lfwview2-scores"], tmp_path / "r.html", QUICK)
    page = Page(path.read_text(encoding="utf-8"))
    loose, strict = page.tables["rates"][1:]
    for row, cells in (
        (loose, ["0.1705", "1.00 %", "99.73 %", "100 %", "99.00 %"]),
        (strict, ["0.2476", "0.10 %", "99.60 %", "100 %", "94.30 %"]),
    ):
        assert all(cell.startswith(c) for cell, c in zip(row[1:], cells, strict=True)), row
    counts = ("3/3 000", "2 988/3 000", "3 000/3 000", "2 829/3 000")
    for cell, count in zip(strict[2:], counts, strict=True):
        assert count in cell
    assert "All 2 551 stolen templates open the system" in page.text
    assert "what was run is not recorded" in page.text
    assert "Genuine 0.716" in page.text
    assert "Type-I attack 0.578, Type-II attack 0.419" in page.text


# -- several runs ----------------------------------------------------------------


def test_several_runs_are_a_matrix_and_a_csv(tmp_path: Path) -> None:
    runs = [
        a_run(tmp_path / "aa", "net-a", "net-a", seed=1),
        a_run(tmp_path / "ab", "net-a", "net-b", shift=-0.2, seed=2),
        a_run(tmp_path / "bb", "net-b", "net-b", seed=3),
    ]
    written = write_report(runs, tmp_path / "all.html", QUICK)
    page = Page(written[0].read_text(encoding="utf-8"))
    assert [path.name for path in written] == ["all.html", "all.csv"]
    head, first, second = page.tables["matrix"][:3]
    assert head == ["inverted", "net-a", "net-b"]
    assert (first[0], second[0], second[1]) == ("net-a", "net-b", "not run")
    points = [evaluate(load(run / "scores-dev.csv")) for run in runs]
    assert page.values["matrix"][1] == [
        points[0][0].sar["type1"].value,
        points[1][0].sar["type1"].value,
    ]
    assert page.values["matrix"][2] == [points[2][0].sar["type1"].value]
    rows = list(csv.DictReader(io.StringIO(written[1].read_text())))
    assert len(rows) == 3 * 2 * 2
    row = rows[5]
    rate = points[1][0].sar["type2"]
    assert (row["inverted"], row["attacked"], row["attack_type"]) == ("net-a", "net-b", "type2")
    assert (int(row["k"]), float(row["value"]), float(row["low"])) == (rate.k, rate.value, rate.low)
    assert "open the most exposed of 3 runs" in page.text


def test_two_runs_of_one_pair_get_rows_of_their_own(tmp_path: Path) -> None:
    runs = [a_run(tmp_path / name, seed=i) for i, name in enumerate(("one", "two"))]
    (path, *_) = write_report(runs, tmp_path / "all.html", QUICK)
    rows = Page(path.read_text(encoding="utf-8")).tables["matrix"]
    assert [row[0] for row in rows[1:3]] == ["net-a (one)", "net-a (two)"]
    with pytest.raises(ValueError, match=r"`run` must be given once, got .* twice"):
        write_report([runs[0], runs[0]], tmp_path / "no.html", QUICK)


# -- how it is read --------------------------------------------------------------


def test_the_page_is_one_file_without_scripts(run_folder: Path) -> None:
    (path, *_) = write_report([run_folder], run_folder.parent / "r.html", QUICK)
    html = path.read_text(encoding="utf-8")
    page = Page(html)
    assert {"script", "link", "iframe", "object", "base"}.isdisjoint({t for t, _ in page.tags})
    for _, attributes in page.tags:
        assert not [name for name in attributes if name.startswith("on")]
        for name in ("src", "href", "data", "srcset", "poster", "action"):
            assert str(attributes.get(name) or "#").startswith(("data:image/", "#")), attributes
    style = html[html.index("<style>") : html.index("</style>")]
    assert "url(" not in style
    assert "@import" not in style
    assert "&#34;" not in style  # quotes that escaping would break
    assert len(html) < 3_000_000


def test_every_picture_can_be_heard(run_folder: Path) -> None:
    page = page_of(run_folder, replicates=0, quality=0)
    alts = [str(a["alt"]) for tag, a in page.tags if tag == "img"]
    faces = [alt for alt in alts if "against P" in alt]
    charts = [alt for alt in alts if alt not in faces]
    assert len(charts) == 3
    assert all(re.search(r"score .?\d\.\d{3}, (accepted|rejected)", alt) for alt in faces)
    assert len(faces) >= 18  # best, median and worst of Type-I; Type-II has no files here
    (point, _) = evaluate(load(run_folder / "scores-dev.csv"))
    for chart in charts[:2]:
        assert "1e-2" in chart
    assert percent(point.sar["type2"].value) in charts[1]
    assert number(point.threshold) in charts[0]
    scopes = [a.get("scope") for tag, a in page.tags if tag == "th"]
    assert set(scopes) == {"col", "row"}
    assert ("html", {"lang": "en"}) in page.tags
    assert "face not kept" in page.text


def test_colours_are_told_apart_without_red_and_green() -> None:
    """By lightness alone, or by the axis that all common forms of colour blindness keep."""
    kinds = ["genuine", "impostor", "type1", "type2"]
    seen = {}
    for kind in kinds:
        r, g, b = (int(colour(kind)[i : i + 2], 16) / 255 for i in (1, 3, 5))
        seen[kind] = np.array([0.3 * r + 0.59 * g + 0.11 * b, 0.5 * (r + g) - b])
    pairs = [(a, b) for i, a in enumerate(kinds) for b in kinds[i + 1 :]]
    for a, b in pairs:
        assert np.abs(seen[a] - seen[b]).max() > 0.1, (a, b)


@pytest.mark.parametrize("value", np.linspace(0, 1, 21))
def test_matrix_cells_can_be_read(value: float) -> None:
    """Contrast of at least 4.5 to 1, as WCAG asks."""

    def luminance(code: str) -> float:
        parts = np.array([int(code[i : i + 2], 16) / 255 for i in (1, 3, 5)])
        linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
        return float(linear @ [0.2126, 0.7152, 0.0722])

    bright, dark = sorted((luminance(c) for c in shade(value)), reverse=True)
    assert (bright + 0.05) / (dark + 0.05) >= 4.5


def test_words() -> None:
    shown = [plain(percent(value)) for value in (1, 0.99995, 0.5, 0)]
    assert shown == ["100 %", "100.00 %", "50.00 %", "0 %"]
    assert plain(limits(0, 0.0036)) == "0 to 0.4 %"
    assert fmr_words(1e-3) == "1 in 1\N{NARROW NO-BREAK SPACE}000 impostors"
    assert fmr_words(0.03) == "a share of 3e-2 of impostors"
    assert number(-0.5) == "\N{MINUS SIGN}0.500"


def test_nothing_of_a_score_file_is_taken_for_markup(tmp_path: Path) -> None:
    rows = rows_of("P", people=12)
    rows += ["p,P0,P0/0,P0,0.5,<script>alert(1)</script>"]
    html = write_report([write(tmp_path / "s.csv", rows)], tmp_path / "r.html", QUICK)[
        0
    ].read_text()
    assert "<script>" not in html
    assert "&lt;script&gt;" in html


# -- the command -----------------------------------------------------------------


def test_command_writes_page_pdf_and_png(run_folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out" / "r.html"
    done = report(run_folder, "-o", out, "--pdf", "--png", "--replicates", 20, "--quality", 0)
    assert done.exit_code == 0, done.stderr
    names = [Path(line).name for line in done.stdout.split()]
    assert names == ["r.html", "r-histograms.png", "r-sar-fmr.png", "r-det.png", "r.pdf"]
    assert (out.parent / "r.pdf").read_bytes().startswith(b"%PDF")
    with Image.open(out.parent / "r-det.png") as drawn:
        assert drawn.width > 1000
        assert len(set(drawn.convert("L").getdata())) > 50


def test_faces_can_be_left_out(run_folder: Path) -> None:
    done = report(run_folder, "-o", run_folder / "r.html", "--no-faces", "--replicates", 0)
    assert done.exit_code == 0, done.stderr
    html = (run_folder / "r.html").read_text(encoding="utf-8")
    assert "Left out on request." in html
    assert html.count("<img") == 3
    assert "image/jpeg" not in html
    assert "ToyDatabase, cannot be opened by name" in html


def test_originals_come_from_a_database_that_is_named(run_folder: Path, tmp_path: Path) -> None:
    config = tmp_path / "mine.py"
    config.write_text("from tests.toy import ToyDatabase\ndatabase = ToyDatabase()\n")
    for path in (run_folder / "faces").rglob("*.png"):
        new = path.parents[1] / path.parent.name.lower() / path.name
        new.parent.mkdir()
        path.rename(new)
    scores = run_folder / "scores-dev.csv"
    scores.write_text(re.sub(r"\bP(\d)", r"p\1", scores.read_text()))  # the toy's names
    arguments = [run_folder, "-o", tmp_path / "r.html", "--originals", config]
    done = report(*arguments, "--replicates", 0, "--quality", 3, "--recognizer", "arcface-mbf")
    assert done.exit_code == 0, done.stderr
    page = Page((tmp_path / "r.html").read_text(encoding="utf-8"))
    assert page.tables["quality"][1][0] == "SSIM"
    assert "cropped as the decoder draws faces, to 112 x 112; images from ToyDatabase." in page.text
    alts = [str(a["alt"]) for tag, a in page.tags if tag == "img"]
    assert any(alt.startswith("enrolled image of p") for alt in alts)
    config.write_text("x = 1\n")
    assert "`originals` must be a database resource" in report(*arguments).stderr
    arguments[-1] = "no-such-database"
    assert "`originals` must be a database resource" in report(*arguments).stderr


def test_the_inverted_model_is_no_judge_of_identity(run_folder: Path, tmp_path: Path) -> None:
    config = tmp_path / "mine.py"
    config.write_text("from tests.toy import ToyDatabase\ndatabase = ToyDatabase()\n")
    for i in range(6):
        (run_folder / "faces" / "type1" / f"P{i}").rename(run_folder / "faces" / "type1" / f"p{i}")
    scores = run_folder / "scores-dev.csv"
    scores.write_text(re.sub(r"\bP(\d)", r"p\1", scores.read_text()))
    arguments = [run_folder, "-o", tmp_path / "r.html", "--originals", config]
    done = report(*arguments, "--replicates", 0, "--recognizer", "net-a")
    assert done.exit_code == 2
    told = " ".join(done.stderr.split())
    assert "must have taken no part in the run, got net-a, which is under attack; name" in told


@pytest.mark.parametrize(
    ("rows", "header", "message"),
    [
        (
            ["a,A,a,1"],
            "probe_template_id,probe_subject_id,bio_ref_subject_id,scor",
            "without score",
        ),
        (["a,A,a,A,high,"], None, "`score` must be a number, got 'high' on line 2"),
        ([], None, "at least one row below the header"),
        (["a,A,a,A,1,type1"] * 3, None, "got 3 attack rows and nothing else"),
        (["a,A,a,A,1,", "a,A,a,A,1,type1"], None, "must hold impostor rows, got none among 2"),
        (["a,A,b,B,1,", "a,A,a,A,1,type1"], None, "must hold genuine rows, got none among 2"),
        (["a,A,b,B,1,", "a,A,a,A,1,"], None, "must hold attack rows, got none .* not the licit"),
        (
            ["a,A,b,B,nan,", "a,A,a,A,1,", "a,A,a,A,1,type1"],
            None,
            "must hold impostor scores, got nan for all 1",
        ),
        (["A a a1 0.9"], "A A a1 0.9", "the four-column text format"),
    ],
)
def test_each_broken_file_has_its_message(
    tmp_path: Path, rows: list[str], header: str | None, message: str
) -> None:
    path = write(tmp_path / "scores-dev.csv", rows, header or f"{COLUMNS},probe_attack_type")
    done = report(path, "-o", tmp_path / "r.html")
    assert done.exit_code == 2
    assert re.search(message, done.stderr.replace("\n", " ")), done.stderr
    assert not (tmp_path / "r.html").exists()


def test_missing_things_are_named(tmp_path: Path, run_folder: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "nothing.csv").write_text("")
    assert "got the empty file" in report(tmp_path / "nothing.csv").stderr
    assert "`scores` must be an existing file" in report(tmp_path / "no.csv").stderr
    assert "must be a folder with scores-dev.csv" in report(tmp_path / "empty").stderr
    write(tmp_path / "empty" / "scores-eval.csv", rows_of("E", 3))
    assert "eval sets no threshold" in report(tmp_path / "empty").stderr
    write(run_folder / "scores-eval.csv", rows_of("E", 3))
    assert "the eval scores alone" in report(run_folder / "scores-eval.csv").stderr
    (run_folder / "recon-run.json").write_text("{")
    assert "must be the record of the run" in report(run_folder).stderr
    assert report().exit_code == 2


def test_folds_come_from_the_pairs(tmp_path: Path) -> None:
    """Two folds of two pairs of each kind; the record names the LFW they are in."""
    pairs, rows = ["2\t2"], []
    for fold in "AB":
        for i in (0, 1):
            name = f"{fold}{i}"
            pairs.append(f"{name}\t1\t2")
            for kind, probe, score in (("", "2", 0.9), ("type1", "1", 0.8), ("type2", "2", 0.5)):
                key = f"{kind}/{name}/{name}_000{probe}".lstrip("/")
                rows.append(f"{key},{name},{name}/{name}_0001,{name},{score},{kind}")
        for i in (0, 1):
            name, other = f"{fold}{i}", f"{fold}{1 - i}"
            pairs.append(f"{name}\t1\t{other}\t3")
            score = {"A": 0.3, "B": 0.6}[fold] - i / 10
            rows.append(f"{other}/{other}_0003,{other},{name}/{name}_0001,{name},{score},")
    lfw = tmp_path / "lfw"
    (lfw / "view2").mkdir(parents=True)
    (lfw / "view2" / "pairs.txt").write_text("\n".join(pairs) + "\n")
    folder = a_run(tmp_path / "run")
    write(folder / "scores-dev.csv", rows)
    record = json.loads((folder / "recon-run.json").read_text())
    record["identity"]["database"] = {"class": "LFWDatabase", "original_directory": str(lfw)}
    (folder / "recon-run.json").write_text(json.dumps(record))
    page = page_of(folder, fmrs=(0.5,), replicates=0, quality=0, faces=False)
    # threshold 0.6 for fold A from B, 0.3 for fold B from A: Type-II 0.5 fails once
    assert page.values["folds"][1] == [0.5, 1.0, 1.0, 0.5]
    assert "0.4500 ± 0.1500" in page.tables["folds"][1][1]
    assert "50.00 ± 50.00 %" in page.tables["folds"][1][5]
    (lfw / "view2" / "pairs.txt").write_text("\n".join(["1\t1", pairs[1], pairs[3]]) + "\n")
    page = page_of(folder, fmrs=(0.5,), replicates=0, quality=0, faces=False)
    assert "No rates over folds: `pairs` must name every reference of the scores" in page.text


# -- in a browser ----------------------------------------------------------------

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), ""
)
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--hide-scrollbars", "--window-size=1100,1400"),
)


@pytest.mark.slow
@pytest.mark.skipif(not CHROMIUM, reason="needs Chromium or Chrome")
def test_numbers_are_read_back_from_a_browser(run_folder: Path, tmp_path: Path) -> None:
    (path, *_) = write_report([run_folder], tmp_path / "r.html", QUICK)
    browser = [CHROMIUM, *FLAGS, f"--user-data-dir={tmp_path / 'profile'}"]
    shown = tmp_path / "shot.png"
    subprocess.run(
        [*browser, f"--screenshot={shown}", path.as_uri()],
        check=True,
        timeout=300,
        capture_output=True,
    )
    with Image.open(shown) as picture:
        grey = np.asarray(picture.convert("L"))
    assert grey.shape == (1400, 1100)
    assert (grey > 250).mean() > 0.6  # generous white
    assert (grey < 60).mean() > 0.005  # and words on it
    dom = subprocess.run(
        [*browser, "--dump-dom", path.as_uri()], check=True, timeout=300, capture_output=True
    )
    page = Page(dom.stdout.decode())
    points = evaluate(load(run_folder / "scores-dev.csv"))
    assert page.values["rates"][1:] == [
        [p.threshold, p.fmr.value, p.tmr.value, p.sar["type1"].value, p.sar["type2"].value]
        for p in points
    ]


@pytest.mark.slow
def test_a_million_rows_are_reported_in_a_minute() -> None:
    """In a process of its own: memory is counted from its start."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.many_rows", "1000000"],
        check=True,
        capture_output=True,
        cwd=Path(__file__).parents[1],
    )
    took = json.loads(done.stdout.splitlines()[-1])
    assert took["processor_seconds"] < 60
    assert took["peak_gb"] < 2
