"""Images become the right faces and embeddings, once, whatever stops or spoils the run."""

from __future__ import annotations

import csv
import io
import json
import tarfile
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest
from bob.bio.face.preprocessor.croppers import FaceEyesNorm
from bob.pipelines import Sample
from click.testing import CliRunner, Result
from PIL import Image

from bob_recon_plugin.cli import recon
from bob_recon_plugin.common.threads import map_ahead
from bob_recon_plugin.faces import prepare as preparing
from bob_recon_plugin.faces import shards as shard_maker
from bob_recon_plugin.faces.dataset import FaceDataset
from bob_recon_plugin.faces.prepare import load_client, prepare
from bob_recon_plugin.faces.shards import FaceCutter, as_rgb
from bob_recon_plugin.faces.sources import open_source
from bob_recon_plugin.images import BOB_EYES, INSIGHTFACE_EYES
from bob_recon_plugin.images.crop import EyeCropper, ffhq_eyes
from bob_recon_plugin.images.geometry import similarity
from bob_recon_plugin.recognizers import RecognizerTransformer, from_onnx
from tests.faces import DEMO, demo_faces
from tests.toy import write_onnx

MBF, N = "arcface-mbf", 10


@pytest.fixture(autouse=True)
def _no_settings(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "xdg"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def faces() -> np.ndarray:
    return demo_faces(N)


@pytest.fixture(scope="module")
def folder(tmp_path_factory, faces) -> Path:
    """Aligned faces in two subfolders, with files beside that are no images."""
    root = tmp_path_factory.mktemp("faces")
    for i, face in enumerate(faces):
        save(root / f"{i // 6}/{i:02d}.png", face)
    (root / "notes.txt").write_text("no image")
    save(root / ".hidden/00.png", faces[0])
    return root


@pytest.fixture(scope="module")
def embeddings(faces) -> np.ndarray:
    transformer = RecognizerTransformer(MBF)
    return np.stack([transformer.transform(x) for x in (faces, faces[..., ::-1])], axis=1)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """A recognition model of 6 numbers, for what does not hang on the model."""
    path = write_onnx(tmp_path_factory.mktemp("tiny") / "tiny.onnx", sides=(112, 112))
    return from_onnx(path)


def save(path: Path, image: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image.transpose(1, 2, 0)).save(path)


def bad_of(folder: Path) -> dict[str, str]:
    with (folder / "bad.csv").open(newline="") as stream:
        return {row["key"]: row["reason"] for row in csv.DictReader(stream)}


def command(*arguments: object) -> Result:
    return CliRunner().invoke(recon, ["prepare", *map(str, arguments)])


def modified(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in folder.glob("shard-*")}


# -- faces and embeddings ----------------------------------------------------------


def test_the_embeddings_are_those_of_the_recogniser(folder, faces, embeddings):
    result = command(folder, "-r", MBF, "-o", "out", "--shard-size", 4, "--batch-size", 3)
    assert result.exit_code == 0, result.output
    assert result.output.endswith("out: 10 faces for arcface-mbf.\n")
    found = FaceDataset("out")
    assert found.keys == [f"{i // 6}/{i:02d}.png" for i in range(N)]
    np.testing.assert_array_equal(found.faces(range(N)), faces)
    np.testing.assert_allclose(found.embeddings, embeddings, atol=1e-4)
    card = found.about
    assert (card.recognizer, card.embedding_size, card.crop) == (MBF, 512, "aligned")
    assert card.recognizer_sha256.startswith("9cc6e4a7")
    assert (card.image_size, card.positions) == ((112, 112), INSIGHTFACE_EYES)
    assert (card.source, card.n, card.bad) == (str(folder), N, 0)


@pytest.mark.parametrize("kind", ["zip", "tar", "tar.gz"])
def test_an_archive_gives_what_its_folder_gives(folder, tmp_path, kind, tiny):
    archive = tmp_path / f"faces.{kind}"
    names = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())
    if kind == "zip":
        with zipfile.ZipFile(archive, "w") as packed:
            for name in names[::-1]:
                packed.write(folder / name, name)
    else:
        with tarfile.open(archive, "w:gz" if kind.endswith("gz") else "w") as packed:
            for name in names:
                packed.add(folder / name, f"./{name}")
    prepare(folder, tiny, "plain", shard_size=4)
    card = prepare(archive, tiny, "packed", shard_size=4)
    plain, packed = FaceDataset("plain"), FaceDataset("packed")
    assert packed.keys == plain.keys
    np.testing.assert_array_equal(packed.faces(range(N)), plain.faces(range(N)))
    np.testing.assert_array_equal(packed.embeddings, plain.embeddings)
    assert card.source == str(archive)


def test_a_database_brings_its_eyes_and_gives_the_same_faces(faces, tiny):
    prepare("recon-demo", tiny, "out")
    found = FaceDataset("out")
    assert (len(found), found.about.crop, found.about.source) == (160, "annotations", "recon-demo")
    with zipfile.ZipFile(DEMO) as archive:
        first = sorted(archive.namelist())[:N]
    # the crop of a face that stands where it must stand is the face itself
    places = [found.keys.index(name) for name in first]
    np.testing.assert_array_equal(found.faces(places), faces)


def test_a_python_file_may_define_the_database(tmp_path):
    (tmp_path / "mine.py").write_text(
        "from bob_recon_plugin.database import DemoDatabase\ndatabase = DemoDatabase()\n"
    )
    assert len(open_source("mine.py")) == 160
    (tmp_path / "none.py").write_text("data = 3\n")
    with pytest.raises(ValueError, match=r"must define `database`, got none.py"):
        open_source("none.py")
    (tmp_path / "three.py").write_text("database = 3\n")
    with pytest.raises(ValueError, match=r"of three.py must be a Bob database, got int"):
        open_source("three.py")


def test_workers_of_dask_give_what_one_process_gives(folder, tiny):
    from distributed import Client

    prepare(folder, tiny, "alone", shard_size=4)
    with Client(n_workers=1, threads_per_worker=2, processes=False, dashboard_address=None) as c:
        prepare(folder, tiny, "client", shard_size=4, dask_client=c)
    prepare(folder, tiny, "threads", shard_size=4, dask_client=load_client("threads"))
    alone = FaceDataset("alone")
    for name in ("client", "threads"):
        other = FaceDataset(name)
        assert other.keys == alone.keys
        np.testing.assert_array_equal(other.embeddings, alone.embeddings)
    assert load_client(None) is None


# -- the crop ----------------------------------------------------------------------


def dotted(side: int, eyes: dict[str, tuple[float, float]], radius: float) -> np.ndarray:
    """Black image with a white disc, antialiased, at each of two (y, x)."""
    rows, columns = np.mgrid[:side, :side]
    image = np.zeros((side, side))
    for y, x in eyes.values():
        distance = np.hypot(rows - y, columns - x)
        image += np.clip(radius + 0.5 - distance, 0, 1)
    return np.repeat((255 * image).astype(np.uint8)[None], 3, axis=0)


def centres(face: np.ndarray) -> dict[str, tuple[float, float]]:
    """Centres of mass of the left and the right half of a face, as (y, x)."""
    rows, columns = np.mgrid[: face.shape[1], : face.shape[2]]
    middle = face.shape[2] / 2
    found = {}
    for eye, half in (("reye", columns < middle), ("leye", columns >= middle)):
        weight = face[0] * half
        found[eye] = tuple((weight * grid).sum() / weight.sum() for grid in (rows, columns))
    return found


@pytest.mark.parametrize("side", [1024, 512, 256, 128])
@pytest.mark.parametrize("positions", [INSIGHTFACE_EYES, BOB_EYES])
def test_the_ffhq_crop_puts_the_eyes_where_they_must_be(side, positions):
    image = dotted(side, ffhq_eyes((side, side)), radius=side / 64)
    face = FaceCutter("ffhq", (112, 112), positions)(Sample(image, key="x"))
    assert (face.shape, face.dtype) == ((3, 112, 112), np.uint8)
    found = centres(face)
    for eye in ("reye", "leye"):
        np.testing.assert_allclose(found[eye], positions[eye], atol=0.1)


def test_the_eyes_of_a_scaled_copy_are_those_of_the_image():
    image = dotted(1024, ffhq_eyes((1024, 1024)), radius=16)
    small = cv2.resize(cv2.merge([*image]), (256, 256), interpolation=cv2.INTER_AREA)
    found = centres(small.transpose(2, 0, 1))
    for eye, position in ffhq_eyes((256, 256)).items():
        np.testing.assert_allclose(found[eye], position, atol=0.01)


def test_an_oblique_face_is_turned_upright():
    eyes = {"reye": (260.0, 150.0), "leye": (200.0, 330.0)}
    image = dotted(480, eyes, radius=8)
    face = EyeCropper(BOB_EYES, (112, 112)).transform(image, eyes)
    found = centres(face)
    for eye in ("reye", "leye"):
        np.testing.assert_allclose(found[eye], BOB_EYES[eye], atol=0.1)


def test_fine_texture_becomes_grey_and_not_noise():
    board = 255 * (np.indices((1024, 1024)).sum(axis=0) % 2).astype(np.uint8)
    image = np.repeat(board[None], 3, axis=0)
    eyes = ffhq_eyes((1024, 1024))
    ours = EyeCropper(INSIGHTFACE_EYES, (112, 112)).transform(image, eyes)
    bobs = FaceEyesNorm(INSIGHTFACE_EYES, (112, 112)).transform(image, eyes)
    inside = (slice(None), slice(8, -8), slice(8, -8))
    np.testing.assert_allclose(ours[inside], 127.5, atol=1.5)
    assert bobs[inside].std() > 10  # why Bob's cropper is not used for large images


def test_on_a_smooth_image_the_crop_is_bobs_but_for_the_pixels_it_rounds_to():
    noise = cv2.GaussianBlur(np.random.default_rng(0).uniform(0, 255, (300, 300, 3)), (0, 0), 12)
    noise = (127 + 8 * (noise - noise.mean())).clip(0, 255).astype(np.uint8)
    image = np.ascontiguousarray(noise.transpose(2, 0, 1))
    croppers = EyeCropper(BOB_EYES, (112, 112)), FaceEyesNorm(BOB_EYES, (112, 112))
    # same scale: nothing is rounded, nothing interpolated
    eyes = {"reye": (140.0, 134.0), "leye": (140.0, 166.0)}
    np.testing.assert_array_equal(*(cropper.transform(image, eyes) for cropper in croppers))
    # turned and 2.5 times as large: nearest to Bob's without a shift
    eyes = {"reye": (140.0, 110.0), "leye": (146.0, 190.0)}
    ours, bobs = (cropper.transform(image, eyes).astype(float) for cropper in croppers)
    inside = (slice(None), slice(10, -10), slice(10, -10))
    likeness = {
        (dy, dx): np.corrcoef(ours[inside].ravel(), np.roll(bobs, (dy, dx), (1, 2))[inside].ravel())
        for dy in (-1, 0, 1)
        for dx in (-1, 0, 1)
    }
    best = max(likeness, key=lambda shift: likeness[shift][0, 1])
    assert best == (0, 0)
    assert likeness[best][0, 1] > 0.99


def test_similarity_moves_both_points_and_keeps_angles():
    source, target = np.array([[0.0, 0.0], [2.0, 0.0]]), np.array([[1.0, 1.0], [1.0, 5.0]])
    warp = similarity(source, target)
    np.testing.assert_allclose(warp @ [0, 0, 1], [1, 1], atol=1e-12)
    np.testing.assert_allclose(warp @ [2, 0, 1], [1, 5], atol=1e-12)
    # a quarter turn and twice the size: the third corner is known
    np.testing.assert_allclose(warp @ [0, 1, 1], [-1, 1], atol=1e-12)


@pytest.mark.parametrize(
    ("image", "eyes", "told"),
    [
        ((200, 200), None, "there are no eye positions"),
        ((200, 200), {"reye": (1, 2)}, "there are no eye positions"),
        ((200, 200), {"reye": (60, 60), "leye": (60, float("nan"))}, "must be finite"),
        ((200, 200), {"reye": (60, 60), "leye": (60, 200)}, "outside the image of 200 x 200"),
        ((200, 200), {"reye": (60, 120), "leye": (60, 60)}, "swapped"),
        ((200, 200), {"reye": (60, 60), "leye": (60, 75)}, "too small: 15 pixels between"),
    ],
)
def test_eyes_that_cannot_be_are_told(image, eyes, told):
    cut = FaceCutter("annotations", (112, 112), BOB_EYES)
    sample = Sample(np.zeros((3, *image), np.uint8), key="x", annotations=eyes)
    with pytest.raises(ValueError, match=told):
        cut(sample)


def test_images_of_other_forms():
    grey = np.arange(12).reshape(3, 4)
    np.testing.assert_array_equal(as_rgb(grey), np.stack([grey] * 3))
    np.testing.assert_array_equal(as_rgb(np.full((3, 2, 2), 7.6)), np.full((3, 2, 2), 8))
    for wrong in (np.zeros((2, 2, 3)), np.zeros((3, 0, 2)), np.zeros(4)):
        with pytest.raises(ValueError, match=r"must have the shape \(3, H, W\), got"):
            as_rgb(wrong)
    for wrong in (-np.ones((3, 2, 2)), np.full((3, 2, 2), 256.0), np.full((3, 2, 2), np.nan)):
        with pytest.raises(ValueError, match=r"must lie in \[0, 255\], got float64 values outside"):
            as_rgb(wrong)


# -- bad images --------------------------------------------------------------------


def test_bad_images_are_listed_with_their_reasons(tmp_path, faces):
    root = tmp_path / "faces"
    for name in ("good", "cut", "wide", "text", "empty"):
        save(root / f"{name}.png", faces[0])
    (root / "cut.png").write_bytes((root / "good.png").read_bytes()[:3000])
    save(root / "wide.png", faces[1][:, :, :100])
    Image.fromarray(np.zeros((112, 112), np.int32)).save(root / "deep.tif")
    (root / "text.png").write_text("no image at all")
    (root / "empty.png").write_bytes(b"")
    result = command(root, "-r", MBF, "-o", "out", "--shard-size", 2)
    assert result.exit_code == 0, result.output
    assert "out: 1 faces for arcface-mbf; 5 images left out, see out/bad.csv." in result.output
    found, bad = FaceDataset("out"), bad_of(tmp_path / "out")
    assert (found.keys, found.about.bad) == (["good.png"], 5)
    assert sorted(bad) == ["cut.png", "deep.tif", "empty.png", "text.png", "wide.png"]
    assert bad["wide.png"] == "112 x 100 pixels, an aligned face has 112 x 112"
    assert "8 or 16 bits a channel" in bad["deep.tif"]
    for name in ("cut.png", "text.png", "empty.png"):
        assert "truncated or damaged" in bad[name]
        assert "\n" not in bad[name]


def test_bad_members_of_an_archive_are_listed_too(tmp_path, folder, tiny):
    names = [f"0/0{i}.png" for i in range(3)]
    with tarfile.open(tmp_path / "faces.tar", "w") as packed:
        for name in names:
            packed.add(folder / name, name)
        member = tarfile.TarInfo("text.png")
        member.size = 3
        packed.addfile(member, io.BytesIO(b"abc"))
    prepare("faces.tar", tiny, "out")
    assert FaceDataset("out").keys == names
    assert "text.png in" in bad_of(tmp_path / "out")["text.png"]


def test_eyes_come_from_a_table(tmp_path, faces, tiny):
    root = tmp_path / "faces"
    padded = np.pad(faces[:5], ((0, 0), (0, 0), (20, 0), (30, 0)))
    for i, image in enumerate(padded):
        save(root / f"{i}.png", image)
    (ry, rx), (ly, lx) = INSIGHTFACE_EYES["reye"], INSIGHTFACE_EYES["leye"]
    lines = ["path,reye_y,reye_x,leye_y,leye_x"]
    lines += [f"{i}.png,{ry + 20},{rx + 30},{ly + 20},{lx + 30}" for i in range(3)]
    lines += [f"3.png,{ry + 20},{rx + 30},{ly + 20},900"]
    (root / "annotations.csv").write_text("\n".join(lines))
    card = prepare(root, tiny, "out")
    assert card.crop == "annotations"
    found = FaceDataset("out")
    assert found.keys == ["0.png", "1.png", "2.png"]
    np.testing.assert_array_equal(found.faces([0, 1, 2]), faces[:3])
    assert bad_of(tmp_path / "out") == {
        "3.png": "an eye lies outside the image of 132 x 142 pixels",
        "4.png": "there are no eye positions (reye, leye)",
    }
    with zipfile.ZipFile("faces.zip", "w") as packed:
        for i in range(5):
            packed.write(root / f"{i}.png", f"{i}.png")
    table = tmp_path / "eyes.csv"
    table.write_bytes((root / "annotations.csv").read_bytes())
    prepare("faces.zip", tiny, "zipped", annotations=table)
    np.testing.assert_array_equal(FaceDataset("zipped").faces([0, 1, 2]), faces[:3])


def test_an_embedding_that_is_not_finite_is_bad(folder, tmp_path, monkeypatch, tiny):
    real = RecognizerTransformer.transform

    def spoilt(self, X):
        rows = real(self, X)
        for i in range(len(X)):
            if np.array_equal(X[i], spoiling):
                rows[i, 3] = np.nan
        return rows

    spoiling = np.asarray(Image.open(folder / "0/02.png")).transpose(2, 0, 1)[..., ::-1]
    monkeypatch.setattr(RecognizerTransformer, "transform", spoilt)
    prepare(folder, tiny, "out")
    assert bad_of(tmp_path / "out") == {"0/02.png": "its embedding is NaN or infinity"}
    assert len(FaceDataset("out")) == N - 1


def test_no_face_at_all_is_an_error_before_any_work(tmp_path, faces):
    save(tmp_path / "faces/a.png", faces[0][:, :64, :64])
    save(tmp_path / "faces/b.png", faces[0][:, :64, :64])
    result = command("faces", "-r", MBF, "-o", "out")
    assert result.exit_code == 2
    assert "must give faces, got none from 2 of the 2 images of" in result.output
    assert "(first: a.png: 64 x 64 pixels, an aligned face has 112 x 112)" in result.output
    assert not (tmp_path / "out").exists()


def test_no_embedding_at_all_is_an_error_that_leaves_the_folder_free(folder, tiny, monkeypatch):
    real = RecognizerTransformer.transform
    with monkeypatch.context() as patched:  # undo() would leave the test's own folder too
        patched.setattr(RecognizerTransformer, "transform", lambda self, X: np.nan * real(self, X))
        with pytest.raises(ValueError, match=r"10 of the 10 images .* its embedding is NaN"):
            prepare(folder, tiny, "out", shard_size=4)
    assert not any(Path("out").iterdir())
    assert prepare(folder, tiny, "out", crop="ffhq").n == N


# -- stopping and going on ---------------------------------------------------------


def test_a_stopped_run_goes_on_with_the_missing_shards(folder, tmp_path, monkeypatch, tiny):
    """The third shard fails; the same command makes it and the fourth, and no other."""
    real = shard_maker.ShardMaker._embed
    embedded: list[int] = []

    def counted(self, faces):
        embedded.append(len(faces))
        if stops_at in embedded[-1:] or sum(embedded) > stops_at:
            raise KeyboardInterrupt
        return real(self, faces)

    monkeypatch.setattr(shard_maker.ShardMaker, "_embed", counted)
    stops_at = 7
    arguments = {"shard_size": 3, "about": "nobody"}
    with pytest.raises(KeyboardInterrupt):
        prepare(folder, tiny, "out", **arguments)
    before = modified(tmp_path / "out")
    assert len(before) == 6  # two shards of three files
    with pytest.raises(ValueError, match="must be complete"):
        FaceDataset("out")
    stops_at = 100
    embedded.clear()
    prepare(folder, tiny, "out", **arguments)
    assert embedded == [3, 1]
    after = modified(tmp_path / "out")
    assert {name: after[name] for name in before} == before
    assert len(after) == 12
    embedded.clear()
    card = prepare(folder, tiny, "out", shard_size=3)
    assert embedded == []
    assert card.about == "nobody"  # what was told once stays
    prepare(folder, tiny, "whole", shard_size=100)
    assert FaceDataset("out").keys == FaceDataset("whole").keys
    np.testing.assert_allclose(
        FaceDataset("out").embeddings, FaceDataset("whole").embeddings, atol=1e-4
    )


def test_a_shard_that_was_removed_is_made_again(folder, tmp_path, tiny):
    prepare(folder, tiny, "out", shard_size=4)
    rows = FaceDataset("out").embeddings
    (tmp_path / "out/shard-00001.json").unlink()
    np.save(tmp_path / "out/shard-00001.embeddings.npy", np.zeros(3))
    prepare(folder, tiny, "out", shard_size=4)
    np.testing.assert_array_equal(FaceDataset("out").embeddings, rows)


def test_a_folder_of_other_work_is_refused_with_the_differences(folder, tmp_path, faces, tiny):
    prepare(folder, MBF, "out")
    result = command(folder, "-r", MBF, "-o", "out", "--crop", "ffhq", "--shard-size", 3)
    assert result.exit_code == 2
    assert "crop was 'aligned', now 'ffhq'; shard_size was 1000, now 3" in result.output
    save(tmp_path / "other/a.png", faces[0])
    with pytest.raises(ValueError, match=r"images was 10, now 1; names was .*; source was"):
        prepare(tmp_path / "other", MBF, "out")
    again = command(tmp_path / "other", "-r", MBF, "-o", "out", "--force")
    assert again.exit_code == 0, again.output
    assert FaceDataset("out").keys == ["a.png"]
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/thesis.tex").write_text("precious")
    with pytest.raises(ValueError, match=r"must be a new folder, got .* other files in it"):
        prepare(folder, tiny, "mine", force=True)


def test_at_most_so_many_images_are_read_ahead():
    started: list[int] = []
    results = map_ahead(lambda i: started.append(i) or i, range(100), 5, threads=2)
    for expected in range(100):
        assert next(results) == expected
        assert len(started) <= expected + 6


# -- wrong input -------------------------------------------------------------------


def test_wrong_sources_are_told(tmp_path):
    told = r"got 'nowhere'; the databases are .*recon-demo"
    with pytest.raises(ValueError, match=told):
        open_source("nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"must hold images \(.bmp, .*\), got none in .*empty"):
        open_source("empty")
    Path("some.bin").write_bytes(b"abc")
    with pytest.raises(ValueError, match=r"or the name of a Bob database, got the file .*some.bin"):
        open_source("some.bin")
    with pytest.raises(ValueError, match=r"must be None for a Bob database, got eyes.csv"):
        open_source("recon-demo", "eyes.csv")


def test_a_damaged_archive_is_told(tmp_path, folder):
    with tarfile.open("faces.tar.gz", "w:gz") as packed:
        packed.add(folder, "faces")
    whole = Path("faces.tar.gz").read_bytes()
    Path("faces.tar.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"a complete archive, got the damaged .*restore it"):
        open_source("faces.tar.gz")


def test_wrong_options_are_told(folder, tmp_path, tiny):
    for options, told in (
        (["-r", "mbf"], "`recognizer` must be one of 'arcface-mbf'"),
        (["-r", MBF, "--crop", "annotations"], "`annotations` must be given for the crop"),
        (["-r", MBF, "--annotations", "none.csv"], "`annotations` must be an existing file"),
        (["-r", MBF, "-l", "nothing"], "`--dask-client` (-l) must name a client, got 'nothing'"),
        (["-r", "arcface-iresnet50"], "must be an existing file, got"),
    ):
        result = command(folder, "-o", "out", *options)
        assert result.exit_code == 2, result.output
        assert told in " ".join(result.output.split())
        assert not (tmp_path / "out").exists()  # told before any work
    for name in ("shard_size", "batch_size"):
        with pytest.raises(ValueError, match=f"`{name}` must be at least 1, got 0"):
            prepare(folder, tiny, "out", **{name: 0})


def test_a_compressed_archive_is_for_one_process(tmp_path, folder, tiny):
    with tarfile.open("faces.tar.gz", "w:gz") as packed:
        packed.add(folder / "0", "0")
    with pytest.raises(ValueError, match="must not be compressed if several workers read it"):
        prepare("faces.tar.gz", tiny, "out", dask_client="threads")


def test_generated_faces_tell_what_they_are_and_where_their_eyes_are(tmp_path, faces, tiny):
    save(tmp_path / "nobody/000/000000.png", faces[0])
    manifest = {"about": "nobody at all", "positions": INSIGHTFACE_EYES}
    (tmp_path / f"nobody/{preparing.MANIFEST}").write_text(json.dumps(manifest))
    assert prepare("nobody", tiny, "out").about == "nobody at all"
    with pytest.raises(ValueError, match=r"eyes of arcface-iresnet50 at .*synthesize them with"):
        prepare("nobody", "arcface-iresnet50", "other")


def test_help_teaches_and_states_the_licence():
    text = " ".join(command("--help").output.split())
    assert "FFHQ is licensed CC BY-NC-SA 4.0" in text
    assert "not meant for facial recognition technologies" in text
    assert "bob bio recon prepare faces -r arcface-mbf -o faces-mbf" in text
