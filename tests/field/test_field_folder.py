"""Folders as users have them: damaged files, photographs without a face, deeper folders, links."""

from __future__ import annotations

import csv
import io
import math
import os
import tarfile
import urllib.error
import zipfile
from pathlib import Path

import numpy as np
import pytest
from bob.bio.base.algorithm import Distance
from bob.bio.base.pipelines import BioAlgorithm, PipelineSimple
from bob.bio.face.utils import embedding_transformer
from PIL import Image

from bob_recon_plugin.common.validation import InputError
from bob_recon_plugin.database import DemoDatabase, FolderDatabase
from bob_recon_plugin.faces.sources import open_source
from bob_recon_plugin.training.leaked_templates import read_leak
from bob_recon_plugin.training.losses import Perceptual
from tests import toy

PEOPLE, SHOTS = 8, 3
HEADER = "path,reye_y,reye_x,leye_y,leye_x"
EYES = "5,5,5,10"


@pytest.fixture(scope="module")
def decoder(tmp_path_factory) -> Path:
    return toy.decoder(tmp_path_factory.mktemp("decoder") / "toy.safetensors")


def picture(path: Path, person: int, shot: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(toy.image(100 * person + shot).transpose(1, 2, 0)).save(path)


@pytest.fixture
def folder(tmp_path) -> Path:
    """Eight people with three photographs each, and their eyes beside."""
    root = tmp_path / "people"
    rows = [HEADER]
    for person in range(PEOPLE):
        for shot in range(SHOTS):
            picture(root / f"p{person}/{shot}.png", person, shot)
            rows.append(f"p{person}/{shot}.png,{EYES}")
    (root / "annotations.csv").write_text("\n".join(rows) + "\n")
    return root


def spoil(root: Path) -> None:
    """Cut a probe's file, and list a probe and an enrolled photograph without a face."""
    cut = root / "p1/2.png"
    cut.write_bytes(cut.read_bytes()[:200])
    table = root / "annotations.csv"
    text = table.read_text()
    for name in ("p0/0.png", "p3/1.png"):
        text = text.replace(f"{name},{EYES}", f"{name},,,,")
    table.write_text(text)


SPOILT = [("probes", "p1/2.png"), ("probes", "p3/1.png"), ("references", "p0/0.png")]


class OwnCosine(BioAlgorithm):
    """The cosine, in a class that the package does not know."""

    def create_templates(self, list_of_feature_sets, enroll):
        return [np.mean(rows, axis=0) if len(rows) else [] for rows in list_of_feature_sets]

    def compare(self, enroll_templates, probe_templates):
        unit = [
            np.stack([np.asarray(x) / np.linalg.norm(x) for x in some])
            for some in (enroll_templates, probe_templates)
        ]
        return unit[0] @ unit[1].T - 1


def system(algorithm=None) -> PipelineSimple:
    """Bob's cropper, then the toy recogniser."""
    steps = embedding_transformer((16, 16), toy.ToyRecognizer(), toy.POSITIONS)
    return PipelineSimple(steps, algorithm or Distance())


def run(decoder, database, output: Path, client=None, algorithm=None, force=False, **options):
    """Attack as Bob's command does; return the rows of the score file."""
    pipeline = toy.attack(decoder, pipeline=system(algorithm), part_size=5, **options)
    parts = {"dask_n_partitions": None, "dask_partition_size": 5 if client else None}
    toy.execute(pipeline, output, database, client, force=force, **parts)
    return read(output / "scores-dev.csv")


def read(path: Path) -> list[dict[str, str]]:
    with open(path, newline="") as stream:
        return list(csv.DictReader(stream))


def listed(output: Path) -> list[tuple[str, str]]:
    return [(row["kind"], row["key"]) for row in read(output / "failures.csv")]


# -- failures to acquire -------------------------------------------------------------


@pytest.mark.parametrize("client", [None, "threads"])
@pytest.mark.parametrize("algorithm", [None, OwnCosine()], ids=["Distance", "own"])
def test_images_that_fail_are_nan_listed_and_counted(
    decoder, folder, tmp_path, capsys, client, algorithm
):
    whole = run(decoder, FolderDatabase(folder), tmp_path / "whole", client, algorithm)
    assert not (tmp_path / "whole" / "failures.csv").exists()
    spoil(folder)
    capsys.readouterr()
    found = run(decoder, FolderDatabase(folder), tmp_path / "out", client, algorithm)
    told = "3 of 24 images were not acquired (their scores are NaN and count in no rate): see "
    assert told + str(tmp_path / "out" / "failures.csv") in capsys.readouterr().out
    kinds = [row["probe_attack_type"] for row in found]
    # the failed reference leaked nothing, nor did the two failed probes
    assert [kinds.count(kind) for kind in ("", "type1", "type2")] == [8 * 16, 7, 14]
    failed = {"p1/2.png", "p3/1.png"}
    scores = {}
    for row in found:
        pair = (row["probe_template_id"], row["bio_ref_template_id"])
        scores[pair] = float(row["score"])
        of_a_failure = pair[0] in failed or pair[1] == "p0/0.png"
        assert math.isnan(scores[pair]) == of_a_failure, pair
    for row in whole:  # all other scores are what they were
        pair = (row["probe_template_id"], row["bio_ref_template_id"])
        if not math.isnan(scores.get(pair, math.nan)):
            assert scores[pair] == pytest.approx(float(row["score"]), abs=1e-6)
    assert listed(tmp_path / "out") == SPOILT
    reasons = {row["key"]: row["reason"] for row in read(tmp_path / "out" / "failures.csv")}
    assert "truncated or damaged image" in reasons["p1/2.png"]
    assert reasons["p0/0.png"] == "there are no eye positions, and FaceCrop found no face"
    assert {row["group"] for row in read(tmp_path / "out" / "failures.csv")} == {"dev"}


def test_the_same_command_again_lists_the_same_and_tries_mended_images(decoder, folder, tmp_path):
    spoil(folder)
    first = run(decoder, FolderDatabase(folder), tmp_path / "out")
    text = (tmp_path / "out" / "failures.csv").read_text()
    again = run(decoder, FolderDatabase(folder), tmp_path / "out")
    assert again == first
    assert (tmp_path / "out" / "failures.csv").read_text() == text
    picture(folder / "p1/2.png", 1, 2)
    mended = run(decoder, FolderDatabase(folder), tmp_path / "out")
    assert listed(tmp_path / "out") == SPOILT[1:]
    nan = [math.isnan(float(r["score"])) for r in mended if r["probe_template_id"] == "p1/2.png"]
    assert nan == [True] + [False] * 7  # p0 is not enrolled


def test_templates_of_another_system_leak_only_where_it_acquired_the_image(
    decoder, folder, tmp_path
):
    spoil(folder)
    found = run(decoder, FolderDatabase(folder), tmp_path / "out", inverted=system())
    kinds = [row["probe_attack_type"] for row in found]
    assert [kinds.count(kind) for kind in ("", "type1", "type2")] == [8 * 16, 7, 14]
    assert listed(tmp_path / "out") == SPOILT


def test_files_that_go_or_are_no_images_and_crops_that_fail(decoder, folder, tmp_path):
    table = folder / "annotations.csv"
    # the eyes of another photograph, upside down: Bob's cropper refuses them
    swapped = table.read_text().replace(f"p2/1.png,{EYES}", "p2/1.png,5,10,5,5")
    table.write_text(swapped)
    database = FolderDatabase(folder)
    (folder / "p4/0.png").unlink()
    (folder / "p5/1.png").write_bytes(b"")
    (folder / "p6/1.png").write_text("no image")
    run(decoder, database, tmp_path / "out", max_failures=0.2)
    reasons = {row["key"]: row["reason"] for row in read(tmp_path / "out" / "failures.csv")}
    assert sorted(reasons) == ["p2/1.png", "p4/0.png", "p5/1.png", "p6/1.png"]
    assert reasons["p2/1.png"].startswith("FaceCrop: ")
    assert "must be an existing file" in reasons["p4/0.png"]


@pytest.mark.parametrize("client", [None, "threads"])
def test_too_many_failures_end_the_run_with_the_first_reasons(decoder, folder, tmp_path, client):
    for path in sorted(folder.glob("p*/1.png"))[:4]:
        path.write_bytes(b"")
    database = FolderDatabase(folder)
    told = (
        r"at most 3 of the 24 images may fail to be acquired, got 4 \(first: p0/1\.png: `image` "
        r".*; p1/1\.png: .*\); see .*failures\.csv, mend the images, or allow a larger share than "
        r"0\.05 with `max_failures`"
    )
    with pytest.raises(InputError, match=told):
        run(decoder, database, tmp_path / "out", client)
    assert len(listed(tmp_path / "out")) == 4
    assert not (tmp_path / "out" / "scores-dev.csv").exists()
    run(decoder, database, tmp_path / "out", client, max_failures=0.17)  # four of 24
    with pytest.raises(InputError, match=r"at most 0 of the 24 images may fail"):
        run(decoder, database, tmp_path / "strict", client, max_failures=0)


def test_the_limit_is_a_share(decoder):
    for wrong in (-0.1, 5, "few", True, math.nan):
        with pytest.raises(InputError, match=r"`max_failures` must be a share .* from 0 to 1, got"):
            toy.attack(decoder, pipeline=system(), max_failures=wrong)


def test_a_system_that_refuses_every_image_is_at_fault_itself(decoder, folder, tmp_path):
    broken = system()
    broken.transformer.steps[0][1].estimator.cropper = None
    pipeline = toy.attack(decoder, pipeline=broken)
    pipeline.transformer.steps[0][1].estimator.color_channel = "infrared"
    with pytest.raises(ValueError, match="infrared"):
        toy.execute(pipeline, tmp_path / "out", FolderDatabase(folder), checkpoint=False)


def test_no_eyes_at_all_is_told_before_any_work(decoder, folder, tmp_path):
    (folder / "annotations.csv").unlink()
    with pytest.raises(InputError, match=r"annotations\.csv with the columns .*fixed_positions"):
        run(decoder, FolderDatabase(folder), tmp_path / "out")
    assert not (tmp_path / "out" / "checkpoints").exists()


# -- what is left out ------------------------------------------------------------------


def test_files_that_a_folder_database_leaves_out_are_counted(folder, capsys):
    for name in ("p0/more/7.png", "p0/more/deep/8.png", "loose.png", "p1/.9.png"):
        picture(folder / name, 0, 0)
    for name in ("p1/a.heic", "p1/b.heic", "p2/notes.txt", ".DS_Store", "p2/README"):
        (folder / name).write_text("no image")
    (folder / "p9").symlink_to(folder / "p0")
    database = FolderDatabase(folder)
    assert len(database.references()) + len(database.probes()) == 24
    told = capsys.readouterr()
    assert told.out == ""
    start = f"Note: left out of {folder}: "
    assert told.err.startswith(start)
    assert sorted(told.err.removeprefix(start).split("; ")) == [
        "files of other extensions: 4 (.heic, .txt, no extension).\n",
        "hidden images: 1 (first: p1/.9.png)",
        "images in deeper folders than <subject>/<image>: 2 (first: p0/more/7.png)",
        "images outside of subjects' folders: 1 (first: loose.png)",
        "links to folders that are read already: 1 (first: p9)",
    ]


def test_nothing_is_said_where_nothing_is_left_out(folder, capsys):
    (folder / "p0/.DS_Store").write_text("no image")
    FolderDatabase(folder)
    DemoDatabase()
    open_source(folder)
    assert capsys.readouterr() == ("", "")


def test_a_folder_without_usable_images_tells_what_is_there(tmp_path):
    for shot in range(3):
        picture(tmp_path / f"site/ada/{shot}.png", 0, shot)
    (tmp_path / "site/index.html").write_text("")
    picture(tmp_path / "0.png", 0, 0)
    with pytest.raises(
        InputError, match=r"as <subject>/<image>, got none in .* .left out: "
    ) as error:
        FolderDatabase(tmp_path)
    for count in (
        "images outside of subjects' folders: 1 (first: 0.png)",
        "images in deeper folders than <subject>/<image>: 3 (first: site/ada/0.png)",
        "files of other extensions: 1 (.html)); put the images of each person into one folder",
    ):
        assert count in str(error.value)
    (tmp_path / "nowhere").mkdir()
    (tmp_path / "nowhere/a.gif").write_text("")
    with pytest.raises(
        InputError, match=r"got none in .*nowhere .left out: files of other ext.*\.gif"
    ):
        open_source(tmp_path / "nowhere")


def test_files_that_sources_leave_out_are_counted(folder, tmp_path, capsys):
    (folder / "p1/a.heic").write_text("")
    (folder / "again").symlink_to(folder / "p1")
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as packed:
        packed.write(folder / "p0/0.png", "0.png")
        packed.write(folder / "p0/0.png", "__MACOSX/._0.png")
    with tarfile.open(tmp_path / "a.tar", "w") as packed:
        packed.add(folder / "p0/0.png", "0.png")
        link = tarfile.TarInfo("1.png")
        link.type, link.linkname = tarfile.SYMTYPE, "0.png"
        packed.addfile(link)
        packed.addfile(tarfile.TarInfo("b.GIF"), io.BytesIO())
    told = {
        folder: "links to folders that are read already: 1 (first: again); "
        "files of other extensions: 1 (.heic)",
        tmp_path / "a.zip": "hidden images: 1 (first: __MACOSX/._0.png)",
        tmp_path / "a.tar": "links to images: 1 (first: 1.png); "
        "files of other extensions: 1 (.gif)",
    }
    for place, counts in told.items():
        open_source(place)
        assert capsys.readouterr().err == f"Note: left out of {place}: {counts}.\n"


def test_members_that_an_archive_of_faces_leaves_out_are_counted(folder, tmp_path, capsys):
    def pack(name: str, prefix: str) -> Path:
        with zipfile.ZipFile(tmp_path / name, "w") as packed:
            for path in sorted(folder.glob("p*/*.png")):
                member = f"{prefix}{path.parent.name}/{path.stem}.webp"
                with Image.open(path) as image, packed.open(member, "w") as stream:
                    image.save(stream, "webp")
            packed.write(folder / "p0/0.png", "p0/0.png")
        return tmp_path / name

    DemoDatabase(pack("flat.zip", ""))
    assert "files of other extensions: 1 (.png)" in capsys.readouterr().err
    with pytest.raises(InputError, match=r"got none in .*deep\.zip .* .left out: images in deeper"):
        DemoDatabase(pack("deep.zip", "people/"))


def test_a_folder_that_may_not_be_read_is_told(folder, monkeypatch):
    scandir = os.scandir

    def refused(path):
        if str(path).endswith("p3"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refused)
    with pytest.raises(InputError, match=r"must be readable, got 'Permission denied' for .*/p3;"):
        FolderDatabase(folder)


def test_a_link_that_leads_nowhere_is_an_image_that_fails(decoder, folder, tmp_path):
    (folder / "p1/2.png").unlink()
    (folder / "p1/2.png").symlink_to(tmp_path / "gone.png")
    run(decoder, FolderDatabase(folder), tmp_path / "out")
    assert listed(tmp_path / "out") == [("probes", "p1/2.png")]


# -- the table of eyes -------------------------------------------------------------------


def test_an_image_without_a_face_has_empty_cells_and_no_image_is_forgotten(folder):
    table = folder / "annotations.csv"
    text = table.read_text()
    table.write_text(text.replace(f"p1/1.png,{EYES}", "p1/1.png, ,,,"))
    probes = {probe.key: probe.samples[0] for probe in FolderDatabase(folder).probes()}
    assert probes["p1/1.png"].annotations is None
    assert probes["p1/2.png"].annotations == toy.POSITIONS
    table.write_text(text.replace(f"p1/1.png,{EYES}", "p1/1.png,5,,5,10"))
    with pytest.raises(InputError, match=r"line 6 of .*annotations\.csv` must be"):
        FolderDatabase(folder)
    table.write_text(text.replace(f"p1/1.png,{EYES}\n", ""))
    with pytest.raises(InputError, match=r"without 1 of 24 .*; add them, with empty cells for an"):
        FolderDatabase(folder)


@pytest.mark.parametrize("content", ["é".encode("latin-1"), "path".encode("utf-16"), b"a\x00b"])
def test_a_table_that_is_no_text_is_told(folder, content):
    (folder / "annotations.csv").write_bytes(content)
    with pytest.raises(InputError, match=r"`annotations` must .*annotations\.csv"):
        FolderDatabase(folder)


# -- Python files and downloads ------------------------------------------------------------


@pytest.mark.parametrize("content", [b"database = (\n", b"x = 1\x00", "# é".encode("latin-1")])
def test_a_file_that_is_no_python_is_told(tmp_path, content):
    path = tmp_path / "own.py"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"`source` must define `database`, got .*own\.py"):
        open_source(path)
    with pytest.raises(InputError, match=r"`leak` must be defined in .*own\.py"):
        read_leak(path)


def test_weights_that_cannot_be_downloaded_say_how_to_bring_them(monkeypatch):
    def offline(*_arguments, **_more):
        raise urllib.error.URLError("Name or service not known")

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", offline)
    with pytest.raises(InputError, match=r"VGG-16, got none from https.*; .* `--vgg16 FILE`"):
        Perceptual()
