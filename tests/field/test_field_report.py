"""What a report and a contact sheet claim is what the run was."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bob_recon_plugin.report.contact_sheet import ContactSheet
from tests import toy
from tests.test_pipeline import attacked, run


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return toy.decoder(tmp_path_factory.mktemp("decoder") / "toy.safetensors")


def faces(folder: Path) -> dict[str, np.ndarray]:
    """Every kept face of a run, by its name."""
    below = folder / "faces"
    return {str(p.relative_to(below)): np.asarray(Image.open(p)) for p in below.rglob("*.png")}


# -- pictures of a run that is run again ------------------------------------------


@pytest.mark.parametrize("client", [None, "single-threaded"])
def test_faces_wanted_later_are_drawn_from_the_checkpoints(
    checkpoint: Path, tmp_path: Path, client: str | None
) -> None:
    run(attacked(checkpoint), tmp_path / "kept")
    run(attacked(checkpoint, keep_faces=False), tmp_path / "later")
    scores = (tmp_path / "later/scores-dev.csv").read_bytes()
    run(attacked(checkpoint), tmp_path / "later", client=client)
    assert (tmp_path / "later/scores-dev.csv").read_bytes() == scores
    first, later = faces(tmp_path / "kept"), faces(tmp_path / "later")
    assert len(first) == 24
    assert first.keys() == later.keys()
    for name, face in first.items():
        np.testing.assert_array_equal(later[name], face)
    sheets = [(tmp_path / x / "contact-sheet-dev.png").read_bytes() for x in ("kept", "later")]
    assert sheets[0] == sheets[1]


def test_faces_that_were_deleted_are_drawn_again(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(attacked(checkpoint), tmp_path)
    first = faces(tmp_path)
    (tmp_path / "faces/type2/p3/2.png").unlink()
    shutil.rmtree(tmp_path / "faces/type1")
    capsys.readouterr()
    run(attacked(checkpoint), tmp_path)
    again = faces(tmp_path)
    assert first.keys() == again.keys()
    np.testing.assert_array_equal(again["type2/p3/2.png"], first["type2/p3/2.png"])
    assert "0 templates inverted and presented" in capsys.readouterr().out


@pytest.mark.parametrize("broken", ["a face", "the sheet"])
def test_no_picture_ends_a_run_whose_scores_are_written(
    checkpoint: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    broken: str,
) -> None:
    run(attacked(checkpoint), tmp_path)
    sheet = tmp_path / "contact-sheet-dev.png"
    sheet.unlink()
    if broken == "a face":
        (tmp_path / "faces/type1/p0/0.png").write_bytes(b"no picture")
    else:
        sheet.mkdir()  # nothing can be written there
    capsys.readouterr()
    run(attacked(checkpoint), tmp_path)
    assert (tmp_path / "summary-dev.json").is_file()
    told = [r.getMessage() for r in caplog.records if "contact sheet" in r.getMessage()]
    assert len(told) == 1
    assert "scores are complete" in told[0]
    assert "Faces:" not in capsys.readouterr().out


def test_a_face_that_is_gone_is_told_on_the_sheet(tmp_path: Path) -> None:
    sheet = ContactSheet.choose(toy.ToyDatabase(2).references(), [], toy.POSITIONS)
    scores = tmp_path / "scores-dev.csv"
    scores.write_text(
        "probe_template_id,bio_ref_template_id,score,probe_attack_type\n"
        "type1/p0/0,p0/0,0.5,type1\ntype1/p1/0,p1/0,0.5,type1\n"
    )
    face = tmp_path / "faces/type1/p0/0.png"
    face.parent.mkdir(parents=True)
    Image.new("RGB", (16, 16), "green").save(face)
    assert sheet.write(scores, 0.0, "", tmp_path / "sheet.png")
    with Image.open(tmp_path / "sheet.png") as drawn:
        row = np.asarray(drawn.convert("RGB"))[146:258]
    assert (row[:, 96:208] == (0, 128, 0)).all()  # kept
    gone = row[:, 216:328]
    assert (gone == 255).mean() > 0.8  # paper, and words on it
    assert (gone < 200).any()
