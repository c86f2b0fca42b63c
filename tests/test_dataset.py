"""A prepared dataset is read as it was written, or told apart in a sentence."""

from __future__ import annotations

import csv
import json
import pickle
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bob_recon_plugin.faces import dataset
from bob_recon_plugin.faces.dataset import (
    DatasetCard,
    FaceDataset,
    open_datasets,
    write_card,
    write_shard,
)

SIDE, SIZE = 8, 4
ABOUT = {
    "recognizer": "toy",
    "recognizer_sha256": "ab" * 32,
    "embedding_size": SIZE,
    "image_size": (SIDE, SIDE),
    "positions": {"reye": (3.0, 2.0), "leye": (3.0, 5.0)},
    "crop": "aligned",
    "source": "somewhere",
    "about": "noise",
}


def faces_of(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    faces = rng.integers(0, 256, (n, 3, SIDE, SIDE), dtype=np.uint8)
    return faces, rng.standard_normal((n, 2, SIZE)).astype(np.float32)


def written(folder: Path, keys: list[str], per_shard: int = 3, seed: int = 0, **about) -> Path:
    faces, embeddings = faces_of(len(keys), seed)
    for index, start in enumerate(range(0, len(keys), per_shard)):
        part = slice(start, start + per_shard)
        write_shard(folder, index, keys[part], faces[part], embeddings[part])
    write_card(folder, **{**ABOUT, **about})
    return folder


@pytest.fixture
def eight(tmp_path: Path) -> Path:
    return written(tmp_path / "eight", [f"face {i}.png" for i in range(8)])


def test_what_was_written_is_read(eight):
    found, (faces, embeddings) = FaceDataset(eight), faces_of(8)
    assert len(found) == 8
    assert found.keys == [f"face {i}.png" for i in range(8)]
    np.testing.assert_array_equal(found.embeddings, embeddings)
    assert found.embeddings.dtype == np.float32
    order = [7, 0, 3, 3, 2, 5]  # over three shards, back and forth, one twice
    np.testing.assert_array_equal(found.faces(order), faces[order])
    np.testing.assert_array_equal(found.faces(np.arange(8)), faces)
    assert found.faces([]).shape == (0, 3, SIDE, SIDE)
    assert found.about == DatasetCard(**ABOUT, n=8)


@pytest.mark.parametrize("index", [-1, 8])
def test_an_index_outside_is_refused(eight, index):
    with pytest.raises(IndexError, match=rf"must lie in \[0, 7\], got {min(index, 2)} to"):
        FaceDataset(eight).faces([2, index])


def test_a_pickle_opens_the_maps_again_and_copies_none(eight):
    found = FaceDataset(eight)
    packed = pickle.dumps(found)
    assert len(packed) < 500  # the faces alone are 1,536 bytes
    again = pickle.loads(packed)
    np.testing.assert_array_equal(again.faces([6, 1]), found.faces([6, 1]))
    np.testing.assert_array_equal(again.embeddings, found.embeddings)


def test_a_shard_may_be_empty_and_bad_images_are_listed(tmp_path):
    faces, embeddings = faces_of(1)
    reasons = [("a, b.png", 'cut "short"'), ("c.png", "no eyes")]
    write_shard(tmp_path, 0, [], faces[:0], embeddings[:0], reasons)
    write_shard(tmp_path, 1, ["d.png"], faces, embeddings, [("e.png", "too small")])
    card = write_card(tmp_path, **ABOUT)
    assert (card.n, card.bad) == (1, 3)
    np.testing.assert_array_equal(FaceDataset(tmp_path).faces([0]), faces)
    with (tmp_path / "bad.csv").open(newline="") as stream:
        rows = [(row["key"], row["reason"]) for row in csv.DictReader(stream)]
    assert rows == [*reasons, ("e.png", "too small")]


def test_what_does_not_belong_together_is_not_written(tmp_path):
    faces, embeddings = faces_of(2)
    with pytest.raises(ValueError, match=r"must be uint8 of shape \(1, 3, H, W\), got uint8 of"):
        write_shard(tmp_path, 0, ["a"], faces, embeddings)
    with pytest.raises(ValueError, match="must be uint8"):
        write_shard(tmp_path, 0, ["a", "b"], faces / 255, embeddings)
    with pytest.raises(ValueError, match=r"shape \(2, 2, d\), got \(2, 1, 4\)"):
        write_shard(tmp_path, 0, ["a", "b"], faces, embeddings[:, :1])
    embeddings[1, 0, 3] = np.nan
    with pytest.raises(ValueError, match=r"NaN or infinity in 1 of 2 \(first: b\)"):
        write_shard(tmp_path, 0, ["a", "b"], faces, embeddings)
    assert not any(tmp_path.iterdir())


def test_a_shard_that_was_interrupted_is_not_done(tmp_path, monkeypatch):
    def full(*_):
        raise OSError("no space left")

    monkeypatch.setattr(dataset, "write_json", full)
    with pytest.raises(OSError, match="no space"):
        write_shard(tmp_path, 0, ["a"], *faces_of(1))
    assert dataset.shards(tmp_path) == []


# -- damage ----------------------------------------------------------------------


def test_folders_that_hold_no_dataset(tmp_path, eight):
    with pytest.raises(FileNotFoundError, match="`dataset` must be an existing directory, got"):
        FaceDataset(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"must hold prepared faces, got .*bob bio recon prepare"):
        FaceDataset(tmp_path / "empty")
    (eight / "dataset.json").unlink()
    with pytest.raises(ValueError, match=r"must be complete.*run the same .* command again"):
        FaceDataset(eight)


@pytest.mark.parametrize(
    ("text", "told"),
    [("{", "readable"), ("[]", "readable"), ('{"n": 3}', "readable")],
)
def test_a_damaged_card(eight, text, told):
    (eight / "dataset.json").write_text(text)
    with pytest.raises(ValueError, match=f"must have a {told} dataset.json, got that of"):
        FaceDataset(eight)


def test_a_card_that_says_incomplete(eight):
    content = json.loads((eight / "dataset.json").read_text())
    (eight / "dataset.json").write_text(json.dumps({**content, "complete": False}))
    with pytest.raises(ValueError, match="must be complete, got"):
        FaceDataset(eight)


@pytest.mark.parametrize("kind", ["faces", "embeddings"])
@pytest.mark.parametrize("left", [0, 60, 150])
def test_a_truncated_shard(eight, kind, left):
    path = eight / f"shard-00001.{kind}.npy"
    path.write_bytes(path.read_bytes()[:left])
    with pytest.raises(ValueError, match=rf"shard-00001.{kind}.npy missing or truncated .*remove"):
        FaceDataset(eight)


def test_shards_that_are_missing_or_wrong(eight):
    (eight / "shard-00001.faces.npy").unlink()
    with pytest.raises(ValueError, match="missing or truncated"):
        FaceDataset(eight)
    np.save(eight / "shard-00001.faces.npy", np.zeros((3, 3, SIDE, SIDE), np.float32))
    with pytest.raises(ValueError, match=r"must hold uint8 of shape .*, got float32"):
        FaceDataset(eight)
    (eight / "shard-00001.json").write_text("{}")
    with pytest.raises(ValueError, match=r"must be readable, got .*shard-00001.json"):
        FaceDataset(eight)
    (eight / "shard-00001.json").unlink()
    with pytest.raises(ValueError, match=r"must hold the 8 faces .* got 5 in .*run the same"):
        FaceDataset(eight)


def test_an_embedding_that_is_not_finite(eight):
    path = eight / "shard-00002.embeddings.npy"
    rows = np.load(path)
    rows[1, 1, 2] = np.inf
    np.save(path, rows)
    with pytest.raises(ValueError, match=r"NaN or infinity in 1 of 2 \(first: face 7.png\)"):
        FaceDataset(eight)


# -- several ---------------------------------------------------------------------


def test_datasets_of_one_recogniser_are_read_as_one(tmp_path, eight):
    more = written(tmp_path / "more", ["x", "y"], seed=1, source="elsewhere", about="")
    found = open_datasets([eight, more])
    assert found.keys[7:] == ["face 7.png", "x", "y"]
    parts = FaceDataset(eight), FaceDataset(more)
    np.testing.assert_array_equal(
        found.faces([9, 0, 8]), np.concatenate([parts[1].faces([1]), parts[0].faces([0]),
                                                parts[1].faces([0])])
    )  # fmt: skip
    np.testing.assert_array_equal(
        found.embeddings, np.concatenate([part.embeddings for part in parts])
    )
    assert (found.about.n, found.about.source) == (10, "somewhere; elsewhere")
    assert (found.about.about, found.about.crop) == ("noise", "aligned")
    assert found.parts == [part.about for part in parts]
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(found)).faces([9]), found.faces([9]))


def test_datasets_of_two_recognisers_are_refused_with_the_difference(tmp_path, eight):
    other = written(tmp_path / "other", ["x"], recognizer="rex", recognizer_sha256="cd" * 32)
    told = "recognizer 'toy' and 'rex'; recognizer_sha256 'abab.* and 'cdcd"
    with pytest.raises(ValueError, match=f"one recognition model and crop, got .*{told}"):
        open_datasets([eight, other])
    moved = {"reye": (4.0, 2.0), "leye": (4.0, 5.0)}
    with pytest.raises(ValueError, match=r"with positions .*\(3.0, 2.0\).* and .*\(4.0, 2.0\)"):
        open_datasets([eight, written(tmp_path / "moved", ["x"], positions=moved)])
    with pytest.raises(ValueError, match="must hold at least one dataset, got none"):
        open_datasets([])


# -- validation ------------------------------------------------------------------


def held_out(keys: list[str]) -> np.ndarray:
    """The split of a dataset of these keys, without its files."""
    found = object.__new__(FaceDataset)
    found.keys, found.paths = keys, (Path("nowhere"),)
    return found.validation


def test_the_split_is_the_hash_of_the_key():
    keys = [f"{i:05d}.png" for i in range(4000)]
    expected = [zlib.crc32(key.encode()) % 20 == 0 for key in keys]
    np.testing.assert_array_equal(held_out(keys), expected)
    assert held_out(keys).mean() == pytest.approx(0.05, abs=0.01)


KEYS = st.lists(st.text(max_size=6), min_size=2, max_size=40, unique=True)


@given(KEYS)
def test_the_split_has_two_sides_and_hangs_on_no_order(keys):
    mask = held_out(keys)
    assert 0 < mask.sum() < len(keys)
    np.testing.assert_array_equal(held_out(keys[::-1]), mask[::-1])


@given(KEYS, KEYS)
def test_a_face_stays_on_its_side_when_others_come(keys, more):
    hashed = [key for key in keys if zlib.crc32(key.encode()) % 20 == 0]
    mask = held_out([*keys, *(key for key in more if key not in keys)])
    if 0 < len(hashed) < len(keys):
        np.testing.assert_array_equal(mask[: len(keys)], held_out(keys))


def test_where_the_hash_puts_all_on_one_side_one_changes():
    everything = [f"{i}" for i in range(2000)]
    held = [key for key in everything if zlib.crc32(key.encode()) % 20 == 0][:5]
    kept = [key for key in everything if zlib.crc32(key.encode()) % 20 != 0][:5]
    assert held_out(held).sum() == 4
    assert held_out(kept).sum() == 1
    with pytest.raises(ValueError, match="must hold at least 2 faces to hold one out, got 1"):
        _ = held_out(["alone"])


def test_the_card_reads_back_from_json(eight):
    card = dataset.read_card(eight)
    assert card.image_size == (SIDE, SIDE)  # a tuple again
    assert card.positions["leye"] == (3.0, 5.0)
    assert replace(card, n=1).n == 1
