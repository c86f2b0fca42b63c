"""The system under attack in batches: each image read once, the same embeddings as one by one."""

from __future__ import annotations

import threading
from functools import partial

import numpy as np
import pytest
from bob.bio.base.pipelines import checkpoint_pipeline_simple, dask_bio_pipeline
from bob.bio.face.utils import embedding_transformer
from bob.pipelines import DelayedSample, Sample, wrap
from sklearn.base import BaseEstimator, TransformerMixin

from bob_recon_plugin.attack import system as ours
from bob_recon_plugin.attack.system import System, bare, crops_by_own_positions
from tests import toy


class Counting(TransformerMixin, BaseEstimator):
    """The mean of each image; remembers the sizes of its batches, refuses dark images."""

    batches: list[int] = []  # noqa: RUF012 - shared by the copies that Bob makes

    def fit(self, X, y=None):
        return self

    def transform(self, X):
        self.batches.append(len(X))
        return [None if np.mean(x) < 10 else np.array([np.mean(x)]) for x in X]

    def _more_tags(self):
        return {"requires_fit": False}


@pytest.fixture(autouse=True)
def _forget():
    Counting.batches.clear()


def lazy(values, reads=None):
    def load(i):
        if reads is not None:
            reads.append((i, threading.current_thread().name))
        return np.full((3, 4, 4), values[i], dtype=np.uint8)

    return [DelayedSample(partial(load, i), key=f"k{i}") for i in range(len(values))]


def test_batches_are_full_and_every_image_is_read_once_in_order():
    reads: list = []
    values = np.arange(20, 120)
    system = System([wrap(["sample"], Counting())], batch_size=64)
    found = list(system.embed(lazy(values, reads)))
    np.testing.assert_allclose(np.concatenate(found), values)
    assert Counting.batches == [64, 36]
    assert [i for i, _ in reads] == list(range(100))
    assert all(name.startswith("ahead") for _, name in reads)  # ahead of the networks


def test_what_was_not_acquired_is_none_and_reaches_no_further_step():
    steps = [wrap(["sample"], Counting()), wrap(["sample"], Counting())]
    found = list(System(steps, batch_size=4).embed(lazy([5, 50, 3, 60, 70])))
    assert [None if f is None else float(f[0]) for f in found] == [None, 50, None, 60, 70]
    assert Counting.batches == [4, 2, 1, 1]


def test_large_images_do_not_pile_up(monkeypatch):
    monkeypatch.setattr(ours, "_HELD", 3 * 48)
    steps = [wrap(["sample"], Counting()), wrap(["sample"], Counting())]
    assert len(list(System(steps, batch_size=8).embed(lazy(range(20, 36))))) == 16
    # three at a time through the first step, eight through the second
    assert Counting.batches == [3, 3, 2, 8, 3, 3, 2, 8]


def test_no_image_gives_no_batch():
    assert list(System([wrap(["sample"], Counting())]).embed([])) == []
    assert Counting.batches == []


def test_an_error_of_a_reader_arrives():
    def broken():
        raise OSError("gone")

    samples = [*lazy([20, 30]), DelayedSample(broken, key="b")]
    with pytest.raises(OSError, match="gone"):
        list(System([wrap(["sample"], Counting())]).embed(samples))


def test_bobs_dask_and_checkpoint_layers_go_and_the_users_stay(tmp_path):
    mine = wrap(["checkpoint"], wrap(["sample"], Counting()), features_dir=str(tmp_path / "mine"))
    pipeline = toy.system()
    pipeline.transformer.steps.insert(0, ("mine", mine))
    checkpoint_pipeline_simple(pipeline, str(tmp_path / "bobs"))
    dask_bio_pipeline(pipeline)
    first, second = (step for _, step in pipeline.transformer.steps[1:])
    kept = (str(tmp_path / "mine"),)
    assert bare(first, kept).features_dir == kept[0]
    assert type(bare(first)).__name__ == "SampleWrapper"
    assert isinstance(bare(second, kept).estimator, toy.ToyRecognizer)


def test_a_cropper_of_fixed_positions_crops_reconstructions_by_their_own():
    fixed = {"reye": (20.0, 20.0), "leye": (20.0, 60.0)}
    crop = {"reye": (55, 40), "leye": (55, 72)}
    step = embedding_transformer((112, 112), None, crop, fixed_positions=fixed).steps[0][1]
    face = np.random.default_rng(0).integers(0, 256, (3, 112, 112), dtype=np.uint8)
    sample = Sample(face, key="k", annotations=crop)
    for wrapped in (step, wrap(["checkpoint"], step, features_dir=None, model_path="unused")):
        freed = crops_by_own_positions(wrapped)
        # its eyes are where the crop wants them: nothing to cut
        np.testing.assert_array_equal(freed.transform([sample])[0].data, face)
        assert (wrapped.transform([sample])[0].data != face).mean() > 0.5
    annotated = toy.system().transformer.steps[0][1]
    assert crops_by_own_positions(annotated) is annotated
