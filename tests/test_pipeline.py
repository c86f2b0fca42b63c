"""AttackPipeline on a toy system: counts by hand, one result in every mode of running."""

from __future__ import annotations

import json
from pathlib import Path

import cloudpickle
import dask
import numpy as np
import pytest
import torch
from bob.bio.base.algorithm import Distance
from bob.bio.base.pipelines import (
    CSVScoreWriter,
    checkpoint_pipeline_simple,
    dask_bio_pipeline,
)
from bob.bio.face.embeddings.pytorch import PyTorchModel
from bob.pipelines import Sample, SampleSet
from PIL import Image

from bob_recon_plugin.attack.checkpoints import Checkpoints
from bob_recon_plugin.attack.contact_sheet import ContactSheet
from bob_recon_plugin.attack.gallery import Gallery, as_vectors
from bob_recon_plugin.attack.pipeline import AttackPipeline
from bob_recon_plugin.attack.presenting import Presenter
from bob_recon_plugin.attack.system import System
from bob_recon_plugin.attack.tasks import Packed
from bob_recon_plugin.common.record import StaleOutputError
from bob_recon_plugin.inversion.reconstructor import FaceReconstructor
from tests import toy


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    return toy.decoder(tmp_path_factory.mktemp("decoder") / "toy.safetensors")


def test_counts_and_targets(checkpoint, tmp_path):
    rows = toy.run(toy.attack(checkpoint), tmp_path / "out")
    assert len(toy.of(rows, "")) == 6 * 3 * 6
    type1, type2 = toy.of(rows, "type1"), toy.of(rows, "type2")
    assert len(type1) == 6
    assert len(type2) == 6 * 3
    assert {r["probe_template_id"] for r in type1} == {f"type1/p{p}/0" for p in range(6)}
    for row in type1 + type2:
        assert row["probe_subject_id"] == row["bio_ref_subject_id"]
        assert row["probe_gender"] == row["bio_ref_gender"]
    for row in type2:
        assert row["probe_template_id"].startswith(f"type2/{row['bio_ref_subject_id']}/")


def test_an_exact_inverse_scores_as_the_original_does(checkpoint, tmp_path):
    rows = toy.run(toy.attack(checkpoint), tmp_path / "out")
    # cosine distance of a template to its own inversion: only the rounding to 8 bits is left
    assert min(float(r["score"]) for r in toy.of(rows, "type1")) > -0.01
    genuine = {
        (r["probe_template_id"], r["bio_ref_template_id"]): float(r["score"])
        for r in toy.of(rows, "")
    }
    for row in toy.of(rows, "type2"):
        pair = (row["probe_template_id"].removeprefix("type2/"), row["bio_ref_template_id"])
        assert float(row["score"]) == pytest.approx(genuine[pair], abs=0.02)


def test_sparse_protocol_attacks_only_the_references_it_compares(checkpoint, tmp_path):
    database = toy.ToyDatabase(score_all_vs_all=False)
    rows = toy.run(toy.attack(checkpoint), tmp_path / "out", database)
    assert [len(toy.of(rows, kind)) for kind in ("", "type1", "type2")] == [36, 6, 18]


@pytest.mark.parametrize("all_vs_all", [True, False])
@pytest.mark.parametrize(
    "mode",
    [
        {},
        {"checkpoint": False},
        {"client": "single-threaded"},
        {"client": "single-threaded", "checkpoint": False},
        {"client": "threads"},
    ],
    ids=lambda mode: " ".join(f"{k}={v}" for k, v in mode.items()) or "no dask",
)
def test_every_mode_gives_the_same_files(checkpoint, tmp_path, mode, all_vs_all):
    database = toy.ToyDatabase(score_all_vs_all=all_vs_all)
    toy.run(toy.attack(checkpoint), tmp_path / "a", database, checkpoint=False)
    toy.run(toy.attack(checkpoint), tmp_path / "b", database, **mode)
    for name in ("scores-dev.csv", "scores-dev-licit.csv"):
        a, b = ((tmp_path / x / name).read_text().splitlines() for x in "ab")
        assert a == b
    faces = [sorted(p.relative_to(d) for p in (d / "faces").rglob("*.png"))
             for d in (tmp_path / "a", tmp_path / "b")]  # fmt: skip
    assert faces[0] == faces[1]
    assert len(faces[0]) == 6 + 18


@pytest.mark.slow
def test_processes_give_the_same_scores(checkpoint, tmp_path):
    toy.run(toy.attack(checkpoint), tmp_path / "a")
    toy.run(toy.attack(checkpoint), tmp_path / "b", client="processes")
    assert (tmp_path / "a/scores-dev.csv").read_text() == (
        tmp_path / "b/scores-dev.csv"
    ).read_text()


@pytest.mark.parametrize("client", [None, "single-threaded"])
def test_bona_fide_rows_are_those_of_a_run_without_attack(checkpoint, tmp_path, client):
    plain, ours = tmp_path / "plain", tmp_path / "ours"
    toy.run(toy.attack(checkpoint), ours, client=client)
    toy.execute(toy.system(), plain, client=client)
    stock = (plain / "scores-dev.csv").read_text().splitlines()
    licit = (ours / "scores-dev-licit.csv").read_text().splitlines()
    toy.same_rows(licit, stock, 1e-12)
    full = (ours / "scores-dev.csv").read_text().splitlines()
    assert full[0] == licit[0] + ",probe_attack_type"
    assert full[1 : len(licit)] == [line + "," for line in licit[1:]]


def test_faces_are_what_the_decoder_makes(checkpoint, tmp_path):
    toy.run(toy.attack(checkpoint), tmp_path / "out")
    embedding = toy.ToyRecognizer().transform([toy.image(200)])
    face = FaceReconstructor(str(checkpoint)).transform(embedding)[0]
    kept = np.asarray(Image.open(tmp_path / "out/faces/type1/p2/0.png")).transpose(2, 0, 1)
    np.testing.assert_array_equal(kept, face)


def test_the_summary_and_the_sheet(checkpoint, tmp_path, capsys):
    toy.run(toy.attack(checkpoint), tmp_path / "out")
    printed = capsys.readouterr().out
    assert "SAR Type-I" in printed
    assert "6/6" in printed
    summary = json.loads((tmp_path / "out/summary-dev.json").read_text())
    assert summary["operating_points"][0]["sar"]["type1"]["k"] == 6
    assert summary["run"]["decoder"]["recognizer"] == "toy"
    assert Image.open(tmp_path / "out/contact-sheet-dev.png").size[0] > 6 * 112


def test_running_again_reads_the_checkpoints_and_gives_the_same(checkpoint, tmp_path):
    toy.run(toy.attack(checkpoint), tmp_path / "out")
    first = (tmp_path / "out/scores-dev.csv").read_bytes()
    toy.run(toy.attack(checkpoint), tmp_path / "out")
    assert (tmp_path / "out/scores-dev.csv").read_bytes() == first


def test_output_of_another_decoder_is_refused(checkpoint, tmp_path):
    toy.run(toy.attack(checkpoint), tmp_path / "out")
    kept = (tmp_path / "out/scores-dev.csv").read_bytes()
    other = toy.decoder(tmp_path / "other.safetensors", seed=1)
    with pytest.raises(StaleOutputError, match=r"decoder\.sha256 was .* now .*--force"):
        toy.run(toy.attack(other), tmp_path / "out")
    assert (tmp_path / "out/scores-dev.csv").read_bytes() == kept
    rows = toy.run(toy.attack(other), tmp_path / "out", force=True)
    fresh = toy.run(toy.attack(other), tmp_path / "fresh")
    assert rows == fresh


def test_output_of_another_system_is_refused(checkpoint, tmp_path):
    toy.run(toy.attack(checkpoint), tmp_path / "out")
    with pytest.raises(StaleOutputError, match=r"system\.steps.*seed was 0, now 3"):
        toy.run(toy.attack(checkpoint, toy.ToyRecognizer(seed=3)), tmp_path / "out")


def test_checkpoints_without_a_record_are_refused(checkpoint, tmp_path):
    toy.run(toy.attack(checkpoint), tmp_path)
    (tmp_path / "recon-run.json").unlink()
    with pytest.raises(StaleOutputError, match="without a record"):
        toy.run(toy.attack(checkpoint), tmp_path)


def test_output_of_another_version_is_refused(checkpoint, tmp_path):
    toy.run(toy.attack(checkpoint), tmp_path)
    record = json.loads((tmp_path / "recon-run.json").read_text())
    assert record["identity"]["version"] == record["versions"]["bob_recon_plugin"]
    record["identity"]["version"] = "0.0.7"
    (tmp_path / "recon-run.json").write_text(json.dumps(record))
    with pytest.raises(StaleOutputError, match=r"version was '0.0.7', now "):
        toy.run(toy.attack(checkpoint), tmp_path)


def test_scores_of_another_system_are_not_overwritten_without_checkpoints(checkpoint, tmp_path):
    toy.run(toy.attack(checkpoint), tmp_path / "out", checkpoint=False)
    with pytest.raises(StaleOutputError, match=r"seed was 0, now 3; choose another --output\.$"):
        toy.run(
            toy.attack(checkpoint, toy.ToyRecognizer(seed=3)), tmp_path / "out", checkpoint=False
        )


def test_a_record_that_cannot_be_read_is_told(checkpoint, tmp_path):
    toy.run(toy.attack(checkpoint), tmp_path)
    (tmp_path / "recon-run.json").write_text("[]")
    with pytest.raises(StaleOutputError, match="record of an earlier run, got an unreadable file"):
        toy.run(toy.attack(checkpoint), tmp_path)


def test_thresholds_never_come_from_eval(checkpoint, tmp_path, capsys):
    toy.run(toy.attack(checkpoint), tmp_path, groups=["dev"])
    toy.run(toy.attack(checkpoint), tmp_path, groups=["eval"])
    summary = json.loads((tmp_path / "summary-eval.json").read_text())
    assert {p["threshold_group"] for p in summary["operating_points"]} == {"dev"}
    (tmp_path / "scores-dev.csv").rename(tmp_path / "gone.csv")
    (tmp_path / "summary-eval.json").unlink()
    with pytest.raises(FileNotFoundError):  # of this test, which reads the scores of dev
        toy.run(toy.attack(checkpoint), tmp_path, groups=["eval"])
    assert "no rates, thresholds come from dev" in capsys.readouterr().out
    assert not (tmp_path / "summary-eval.json").exists()


def test_embeddings_of_nan_are_failures_to_acquire(checkpoint, tmp_path):
    told = r"at most 3 of the 24 images may fail to be acquired, got 6 \(first: p0/0: its embedding"
    with pytest.raises(ValueError, match=told):
        toy.run(toy.attack(checkpoint, toy.NaNRecognizer()), tmp_path / "out")


def test_four_columns_cannot_tell_attacks_apart(checkpoint, tmp_path):
    with pytest.raises(ValueError, match="drop `--write-column-scores`"):
        toy.run(toy.attack(checkpoint), tmp_path / "out", write_metadata_scores=False)
    assert not (tmp_path / "out" / "checkpoints").exists()  # told before any work


def test_wrong_arguments_are_told(checkpoint):
    reconstructor = FaceReconstructor(str(checkpoint))
    with pytest.raises(TypeError, match="must be a Bob PipelineSimple, got str"):
        AttackPipeline("iresnet100", reconstructor)
    with pytest.raises(TypeError, match="under attack already"):
        AttackPipeline(toy.attack(checkpoint), reconstructor)
    with pytest.raises(ValueError, match="`reentry` must be one of 'camera', 'recognizer'"):
        toy.attack(checkpoint, reentry="print")
    with pytest.raises(ValueError, match="`attacks` must be one of 'type1', 'type2', got 'type3'"):
        toy.attack(checkpoint, attacks=("type3",))
    with pytest.raises(ValueError, match="must find a face cropper as the first step"):
        toy.attack(checkpoint, reentry="recognizer")


class BobModel(PyTorchModel):
    """The toy recogniser as one of Bob's own torch models, with its lambda for preprocessing."""

    def __init__(self, checkpoint_path=None, preprocessor=lambda x: x - 127.5):
        super().__init__(checkpoint_path, preprocessor=preprocessor)

    def _load_model(self):
        weight = torch.from_numpy(toy.projection().T).float()
        self.model = torch.nn.Sequential(
            torch.nn.Flatten(), torch.nn.Linear(*weight.shape[::-1], bias=False)
        )
        self.model[1].weight.data = weight


@pytest.mark.parametrize("client", [None, "single-threaded"])
def test_a_torch_model_of_bob_is_attacked_and_resumed(checkpoint, tmp_path, client):
    ours = toy.run(toy.attack(checkpoint), tmp_path / "ours")
    for _ in range(2):  # the second time over the checkpoints of the first
        bobs = toy.run(toy.attack(checkpoint, BobModel()), tmp_path / "bobs", client=client)
    assert [r["probe_template_id"] for r in bobs] == [r["probe_template_id"] for r in ours]
    np.testing.assert_allclose(
        [float(r["score"]) for r in bobs], [float(r["score"]) for r in ours], atol=1e-4
    )


def test_one_attack_alone(checkpoint, tmp_path):
    rows = toy.run(toy.attack(checkpoint, attacks=("type2",)), tmp_path / "out")
    assert not toy.of(rows, "type1")
    assert len(toy.of(rows, "type2")) == 18


def test_a_probe_enrolled_itself_is_no_type_two_target():
    database = toy.ToyDatabase()
    gallery = Gallery.of(database.references())
    same_image = database.sample_set(2, 0, references=["p2/0"])
    assert gallery.targets(same_image, score_all_vs_all=True) == []
    assert gallery.targets(database.sample_set(2, 1), score_all_vs_all=True) == ["p2/0"]


def presenter(checkpoint: Path, **options) -> Presenter:
    system = System([toy.system().transformer.steps[0][1]])
    return Presenter(
        system, Distance(), FaceReconstructor(str(checkpoint)), toy.POSITIONS,
        options.get("faces"), Checkpoints(options.get("checkpoints")),
    )  # fmt: skip


def test_each_embedding_of_a_template_is_an_attack_of_its_own(checkpoint):
    embeddings = toy.ToyRecognizer().transform([toy.image(0), toy.image(1)])
    template = Sample(embeddings, key="k", template_id="t", subject_id="s")
    attacks, clock = presenter(checkpoint)("type1", [template])
    assert clock.images == 2
    assert [a.template_id for a in attacks] == ["type1/k-0", "type1/k-1"]
    assert [a.references for a in attacks] == [["t"], ["t"]]
    for attack, embedding in zip(attacks, embeddings, strict=True):
        cosine = np.corrcoef(np.ravel(attack.data), embedding)[0, 1]
        assert cosine > 0.99


def test_presented_faces_are_not_made_twice(checkpoint, tmp_path):
    folders = {"faces": tmp_path / "faces", "checkpoints": tmp_path / "kept"}
    template = Sample(np.ones(toy.SIZE), key="k", template_id="t", subject_id="s")
    first, clock = presenter(checkpoint, **folders)("type1", [template])
    assert clock.images == 1
    (tmp_path / "faces/type1/k.png").unlink()
    again, spent = presenter(checkpoint, **folders)("type1", [template])
    assert spent == clock  # what the first time took
    np.testing.assert_array_equal(again[0].data, first[0].data)
    assert (tmp_path / "faces/type1/k.png").exists()  # drawn again, not presented again


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        ("PCA", "str of entries of type <U"),
        (np.zeros((2, 2, 2)), r"ndarray of shape \(2, 2, 2\)"),
        (np.zeros(0), "ndarray of shape"),
        (np.ones(3) * 1j, "ndarray of entries of type complex128"),
        (np.ma.masked_equal([1, 2, 3], 2), "MaskedArray of masked entries"),
    ],
)
def test_a_template_without_embeddings_cannot_be_inverted(data, kind):
    message = f"template 'k' must be a vector or a list of vectors to be inverted, got {kind}"
    with pytest.raises(TypeError, match=message):
        as_vectors(Sample(data, key="k"))


def test_bits_stay_bits_until_a_step_says_what_they_are(checkpoint):
    bits = np.array([True, False] * 4)
    assert as_vectors(Sample(bits, key="k")).dtype == bool
    template = Sample(bits, key="k", template_id="t", subject_id="s")
    with pytest.raises(TypeError, match=r"`X` must be an array of numbers .* of type bool"):
        presenter(checkpoint)("type1", [template])


@pytest.mark.parametrize(
    ("data", "shade"), [(np.full((20, 20), 50.0), 50), (np.zeros((4, 3, 20, 20)), 200)]
)
def test_the_sheet_shows_grey_images_and_survives_what_it_cannot_show(data, shade):
    sample = Sample(data, key="k", annotations=None)
    reference = SampleSet([sample], template_id="t")
    sheet = ContactSheet.choose([reference], [], toy.POSITIONS)
    np.testing.assert_array_equal(sheet.people[0].original, np.full((3, 112, 112), shade))


def graph_size(n: int, checkpoint: Path, output: Path) -> tuple[int, int]:
    """Tasks and bytes that n probes put on the scheduler."""
    pipeline = toy.attack(checkpoint)
    dask_bio_pipeline(checkpoint_pipeline_simple(pipeline, str(output)))
    pipeline.score_writer = CSVScoreWriter(str(output / "./tmp"))
    database = toy.ToyDatabase(people=20, probes=n // 20, score_all_vs_all=False)
    run = pipeline([], database.references(), database.probes(), score_all_vs_all=False)
    tasks = list(run.schedule._tasks(dask.delayed, Packed.of))
    graph = dask.delayed(tasks).__dask_graph__()
    return len(graph), sum(len(cloudpickle.dumps(task)) for task in dict(graph).values())


def test_the_graph_grows_with_parts_and_stays_small(checkpoint, tmp_path):
    FaceReconstructor(str(checkpoint)).validate()  # loaded weights must not travel
    few, small = graph_size(400, checkpoint, tmp_path / "few")
    many, large = graph_size(4000, checkpoint, tmp_path / "many")
    assert few < 20
    assert many - few <= 4000 / 128 + 2
    assert large < 100 * 4000  # bytes a probe
    assert small < 60_000


def test_an_enrolled_image_is_not_embedded_again_as_a_probe(checkpoint, tmp_path):
    class Reused(toy.ToyDatabase):
        def probes(self, group="dev"):  # the second person's probe is the first one's reference
            return [*super().probes(group), self.sample_set(0, 0, gender="m", references=["p1/0"])]

    toy.run(toy.attack(checkpoint), tmp_path, Reused(score_all_vs_all=False))
    effort = json.loads((tmp_path / "summary-dev.json").read_text())["effort"]
    assert effort["embed"]["images"] == 6 + 18
    assert effort["attack"]["images"] == 6 + 18
    assert effort["compare"]["images"] == 37 + 6 + 18


def test_a_run_again_embeds_and_inverts_nothing(checkpoint, tmp_path, monkeypatch):
    seen: list[int] = []
    transform = toy.ToyRecognizer.transform

    def counted(self, X):
        seen.append(len(X))
        return transform(self, X)

    monkeypatch.setattr(toy.ToyRecognizer, "transform", counted)
    for images in (48, 0):
        toy.run(toy.attack(checkpoint), tmp_path)
        effort = json.loads((tmp_path / "summary-dev.json").read_text())["effort"]
        assert effort["embed"]["images"] == effort["attack"]["images"] == 24
        assert sum(seen) == images
        seen.clear()
    damaged = next((tmp_path / "checkpoints/probes").iterdir())
    damaged.write_bytes(damaged.read_bytes()[:999])
    before = (tmp_path / "scores-dev.csv").read_bytes()
    toy.run(toy.attack(checkpoint), tmp_path)
    assert (tmp_path / "scores-dev.csv").read_bytes() == before
    assert sum(seen) == 18


def test_faces_are_kept_only_if_wanted(checkpoint, tmp_path):
    toy.run(toy.attack(checkpoint, keep_faces=False), tmp_path)
    assert not (tmp_path / "faces").exists()
    assert not (tmp_path / "contact-sheet-dev.png").exists()
    toy.run(toy.attack(checkpoint), tmp_path / "kept")
    ours, theirs = ((d / "scores-dev.csv").read_bytes() for d in (tmp_path, tmp_path / "kept"))
    assert ours == theirs


class Centred(toy.ToyRecognizer):
    """A recogniser that must be fitted: it takes the mean of the background away."""

    def fit(self, X, y=None):
        self.mean_ = super().transform(X).mean(axis=0)
        return self

    def transform(self, X):
        return super().transform(X) - self.mean_

    def _more_tags(self):
        return {"requires_fit": True}


class WithBackground(toy.ToyDatabase):
    def background_model_samples(self):
        return [s for sets in self.probes() for s in sets]


@pytest.mark.parametrize("mode", [{}, {"client": "single-threaded"}, {"client": "threads"}])
def test_a_system_that_is_fitted_first(checkpoint, tmp_path, mode):
    for _ in range(2):
        rows = toy.run(toy.attack(checkpoint, Centred()), tmp_path, WithBackground(), **mode)
    stock = run_stock(toy.system(Centred()), tmp_path / "stock", WithBackground())
    bona_fide = [float(row["score"]) for row in toy.of(rows, "")]
    np.testing.assert_allclose(bona_fide, stock, atol=1e-12)


def run_stock(pipeline, output: Path, database) -> list[float]:
    """Scores of Bob's own command, without checkpoints (a fitted step cannot have any)."""
    rows = toy.run(pipeline, output, database, checkpoint=False)
    return [float(row["score"]) for row in rows]
