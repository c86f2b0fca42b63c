"""Databases: what they serve, what they refuse, and that they ask no network."""

from __future__ import annotations

import csv
import io
import pickle
import runpy
import socket
import tarfile
import tempfile
import zipfile
from collections import Counter
from pathlib import Path

import click
import numpy as np
import pytest
from bob.bio.base.algorithm import Distance
from bob.bio.base.pipelines import CSVScoreWriter
from bob.bio.face.utils import embedding_transformer
from bob.pipelines import Sample
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageFile

from bob_recon_plugin.database import DemoDatabase, FolderDatabase, LFWDatabase, MobioDatabase
from bob_recon_plugin.database.pairs import read_pairs
from bob_recon_plugin.images import INSIGHTFACE_EYES, load_image
from bob_recon_plugin.images.geometry import eye_positions
from tests import mobio_shaped

PAIRS = (
    "1\t2",
    "Ada_A\t1\t2",
    "Bo_B\t1\t3",
    "Ada_A\t1\tBo_B\t2",
    "Bo_B\t3\tAda_A\t2",
)


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError(f"asked the network: {args}")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)


@pytest.fixture(autouse=True)
def rc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Return a function that sets keys of `bob config` for this test; none are set at first."""
    home = tmp_path / "settings"
    home.mkdir()
    (home / "bobrc.toml").write_text(f'bob_data_dir = "{tmp_path / "bob_data"}"\n')
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home))

    def set_key(key: str, value: object) -> None:
        with (home / "bobrc.toml").open("a") as stream:
            stream.write(f'"{key}" = "{value}"\n')

    return set_key


def write_image(path: Path, seed: int = 0, mode: str = "RGB") -> np.ndarray:
    """Write noise to a file; return it as (H, W, 3), which is exact for lossless formats."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(0, 256, (12, 10, 3), dtype=np.uint8)
    Image.fromarray(noise).convert(mode).save(path)
    return noise


def write_lfw(root: Path, pairs: tuple[str, ...] = PAIRS) -> Path:
    for seed, name in enumerate(("Ada_A", "Bo_B")):
        for index in (1, 2, 3):
            write_image(root / "all_images" / name / f"{name}_{index:04d}.jpg", 10 * seed + index)
    (root / "view2").mkdir()
    (root / "view2" / "pairs.txt").write_text("\n".join(pairs) + "\n")
    return root


def write_folder(root: Path, subjects: dict[str, int]) -> Path:
    for seed, (subject, count) in enumerate(subjects.items()):
        for index in range(count):
            write_image(root / subject / f"{index}.png", 10 * seed + index)
    return root


def score_rows(database, group: str, folder: Path) -> list[dict[str, str]]:
    """Score with Bob's own algorithm and writer; every template is a made vector."""

    def templates(sets, shape):
        generator = np.random.default_rng(0)
        return [Sample(generator.normal(size=shape), parent=s) for s in sets]

    scores = Distance().score_sample_templates(
        templates(database.probes(group), (1, 4)),
        templates(database.references(group), 4),
        database.score_all_vs_all,
    )
    (written,) = CSVScoreWriter(str(folder)).write(scores)
    with open(written, newline="") as stream:
        return list(csv.DictReader(stream))


def config(name: str):
    return runpy.run_module(f"bob_recon_plugin.config.database.{name}")["database"]


def check_keys(sets) -> None:
    """Keys and template ids name one sample set each, and every sample its own file."""
    for name in ("key", "template_id"):
        assert max(Counter(getattr(s, name) for s in sets).values()) == 1
    assert max(Counter(sample.key for s in sets for sample in s).values()) == 1
    assert all(sample.subject_id == s.subject_id for s in sets for sample in s)


# --- images -----------------------------------------------------------------------------------


def test_image_is_planar_rgb(tmp_path: Path) -> None:
    noise = write_image(tmp_path / "a.png")
    image = load_image(tmp_path / "a.png")
    assert image.dtype == np.uint8
    assert image.flags.c_contiguous
    np.testing.assert_array_equal(image, noise.transpose(2, 0, 1))


@pytest.mark.parametrize("mode", ["L", "1", "LA"])
def test_grey_becomes_three_equal_channels(tmp_path: Path, mode: str) -> None:
    write_image(tmp_path / "a.png", mode=mode)
    image = load_image(tmp_path / "a.png")
    assert image.shape == (3, 12, 10)
    assert image.std() > 0
    np.testing.assert_array_equal(image[0], image[1])
    np.testing.assert_array_equal(image[0], image[2])


def test_transparency_is_dropped(tmp_path: Path) -> None:
    pixels = np.full((4, 4, 4), (10, 20, 30, 0), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    np.testing.assert_array_equal(load_image(tmp_path / "a.png")[:, 0, 0], (10, 20, 30))


def test_orientation_of_the_camera_is_applied(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (12, 10, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees to the right to display
    Image.fromarray(noise).save(tmp_path / "a.png", exif=exif)
    np.testing.assert_array_equal(
        load_image(tmp_path / "a.png"), np.rot90(noise, -1).transpose(2, 0, 1)
    )


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.pgm"])
def test_of_sixteen_bits_the_upper_eight_are_kept(tmp_path: Path, name: str) -> None:
    deep = np.array([[0, 255, 256, 40000], [32767, 32768, 65280, 65535]], dtype=np.uint16)
    path = tmp_path / name
    if name.endswith("pgm"):
        path.write_bytes(b"P5 4 2 65535\n" + deep.astype(">u2").tobytes())
    else:
        Image.fromarray(deep).save(path)
    image = load_image(path)
    assert image.dtype == np.uint8
    assert image[0].tolist() == [[0, 0, 1, 156], [127, 128, 255, 255]]
    np.testing.assert_array_equal(image[0], image[1])
    np.testing.assert_array_equal(image[0], image[2])


@pytest.mark.parametrize("dtype", [np.int32, np.float32])
def test_deep_image_is_refused_instead_of_clipped(tmp_path: Path, dtype: type) -> None:
    Image.fromarray(np.full((4, 4), 40000, dtype=dtype)).save(tmp_path / "deep.tif")
    with pytest.raises(ValueError, match=r"8 or 16 bits a channel, got mode [IF].*deep\.tif"):
        load_image(tmp_path / "deep.tif")


@pytest.mark.parametrize(
    ("mode", "colour"), [("CMYK", (0, 255, 255, 0)), ("P", 1), ("RGBA", (255, 0, 0, 9))]
)
def test_other_colours_become_rgb(tmp_path: Path, mode: str, colour: object) -> None:
    image = Image.new(mode, (4, 4), 0)
    if mode == "P":
        image.putpalette([0, 0, 0, 255, 0, 0])
    image.paste(colour, (0, 0, 4, 4))
    image.save(tmp_path / "red.tif")
    np.testing.assert_array_equal(load_image(tmp_path / "red.tif")[:, 1, 2], (255, 0, 0))


@pytest.mark.parametrize("extension", ["jpg", "png", "webp", "bmp"])
@pytest.mark.parametrize("share", [0, 0.1, 0.5, 0.9])
def test_truncated_image_is_named(tmp_path: Path, extension: str, share: float) -> None:
    path = tmp_path / f"half.{extension}"
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(ValueError, match=r"truncated or damaged image .*half\..*restore or remove"):
        load_image(path)


def test_truncated_jpeg_is_named(tmp_path: Path) -> None:
    write_image(tmp_path / "a.jpg")
    data = (tmp_path / "a.jpg").read_bytes()
    (tmp_path / "a.jpg").write_bytes(data[: len(data) - 40])
    with pytest.raises(ValueError, match=r"truncated or damaged image .*a\.jpg"):
        load_image(tmp_path / "a.jpg")


def test_setting_of_pillow_is_restored(tmp_path: Path) -> None:
    """Importing Bob tells Pillow to fill what is missing of an image with grey."""
    write_image(tmp_path / "a.png")
    assert ImageFile.LOAD_TRUNCATED_IMAGES
    load_image(tmp_path / "a.png")
    assert ImageFile.LOAD_TRUNCATED_IMAGES


def test_missing_and_alien_files(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"existing file, got .*none\.png"):
        load_image(tmp_path / "none.png")
    (tmp_path / "text.png").write_text("no image")
    with pytest.raises(ValueError, match=r"truncated or damaged image .*text\.png"):
        load_image(tmp_path / "text.png")


# --- eye positions ----------------------------------------------------------------------------


def test_eye_positions_are_floats() -> None:
    assert eye_positions("p", {"reye": [1, 2], "leye": (3, "4.5")}) == {
        "reye": (1.0, 2.0),
        "leye": (3.0, 4.5),
    }


@pytest.mark.parametrize(
    ("positions", "error", "text"),
    [
        ([(1, 2), (3, 4)], TypeError, "`p` must be .*got list"),
        ({"reye": (1, 2)}, ValueError, "`p` must be .*leye"),
        ({"reye": (1, 2, 3), "leye": (1, 2)}, ValueError, "`p` must be"),
        ({"reye": (1, 2), "leye": (1, "x")}, ValueError, "`p` must be"),
        ({"reye": (1, 2), "leye": (float("nan"), 3)}, ValueError, "must be finite"),
    ],
)
def test_eye_positions_are_checked(positions: object, error: type, text: str) -> None:
    with pytest.raises(error, match=text):
        eye_positions("p", positions)


def test_fixed_positions_with_exchanged_eyes(tmp_path: Path) -> None:
    exchanged = {"reye": (50, 70), "leye": (50, 40)}
    for database in (LFWDatabase, MobioDatabase, FolderDatabase):
        with pytest.raises(ValueError, match=r"`fixed_positions` must have the x of reye below"):
            database(original_directory=tmp_path, fixed_positions=exchanged)


# --- LFW --------------------------------------------------------------------------------------


def test_lfw_serves_the_pairs(tmp_path: Path) -> None:
    database = LFWDatabase(
        original_directory=write_lfw(tmp_path / "lfw"), fixed_positions=INSIGHTFACE_EYES
    )
    assert database.groups() == ["dev"]
    assert database.protocols() == ["view2"]
    assert database.background_model_samples() == []
    assert not database.score_all_vs_all
    assert not database.memory_demanding
    references, probes = database.references(), database.probes("dev")
    assert [s.key for s in references] == ["Ada_A/Ada_A_0001", "Bo_B/Bo_B_0001", "Bo_B/Bo_B_0003"]
    assert {s.key: s.references for s in probes} == {
        "Ada_A/Ada_A_0002": ["Ada_A/Ada_A_0001", "Bo_B/Bo_B_0003"],
        "Bo_B/Bo_B_0003": ["Bo_B/Bo_B_0001"],
        "Bo_B/Bo_B_0002": ["Ada_A/Ada_A_0001"],
    }
    assert [s.subject_id for s in references] == ["Ada_A", "Bo_B", "Bo_B"]
    check_keys(references)
    check_keys(probes)
    # Bo_B_0003 is a reference and a probe
    assert len(database.all_samples()) == 5
    assert len(database.all_samples(())) == len(database.all_samples("dev")) == 5


def test_lfw_scores_every_pair_once(tmp_path: Path) -> None:
    database = LFWDatabase(
        original_directory=write_lfw(tmp_path / "lfw"), fixed_positions=INSIGHTFACE_EYES
    )
    rows = score_rows(database, "dev", tmp_path / "scores")
    assert list(rows[0]) == [
        "probe_template_id",
        "probe_subject_id",
        "bio_ref_template_id",
        "bio_ref_subject_id",
        "score",
    ]
    compared = Counter((r["bio_ref_template_id"][-4:], r["probe_template_id"][-4:]) for r in rows)
    assert compared == {
        ("0001", "0002"): 2,  # Ada 1 2, and Ada 1 Bo 2
        ("0001", "0003"): 1,
        ("0003", "0002"): 1,
    }
    assert sum(r["probe_subject_id"] == r["bio_ref_subject_id"] for r in rows) == 2


def test_lfw_sample_is_pickled_and_loads(tmp_path: Path) -> None:
    root = write_lfw(tmp_path / "lfw")
    database = LFWDatabase(original_directory=root, fixed_positions=INSIGHTFACE_EYES)
    for served in (database.references()[1], database.probes()[1]):
        copied = pickle.loads(pickle.dumps(served))
        (sample,) = copied.samples
        path = root / "all_images" / f"{sample.key}.jpg"
        expected = np.asarray(Image.open(path).convert("RGB")).transpose(2, 0, 1)
        np.testing.assert_array_equal(sample.data, expected)
        assert sample.annotations == INSIGHTFACE_EYES
        assert sample.annotations is not INSIGHTFACE_EYES


def test_lfw_truncated_image_is_named_on_loading(tmp_path: Path) -> None:
    root = write_lfw(tmp_path / "lfw")
    path = root / "all_images" / "Ada_A" / "Ada_A_0001.jpg"
    path.write_bytes(path.read_bytes()[:-60])
    database = LFWDatabase(original_directory=root, fixed_positions=INSIGHTFACE_EYES)
    with pytest.raises(
        ValueError, match=r"truncated or damaged image .*Ada_A_0001\.jpg .*restore or remove"
    ):
        _ = database.references()[0].samples[0].data


@pytest.mark.parametrize("fixed", [True, False])
def test_lfw_passes_through_bobs_cropper(tmp_path: Path, fixed: bool) -> None:
    """A cropper built with or without fixed positions finds what it needs on the samples."""
    database = LFWDatabase(
        original_directory=write_lfw(tmp_path / "lfw"), fixed_positions=INSIGHTFACE_EYES
    )
    transformer = embedding_transformer(
        (112, 112),
        "passthrough",
        INSIGHTFACE_EYES,
        fixed_positions=database.fixed_positions if fixed else None,
    )
    (cropped,) = transformer.transform(database.references()[:1])
    assert cropped.samples[0].data.shape == (3, 112, 112)


def test_lfw_settings_are_read_when_constructed(tmp_path: Path, rc) -> None:
    with pytest.raises(
        FileNotFoundError, match=r"got none; .*bob config set bob\.bio\.face\.lfw\.directory PATH"
    ):
        LFWDatabase(fixed_positions=INSIGHTFACE_EYES)
    rc("bob.bio.face.lfw.directory", write_lfw(tmp_path / "lfw"))
    assert len(LFWDatabase(fixed_positions=INSIGHTFACE_EYES).probes()) == 3


def test_lfw_extension_of_the_settings(tmp_path: Path, rc) -> None:
    root = write_lfw(tmp_path / "lfw")
    rc("bob.bio.face.lfw.extension", ".png")
    with pytest.raises(FileNotFoundError, match=r"5 of 5 missing .*Ada_A_0001\.png"):
        LFWDatabase(original_directory=root, fixed_positions=INSIGHTFACE_EYES)


def write_annotations(root: Path, ending: str, text: str) -> Path:
    for name in ("Ada_A", "Bo_B"):
        (root / name).mkdir(parents=True)
        for index in (1, 2, 3):
            (root / name / f"{name}_{index:04d}{ending}").write_text(text)
    return root


FUNNELED = "10 30 20 32 40 31 50 29 25 50 30 52 35 50 22 70 38 70\n"


@pytest.mark.parametrize(
    ("issuer", "ending", "text"),
    [
        ("funneled", ".jpg.pts", FUNNELED),
        ("named", ".pos", "reye 15 31\nleye 45 30\nmouth 30 70\n"),
        ("idiap", ".pos", "3 31 15\n8 30 45\nquality good\n"),
    ],
)
def test_lfw_annotations_of_every_issuer(
    tmp_path: Path, rc, issuer: str, ending: str, text: str
) -> None:
    root = write_lfw(tmp_path / "lfw")
    rc("bob.bio.face.lfw.annotation_directory", write_annotations(tmp_path / "a", ending, text))
    database = LFWDatabase(original_directory=root, annotation_issuer=issuer)
    assert database.fixed_positions is None
    for served in database.references() + database.probes():
        assert served.samples[0].annotations == {"reye": (31.0, 15.0), "leye": (30.0, 45.0)}


def test_lfw_annotations_that_bob_has_unpacked_are_found(tmp_path: Path) -> None:
    write_annotations(tmp_path / "bob_data/lfw_annotations/funneled", ".jpg.pts", FUNNELED)
    database = LFWDatabase(original_directory=write_lfw(tmp_path / "lfw"))
    assert database.probes()[0].samples[0].annotations["leye"] == (30.0, 45.0)


def test_lfw_without_annotations_says_where_they_are(tmp_path: Path) -> None:
    root = write_lfw(tmp_path / "lfw")
    with pytest.raises(FileNotFoundError) as caught:
        LFWDatabase(original_directory=root)
    text = str(caught.value)
    assert "https://www.idiap.ch/" in text
    assert "bob config set bob.bio.face.lfw.annotation_directory PATH" in text
    assert "lfw_annotations/funneled" in text
    assert "`fixed_positions`" in text
    with pytest.raises(FileNotFoundError, match=r"existing directory, got .*/nowhere"):
        LFWDatabase(original_directory=root, annotation_directory=tmp_path / "nowhere")


def test_lfw_broken_annotations(tmp_path: Path) -> None:
    root = write_lfw(tmp_path / "lfw")
    annotations = write_annotations(tmp_path / "a", ".jpg.pts", FUNNELED)
    (annotations / "Bo_B" / "Bo_B_0003.jpg.pts").write_text("1 2 3")
    with pytest.raises(ValueError, match=r"issued by 'funneled', got .*Bo_B_0003.*3 numbers"):
        LFWDatabase(original_directory=root, annotation_directory=annotations)
    (annotations / "Bo_B" / "Bo_B_0003.jpg.pts").unlink()
    with pytest.raises(FileNotFoundError, match=r"1 of 5 missing \(first: .*Bo_B_0003\.jpg\.pts"):
        LFWDatabase(original_directory=root, annotation_directory=annotations)


IMAGES = st.tuples(st.sampled_from(["A", "B_b", "C-c"]), st.integers(1, 12000))


@given(st.lists(st.tuples(IMAGES, IMAGES).filter(lambda p: p[0] != p[1]), unique=True))
def test_pairs_are_read_as_written(pairs: list[tuple[tuple[str, int], tuple[str, int]]]) -> None:
    """Any distinct comparisons, in either form of line, come back in their order."""
    pairs = pairs[: len(pairs) // 2 * 2]
    lines = [
        f"{a}\t{i}\t{j}" if a == b and i % 2 else f"{a}\t{i}\t{b}\t{j}" for (a, i), (b, j) in pairs
    ]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "pairs.txt")
        path.write_text("\n".join([f"1\t{len(pairs) // 2}", *lines]))
        read = read_pairs(path)
    assert [pair.line for pair in read] == list(range(2, len(pairs) + 2))
    assert [(pair.reference, pair.probe) for pair in read] == [
        (f"{a}/{a}_{str(i).zfill(4)}", f"{b}/{b}_{str(j).zfill(4)}") for (a, i), (b, j) in pairs
    ]


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("Bo_B\t3\tAda_A", r"lines of name, number, .*got 'Bo_B\\t3\\tAda_A' in line 5 of"),
        ("Bo_B", r"in line 5 of"),
        ("Bo_B\t3\tAda_A\t2\t7", r"in line 5 of"),
        ("Bo_B\tthree\t2", r"in line 5 of"),
        ("Bo_B\t0\t2", r"in line 5 of"),
        ("Ada_A\t2\t2", r"Ada_A_0002 with itself in line 5 of"),
        ("Bo_B\t1\t3", r"every pair once, got that of line 3 again in line 5 of"),
        ("", r"the 4 pairs that its first line announces, got 3 in"),
    ],
)
def test_lfw_malformed_pairs(tmp_path: Path, line: str, text: str) -> None:
    root = write_lfw(tmp_path / "lfw", (*PAIRS[:4], line))
    with pytest.raises(ValueError, match=text):
        LFWDatabase(original_directory=root, fixed_positions=INSIGHTFACE_EYES)


def test_lfw_pairs_without_header(tmp_path: Path) -> None:
    root = write_lfw(tmp_path / "lfw", PAIRS[1:])
    with pytest.raises(ValueError, match=r"begin with the number of folds.*line 1 of"):
        LFWDatabase(original_directory=root, fixed_positions=INSIGHTFACE_EYES)


def test_lfw_pairs_with_the_ends_of_another_system(tmp_path: Path) -> None:
    root = write_lfw(tmp_path / "lfw")
    (root / "view2" / "pairs.txt").write_bytes("\r\n".join((*PAIRS, "", "")).encode())
    database = LFWDatabase(original_directory=root, fixed_positions=INSIGHTFACE_EYES)
    assert sum(len(s.references) for s in database.probes()) == 4


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("Bo_B\t3\tAda_A\t9", r"1 of 6 missing \(first: .*Ada_A_0009\.jpg, line 5\)"),
        ("Cy_C\t1\t2", r"2 of 7 missing \(first: .*Cy_C_0001\.jpg, line 5, no folder .* Cy_C\)"),
    ],
)
def test_lfw_pairs_of_missing_images(tmp_path: Path, line: str, text: str) -> None:
    root = write_lfw(tmp_path / "lfw", (*PAIRS[:4], line))
    with pytest.raises(FileNotFoundError, match=text):
        LFWDatabase(original_directory=root, fixed_positions=INSIGHTFACE_EYES)


def test_lfw_other_refusals(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="`protocol` must be one of 'view2', got 'o1'"):
        LFWDatabase("o1")
    with pytest.raises(ValueError, match="`annotation_issuer` must be one of 'funneled'"):
        LFWDatabase(annotation_issuer="me")
    with pytest.raises(FileNotFoundError, match=r"existing directory, got .*/nowhere"):
        LFWDatabase(original_directory=tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match=r"`pairs` must be .*view2/pairs\.txt; "):
        LFWDatabase(original_directory=tmp_path / "empty")
    database = LFWDatabase(
        original_directory=write_lfw(tmp_path / "lfw"), fixed_positions=INSIGHTFACE_EYES
    )
    with pytest.raises(ValueError, match="`group` must be one of 'dev', got 'eval'"):
        database.probes("eval")


@pytest.mark.realfaces
def test_lfw_folds_1_to_5(shared_data: Path, tmp_path: Path) -> None:
    database = LFWDatabase(
        original_directory=shared_data / "lfw-folds-1-5", fixed_positions=INSIGHTFACE_EYES
    )
    references, probes = database.references(), database.probes()
    check_keys(references)
    check_keys(probes)
    assert sum(len(s.references) for s in probes) == 3000
    assert len(database.all_samples()) == 3811
    assert references[0].samples[0].data.shape == (3, 112, 112)
    rows = score_rows(database, "dev", tmp_path / "scores")
    assert len(rows) == 3000
    assert sum(r["probe_subject_id"] == r["bio_ref_subject_id"] for r in rows) == 1500


@pytest.mark.realfaces
def test_lfw_view2_has_no_repeated_pair(shared_data: Path) -> None:
    """All ten folds, as a published score file lists them: refusing repeats loses nothing."""
    with (shared_data / "lfwview2-scores" / "scores-dev.csv").open(newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if not row["probe_attack_type"]]
    pairs = {(row["bio_ref_template_id"], row["probe_template_id"]) for row in rows}
    assert len(rows) == len(pairs) == 6000
    assert all(reference != probe for reference, probe in pairs)


# --- MOBIO ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def mobio(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return mobio_shaped.make(tmp_path_factory.mktemp("mobio"), n_subjects=4)


@pytest.mark.parametrize(
    ("protocol", "subjects"),
    [("mobile0-male-female", 4), ("mobile0-male", 2), ("mobile0-female", 2)],
)
def test_mobio_protocols(
    mobio: tuple[Path, Path], tmp_path: Path, protocol: str, subjects: int
) -> None:
    images, protocols = mobio
    database = MobioDatabase(protocol, images, dataset_protocols_path=protocols)
    assert database.groups() == ["dev", "eval"]
    assert database.protocol == protocol
    assert database.score_all_vs_all
    assert len(database.background_model_samples()) == 4 * subjects
    for group in database.groups():
        references, probes = database.references(group), database.probes(group)
        check_keys(references)
        check_keys(probes)
        assert len(references) == subjects
        assert {len(s) for s in references} == {2}
        assert len(probes) == 2 * subjects
        rows = score_rows(database, group, tmp_path / group)
        assert len(rows) == 2 * subjects**2
        assert sum(r["probe_subject_id"] == r["bio_ref_subject_id"] for r in rows) == 2 * subjects
    dev, evaluated = ({s.subject_id for s in database.references(g)} for g in ("dev", "eval"))
    assert dev.isdisjoint(evaluated)


def test_mobio_columns_and_samples(mobio: tuple[Path, Path], tmp_path: Path) -> None:
    images, protocols = mobio
    database = MobioDatabase(original_directory=images, dataset_protocols_path=protocols)
    assert list(score_rows(database, "dev", tmp_path)[0]) == [
        "probe_template_id",
        "probe_subject_id",
        "probe_gender",
        "bio_ref_template_id",
        "bio_ref_subject_id",
        "bio_ref_gender",
        "score",
    ]
    sample = pickle.loads(pickle.dumps(database.probes()[3])).samples[0]
    expected = np.asarray(Image.open(images / f"{sample.key}.png")).transpose(2, 0, 1)
    np.testing.assert_array_equal(sample.data, expected)
    assert sample.annotations == INSIGHTFACE_EYES
    assert not hasattr(sample, "leye_x")


def test_mobio_fixed_positions_win(mobio: tuple[Path, Path]) -> None:
    images, protocols = mobio
    fixed = {"reye": (1.0, 2.0), "leye": (3.0, 4.0)}
    database = MobioDatabase("mobile0-male", images, protocols, fixed)
    assert database.fixed_positions == fixed
    assert database.references()[0].samples[1].annotations == fixed


def test_mobio_settings(mobio: tuple[Path, Path], rc) -> None:
    images, protocols = mobio
    with pytest.raises(FileNotFoundError, match=r"bob config set bob\.db\.mobio\.directory PATH"):
        MobioDatabase()
    rc("bob.db.mobio.directory", images)
    rc("bob_recon_plugin.mobio.protocols", protocols)
    assert len(MobioDatabase().references("eval")) == 4


def test_mobio_protocols_in_bobs_archive(mobio: tuple[Path, Path], tmp_path: Path) -> None:
    images, protocols = mobio
    archive = tmp_path / "bob_data" / "protocols" / "face" / "mobio.tar.gz"
    archive.parent.mkdir(parents=True)
    with tarfile.open(archive, "w:gz") as packed:
        for folder in protocols.iterdir():
            packed.add(folder, folder.name)
    assert len(MobioDatabase("mobile0-female", images).probes("eval")) == 4


def test_mobio_without_protocols_says_where_they_are(
    mobio: tuple[Path, Path], tmp_path: Path
) -> None:
    for ask in (lambda: MobioDatabase(original_directory=mobio[0]), MobioDatabase.protocols):
        with pytest.raises(FileNotFoundError) as caught:
            ask()
        text = str(caught.value)
        assert "https://www.idiap.ch/software/bob/databases/latest/face/mobio-" in text
        assert str(tmp_path / "bob_data" / "protocols" / "face" / "mobio.tar.gz") in text
        assert "bob config set bob_recon_plugin.mobio.protocols PATH" in text


def test_mobio_refusals(mobio: tuple[Path, Path], tmp_path: Path) -> None:
    images, protocols = mobio
    with pytest.raises(FileNotFoundError, match=r"existing directory, got .*nowhere"):
        MobioDatabase(original_directory=tmp_path / "nowhere", dataset_protocols_path=protocols)
    with pytest.raises(FileNotFoundError, match=r"folder or a \.tar\.gz .*got .*nowhere"):
        MobioDatabase(original_directory=images, dataset_protocols_path=tmp_path / "nowhere")
    page = tmp_path / "mobio.tar.gz"
    page.write_text("<html>not found</html>")
    with pytest.raises(ValueError, match=r"folder or a \.tar\.gz .*mobio\.tar\.gz; unpack https"):
        MobioDatabase(original_directory=images, dataset_protocols_path=page)
    with pytest.raises(ValueError, match=r"one of 'mobile0-female', .*got 'laptop1-male'"):
        MobioDatabase("laptop1-male", images, protocols)


def test_mobio_missing_images_are_counted(tmp_path: Path) -> None:
    images, protocols = mobio_shaped.make(tmp_path, n_subjects=2)
    gone = sorted((images / "eval").glob("*/*_03.png"))
    for path in gone:
        path.unlink()
    with pytest.raises(FileNotFoundError) as caught:
        MobioDatabase(original_directory=images, dataset_protocols_path=protocols)
    assert "2 of 16 missing (first: " in str(caught.value)
    assert any(str(path) in str(caught.value) for path in gone)


def test_mobio_malformed_lists(tmp_path: Path) -> None:
    images, protocols = mobio_shaped.make(tmp_path, n_subjects=2)
    listed = protocols / "mobile0-male" / "dev" / "for_probing.csv"
    text = listed.read_text()
    listed.write_text(text.replace("38.2946", ""))
    with pytest.raises(ValueError, match=r"`eyes of dev/m100/m100_02` must be"):
        MobioDatabase("mobile0-male", images, protocols)
    listed.write_text(text.replace("gender", "sex"))
    with pytest.raises(ValueError, match=r"got one without gender"):
        MobioDatabase("mobile0-male", images, protocols)
    listed.unlink()
    with pytest.raises(ValueError, match=r"must hold mobile0-male/dev/for_probing\.csv"):
        MobioDatabase("mobile0-male", images, protocols)


def test_mobio_truncated_image_is_named_on_loading(tmp_path: Path) -> None:
    images, protocols = mobio_shaped.make(tmp_path, n_subjects=2)
    path = images / "dev" / "m100" / "m100_00.png"
    path.write_bytes(path.read_bytes()[:500])
    database = MobioDatabase("mobile0-male", images, protocols)
    with pytest.raises(ValueError, match=r"image .*m100_00\.png .*restore or remove"):
        _ = database.references()[0].samples[0].data


# --- a folder ---------------------------------------------------------------------------------


def test_folder_enrols_the_first_image(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "faces", {"bo": 2, "ada": 3})
    (root / "ada" / "notes.txt").write_text("no image")
    write_image(root / "ada" / ".hidden.png")
    write_image(root / ".cache" / "0.png")
    write_image(root / "ada" / "deeper" / "0.png")
    database = FolderDatabase(root)
    assert [s.key for s in database.references()] == ["ada/0.png", "bo/0.png"]
    assert [s.key for s in database.probes()] == ["ada/1.png", "ada/2.png", "bo/1.png"]
    assert [s.subject_id for s in database.probes()] == ["ada", "ada", "bo"]
    assert all(s.references == ["ada/0.png", "bo/0.png"] for s in database.probes())
    assert database.score_all_vs_all
    check_keys(database.references() + database.probes())
    rows = score_rows(database, "dev", tmp_path / "scores")
    assert len(rows) == 6
    assert sum(r["probe_subject_id"] == r["bio_ref_subject_id"] for r in rows) == 3


def test_folder_sample_is_pickled_and_loads(
    tmp_path: Path, rc, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = write_folder(tmp_path / "faces", {"ada": 2, "bo": 2})
    rc("bob_recon_plugin.folder.directory", root)
    monkeypatch.chdir(tmp_path)
    for database in (FolderDatabase(), FolderDatabase("faces")):
        monkeypatch.chdir("/")
        sample = pickle.loads(pickle.dumps(database.probes()[1])).samples[0]
        expected = np.asarray(Image.open(root / "bo" / "1.png")).transpose(2, 0, 1)
        np.testing.assert_array_equal(sample.data, expected)
        assert sample.annotations is None
        monkeypatch.chdir(tmp_path)


def test_folder_tells_equal_names_of_other_formats_apart(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "faces", {"ada": 2, "bo": 2})
    write_image(root / "ada" / "1.JPG")
    database = FolderDatabase(root)
    assert [s.key for s in database.probes()] == ["ada/1.JPG", "ada/1.png", "bo/1.png"]
    assert len(FolderDatabase(root, extensions=[".png"]).probes()) == 2


def test_folder_single_image(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "faces", {"ada": 2, "bo": 2, "cy": 1, "di": 1})
    with pytest.raises(
        ValueError, match=r"two images of every subject, got one of cy, di \(2 of 4 subjects\); "
    ):
        FolderDatabase(root)
    skipped = FolderDatabase(root, single_image="skip")
    assert {s.subject_id for s in skipped.references() + skipped.probes()} == {"ada", "bo"}
    impostor = FolderDatabase(root, single_image="impostor")
    assert [s.subject_id for s in impostor.references()] == ["ada", "bo"]
    assert [s.subject_id for s in impostor.probes()] == ["ada", "bo", "cy", "di"]
    with pytest.raises(ValueError, match="`single_image` must be one of 'error'"):
        FolderDatabase(root, single_image="keep")


def test_folder_annotations(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "faces", {"ada": 2, "bo": 2})
    table = root / "annotations.csv"
    header = "path,reye_y,reye_x,leye_y,leye_x\n"
    rows = [f"{s}/{i}.png,{i},2,3.5,4\n" for s in ("ada", "bo") for i in (0, 1)]
    table.write_text("\ufeff" + header + "".join(rows), encoding="utf-8")
    expected = {"reye": (1.0, 2.0), "leye": (3.5, 4.0)}
    assert FolderDatabase(root).probes()[0].samples[0].annotations == expected

    fixed = FolderDatabase(root, fixed_positions=INSIGHTFACE_EYES)
    assert fixed.fixed_positions == INSIGHTFACE_EYES
    assert fixed.probes()[0].samples[0].annotations == INSIGHTFACE_EYES
    with pytest.raises(ValueError, match=r"must be None if `fixed_positions`"):
        FolderDatabase(root, fixed_positions=INSIGHTFACE_EYES, annotations=table)

    table.write_text(header + "".join(rows[:3]))
    with pytest.raises(ValueError, match=r"without 1 of 4 \(first: bo/1\.png\)"):
        FolderDatabase(root)
    table.write_text(header + "".join(rows) + rows[0])
    with pytest.raises(ValueError, match=r"got ada/0\.png again in line 6 of"):
        FolderDatabase(root)
    table.write_text(header + "".join(rows).replace("3.5", "left", 1))
    with pytest.raises(ValueError, match=r"line 2 of .*annotations\.csv` must be"):
        FolderDatabase(root)
    table.write_text(header.replace("leye_x", "lx") + "".join(rows))
    with pytest.raises(ValueError, match=r"without leye_x"):
        FolderDatabase(root)
    with pytest.raises(FileNotFoundError, match=r"`annotations` must be an existing file"):
        FolderDatabase(root, annotations=tmp_path / "none.csv")


def test_folder_refusals(tmp_path: Path) -> None:
    with pytest.raises(
        FileNotFoundError, match=r"bob config set bob_recon_plugin\.folder\.directory PATH"
    ):
        FolderDatabase()
    write_image(tmp_path / "flat" / "0.png")
    with pytest.raises(ValueError, match=r"<subject>/<image>, got none in .*flat with \.bmp"):
        FolderDatabase(tmp_path / "flat")
    write_folder(tmp_path / "one", {"ada": 3})
    with pytest.raises(ValueError, match=r"two subjects with two images or more, got 1"):
        FolderDatabase(tmp_path / "one")
    write_folder(tmp_path / "dots", {"ada": 2, "b..o": 2})
    with pytest.raises(ValueError, match=r"two dots in a row, got b\.\.o/0\.png"):
        FolderDatabase(tmp_path / "dots")
    with pytest.raises(ValueError, match="`protocol` must be one of 'default', got 'view2'"):
        FolderDatabase(tmp_path / "one", protocol="view2")


# --- the demo faces ---------------------------------------------------------------------------


def write_archive(path: Path, members: dict[str, int]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for subject, count in members.items():
            for index in range(count):
                noise = np.random.default_rng(index).integers(0, 256, (112, 112, 3), dtype=np.uint8)
                encoded = io.BytesIO()
                Image.fromarray(noise).save(encoded, "webp", lossless=True)
                archive.writestr(f"{subject}/{index}.webp", encoded.getvalue())
        archive.writestr("LICENCE.txt", "none")
    return path


def test_demo_has_the_semantics_of_a_folder(tmp_path: Path) -> None:
    path = write_archive(tmp_path / "demo.zip", {"001": 3, "002": 2})
    with zipfile.ZipFile(path) as archive:
        archive.extractall(tmp_path / "unpacked")
    demo = DemoDatabase(path)
    folder = FolderDatabase(tmp_path / "unpacked", fixed_positions=INSIGHTFACE_EYES)
    for ask in ("references", "probes", "all_samples"):
        for ours, theirs in zip(getattr(demo, ask)(), getattr(folder, ask)(), strict=True):
            assert (ours.key, ours.subject_id) == (theirs.key, theirs.subject_id)
    for ours, theirs in zip(demo.all_samples(), folder.all_samples(), strict=True):
        np.testing.assert_array_equal(ours.data, theirs.data)
        assert ours.annotations == theirs.annotations == INSIGHTFACE_EYES
    for name in ("fixed_positions", "score_all_vs_all", "annotation_type", "protocol"):
        assert getattr(demo, name) == getattr(folder, name)


def test_demo_sample_is_small_and_pickled(tmp_path: Path) -> None:
    database = DemoDatabase(write_archive(tmp_path / "demo.zip", {"001": 2, "002": 2}))
    pickled = pickle.dumps(database.probes()[1])
    assert len(pickled) < 2000  # the way to the image, not the image
    assert pickle.loads(pickled).samples[0].data.shape == (3, 112, 112)


def test_demo_faces_of_the_package() -> None:
    database = config("demo")
    check_keys(database.references() + database.probes())
    assert len(database.references()) > 1
    assert {sample.data.shape for sample in database.all_samples()} == {(3, 112, 112)}


def test_demo_refusals(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"`archive` must be an existing file, got .*none"):
        DemoDatabase(tmp_path / "none.zip")
    (tmp_path / "text.zip").write_text("no archive")
    with pytest.raises(ValueError, match=r"`archive` must be a ZIP file, got .*text\.zip"):
        DemoDatabase(tmp_path / "text.zip")
    with pytest.raises(ValueError, match=r"`archive` must hold at least two images"):
        DemoDatabase(write_archive(tmp_path / "single.zip", {"001": 2, "002": 1}))


def test_demo_damaged_member_is_named(tmp_path: Path) -> None:
    path = write_archive(tmp_path / "demo.zip", {"001": 2, "002": 2})
    data = bytearray(path.read_bytes())
    data[5000:5100] = bytes(100)
    path.write_bytes(data)
    sample = DemoDatabase(path).references()[0].samples[0]
    with pytest.raises(ValueError, match=r"the damaged 001/0\.webp in .*demo\.zip"):
        _ = sample.data
    with zipfile.ZipFile(path, "w"):
        pass
    with pytest.raises(FileNotFoundError, match=r"`member` must be in .*demo\.zip, got 001/0"):
        _ = sample.data


# --- configurations ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("lfw_view2", "bob.bio.face.lfw.directory"),
        ("mobio_all", "bob.db.mobio.directory"),
        ("mobio_male", "bob.db.mobio.directory"),
        ("mobio_female", "bob.db.mobio.directory"),
        ("folder", "bob_recon_plugin.folder.directory"),
    ],
)
def test_config_without_settings_says_what_to_set(name: str, key: str) -> None:
    with pytest.raises(click.ClickException) as caught:
        config(name)
    assert f"type `bob config set {key} PATH`" in str(caught.value)


def test_configs_with_settings(mobio: tuple[Path, Path], tmp_path: Path, rc) -> None:
    rc("bob.bio.face.lfw.directory", write_lfw(tmp_path / "lfw"))
    annotations = write_annotations(tmp_path / "a", ".jpg.pts", FUNNELED)
    rc("bob.bio.face.lfw.annotation_directory", annotations)
    rc("bob.db.mobio.directory", mobio[0])
    rc("bob_recon_plugin.mobio.protocols", mobio[1])
    root = write_folder(tmp_path / "faces", {"ada": 2, "bo": 2})
    rc("bob_recon_plugin.folder.directory", root)
    assert config("lfw_view2").protocol == "view2"
    assert config("mobio_all").protocol == "mobile0-male-female"
    assert config("mobio_male").protocol == "mobile0-male"
    assert config("mobio_female").protocol == "mobile0-female"
    assert config("folder").original_directory == str(root)
