"""Partial, noisy and quantised leaks: what the decoder gets of a template."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from bob.pipelines.wrappers import estimator_requires_fit
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import kstest
from sklearn.base import clone
from sklearn.linear_model import LinearRegression

from bob_recon_plugin.inversion.damage import NoisyLeak, PartialLeak, QuantizedLeak
from tests.faces import prepared_embeddings

EVERY = [PartialLeak(0.5), NoisyLeak(0.7), QuantizedLeak(2)]

#: entries of a size that float32 holds well
ENTRIES = st.floats(-100, 100, width=32).filter(lambda v: v == 0 or abs(v) > 1e-3)
ROWS = arrays(np.float32, st.tuples(st.integers(1, 5), st.integers(1, 9)), elements=ENTRIES).filter(
    lambda rows: rows.any(axis=1).all()
)


def cosine(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Of each pair of rows."""
    norms = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    return (one * other).sum(axis=1) / norms


@pytest.fixture
def rows() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(40, 64)).astype(np.float32)


# --- every leak ---


@pytest.mark.parametrize("leak", EVERY, ids=repr)
def test_rows_leak_alone_and_in_order(leak, rows):
    order = np.random.default_rng(1).permutation(len(rows))
    whole = leak.transform(rows)
    assert whole.dtype == np.float32
    np.testing.assert_allclose(leak.transform(rows[order]), whole[order], rtol=1e-5)
    singly = np.concatenate([leak.transform(row[None]) for row in rows])
    np.testing.assert_allclose(singly, whole, rtol=1e-5)


@pytest.mark.parametrize("leak", EVERY, ids=repr)
def test_copies_and_pickles_do_the_same(leak, rows):
    for copy in (clone(leak), pickle.loads(pickle.dumps(leak))):
        np.testing.assert_array_equal(copy.transform(rows), leak.transform(rows))
    assert not estimator_requires_fit(leak)
    copy = clone(leak)
    assert copy.fit(rows) is copy
    with pytest.raises(ValueError, match=r"must have shape \(n, 64\), as in `fit`, got \(40, 9\)"):
        copy.transform(rows[:, :9])


@pytest.mark.parametrize("leak", EVERY, ids=repr)
@given(rows=ROWS)
def test_a_longer_template_leaks_as_a_longer_row(leak, rows):
    np.testing.assert_allclose(leak.transform(4 * rows), 4 * leak.transform(rows), rtol=1e-5)


@pytest.mark.parametrize("leak", EVERY, ids=repr)
def test_no_template_and_a_template_of_zeros(leak):
    assert leak.transform(np.zeros((0, 4))).shape == (0, 4)
    with pytest.raises(ValueError, match=r"`X` must have a direction in each row, got only zeros"):
        leak.transform([[1, 2, 3, 4], [0, 0, 0, 0]])


@pytest.mark.parametrize("leak", EVERY, ids=repr)
def test_what_is_no_template_is_refused(leak):
    with pytest.raises(ValueError, match=r"`X` must have shape \(n, d\), got \(3,\)"):
        leak.transform(np.zeros(3))
    with pytest.raises(ValueError, match="`X` must be finite"):
        leak.transform([[np.nan, 1.0]])


@pytest.mark.parametrize(
    ("leak", "message"),
    [
        (PartialLeak(0), r"`share` must be in \(0, 1\], got 0"),
        (PartialLeak(1.1), "`share` must be"),
        (PartialLeak(0.5, seed=-1), "`seed` must be a whole number of at least 0, got -1"),
        (NoisyLeak(-0.1), "`sigma` must be finite and not negative, got -0.1"),
        (NoisyLeak(np.inf), "`sigma` must be"),
        (NoisyLeak(1, seed=0.5), "`seed` must be"),
        (QuantizedLeak(0), "`bits` must be a whole number from 1 to 16, got 0"),
        (QuantizedLeak(1.5), "`bits` must be"),
        (QuantizedLeak(2, limit=0), "`limit` must be positive and finite, got 0"),
    ],
)
def test_a_parameter_out_of_range_is_told(leak, message):
    with pytest.raises(ValueError, match=message):
        leak.transform([[1.0, 2.0]])


# --- some dimensions ---


def test_leaked_dimensions_keep_their_direction_and_the_others_are_zero(rows):
    leak = PartialLeak(0.25, seed=3)
    leaked = leak.leaked(64)
    assert len(set(leaked)) == 16
    found = leak.transform(rows)
    # a quarter of the energy: half the norm, so twice the entries
    np.testing.assert_allclose(found[:, leaked], 2 * rows[:, leaked], rtol=1e-5)
    assert not np.delete(found, leaked, axis=1).any()


@given(st.floats(0.001, 1), st.floats(0.001, 1), st.integers(1, 40), st.integers(0, 9))
def test_a_smaller_share_is_part_of_a_larger_one(one, other, size, seed):
    small, large = (set(PartialLeak(s, seed).leaked(size)) for s in sorted((one, other)))
    assert small <= large <= set(range(size))
    assert len(small) >= 1


@pytest.mark.parametrize("faces", [False, True])
def test_a_whole_leak_changes_nothing(faces, rows, correlated):
    leak = PartialLeak(1.0, faces=correlated[0] if faces else None)
    rows = rows[:, :6]
    np.testing.assert_allclose(leak.transform(rows), rows, rtol=1e-6)


@pytest.fixture(scope="module")
def correlated(tmp_path_factory):
    """Prepared set of 4,000 embeddings of length 6, of rank 4 but for noise; and 500 others."""
    rng = np.random.default_rng(0)
    mixing, mean = rng.normal(size=(4, 6)), 8 * np.sign(rng.normal(size=6))
    every = mean + rng.normal(size=(4500, 4)) @ mixing + 0.1 * rng.normal(size=(4500, 6))
    folder = tmp_path_factory.mktemp("correlated")
    prepared_embeddings(folder, every[:4000].reshape(2000, 2, 6))
    return folder, every[:4000], every[4000:]


def test_hidden_dimensions_get_what_a_regression_on_the_leaked_ones_says(correlated):
    folder, known, stolen = correlated
    leak = PartialLeak(0.5, faces=str(folder))
    leaked = leak.leaked(6)
    hidden = np.setdiff1d(range(6), leaked)
    found = leak.transform(stolen)
    stretch = found[:, leaked] / stolen[:, leaked]
    np.testing.assert_allclose(stretch, np.broadcast_to(stretch[:, :1], stretch.shape), rtol=1e-3)
    expected = LinearRegression().fit(known[:, leaked], known[:, hidden]).predict(stolen[:, leaked])
    # the covariance is shrunk a little
    np.testing.assert_allclose(found[:, hidden] / stretch[:, :1], expected, atol=0.15)


def test_a_row_gets_the_norm_that_its_leaked_part_tells(correlated):
    folder, known, stolen = correlated
    leak = PartialLeak(0.5, faces=str(folder))
    energy = np.square(known).sum(axis=0)
    part = np.linalg.norm(stolen[:, leak.leaked(6)], axis=1)
    expected = part * np.sqrt(energy.sum() / energy[leak.leaked(6)].sum())
    norms = np.linalg.norm(leak.transform(stolen), axis=1)
    np.testing.assert_allclose(norms, expected, rtol=0.01)


@pytest.mark.parametrize("scale", [1 / 300, 300])
def test_a_guess_from_faces_is_that_of_the_unscaled_template(correlated, scale):
    folder, _, stolen = correlated
    leak = PartialLeak(0.5, faces=str(folder))
    assert cosine(leak.transform(scale * stolen), leak.transform(stolen)).mean() > 0.99


def test_a_guess_from_faces_is_nearer_than_zero(correlated):
    folder, _, stolen = correlated
    guessed, zero = (
        cosine(PartialLeak(0.5, faces=f).transform(stolen), stolen).mean() for f in (folder, None)
    )
    assert guessed > zero + 0.1


def test_faces_for_embeddings_of_another_length_are_refused(correlated, rows):
    with pytest.raises(ValueError, match=r"`faces` must be prepared .* length 6 .* of length 64"):
        PartialLeak(0.5, faces=correlated[0]).transform(rows)


# --- noise ---


def test_noise_is_normal_and_as_strong_as_asked():
    rows = np.random.default_rng(0).normal(size=(30, 512)) * np.linspace(1, 50, 30)[:, None]
    sigma = 0.6
    noise = NoisyLeak(sigma).transform(rows) * np.sqrt(1 + sigma**2) - rows
    relative = noise / np.sqrt(np.square(rows).mean(axis=1, keepdims=True)) / sigma
    assert kstest(relative.ravel(), "norm").pvalue > 0.01
    # no two templates, and no two seeds, share it
    assert np.abs(np.corrcoef(relative) - np.eye(30)).max() < 0.25
    other = NoisyLeak(sigma, seed=1).transform(rows) * np.sqrt(1 + sigma**2) - rows
    assert abs(np.corrcoef(noise.ravel(), other.ravel())[0, 1]) < 0.05


def test_a_noisy_row_has_the_norm_of_the_template_on_average():
    rows = np.random.default_rng(0).normal(size=(100, 512))
    ratio = np.linalg.norm(NoisyLeak(2.0).transform(rows), axis=1) / np.linalg.norm(rows, axis=1)
    assert ratio.mean() == pytest.approx(1, abs=0.01)


def test_no_noise_changes_nothing(rows):
    np.testing.assert_array_equal(NoisyLeak(0).transform(rows), rows)


def test_last_digits_do_not_decide_the_noise(rows):
    rounded = rows * np.float32(1 + 3e-7)
    assert (rounded != rows).any()
    leak = NoisyLeak(1.0)
    np.testing.assert_allclose(leak.transform(rounded), leak.transform(rows), atol=1e-5)


# --- bits ---


def test_two_bits_are_four_levels_in_cells_of_equal_width():
    # root mean square 2, so that the range of 1.5 is 3 to either side, in cells of 1.5
    row = np.array([[0.1, -1.4, 1.6, -2.9, 3.3, -0.1, 1.0, -2.0]])
    row *= 2 / np.sqrt(np.square(row).mean())
    assert np.abs(row).max() > 3
    levels = np.array([[0.75, -0.75, 2.25, -2.25, 2.25, -0.75, 0.75, -2.25]])
    expected = levels * np.linalg.norm(row) / np.linalg.norm(levels)
    found = QuantizedLeak(2, limit=1.5).transform(row)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


@given(rows=ROWS, bits=st.integers(1, 8))
def test_few_levels_in_the_same_order_and_the_same_norm(rows, bits):
    found = QuantizedLeak(bits).transform(rows)
    for before, after in zip(rows, found, strict=True):
        assert len(set(after.tolist())) <= 2**bits
        assert (np.diff(after[np.argsort(before)]) >= 0).all()
        if before.any():
            assert np.array_equal(after > 0, before >= 0)
    norms = [np.linalg.norm(x, axis=1) for x in (found, rows)]
    np.testing.assert_allclose(*norms, rtol=1e-5)


def test_many_bits_change_nothing(rows):
    np.testing.assert_allclose(QuantizedLeak(16, limit=5).transform(rows), rows, atol=1e-3)


# --- the curves ---
