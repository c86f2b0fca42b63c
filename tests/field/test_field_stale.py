"""Results that must not outlive what decided them."""

from __future__ import annotations

import csv
import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from bob.pipelines import DelayedSample
from click.testing import CliRunner
from PIL import Image

from bob_recon_plugin.attack import matrix as transfer
from bob_recon_plugin.common.description import describe
from bob_recon_plugin.common.record import StaleOutputError
from bob_recon_plugin.database import FolderDatabase
from bob_recon_plugin.database.content import describe_database, fingerprint
from tests import faces, mobio_shaped, toy


@pytest.fixture
def decoder(tmp_path) -> Path:
    return toy.decoder(tmp_path / "toy.safetensors")


@pytest.fixture
def folder(tmp_path) -> Path:
    """Four people with three images of 16 x 16 each."""
    for person in range(4):
        for shot in range(3):
            path = tmp_path / f"people/p{person}/{shot}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            picture(path, 100 * person + shot)
    return tmp_path / "people"


def picture(path: Path, seed: int) -> None:
    Image.fromarray(toy.image(seed).astype(np.uint8).transpose(1, 2, 0)).save(path)


def annotate(path: Path, folder: Path, shift: float) -> Path:
    lines = ["path,reye_y,reye_x,leye_y,leye_x"]
    lines += [
        f"{p.relative_to(folder)},{5 + shift},5,{5 + shift},10" for p in folder.rglob("*.png")
    ]
    path.write_text("\n".join(lines) + "\n")
    return path


def system():
    from bob.bio.base.algorithm import Distance
    from bob.bio.base.pipelines import PipelineSimple
    from bob.pipelines import wrap
    from sklearn.pipeline import make_pipeline

    shifted = wrap(
        ["sample"], toy.Shifted(), transform_extra_arguments=(("annotations", "annotations"),)
    )
    return PipelineSimple(make_pipeline(shifted, wrap(["sample"], toy.ToyRecognizer())), Distance())


def scores(output: Path) -> list[str]:
    with open(output / "scores-dev.csv", newline="") as stream:
        return [f"{float(row['score']):.6f}" for row in csv.DictReader(stream)]


def run(decoder: Path, database, output: Path, pipeline=None, **options) -> list[str]:
    attack = toy.attack(decoder, database=database, pipeline=pipeline or system(), **options)
    toy.run(attack, output, database)
    return scores(output)


def test_other_annotations_are_other_scores(decoder, folder, tmp_path):
    one, two = (annotate(tmp_path / f"e{i}.csv", folder, i) for i in (1, 2))
    first = run(decoder, FolderDatabase(folder, annotations=one), tmp_path / "out")
    fresh = run(decoder, FolderDatabase(folder, annotations=two), tmp_path / "fresh")
    assert first != fresh
    again = run(decoder, FolderDatabase(folder, annotations=two), tmp_path / "out")
    assert again == fresh


def test_an_edited_annotations_csv_is_seen(decoder, folder, tmp_path, capsys):
    annotate(folder / "annotations.csv", folder, 1)
    run(decoder, FolderDatabase(folder), tmp_path / "out")
    annotate(folder / "annotations.csv", folder, 2)
    again = run(decoder, FolderDatabase(folder), tmp_path / "out")
    assert again == run(decoder, FolderDatabase(folder), tmp_path / "fresh")
    assert "annotations or comparisons have changed since the last run" in capsys.readouterr().err


def test_a_replaced_image_of_the_same_name_is_seen(decoder, folder, tmp_path):
    annotate(folder / "annotations.csv", folder, 1)
    run(decoder, FolderDatabase(folder), tmp_path / "out")
    picture(folder / "p1/0.png", 77)
    again = run(decoder, FolderDatabase(folder), tmp_path / "out")
    assert again == run(decoder, FolderDatabase(folder), tmp_path / "fresh")


def test_shared_embeddings_are_those_of_the_images(decoder, folder, tmp_path):
    annotate(folder / "annotations.csv", folder, 1)
    kept = tmp_path / "embeddings"
    run(decoder, FolderDatabase(folder), tmp_path / "a", embeddings=kept)
    picture(folder / "p2/1.png", 78)
    again = run(decoder, FolderDatabase(folder), tmp_path / "b", embeddings=kept)
    assert again == run(decoder, FolderDatabase(folder), tmp_path / "fresh")


def test_what_failed_for_want_of_annotations_works_once_they_are_there(decoder, folder, tmp_path):
    with pytest.raises(Exception, match="annotations"):
        run(decoder, FolderDatabase(folder), tmp_path / "out")
    annotate(folder / "annotations.csv", folder, 1)
    again = run(decoder, FolderDatabase(folder), tmp_path / "out")
    assert again == run(decoder, FolderDatabase(folder), tmp_path / "fresh")


def test_a_folder_without_results_is_free(decoder, tmp_path):
    (tmp_path / "out").mkdir()
    record = {"identity": {"version": "of a run that stopped before its first part"}}
    (tmp_path / "out/recon-run.json").write_text(json.dumps(record))
    assert run(decoder, toy.ToyDatabase(), tmp_path / "out", pipeline=toy.system())


def test_the_database_on_the_command_line_is_recorded(tmp_path, monkeypatch):
    from bob.bio.base.script.bio import bio

    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "xdg"))
    monkeypatch.chdir(tmp_path)
    decoder = toy.decoder(tmp_path / "toy.safetensors")
    text = "from tests.toy import ToyDatabase\ndatabase = ToyDatabase({people})\n"
    for people in (4, 5):
        Path(f"d{people}.py").write_text(text.format(people=people))
    Path("system.py").write_text(
        f"from tests.toy import system\npipeline = system()\ndecoder = {str(decoder)!r}\n"
    )

    def attack(*more: str):
        words = ["pipeline", "simple", "system.py", "recon", "--no-dask", "-o", "out", *more]
        return CliRunner().invoke(bio, words)

    result = attack("-d", "d4.py")
    assert result.exit_code == 0, f"{result.output}\n{result.exception!r}"
    record = json.loads(Path("out/recon-run.json").read_text())
    assert record["identity"]["database"]["class"] == "ToyDatabase"
    assert record["identity"]["database"]["people"] == 4
    refused = attack("-d", "d5.py")
    assert isinstance(refused.exception, StaleOutputError | SystemExit)
    assert "database.people was 4, now 5" in refused.output + str(refused.exception)


def test_effort_is_that_of_the_run_that_did_the_work(decoder, tmp_path):
    database = toy.ToyDatabase()
    first = run(decoder, database, tmp_path / "out", pipeline=toy.system())
    effort = json.loads((tmp_path / "out/summary-dev.json").read_text())["effort"]
    assert effort["embed"]["images"] == 24
    assert run(decoder, database, tmp_path / "out", pipeline=toy.system()) == first
    again = json.loads((tmp_path / "out/summary-dev.json").read_text())["effort"]
    assert again["embed"] == effort["embed"]
    assert again["attack"] == effort["attack"]


# -- matrix ----------------------------------------------------------------------


def cells(tmp_path: Path) -> list[transfer.Cell]:
    return transfer.cells(
        "toys.py", ["s0.py"], {"s0.py": str(tmp_path / "toy.safetensors")}, tmp_path / "out"
    )


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [("s0.py", "ToyRecognizer(0)", "ToyRecognizer(3)"), ("toys.py", "people=5", "people=6")],
)
def test_an_edited_file_makes_a_cell_of_the_matrix_new(
    decoder, tmp_path, monkeypatch, file, old, new
):
    monkeypatch.chdir(tmp_path)
    Path("toys.py").write_text(
        "from tests.toy import ToyDatabase\ndatabase = ToyDatabase(people=5)\n"
    )
    Path("s0.py").write_text(
        "from tests.toy import ToyRecognizer, system\npipeline = system(ToyRecognizer(0))\n"
    )
    (cell,) = cells(tmp_path)
    assert cell.run(lambda _: None, "toys.py", [])
    assert not cells(tmp_path)[0].run(lambda _: None, "toys.py", [])
    Path(file).write_text(Path(file).read_text().replace(old, new))
    assert cells(tmp_path)[0].run(lambda _: None, "toys.py", [])


# -- descriptions ----------------------------------------------------------------


def test_files_count_by_content(tmp_path):
    for name in ("one.bin", "two.bin"):
        (tmp_path / name).write_bytes(b"same")
    same = describe({"weights": str(tmp_path / "one.bin")})
    assert same == describe({"weights": tmp_path / "two.bin"})
    (tmp_path / "two.bin").write_bytes(b"other")
    assert same != describe({"weights": tmp_path / "two.bin"})


def test_an_own_function_counts_by_its_source_and_by_what_it_holds():
    def scaled(factor):
        return lambda x: factor * x

    assert describe(scaled(2)) == describe(scaled(2))
    assert describe(scaled(2)) != describe(scaled(3))
    assert describe(partial(np.add, 1)) != describe(partial(np.add, 2))


def test_an_edited_class_of_a_chain_file_is_another_system(tmp_path):
    from clapper.config import load

    text = """
from tests.toy import ToyRecognizer, system
class Mine(ToyRecognizer):
    def transform(self, X):
        return super().transform(X) * {factor}
pipeline = system(Mine())
"""

    def described(factor: int) -> object:
        (tmp_path / "system.py").write_text(text.format(factor=factor))
        return describe(load([str(tmp_path / "system.py")]).pipeline.transformer)

    assert described(1) == described(1)
    assert described(1) != described(10)  # another length: bytecode is cached by time and size


def test_layers_of_bobs_command_do_not_count():
    from bob.pipelines import wrap

    plain = wrap(["sample"], toy.ToyRecognizer())
    kept = wrap(["checkpoint"], plain, features_dir="somewhere")
    assert describe(plain) == describe(kept)


def test_an_object_that_holds_itself_can_be_described():
    things: list = [1]
    things.append(things)
    assert describe(things)[0] == 1


def test_an_image_is_named_by_content_and_annotations(tmp_path):
    def sample(path: Path, eyes=None):
        return DelayedSample(partial(np.fromfile, str(path)), key="a", annotations=eyes)

    for name in ("one", "two"):
        (tmp_path / name).write_bytes(bytes(80))
    one = fingerprint(sample(tmp_path / "one"))
    assert one != fingerprint(sample(tmp_path / "one", {"reye": (1, 2), "leye": (1, 5)}))
    (tmp_path / "two").write_bytes(bytes(79) + b"!")
    assert one != fingerprint(sample(tmp_path / "two"))


def test_a_changed_image_is_another_database(folder):
    database = FolderDatabase(folder)
    before = describe_database(database)["content"]
    assert before == describe_database(FolderDatabase(folder))["content"]
    picture(folder / "p0/0.png", 99)
    assert before != describe_database(database)["content"]


# -- trainings -------------------------------------------------------------------


def trained(data: Path, output: Path, leak=()) -> Path:
    """Train one step on prepared faces."""
    from bob_recon_plugin.faces.dataset import FaceDataset
    from bob_recon_plugin.training import presets
    from bob_recon_plugin.training.run import Plan, train

    settings = presets.get("icip2022", {"batch_size": "2", "identity": "0"})
    plan = Plan("icip2022", settings, width=0.05, steps=1, every=1, device="cpu", leak=leak)
    return train(FaceDataset(data), output, plan)


def test_an_adapter_that_was_fitted_again_is_another_training(tmp_path):
    from bob_recon_plugin.inversion.adapter import Adapter, AdapterCard, save

    data = faces.prepared(tmp_path / "data", 25)
    card = AdapterCard("arcface-mbf", "arcface-mbf", None, None, 512, 512, 25, 1.0, 1.0)
    file = save(tmp_path / "adapter.safetensors", np.eye(512), np.zeros(512), card)
    trained(data, tmp_path / "out", (Adapter(file),))
    trained(data, tmp_path / "out", (Adapter(file),))  # the same goes on
    save(file, 2 * np.eye(512), np.zeros(512), card)
    with pytest.raises(StaleOutputError, match=r"leak\.0\.path\.file was "):
        trained(data, tmp_path / "out", (Adapter(file),))


def test_other_faces_of_the_same_number_are_another_training(tmp_path):
    data = faces.prepared(tmp_path / "data", 25)
    trained(data, tmp_path / "out")
    embeddings = next(data.glob("*.embeddings.npy"))
    np.save(embeddings, np.load(embeddings)[::-1].copy())
    with pytest.raises(StaleOutputError, match=r"data\.embeddings\.sha256 was "):
        trained(data, tmp_path / "out")


# -- databases -------------------------------------------------------------------


def lfw(folder: Path, annotations: Path):
    """Four people of LFW with two images each; eyes from text files."""
    from bob_recon_plugin.database import LFWDatabase

    return LFWDatabase(
        original_directory=folder, annotation_directory=annotations, annotation_issuer="named",
        extension=".png",
    )  # fmt: skip


def test_other_annotation_files_of_lfw_are_another_content(tmp_path):
    people = ("A_B", "C_D", "E_F", "G_H")
    for issue in ("one", "two"):
        for i, person in enumerate(people):
            for shot in (1, 2):
                name = f"{person}/{person}_{shot:04d}"
                image = tmp_path / f"lfw/all_images/{name}.png"
                image.parent.mkdir(parents=True, exist_ok=True)
                if not image.exists():
                    picture(image, 100 * i + shot)
                eyes = tmp_path / issue / f"{name}.pos"
                eyes.parent.mkdir(parents=True, exist_ok=True)
                row = 5 if issue == "one" else 6
                eyes.write_text(f"reye 5 {row}\nleye 10 {row}\n")
    same = [f"{p}\t1\t2" for p in people[:2]]
    other = [f"{people[0]}\t1\t{people[1]}\t1", f"{people[2]}\t1\t{people[3]}\t1"]
    (tmp_path / "lfw/view2").mkdir()
    (tmp_path / "lfw/view2/pairs.txt").write_text("\n".join(["1\t2", *same, *other]) + "\n")
    one, two = (lfw(tmp_path / "lfw", tmp_path / issue) for issue in ("one", "two"))
    assert describe_database(one) == describe_database(lfw(tmp_path / "lfw", tmp_path / "one"))
    assert describe_database(one)["content"] != describe_database(two)["content"]
    first, second = (database.references()[0].samples[0] for database in (one, two))
    assert fingerprint(first) != fingerprint(second)


def test_protocol_files_that_change_in_place_are_another_content(tmp_path):
    from bob_recon_plugin.database import MobioDatabase

    images, protocols = mobio_shaped.make(tmp_path, 2)

    def content() -> str:
        return describe_database(
            MobioDatabase(original_directory=images, dataset_protocols_path=protocols)
        )["content"]

    before = content()
    probes = protocols / "mobile0-male-female/dev/for_probing.csv"
    probes.write_text("\n".join(probes.read_text().splitlines()[:-1]) + "\n")
    assert content() != before
