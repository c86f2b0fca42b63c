"""Bob's own commands with this package's resources, on real recognition model and demo faces."""

from __future__ import annotations

import csv
import json
import zipfile
from contextlib import suppress
from pathlib import Path

import click
import numpy as np
import pytest
from bob.bio.base.script import commands
from bob.bio.base.script.pipeline_simple import pipeline_simple
from bob.bio.base.script.vulnerability import vulnerability
from click.testing import CliRunner, Result
from distributed import default_client
from PIL import Image

from bob_recon_plugin.images import INSIGHTFACE_EYES, load_image
from bob_recon_plugin.inversion.adapter import AdapterCard, save
from tests import mobio_shaped, toy

DEMO = Path(__file__).parents[1] / "bob_recon_plugin" / "data" / "demo_faces.zip"


@pytest.fixture(autouse=True)
def _no_settings(tmp_path, monkeypatch):
    """Neither settings of this user nor files of this folder decide a test."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "xdg"))
    monkeypatch.chdir(tmp_path)
    yield
    with suppress(ValueError):  # there is no client to close after most tests
        client = default_client()
        client.cluster.close()
        client.close()


def simple(*arguments: object) -> Result:
    return CliRunner().invoke(pipeline_simple, [str(a) for a in arguments])


def completed(*arguments: object) -> str:
    result = simple(*arguments)
    assert result.exit_code == 0, f"{result.output}\n{result.exception!r}"
    return result.output


def rows(path: Path) -> list[dict[str, str]]:
    with open(path, newline="") as handle:
        return list(csv.DictReader(handle))


def config(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


@pytest.fixture(scope="module")
def people(tmp_path_factory) -> Path:
    """The first eight people of the demo as a folder, three pictures each, positions beside."""
    folder = tmp_path_factory.mktemp("people")
    with zipfile.ZipFile(DEMO) as archive:
        for name in archive.namelist()[:32]:
            if not name.endswith("3.webp"):
                archive.extract(name, folder)
    lines = ["path,reye_y,reye_x,leye_y,leye_x"]
    eyes = [*INSIGHTFACE_EYES["reye"], *INSIGHTFACE_EYES["leye"]]
    lines += [
        ",".join(map(str, [p.relative_to(folder), *eyes])) for p in sorted(folder.rglob("*.webp"))
    ]
    (folder / "annotations.csv").write_text("\n".join(lines) + "\n")
    return folder


@pytest.fixture
def eight(people, tmp_path) -> Path:
    return config(
        tmp_path / "eight.py",
        "from bob_recon_plugin.database import FolderDatabase\n"
        f"database = FolderDatabase({str(people)!r})\n",
    )


# -- what a user gets wrong ------------------------------------------------------


def test_recon_chained_first_or_alone():
    for chain in (["recon"], ["recon", "arcface-mbf"]):
        result = simple(*chain)
        assert result.exit_code == 2
        assert "`recon` must be chained last, behind the pipeline it attacks" in result.output


@pytest.mark.parametrize(
    "name", ["recon-lfw-view2", "recon-mobio-all", "recon-mobio-male", "recon-mobio-female"]
)
def test_a_database_without_its_folder_says_which_setting(name):
    result = simple(name, "arcface-mbf", "recon")
    assert result.exit_code == 2
    assert "bob config set bob." in result.output


def test_a_decoder_of_another_recognizer_is_refused(eight, tmp_path):
    other = toy.decoder(tmp_path / "toy.safetensors")
    chosen = config(tmp_path / "mine.py", f"decoder = {str(other)!r}\n")
    result = simple(eight, "arcface-mbf", chosen, "recon")
    assert result.exit_code == 2
    assert "for which the checkpoint was made, got arcface-mbf" in result.output


def test_a_file_that_is_no_decoder_is_refused(eight, tmp_path):
    (tmp_path / "weights.pth").write_bytes(b"PK\x03\x04 anything")
    chosen = config(tmp_path / "mine.py", f"decoder = {str(tmp_path / 'weights.pth')!r}\n")
    result = simple(eight, "arcface-mbf", chosen, "recon")
    assert result.exit_code == 2
    assert "safetensors" in result.output


def test_a_system_without_decoder_says_how_to_name_one(eight, tmp_path):
    system = config(
        tmp_path / "toy_system.py", "from tests.toy import system\npipeline = system()\n"
    )
    result = simple(eight, system, "recon")
    assert result.exit_code == 2
    for command in (
        "bob config set bob_recon_plugin.decoders.ToyRecognizer TRAINED/decoder.safetensors",
        "bob bio recon prepare FACES -r ToyRecognizer -o DATA",
        "bob bio recon train DATA -o TRAINED",
        "bob bio recon adapt DATA MBF -o A.safetensors",
    ):
        assert command in result.output


def test_settings_name_the_decoder(eight, tmp_path):
    system = config(
        tmp_path / "toy_system.py", "from tests.toy import system\npipeline = system()\n"
    )
    (tmp_path / "xdg").mkdir()
    missing = tmp_path / "gone.safetensors"
    text = f'[bob_recon_plugin.decoders]\nToyRecognizer = "{missing}"\n'
    (tmp_path / "xdg" / "bobrc.toml").write_text(text)
    result = simple(eight, system, "recon")
    assert result.exit_code == 2
    assert f"must be an existing file, got {missing}" in result.output


def test_arcface_without_its_weights_says_where_they_go(eight):
    for chain in ("recon-arcface", "recon-elasticface"):
        result = simple(eight, chain)
        assert result.exit_code == 2
        assert "iresnet100" in result.output


@pytest.fixture
def spoilt(people, tmp_path) -> Path:
    """Two people of three pictures each, of which one is truncated."""
    broken = tmp_path / "people"
    for path in sorted(people.rglob("*.webp"))[:6]:
        copy = broken / path.relative_to(people)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(path.read_bytes())
    copy.write_bytes(copy.read_bytes()[:900])
    return config(
        tmp_path / "broken.py",
        "from bob_recon_plugin.database import FolderDatabase\n"
        "from bob_recon_plugin.images import INSIGHTFACE_EYES\n"
        f"database = FolderDatabase({str(broken)!r}, fixed_positions=INSIGHTFACE_EYES)\n",
    )


def test_a_truncated_image_is_a_failure_to_acquire(spoilt, tmp_path):
    strict = config(tmp_path / "strict.py", "max_failures = 0\n")
    for mode in (["--no-dask", "-m"], ["-l", "threads"]):
        output = tmp_path / f"out{len(mode[-1])}"
        told = completed(spoilt, "arcface-mbf", "recon", "-o", output, *mode)
        assert "1 of 6 images were not acquired (their scores are NaN and count in no" in told
        [row] = rows(output / "failures.csv")
        assert "got the truncated or damaged image" in row["reason"]
        result = simple(spoilt, "arcface-mbf", strict, "recon", "-o", output, *mode)
        assert result.exit_code == 2
        assert "at most 0 of the 6 images may fail to be acquired, got 1" in result.output


def typed(monkeypatch, *arguments: object) -> Result:
    """Run as typed into a shell."""
    words = ["bob", "bio", "pipeline", "simple", *map(str, arguments)]
    monkeypatch.setattr("sys.argv", words)
    return simple(*arguments)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("model.onnx", "pipeline = bob_pipeline(from_onnx('model.onnx'))`"),
        ("decoder.safetensors", "`decoder = 'decoder.safetensors'`"),
        ("faces.zip", "name a resource, or a Python file that uses faces.zip"),
    ],
)
def test_a_binary_file_among_the_resources_is_told(tmp_path, monkeypatch, name, told):
    (tmp_path / name).write_bytes(b"\x08\x07\x00binary")
    result = typed(monkeypatch, "recon-demo", name, "recon", "-o", "out")
    assert result.exit_code == 2
    assert f"must be names or Python files, got the binary file {name}" in result.output
    assert told in result.output


def test_an_unknown_client_is_told(eight, monkeypatch):
    result = typed(monkeypatch, eight, "arcface-mbf", "recon", "-l", "recon-lokal")
    assert result.exit_code == 2
    assert "(-l) must name a client, got 'recon-lokal'; the clients are " in result.output
    assert "recon-local" in result.output


def test_a_command_of_options_alone_is_checked_too(tmp_path, monkeypatch):
    options = ["-d", "recon-demo", "-p", "sface", "-o", "out"]
    result = typed(monkeypatch, *options, "-l", "recon-lokal")
    assert "(-l) must name a client, got 'recon-lokal'" in result.output


def test_an_output_that_is_a_file_is_told(eight, tmp_path):
    (tmp_path / "out").write_text("")
    result = simple(eight, "arcface-mbf", "recon", "-o", "out", "-m")
    assert result.exit_code == 2
    assert "`--output` must be a folder, got the file" in result.output


@pytest.mark.parametrize("system", ["arcface-mbf", "own"])
def test_a_path_for_a_database_or_a_name_for_a_pipeline_is_told(eight, tmp_path, system):
    own = config(tmp_path / "own.py", "from tests.toy import system\npipeline = system()\n")
    wrong = config(tmp_path / "wrong.py", "database = 'people'\n")
    result = simple(wrong, own if system == "own" else system, "recon")
    assert result.exit_code == 2
    assert "`database` must be a Bob database, got str; for a folder write" in result.output
    named = config(tmp_path / "named.py", "pipeline = 'arcface-mbf'\n")
    for resource in ("recon", "recon-leaked", "recon-biohashing"):
        result = simple(eight, named, resource, "recon")
        assert result.exit_code == 2
        assert "`pipeline` must be a Bob PipelineSimple, got str" in result.output


def test_no_eyes_and_no_annotator_are_told(people, tmp_path):
    copy = tmp_path / "bare"
    for path in sorted(people.rglob("*.webp"))[:6]:
        (copy / path.parent.name).mkdir(parents=True, exist_ok=True)
        (copy / path.parent.name / path.name).write_bytes(path.read_bytes())
    bare = config(
        tmp_path / "bare.py",
        "from bob_recon_plugin.database import FolderDatabase\n"
        f"database = FolderDatabase({str(copy)!r})\n",
    )
    result = simple(bare, "arcface-mbf", "recon")
    assert result.exit_code == 2
    assert "put annotations.csv with the columns path, reye_y" in result.output


# -- what a user gets right ------------------------------------------------------


@pytest.mark.slow
def test_demo_from_one_command_to_scores_and_pictures(tmp_path):
    output = completed("recon-demo")
    results = tmp_path / "results"
    kinds = [row["probe_attack_type"] for row in rows(results / "scores-dev.csv")]
    assert [kinds.count(kind) for kind in ("", "type1", "type2")] == [40 * 120, 40, 120]
    assert "SAR Type-I" in output
    points = json.loads((results / "summary-dev.json").read_text())["operating_points"]
    for point in points:
        assert point["tmr"]["k"] == 120
        assert point["sar"]["type1"]["k"] == 40
        assert point["sar"]["type2"]["k"] >= 108
    sheet = Image.open(results / "contact-sheet-dev.png")
    assert len(np.unique(np.asarray(sheet.convert("L")))) > 100
    assert len(list(results.rglob("faces/type*/**/*.png"))) == 160
    _every_command_of_bob_reads_them(results)


def _every_command_of_bob_reads_them(results: Path) -> None:
    """Bob's plots from the licit file, its vulnerability metrics from the full one."""
    licit, full = results / "scores-dev-licit.csv", results / "scores-dev.csv"
    _plots(commands.roc, licit)
    _plots(commands.hist, licit)
    done = CliRunner().invoke(vulnerability.commands["metrics"], [str(full)])
    assert done.exit_code == 0, done.output
    assert "(160/160)" in done.output  # at the EER threshold every attack passes


def _plots(command: click.Command, *scores: Path) -> None:
    picture = scores[0].with_name(f"{command.name}.pdf")
    done = CliRunner().invoke(command, [*map(str, scores), "-o", str(picture)])
    assert done.exit_code == 0, done.output
    assert picture.read_bytes().startswith(b"%PDF")


@pytest.mark.slow
def test_bona_fide_rows_do_not_change_in_any_mode(eight, tmp_path):
    full = []
    for name, options in {
        "default": [],
        "no-dask": ["--no-dask"],
        "memory": ["-m"],
        "local": ["-l", "local-parallel", "-n", "2"],
    }.items():
        output = tmp_path / name
        completed(eight, "arcface-mbf", "-o", tmp_path / "plain" / name, *options)
        completed(eight, "arcface-mbf", "recon", "-o", output, *options)
        stock = (tmp_path / "plain" / name / "scores-dev.csv").read_text().splitlines()
        # stock Bob embeds one image at a time: other kernels, other rounding
        toy.same_rows((output / "scores-dev-licit.csv").read_text().splitlines(), stock, 1e-5)
        full.append(rows(output / "scores-dev.csv"))
    # batches of other sizes round differently in the last digits
    for other in full[1:]:
        assert [r["probe_template_id"] for r in other] == [r["probe_template_id"] for r in full[0]]
        gaps = [abs(float(a["score"]) - float(b["score"])) for a, b in zip(full[0], other)]  # noqa: B905
        assert max(gaps) < 1e-2


@pytest.mark.slow
def test_mobio_from_dev_and_eval_to_thresholds_of_dev(tmp_path):
    with zipfile.ZipFile(DEMO) as archive:
        archive.extractall(tmp_path / "demo")
    faces = (load_image(str(p)) for p in sorted((tmp_path / "demo").rglob("*.webp")))
    images, protocols = mobio_shaped.make(
        tmp_path / "mobio", n_subjects=8, images=faces, enrolled=2, probes=2
    )
    (tmp_path / "xdg").mkdir()
    text = (
        f'[bob.db.mobio]\ndirectory = "{images}"\n'
        f'[bob_recon_plugin.mobio]\nprotocols = "{protocols}"\n'
    )
    (tmp_path / "xdg" / "bobrc.toml").write_text(text)
    arguments = ["recon-mobio-all", "arcface-mbf", "recon", "-g", "dev", "-g", "eval", "-o", "out"]
    completed(*arguments)
    for group in ("dev", "eval"):
        kinds = [r["probe_attack_type"] for r in rows(tmp_path / f"out/scores-{group}.csv")]
        probes = kinds.count("") // 8
        assert [kinds.count("type1"), kinds.count("type2")] == [8, probes]
    dev, ours = (
        json.loads((tmp_path / f"out/summary-{group}.json").read_text())["operating_points"]
        for group in ("dev", "eval")
    )
    assert [p["threshold"] for p in dev] == [p["threshold"] for p in ours]
    assert {p["threshold_group"] for p in ours} == {"dev"}
    assert {p["group"] for p in ours} == {"eval"}
    _plots(
        vulnerability.commands["fmr-iapmr"],
        tmp_path / "out/scores-dev.csv",
        tmp_path / "out/scores-eval.csv",
    )


@pytest.mark.slow
def test_stale_output_of_another_decoder_is_told_without_traceback(eight, tmp_path):
    completed(eight, "arcface-mbf", "recon", "--no-dask")
    direct = config(tmp_path / "direct.py", 'reentry = "recognizer"\n')
    result = simple(eight, "arcface-mbf", direct, "recon", "--no-dask")
    assert result.exit_code == 2
    assert "reentry was 'camera', now 'recognizer'" in result.output
    completed(eight, "arcface-mbf", direct, "recon", "--no-dask", "--force")
    camera = simple(eight, "arcface-mbf", "recon", "--no-dask")
    assert isinstance(camera.exception, (SystemExit, click.ClickException))


@pytest.mark.slow
def test_both_reentries_agree_where_the_crop_is_the_decoders(eight, tmp_path):
    direct = config(tmp_path / "direct.py", 'reentry = "recognizer"\n')
    completed(eight, "arcface-mbf", "recon", "-o", "camera")
    completed(eight, "arcface-mbf", direct, "recon", "-o", "direct")
    camera, straight = (rows(tmp_path / name / "scores-dev.csv") for name in ("camera", "direct"))
    np.testing.assert_allclose(
        [float(r["score"]) for r in camera], [float(r["score"]) for r in straight], atol=1e-4
    )


# -- what stands between the template and the decoder ----------------------------


@pytest.mark.slow
def test_protected_templates_with_a_stolen_key(eight, tmp_path):
    stolen = config(tmp_path / "stolen.py", 'scenario = "stolen"\n')
    out = tmp_path / "out"
    completed(eight, "arcface-mbf", stolen, "recon-biohashing", "recon", "-o", out, "--no-dask")
    found = rows(out / "scores-dev.csv")
    attacks = [float(row["score"]) for row in found if row["probe_attack_type"] == "type1"]
    licit = [row for row in found if not row["probe_attack_type"]]
    impostors = [
        float(row["score"]) for row in licit if row["probe_subject_id"] != row["bio_ref_subject_id"]
    ]
    assert len(attacks) == 8
    assert np.median(attacks) > max(impostors)
    record = json.loads((out / "recon-run.json").read_text())
    assert record["identity"]["leak"][0]["class"].endswith(".InvertProtection")
    assert record["identity"]["algorithm"]["parameters"]["scenario"] == "stolen"


def test_an_unknown_scenario_is_told(eight, tmp_path):
    wrong = config(tmp_path / "wrong.py", 'scenario = "lost"\n')
    result = simple(eight, "arcface-mbf", wrong, "recon-biohashing", "recon")
    assert result.exit_code == 2
    assert "`scenario` must be one of 'normal', 'stolen', got 'lost'" in result.output


def test_protection_without_a_system_to_protect(eight):
    result = simple(eight, "recon-biohashing", "recon")
    assert result.exit_code == 2
    assert "must be chained behind the pipeline that it protects" in result.output


def test_an_adapter_for_another_system_is_refused(eight, tmp_path):
    card = AdapterCard("sface", "toy", "0" * 64, None, 128, toy.SIZE, 10, 0.1, 0.5)
    save(tmp_path / "a.safetensors", np.zeros((128, toy.SIZE)), np.zeros(toy.SIZE), card)
    chosen = config(
        tmp_path / "adapted.py",
        "from bob_recon_plugin.inversion.adapter import Adapter\n"
        f"leak = [Adapter({str(tmp_path / 'a.safetensors')!r})]\n",
    )
    result = simple(eight, "arcface-mbf", chosen, "recon")
    assert result.exit_code == 2
    assert "`adapter` must be made for arcface-mbf" in result.output
