"""Folders as users have them: damaged files, photographs without a face, deeper folders, links."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import numpy as np
import pytest
from bob.bio.base.algorithm import Distance
from bob.bio.base.pipelines import BioAlgorithm, PipelineSimple, execute_pipeline_simple
from bob.bio.face.utils import embedding_transformer
from PIL import Image

from bob_recon_plugin._validation import InputError
from bob_recon_plugin.database import FolderDatabase
from bob_recon_plugin.pipeline import AttackPipeline
from bob_recon_plugin.reconstructor import FaceReconstructor
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
    pipeline = AttackPipeline(
        system(algorithm), FaceReconstructor(str(decoder)), part_size=5, **options
    )
    execute_pipeline_simple(
        pipeline=pipeline, database=database, output=str(output), dask_client=client,
        groups=["dev"], write_metadata_scores=True, checkpoint=True, dask_n_partitions=None,
        dask_partition_size=5 if client else None, dask_n_workers=None, force=force,
    )  # fmt: skip
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
            AttackPipeline(system(), FaceReconstructor(str(decoder)), max_failures=wrong)


def test_a_system_that_refuses_every_image_is_at_fault_itself(decoder, folder, tmp_path):
    broken = system()
    broken.transformer.steps[0][1].estimator.cropper = None
    pipeline = AttackPipeline(broken, FaceReconstructor(str(decoder)))
    pipeline.transformer.steps[0][1].estimator.color_channel = "infrared"
    with pytest.raises(ValueError, match="infrared"):
        execute_pipeline_simple(
            pipeline=pipeline, database=FolderDatabase(folder), output=str(tmp_path / "out"),
            dask_client=None, groups=["dev"], write_metadata_scores=True, checkpoint=False,
            dask_n_partitions=None, dask_partition_size=None, dask_n_workers=None,
        )  # fmt: skip


def test_no_eyes_at_all_is_told_before_any_work(decoder, folder, tmp_path):
    (folder / "annotations.csv").unlink()
    with pytest.raises(
        InputError, match=r"annotations\.csv with the columns path, reye_y, .*fixed"
    ):
        run(decoder, FolderDatabase(folder), tmp_path / "out")
    assert not (tmp_path / "out" / "checkpoints").exists()
