"""What a report and a contact sheet claim is what the run was."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bob.bio.base.pipelines import PipelineSimple
from bob.pipelines import DelayedSample
from PIL import Image

from bob_recon_plugin.attack.contact_sheet import ContactSheet
from bob_recon_plugin.attack.pipeline import AttackPipeline
from bob_recon_plugin.decoders import ModelCard
from bob_recon_plugin.evaluation.run_folder import took_part
from bob_recon_plugin.inversion.adapter import Adapter, AdapterCard, save
from bob_recon_plugin.inversion.damage import PartialLeak
from bob_recon_plugin.inversion.reconstructor import FaceReconstructor
from bob_recon_plugin.protection import InvertProtection, ProtectedComparison, QuantisedEmbedding
from bob_recon_plugin.recognizers import get
from bob_recon_plugin.report.build import Options, write_report
from tests import toy
from tests.pages import Page


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
    toy.run(toy.attack(checkpoint), tmp_path / "kept")
    toy.run(toy.attack(checkpoint, keep_faces=False), tmp_path / "later")
    scores = (tmp_path / "later/scores-dev.csv").read_bytes()
    toy.run(toy.attack(checkpoint), tmp_path / "later", client=client)
    assert (tmp_path / "later/scores-dev.csv").read_bytes() == scores
    first, later = faces(tmp_path / "kept"), faces(tmp_path / "later")
    assert len(first) == 24
    assert first.keys() == later.keys()
    for name, face in first.items():
        np.testing.assert_array_equal(later[name], face)
    sheets = [(tmp_path / x / "contact-sheet-dev.png").read_bytes() for x in ("kept", "later")]
    assert sheets[0] == sheets[1]


def test_faces_that_were_deleted_are_drawn_again(checkpoint: Path, tmp_path: Path) -> None:
    toy.run(toy.attack(checkpoint), tmp_path)
    first = faces(tmp_path)
    (tmp_path / "faces/type2/p3/2.png").unlink()
    shutil.rmtree(tmp_path / "faces/type1")
    parts = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*.h5")}
    toy.run(toy.attack(checkpoint), tmp_path)
    again = faces(tmp_path)
    assert first.keys() == again.keys()
    np.testing.assert_array_equal(again["type2/p3/2.png"], first["type2/p3/2.png"])
    assert parts == {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*.h5")}


@pytest.mark.parametrize("broken", ["a face", "the sheet"])
def test_no_picture_ends_a_run_whose_scores_are_written(
    checkpoint: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    broken: str,
) -> None:
    toy.run(toy.attack(checkpoint), tmp_path)
    sheet = tmp_path / "contact-sheet-dev.png"
    sheet.unlink()
    if broken == "a face":
        (tmp_path / "faces/type1/p0/0.png").write_bytes(b"no picture")
    else:
        sheet.mkdir()  # nothing can be written there
    capsys.readouterr()
    toy.run(toy.attack(checkpoint), tmp_path)
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


# -- what a report says of a run --------------------------------------------------


def page_of(folder: Path, **options: Any) -> Page:
    """Page of a run, without the bootstrap."""
    options = {"replicates": 0, "quality": 0} | options
    (path, *_) = write_report([folder], folder / "report.html", Options(**options))
    return Page(path.read_text(encoding="utf-8"))


def protected(scheme: Any) -> PipelineSimple:
    return PipelineSimple(toy.system().transformer, ProtectedComparison(scheme))


def test_the_protection_told_is_that_of_the_templates_that_leaked(
    checkpoint: Path, tmp_path: Path
) -> None:
    scheme = QuantisedEmbedding(bits=6)
    undo = InvertProtection(scheme, "normal", 0, toy.SIZE, 20.0)
    reconstructor = FaceReconstructor(str(checkpoint))
    behind = toy.attack(
        checkpoint, reconstructor=reconstructor, inverted=protected(scheme),
        leak=(undo, PartialLeak(0.75)),
    )  # fmt: skip
    toy.run(behind, tmp_path / "leaked")
    text = page_of(tmp_path / "leaked").text
    assert "without protection" not in text
    leaked = "The leaked templates are those of ProtectedComparison(scheme=QuantisedEmbedding("
    assert leaked in text
    assert "the decoder inverts them after InvertProtection(" in text
    assert ", then PartialLeak(share=0.75)." in text
    assert "compared by the attacked system" in text
    assert "with two keys" not in text

    before = AttackPipeline(protected(scheme), reconstructor, inverted=toy.system())
    toy.run(before, tmp_path / "attacked")
    text = page_of(tmp_path / "attacked").text
    assert "The leaked templates are plain embeddings, without protection." in text
    assert "templates of one person with two keys were not compared" in text


def test_everything_that_decided_a_result_is_told(checkpoint: Path, tmp_path: Path) -> None:
    file = tmp_path / "adapter.safetensors"
    card = AdapterCard("net-s", "net-t", "5" * 64, None, toy.SIZE, toy.SIZE, 9, 1.0, 0.5)
    save(file, np.eye(toy.SIZE), np.zeros(toy.SIZE), card)
    pipeline = toy.attack(checkpoint, toy.ToyRecognizer(2), leak=(Adapter(str(file)),),
                        inverted=toy.system(), reentry="camera", attacks=("type2",))  # fmt: skip
    folder = tmp_path / "run"
    toy.run(pipeline, folder)
    record = json.loads((folder / "recon-run.json").read_text())
    record["identity"]["refinement"] = {"class": "RefinedReconstructor", "steps": "20"}
    record["identity"]["decoder"]["portraits"] = True
    record["identity"]["something new"] = [1, 2]
    (folder / "recon-run.json").write_text(json.dumps(record))
    text = page_of(folder).text
    for told in (
        f"Template steps before the decoderAdapter(path='{file}')",
        'Refinement of the faces{"class": "RefinedReconstructor", "steps": "20"}',
        "Decoder, whole picturestrue",
        "something new[1, 2]",
        "net-s (SHA-256 " + "5" * 64 + ") made the embeddings that went into the training of an",
        "net-t (SHA-256 not recorded) made the embeddings that came out of the training of an",
        "toy (SHA-256 not recorded) made the embeddings that the decoder inverts, refined",
        "Settings of the attacked system",
        "Settings of the inverted system",
        "ToyRecognizer(seed=2)",
    ):
        assert told in text, told


def record_of(role: str, name: str, digest: str | None) -> dict[str, Any]:
    """Record of a run in which a model has one part, and others the others."""
    who = {"name": name, "sha256": digest}
    identity: dict[str, Any] = {
        "recognizer": {"name": "net-a", "sha256": "a" * 64},
        "inverted": {"recognizer": {"name": "net-b", "sha256": "b" * 64}},
    }
    card = {"recognizer": "net-c", "recognizer_sha256": "c" * 64, "judge": "none"}
    adapter = {"source": "net-b", "source_sha256": None, "target": "net-c", "target_sha256": None}
    if role == "attacked":
        identity["recognizer"] = who
    elif role == "leaked":
        identity["inverted"]["recognizer"] = who
    elif role in ("decoder", "refinement"):
        card |= {"recognizer": name, "recognizer_sha256": digest}
        identity |= {"refinement": {}} if role == "refinement" else {}
    elif role == "judge":
        card |= {"judge": name, "judge_sha256": digest}
    else:
        adapter |= {role: name, f"{role}_sha256": digest}
    whole = json.loads(ModelCard(embedding_size=4, **card).to_json())  # type: ignore[arg-type]
    return {"identity": identity, "card": whole, "adapters": [adapter]}


@pytest.mark.parametrize(
    ("role", "told"),
    [
        ("attacked", "is under attack"),
        ("leaked", "made the stolen templates"),
        ("decoder", "made the embeddings that the decoder inverts"),
        ("judge", "judged the decoder's training"),
        ("source", "made the embeddings that went into the training of an adapter"),
        ("target", "made the embeddings that came out of the training of an adapter"),
        ("refinement", "refined the faces"),
    ],
)
def test_who_took_part_does_not_judge_the_identity(role: str, told: str) -> None:
    from bob_recon_plugin.evaluation.quality import part_of

    digest = get("arcface-mbf").sha256
    for name, weights in (("arcface-mbf", None), ("another name", digest)):
        parts = took_part(record_of(role, name, weights))
        assert told in [part.role for part in parts if part.model.name == name]
        assert part_of("arcface-mbf", parts) is not None
    parts = took_part(record_of(role, "arcface-mbf", "0" * 64))
    assert part_of("arcface-mbf", parts) is None


class Unaligned(toy.ToyDatabase):
    """The enrolled images of some of six people have no eye positions."""

    def __init__(self, without: int) -> None:
        super().__init__()
        self.without = without

    def references(self, group: str = "dev") -> list[Any]:
        sets = super().references(group)
        for one in sets[: self.without]:
            image = one.samples[0]
            one.samples = [DelayedSample(image._load, key=image.key, annotations=None)]
        return sets


def test_images_that_are_not_aligned_enter_no_measure(checkpoint: Path, tmp_path: Path) -> None:
    database = Unaligned(2)
    toy.run(toy.attack(checkpoint), tmp_path, database)
    page = page_of(tmp_path, originals=database, quality=9, recognizer="arcface-mbf")
    (caption,) = [t for t in page.words if "reconstructions compared with" in t]
    assert caption.startswith("4 reconstructions compared with the original images of Unaligned")
    assert "2 are left out because their images could not be aligned." in caption
    assert (
        "Identity by arcface-mbf, which took no part in this run, as far as their names show"
        in caption
    )
    assert "the weights of ToyRecognizer, toy are not recorded." in caption
    alts = {str(about["alt"]) for tag, about in page.tags if tag == "img"}
    assert "enrolled image of p0/0, not aligned" in alts
    assert "enrolled image of p2/0" in alts
    assert "not aligned" in page.text

    with Image.open(tmp_path / "contact-sheet-dev.png") as drawn:
        captions = np.asarray(drawn.convert("L"))[122:136, 96:]
    cells = [captions[:, c * 120 : c * 120 + 112] for c in range(6)]
    assert [bool((cell < 200).any()) for cell in cells] == [True, True, False, False, False, False]


def test_without_any_aligned_image_nothing_is_measured(checkpoint: Path, tmp_path: Path) -> None:
    toy.run(toy.attack(checkpoint), tmp_path)
    text = page_of(tmp_path, originals=Unaligned(6), quality=9).text
    assert "Not measured: 6 are left out because their images could not be aligned." in text


def test_a_face_that_cannot_be_read_is_told_on_the_page(checkpoint: Path, tmp_path: Path) -> None:
    toy.run(toy.attack(checkpoint), tmp_path)
    (tmp_path / "faces/type1/p0/0.png").write_bytes(b"no picture")
    (tmp_path / "faces/type1/p1/0.png").unlink()
    text = page_of(tmp_path).text
    assert "face not readable" in text
    assert "face not kept" in text


def test_no_bootstrap_is_described_where_none_was_drawn(checkpoint: Path, tmp_path: Path) -> None:
    toy.run(toy.attack(checkpoint), tmp_path)
    assert "The bootstrap draws" not in page_of(tmp_path).text
    assert "draws people, not comparisons, 20 times" in page_of(tmp_path, replicates=20).text
