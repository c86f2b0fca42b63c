"""Checkpoints: what goes in comes out, and what is damaged is computed anew."""

from __future__ import annotations

import errno

import numpy as np
import pytest

from bob_recon_plugin.attack.checkpoints import Checkpoints
from bob_recon_plugin.attack.effort import Clock

KEYS = ["a/1", "b/2", "ünï/3"]
TOOK = Clock(3, 0.5)


def same(found, given):
    assert len(found) == len(given)
    for one, other in zip(found, given, strict=True):
        if other is None:
            assert one is None
        else:
            np.testing.assert_array_equal(one, other)
            assert np.asarray(one).dtype == np.asarray(other).dtype


@pytest.mark.parametrize(
    "embeddings",
    [
        [np.arange(4, dtype=np.float32), None, np.ones(4, dtype=np.float32)],
        [np.zeros((2, 3)), np.ones((2, 3)), np.ones((2, 3))],
        [np.zeros(3), np.zeros(4), None],  # features of several shapes
        [{"a": 1}["a"], 2.5, None],
        [None, None, None],
    ],
    ids=["vectors", "matrices", "ragged", "numbers", "nothing acquired"],
)
def test_what_goes_in_comes_out(tmp_path, embeddings):
    kept = Checkpoints(tmp_path)
    assert kept.load("probes", KEYS) is None
    kept.save("probes", KEYS, embeddings, TOOK)
    same(kept.load("probes", KEYS)[0], embeddings)
    assert len(list(tmp_path.rglob("*.*"))) == 1


def test_another_part_kind_or_force_reads_nothing(tmp_path):
    kept = Checkpoints(tmp_path)
    kept.save("probes", KEYS, [np.zeros(2)] * 3, TOOK)
    assert kept.load("probes", KEYS[:2]) is None
    assert kept.load("references", KEYS) is None
    assert Checkpoints(tmp_path, force=True).load("probes", KEYS) is None
    assert Checkpoints(None).load("probes", KEYS) is None
    Checkpoints(None).save("probes", KEYS, [None] * 3, TOOK)


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "no HDF5", "of other images"])
def test_a_damaged_file_is_told_and_removed(tmp_path, caplog, damage):
    kept = Checkpoints(tmp_path)
    rows = np.random.default_rng(0).normal(size=(3, 512))
    kept.save("probes", KEYS, list(rows), TOOK)
    path = kept.path("probes", KEYS)
    content = bytearray(path.read_bytes())
    if damage == "flipped":
        at = content.find(rows[1].tobytes())
        content[at + 9] ^= 1
    if damage == "of other images":
        kept.save("probes", ["x", "y", "z"], list(rows), TOOK)
        content = bytearray(kept.path("probes", ["x", "y", "z"]).read_bytes())
    cuts = {"cut": content[: len(content) // 2], "empty": b"", "no HDF5": b"nothing" * 99}
    path.write_bytes(cuts.get(damage, content))
    assert kept.load("probes", KEYS) is None
    assert "is damaged" in caplog.text
    assert not path.exists()
    kept.save("probes", KEYS, list(rows), TOOK)
    same(kept.load("probes", KEYS)[0], list(rows))


def test_a_full_disk_leaves_no_half_file(tmp_path, monkeypatch):
    from pathlib import Path

    def full(self, content):
        with open(self, "wb") as half:
            half.write(content[:10])
        raise OSError(errno.ENOSPC, "No space left on device", str(self))

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space left"):
        Checkpoints(tmp_path).save("probes", KEYS, [None] * 3, TOOK)
    assert not [p for p in tmp_path.rglob("*") if p.is_file()]
