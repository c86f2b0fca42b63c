"""The transformer from embeddings to faces."""

from __future__ import annotations

import os
import pickle
import shutil
import threading
import time
import warnings
from pathlib import Path

import bob.pipelines
import dask.bag
import numpy as np
import pytest
import torch
from bob.pipelines import Sample, SampleBatch, SampleSet
from bob.pipelines.wrappers import estimator_requires_fit
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_matrix
from sklearn.base import clone
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from bob_recon_plugin import decoders
from bob_recon_plugin.decoders import DSCasConv, LinearDecoder, ModelCard
from bob_recon_plugin.inversion import reconstructor
from bob_recon_plugin.inversion.reconstructor import FaceReconstructor, shipped_decoder

SIZE = 6
DIGEST = "0123456789abcdef" * 4


def made(path, **fields):
    """A checkpoint whose faces are not flat, so that equal faces mean something."""
    torch.manual_seed(0)
    decoder = DSCasConv(SIZE, 0.01)
    for _ in range(3):
        decoder(torch.randn(16, SIZE))
    decoder.head.weight.data *= 20
    return decoders.save(
        path, decoder, ModelCard(**{"recognizer": "a", "embedding_size": SIZE, **fields})
    )


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return made(tmp_path_factory.mktemp("decoder") / "d.safetensors", recognizer_sha256=DIGEST)


@pytest.fixture(scope="module")
def embeddings():
    return np.random.default_rng(0).normal(size=(19, SIZE)).astype(np.float32)


@pytest.fixture(scope="module")
def faces(checkpoint, embeddings):
    return FaceReconstructor(checkpoint).transform(embeddings)


def test_faces(checkpoint, embeddings, faces):
    assert faces.shape == (19, 3, 112, 112)
    assert faces.dtype == np.uint8
    assert faces.std() > 20
    assert len(np.unique(faces.reshape(19, -1), axis=0)) == 19
    with torch.inference_mode():
        exact = 255 * decoders.load(checkpoint)[0](torch.from_numpy(embeddings)).numpy()
    assert np.abs(faces - exact).max() <= 0.5 + 1e-3  # rounded, not cut


def test_rows_are_decoded_alone_and_in_order(checkpoint, embeddings, faces):
    order = np.random.default_rng(1).permutation(19)
    again = FaceReconstructor(checkpoint).transform(embeddings[order])
    assert_equal_up_to_rounding(again, faces[order])


def assert_equal_up_to_rounding(a, b):
    difference = np.abs(a.astype(int) - b)
    assert difference.max() <= 1
    assert (difference > 0).mean() < 1e-4


@settings(max_examples=12)
@given(st.integers(1, 25))
def test_batch_size_changes_nothing(checkpoint, embeddings, faces, batch_size):
    again = FaceReconstructor(checkpoint, batch_size=batch_size).transform(embeddings)
    assert_equal_up_to_rounding(again, faces)


def test_the_same_call_gives_the_same_bytes(checkpoint, embeddings, faces):
    assert np.array_equal(FaceReconstructor(checkpoint).transform(embeddings), faces)


@pytest.mark.parametrize(
    "convert",
    [
        list,
        lambda x: x.tolist(),
        lambda x: x.astype(np.float64),
        lambda x: SampleBatch([Sample(row) for row in x]),
        np.asfortranarray,
    ],
)
def test_any_sequence_of_embeddings(checkpoint, embeddings, faces, convert):
    assert np.array_equal(FaceReconstructor(checkpoint).transform(convert(embeddings)), faces)


def test_no_embeddings_no_faces(checkpoint):
    none = FaceReconstructor(checkpoint).transform(np.zeros((0, SIZE)))
    assert none.shape == (0, 3, 112, 112)


def test_linear_decoders_and_other_sides(tmp_path):
    random = np.random.default_rng(0)
    x = random.normal(size=(9, SIZE))
    decoder = LinearDecoder.fit(x, random.integers(0, 256, (9, 3, 8, 10), dtype=np.uint8))
    card = ModelCard("a", SIZE, positions={"reye": (2, 2), "leye": (2, 7)})
    path = decoders.save(tmp_path / "l", decoder, card)
    assert FaceReconstructor(path).transform(x).shape == (9, 3, 8, 10)


@pytest.mark.parametrize("batch_size", [1, 64])
def test_faces_are_those_of_the_network_in_the_file(checkpoint, batch_size):
    x = np.random.default_rng(2).normal(size=(64, SIZE)).astype(np.float32)
    before = checkpoint.read_bytes()
    found = FaceReconstructor(checkpoint, batch_size=batch_size).transform(x)
    network, _ = decoders.load(checkpoint)
    assert any(isinstance(layer, torch.nn.BatchNorm2d) for layer in network.modules())
    with torch.inference_mode():
        expected = (255 * network(torch.from_numpy(x))).round().numpy()
    assert_equal_up_to_rounding(found, expected)
    assert checkpoint.read_bytes() == before


def test_the_fastest_form_decodes(checkpoint):
    network, _ = reconstructor.shared_decoder(checkpoint, "cpu")
    assert network.for_inference() is network
    assert not any(isinstance(layer, torch.nn.BatchNorm2d) for layer in network.modules())


# --- the scikit-learn contract


def test_clone_keeps_parameters_untouched(checkpoint):
    original = FaceReconstructor(checkpoint, "a", DIGEST, 7, "cpu")
    copy = clone(original)
    assert copy.get_params() == original.get_params()
    assert original.checkpoint is checkpoint
    assert repr(FaceReconstructor("x")) == "FaceReconstructor(checkpoint='x')"


def test_construction_reads_nothing():
    FaceReconstructor("/nowhere", batch_size=-3, device="abacus")


def test_fit_checks_its_rows_and_learns_nothing(checkpoint, embeddings, faces):
    estimator = FaceReconstructor(checkpoint)
    before = dict(vars(estimator))
    assert estimator.fit() is estimator
    assert vars(estimator) == before
    assert estimator.fit(embeddings) is estimator
    assert vars(estimator) == before | {"n_features_in_": SIZE}
    assert np.array_equal(estimator.fit_transform(embeddings), faces)
    with pytest.raises(ValueError, match=r"`X` must have shape \(n, 6\), got \(19, 5\)"):
        estimator.fit(embeddings[:, :5])


def test_without_a_checkpoint_the_shipped_decoder_is_used():
    shipped = FaceReconstructor(shipped_decoder(), "arcface-mbf")
    default = clone(FaceReconstructor())
    assert default.checkpoint is None
    assert default.card() == shipped.card()
    assert default.describe() == shipped.describe()
    rows = np.random.default_rng(0).normal(size=(2, 512))
    rows *= shipped.card().embedding_norm / np.linalg.norm(rows, axis=1, keepdims=True)
    assert np.array_equal(default.transform(rows), shipped.transform(rows))


def test_the_estimator_stays_small_and_pickling_spares_it(checkpoint, embeddings, faces):
    estimator = FaceReconstructor(checkpoint)
    size = len(pickle.dumps(estimator))
    estimator.transform(embeddings)
    state = dict(vars(estimator))
    data = pickle.dumps(estimator)
    assert len(data) == size < 1000
    assert vars(estimator) == state
    assert np.array_equal(pickle.loads(data).transform(embeddings), faces)


def test_tags(checkpoint):
    estimator = FaceReconstructor(checkpoint)
    assert bob.pipelines.get_bob_tags(estimator)["bob_checkpoint_extension"] == ".png"
    assert not estimator_requires_fit(estimator)


# --- loading


@pytest.fixture
def loads(monkeypatch, checkpoint):
    """Count the times that a checkpoint is read from now on."""
    checkpoint.touch()  # a changed file is read again
    count = []
    load = decoders.load

    def counted(*arguments):
        count.append(arguments)
        time.sleep(0.02)
        return load(*arguments)

    monkeypatch.setattr(decoders, "load", counted)
    return count


@pytest.fixture
def fresh(checkpoint, tmp_path) -> Path:
    """A copy of the checkpoint that no other test reads."""
    return Path(shutil.copy(checkpoint, tmp_path))


def test_weights_are_read_once_a_process(fresh, embeddings, loads, monkeypatch):
    estimator = FaceReconstructor(fresh)
    estimator.validate().transform(embeddings)
    clone(estimator).transform(embeddings)
    pickle.loads(pickle.dumps(estimator)).transform(embeddings)
    monkeypatch.chdir(fresh.parent)
    FaceReconstructor(fresh.name).transform(embeddings)
    assert len(loads) == 1


def test_threads_share_one_copy_and_agree(fresh, embeddings, faces, loads):
    found: dict[int, np.ndarray] = {}
    start = threading.Barrier(6)

    def work(index):
        start.wait()
        found[index] = FaceReconstructor(fresh).transform(embeddings)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(loads) == 1
    assert len(found) == 6
    for result in found.values():
        assert_equal_up_to_rounding(result, faces)


def test_a_new_file_under_the_old_name_is_read(tmp_path, embeddings):
    path = made(tmp_path / "d")
    estimator = FaceReconstructor(path)
    before = estimator.transform(embeddings)
    torch.manual_seed(1)
    decoders.save(path, DSCasConv(SIZE, 0.01), ModelCard("a", SIZE))
    state = path.stat()
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns + 10**9))
    assert (estimator.transform(embeddings) != before).mean() > 0.5


def test_card_is_read_without_weights(checkpoint, loads):
    card = FaceReconstructor(checkpoint).card()
    assert (card.recognizer, card.recognizer_sha256) == ("a", DIGEST)
    assert not loads


# --- Bob and Dask


def samples(embeddings):
    return [Sample(row, key=str(i)) for i, row in enumerate(embeddings)]


def test_in_a_wrapped_pipeline(checkpoint, embeddings, faces):
    pipeline = bob.pipelines.wrap(
        ["sample"], make_pipeline(FunctionTransformer(np.asarray), FaceReconstructor(checkpoint))
    )
    found = pipeline.transform(samples(embeddings))
    assert [s.key for s in found] == [str(i) for i in range(19)]
    assert np.array_equal(np.array([s.data for s in found]), faces)
    sets = [SampleSet(samples(embeddings[:2])), SampleSet(samples(embeddings[2:5]))]
    grouped = pipeline.fit(sets).transform(sets)
    assert_equal_up_to_rounding(np.array([s.data for g in grouped for s in g]), faces[:5])


def test_checkpointed_as_png(checkpoint, embeddings, faces, tmp_path):
    wrapped = bob.pipelines.wrap(
        ["sample", "checkpoint"], FaceReconstructor(checkpoint), features_dir=tmp_path
    )
    found = [s.data for s in wrapped.transform(samples(embeddings[:2]))]
    assert sorted(os.listdir(tmp_path)) == ["0.png", "1.png"]
    assert_equal_up_to_rounding(np.array(found), faces[:2])


@pytest.mark.parametrize(
    "scheduler", ["synchronous", "threads", pytest.param("processes", marks=pytest.mark.slow)]
)
def test_in_a_dask_bag(checkpoint, embeddings, faces, scheduler):
    wrapped = bob.pipelines.wrap(["sample"], FaceReconstructor(checkpoint))
    bag = dask.bag.from_sequence(samples(embeddings), npartitions=3)
    found = bag.map_partitions(wrapped.transform).compute(scheduler=scheduler)
    assert_equal_up_to_rounding(np.array([s.data for s in found]), faces)


def test_dask_wrapped(checkpoint, embeddings, faces):
    wrapped = bob.pipelines.wrap(["sample", "dask"], FaceReconstructor(checkpoint))
    bag = bob.pipelines.ToDaskBag(npartitions=2).transform(samples(embeddings))
    found = wrapped.transform(bag).compute(scheduler="threads")
    assert_equal_up_to_rounding(np.array([s.data for s in found]), faces)


# --- refusals


def refuses(estimator, message, error=ValueError):
    """Both early and late, in one sentence."""
    for call in (estimator.validate, lambda: estimator.transform(np.zeros((1, SIZE)))):
        with pytest.raises(error, match=message) as caught:
            call()
        assert "\n" not in str(caught.value)


def test_missing_checkpoint(tmp_path):
    refuses(
        FaceReconstructor(tmp_path / "no"),
        "`checkpoint` must be an existing file",
        FileNotFoundError,
    )


@pytest.mark.parametrize("batch_size", [0, -1, 2.5, "8", None])
def test_batch_size_must_be_positive(checkpoint, batch_size):
    refuses(
        FaceReconstructor(checkpoint, batch_size=batch_size), "`batch_size` must be a whole number"
    )


@pytest.mark.parametrize("device", ["abacus", 3.5, ""])
def test_unknown_devices(checkpoint, device):
    refuses(FaceReconstructor(checkpoint, device=device), "`device` must be")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is CUDA here")
def test_cuda_where_there_is_none(checkpoint):
    refuses(FaceReconstructor(checkpoint, device="cuda"), "got 'cuda' without CUDA")


@pytest.mark.parametrize(
    ("name", "digest"),
    [
        (None, None),
        ("a", None),
        ("a", DIGEST),
        ("a", DIGEST.upper()),
        ("another name of it", DIGEST),
        (None, DIGEST),
    ],
)
def test_recognizer_of_the_checkpoint(checkpoint, name, digest):
    FaceReconstructor(checkpoint, name, digest).validate()


@pytest.mark.parametrize(
    ("name", "digest", "message"),
    [
        ("b", None, rf"`recognizer` must be a \({DIGEST}\), for which .* got b \(hash not known\)"),
        ("a", "f" * 64, rf"`recognizer` must be a \({DIGEST}\), for which .* got a \(ffff"),
        (None, "f" * 64, r"got a \(ffff"),
    ],
)
def test_another_recognizer(checkpoint, name, digest, message):
    refuses(FaceReconstructor(checkpoint, name, digest), message)


def test_names_decide_when_the_checkpoint_knows_no_hash(tmp_path):
    path = made(tmp_path / "d")
    FaceReconstructor(path, "a", DIGEST).validate()
    refuses(FaceReconstructor(path, "b", DIGEST), r"`recognizer` must be a \(hash not known\)")


def nan_in_row_3():
    x = np.zeros((5, SIZE))
    x[3, 1] = np.nan
    return x


MASKED = np.ma.masked_equal([[1, 2, 3, 4, 5, 6], [1, 2, 3, 4, 5, 7]], 7)


@pytest.mark.parametrize(
    ("embeddings", "error", "message"),
    [
        (nan_in_row_3(), ValueError, r"NaN or infinity in 1 of 5 rows \(first: row 3\)"),
        (np.zeros(SIZE), ValueError, r"must have shape \(n, 6\), got \(6,\)"),
        (np.zeros((2, 1, SIZE)), ValueError, r"must have shape \(n, 6\), got \(2, 1, 6\)"),
        (np.zeros((2, 5)), ValueError, r"got \(2, 5\); pass one embedding a row as a makes them"),
        ([[1.0], [1.0, 2.0]], TypeError, "`X` must be an array of numbers"),
        ([None], TypeError, r"got list \(entries of type object\)"),
        ("face", TypeError, r"got str \(entries of type <U1\)"),
        (np.full((2, SIZE), "1.5"), TypeError, r"got ndarray \(entries of type <U3\)"),
        (np.ones((2, SIZE), object), TypeError, r"got ndarray \(entries of type object\)"),
        (np.ones((2, SIZE), bool), TypeError, r"got ndarray \(entries of type bool\)"),
        (np.ones((2, SIZE), complex), TypeError, r"got ndarray \(entries of type complex128\)"),
        (MASKED, TypeError, r"got MaskedArray \(masked entries, which have no value\); pass one"),
        ([*MASKED], TypeError, r"got list \(masked entries, which have no value\)"),
        (SampleBatch([Sample(r) for r in MASKED]), TypeError, r"SampleBatch \(masked entries"),
        (csr_matrix(np.ones((2, SIZE))), TypeError, r"got csr_matrix \(a sparse matrix\)"),
        (
            np.diag([1, 1, 0, 1, 1, 0]),
            ValueError,
            r"direction in each row, got only zeros in 2 of 6 rows \(first: row 2\)",
        ),
    ],
)
def test_embeddings_of_no_use(checkpoint, embeddings, error, message):
    with pytest.raises(error, match=message) as caught:
        FaceReconstructor(checkpoint).transform(embeddings)
    assert "\n" not in str(caught.value)


# --- scale


@pytest.fixture(scope="module")
def scaled(tmp_path_factory):
    """A reconstructor whose decoder was trained on embeddings of norm 8."""
    path = made(tmp_path_factory.mktemp("scaled") / "d", embedding_norm=8.0)
    return FaceReconstructor(path, batch_size=4)


@pytest.fixture(scope="module")
def far(scaled):
    """Embeddings of norm 8, and their faces."""
    x = np.random.default_rng(3).normal(size=(9, SIZE))
    x = 8 * x / np.linalg.norm(x, axis=1, keepdims=True)
    return x, scaled.transform(x)


@pytest.mark.parametrize("factor", [1e-20, 1 / 8, 0.49, 2.01, 8, 1e20])
def test_faces_do_not_depend_on_the_scale(scaled, far, factor):
    x, faces = far
    with pytest.warns(UserWarning, match="embeddings of a should have norms near 8, got") as said:
        found = scaled.transform(factor * x)
    assert len(said) == 1
    assert_equal_up_to_rounding(found, faces)


@pytest.mark.parametrize("factor", [0.51, 1, 1.99])
def test_rows_near_the_norm_of_the_training_stay_as_they_are(scaled, far, factor):
    x = (factor * far[0]).astype(np.float32)
    network, _ = reconstructor.shared_decoder(scaled.checkpoint, "cpu")
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("error")
        found = scaled.transform(x)
        scaled.transform(x[:0])
        first = (255 * network(torch.from_numpy(x[:4]))).round().numpy()
    assert np.array_equal(found[:4], first)


def test_integer_codes_give_the_faces_of_what_they_round(scaled, far):
    x, faces = far
    codes = (127 * x / np.abs(x).max(axis=1, keepdims=True)).round().astype(np.int8)
    with pytest.warns(UserWarning, match="only their direction is used"):
        found = scaled.transform(codes)
    assert np.abs(found.astype(int) - faces).mean() < 2


@settings(max_examples=20)
@given(st.lists(st.sampled_from([1 / 300, 0.6, 1, 1.7, 300]), min_size=9, max_size=9))
@pytest.mark.filterwarnings("ignore:embeddings of a should")
def test_a_row_is_scaled_whatever_stands_beside_it(scaled, far, factors):
    x = far[0] * np.array(factors)[:, None]
    alone = np.concatenate([scaled.transform(row[None]) for row in x])
    assert_equal_up_to_rounding(scaled.transform(x), alone)


def test_the_norms_of_a_decoder_that_knows_none_are_left(checkpoint, embeddings):
    with pytest.warns(UserWarning, match="the norm of embeddings of a is not known; pass raw"):
        found = FaceReconstructor(checkpoint).transform(3 * embeddings)
    exact = 255 * decoders.load(checkpoint)[0](torch.from_numpy(3 * embeddings)).detach().numpy()
    assert np.abs(found - exact).max() <= 0.5 + 1e-3
