"""Adapters: fitted on few faces, kept in a file, refused where they do not belong."""

from __future__ import annotations

import json
import pickle
from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner
from safetensors.numpy import save_file
from sklearn.base import clone
from sklearn.linear_model import Ridge

from bob_recon_plugin.attack.chain import shipped_decoder
from bob_recon_plugin.cli import recon
from bob_recon_plugin.faces.dataset import FaceDataset
from bob_recon_plugin.inversion import adapter as adapters
from bob_recon_plugin.inversion.adapter import Adapter, AdapterCard
from bob_recon_plugin.recognizers import Identity
from bob_recon_plugin.training.adapt import adapt, fit, paired
from tests.faces import prepared_embeddings

A, B = "a" * 64, "b" * 64
CARD = AdapterCard("one", "two", A, B, source_size=3, target_size=2, faces=9, alpha=1, cosine=0.5)
WEIGHT = np.array([[1.0, 0.0], [0.0, 2.0], [1.0, 1.0]])
BIAS = np.array([10.0, 20.0])


@pytest.fixture
def path(tmp_path):
    return adapters.save(tmp_path / "adapter.safetensors", WEIGHT, BIAS, CARD)


# --- the transformer ---


def test_embeddings_are_mapped(path):
    found = Adapter(path).transform([[1, 2, 3], [0, 1, 0]])
    np.testing.assert_array_equal(found, [[1 + 3 + 10, 4 + 3 + 20], [10, 22]])
    assert found.dtype == np.float32


def test_scaled_templates_are_mapped_as_those_of_the_source(path):
    adapters.save(path, WEIGHT, BIAS, replace(CARD, source_norm=5.0))
    with pytest.warns(UserWarning, match="embeddings of one should have norms near 5, got rows"):
        found = Adapter(path).transform([[0.6, 0.8, 0], [300, 400, 0], [0, 6, 8]])
    # (3, 4, 0) twice, as both are far from 5; a norm of 10 stays
    np.testing.assert_allclose(found, [[13, 28], [13, 28], [18, 40]], rtol=1e-6)


def test_a_file_without_the_norm_of_its_source_takes_rows_as_they_are(path):
    with pytest.warns(UserWarning, match="the norm of embeddings of one is not known"):
        found = Adapter(path).transform([[300, 400, 0]])
    np.testing.assert_array_equal(found, [[310, 820]])
    with pytest.raises(ValueError, match="`source_norm` must be positive and finite, got 0"):
        replace(CARD, source_norm=0)


def test_it_is_small_and_the_file_is_read_once_a_process(path, monkeypatch):
    read = []
    load = adapters.load
    monkeypatch.setattr(adapters, "load", lambda name: read.append(name) or load(name))
    adapter = Adapter(str(path))
    for each in (adapter, clone(adapter), pickle.loads(pickle.dumps(adapter))):
        each.transform(np.eye(3))
    assert len(read) == 1
    assert len(pickle.dumps(adapter)) < 500
    adapters.save(path, 2 * WEIGHT, np.zeros(2), CARD)
    np.testing.assert_array_equal(adapter.transform(np.eye(3)), 2 * WEIGHT)
    assert len(read) == 2


def test_another_length_is_refused(path):
    with pytest.raises(
        ValueError, match=r"must have shape \(n, 3\), got \(1, 2\); .* as one makes"
    ):
        Adapter(path).transform([[1, 2]])


# --- whose embeddings ---


def test_it_tells_whose_embeddings_come_out(path):
    for system in (Identity("one", A), Identity("renamed", A), Identity("Anything")):
        assert Adapter(path).leads_to(system) == Identity("two", B, 2)


def test_a_file_for_another_recogniser_is_refused(path):
    with pytest.raises(ValueError, match=f"must be made for one .{B}., got .*, made for one .{A}"):
        Adapter(path).leads_to(Identity("one", B))


def test_names_decide_where_a_hash_is_missing(path):
    adapters.save(path, WEIGHT, BIAS, replace(CARD, source_sha256=None))
    assert Adapter(path).leads_to(Identity("one", B)).name == "two"
    with pytest.raises(ValueError, match=r"made for one .hash not known"):
        Adapter(path).leads_to(Identity("other", A))


# --- the file ---


def test_what_is_written_is_read(path):
    weight, bias, card = adapters.load(path)
    np.testing.assert_array_equal(weight, WEIGHT.astype(np.float32))
    np.testing.assert_array_equal(bias, BIAS.astype(np.float32))
    assert card == adapters.read_card(path) == CARD


def test_what_is_no_adapter_is_refused(path, tmp_path):
    with pytest.raises(FileNotFoundError, match="`adapter` must be an existing file"):
        Adapter(tmp_path / "none").transform(np.eye(3))
    with pytest.raises(
        ValueError, match=r"must carry a card of its kind, got .*, which has none; give"
    ):
        adapters.load(shipped_decoder())
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(ValueError, match="which is truncated or damaged"):
        Adapter(path).card()
    path.write_bytes(pickle.dumps({"weight": WEIGHT}))
    with pytest.raises(ValueError, match="`adapter` must be a safetensors file, got the pickle"):
        adapters.load(path)


@pytest.mark.parametrize(
    ("tensors", "change", "message"),
    [
        ({"weight": WEIGHT}, {}, "must hold `weight` and `bias` alone, got weight in"),
        ({"weight": WEIGHT.T, "bias": BIAS}, {}, r"`weight` of .* shape \(3, 2\), .* got \(2, 3\)"),
        ({"weight": WEIGHT, "bias": BIAS * np.nan}, {}, "`bias` of .* must be finite"),
        ({"weight": WEIGHT, "bias": BIAS}, {"unknown": 1}, "must carry a readable card"),
    ],
)
def test_a_file_that_contradicts_its_card_is_refused(tensors, change, message, tmp_path):
    header = {
        "bob_recon_plugin.adapter.format": "1",
        "bob_recon_plugin.adapter.card": json.dumps(vars(CARD) | change),
    }
    arrays = {name: np.ascontiguousarray(values) for name, values in tensors.items()}
    save_file(arrays, tmp_path / "file", header)
    with pytest.raises(ValueError, match=message):
        adapters.load(tmp_path / "file")


def test_a_map_of_another_shape_is_not_written(path):
    with pytest.raises(ValueError, match=r"`bias` of the map must have shape \(2,\)"):
        adapters.save(path, WEIGHT, np.zeros(3), CARD)
    assert adapters.read_card(path) == CARD


# --- the fit ---


def related(n: int, noise: float) -> tuple[np.ndarray, np.ndarray]:
    """Embeddings of n faces and their mirror images, by a model of 8 and one of 5 dimensions."""
    rng = np.random.default_rng(0)
    mean, matrix, offset = rng.normal(size=8), rng.normal(size=(8, 5)), rng.normal(size=5)
    here = rng.normal(size=(n, 2, 8)) + mean
    return here, here @ matrix + offset + noise * rng.normal(size=(n, 2, 5))


def test_the_fit_finds_the_map_there_is():
    here, there = related(200, 0)
    found = fit(here, there)
    np.testing.assert_allclose(here @ found.weight + found.bias, there, atol=0.01)
    assert found.cosine > 0.9999


def test_the_fit_is_a_ridge_regression_that_keeps_norms():
    here, there = related(60, 3)
    found = fit(here, there)
    x, y = here.reshape(-1, 8), there.reshape(-1, 5)
    penalty = found.alpha * len(x) * np.square(x - x.mean(axis=0)).mean()
    ridge = Ridge(penalty).fit(x, y)
    stretch = found.weight[0, 0] / ridge.coef_[0, 0]
    assert stretch > 1.02
    np.testing.assert_allclose(found.weight, stretch * ridge.coef_.T, rtol=1e-3)
    np.testing.assert_allclose(found.bias, stretch * ridge.intercept_, rtol=1e-3, atol=1e-3)
    fresh, true = related(4000, 3)
    norms = [np.linalg.norm(z, axis=-1).mean() for z in (fresh @ found.weight + found.bias, true)]
    assert norms[0] == pytest.approx(norms[1], rel=0.1)


def test_noisier_faces_get_a_larger_penalty():
    alphas = [fit(*related(40, noise)).alpha for noise in (0, 1, 30)]
    assert alphas[0] < alphas[1] < alphas[2]


def test_too_few_faces_are_refused():
    with pytest.raises(ValueError, match="`faces` must be at least 10, got 9"):
        fit(*related(9, 0))


# --- the pairs ---


@pytest.fixture
def sets(tmp_path):
    """The same images in another order for the second model, some of them in one set alone."""
    here, there = related(40, 0.1)
    names = [f"{i:02d}" for i in range(40)]
    order = np.random.default_rng(0).permutation(40)[:30]
    one = prepared_embeddings(tmp_path / "one", here[5:], "one", A, names[5:])
    two = prepared_embeddings(tmp_path / "two", there[order], "two", B, [names[i] for i in order])
    return one, two, {tuple(h[0].astype(np.float32)): t for h, t in zip(here, there, strict=True)}


def test_images_are_paired_by_their_names(sets):
    one, two, known = sets
    here, there = paired(FaceDataset(one), FaceDataset(two))
    assert 20 <= len(here) < 30
    for h, t in zip(here, there, strict=True):
        np.testing.assert_allclose(t, known[tuple(h[0])], rtol=1e-5)
    fewer, _ = paired(FaceDataset(one), FaceDataset(two), 12)
    np.testing.assert_array_equal(fewer, here[:12])
    other, _ = paired(FaceDataset(one), FaceDataset(two), 12, seed=1)
    assert not np.array_equal(other, fewer)


def test_sets_that_share_no_images_are_refused(sets, tmp_path):
    names = [f"other-{i}" for i in range(12)]
    other = prepared_embeddings(tmp_path / "x", np.ones((12, 2, 5)), "two", B, names)
    with pytest.raises(ValueError, match=r"must be made of the same images, got none .* 'other-0'"):
        adapt(FaceDataset(sets[0]), FaceDataset(other), tmp_path / "y")
    with pytest.raises(ValueError, match=r"`n` must be at most 2\d, .*, got 40"):
        adapt(FaceDataset(sets[0]), FaceDataset(sets[1]), tmp_path / "y", 40)
    assert not (tmp_path / "y").exists()


def test_one_model_needs_no_adapter(sets, tmp_path):
    with pytest.raises(ValueError, match="must be prepared for two recognition models, got one"):
        adapt(FaceDataset(sets[0]), FaceDataset(sets[0]), tmp_path / "y")


# --- the command ---


def test_the_command_writes_an_adapter_that_works(sets, tmp_path):
    one, two, known = sets
    path = tmp_path / "new" / "adapter.safetensors"
    chain = ["adapt", str(one), str(two), "-n", "20", "-o", str(path)]
    done = CliRunner().invoke(recon, chain)
    assert done.exit_code == 0, done.output
    card = Adapter(path).card()
    here, _ = paired(FaceDataset(one), FaceDataset(two), 20)
    assert card.source_norm == pytest.approx(np.linalg.norm(here, axis=2).mean())
    assert (card.source, card.target, card.source_sha256, card.target_sha256) == (
        "one",
        "two",
        A,
        B,
    )
    assert (card.source_size, card.target_size, card.faces) == (8, 5, 20)
    assert card.data == "a test"
    assert "numpy" in card.versions
    assert done.output == (
        f"{path}: one to two, fitted on 20 faces; "
        f"mean cosine on held-out faces {card.cosine:.3f}.\n"
    )
    assert card.cosine > 0.98
    mapped = Adapter(path).transform(list(known))
    true = np.stack([t[0] for t in known.values()])
    cosine = (mapped * true).sum(1) / np.linalg.norm(mapped, axis=1) / np.linalg.norm(true, axis=1)
    assert cosine.mean() > 0.98


def test_the_command_tells_what_is_wrong(sets, tmp_path):
    chain = ["adapt", str(sets[0]), str(tmp_path / "none"), "-o", str(tmp_path / "y")]
    done = CliRunner().invoke(recon, chain)
    assert done.exit_code == 2
    assert "`dataset` must be an existing directory" in done.output
