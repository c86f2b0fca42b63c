"""Vectors of every format give the same faces; estimators keep the contract of scikit-learn."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.utils.estimator_checks import check_estimator

from bob_recon_plugin import decoders
from bob_recon_plugin.attack.chain import shipped_decoder
from bob_recon_plugin.decoders import LinearDecoder, ModelCard
from bob_recon_plugin.inversion import adapter as adapters
from bob_recon_plugin.inversion.adapter import Adapter, AdapterCard
from bob_recon_plugin.inversion.damage import NoisyLeak, PartialLeak, QuantizedLeak
from bob_recon_plugin.inversion.reconstructor import FaceReconstructor
from bob_recon_plugin.inversion.refinement import RefinedReconstructor
from bob_recon_plugin.protection import InvertProtection, ProtectTemplates, QuantisedEmbedding
from bob_recon_plugin.recognizers import RecognizerTransformer
from tests import toy

VECTORS = Path(__file__).parents[3] / "shared" / "cases" / "vectors"

# --- the scale of embeddings


@pytest.fixture(scope="module")
def raw():
    if not VECTORS.is_dir():
        pytest.skip(f"needs the vectors in {VECTORS}, which are not part of the project")
    return np.load(VECTORS / "raw.npy")


@pytest.fixture(scope="module")
def seen_again(raw):
    """Mean cosine of embeddings and what the faces of a reconstructor embed to."""
    embed = RecognizerTransformer("arcface-mbf")

    def cosine(faces):
        found = embed.transform(faces)
        norms = np.linalg.norm(found, axis=1) * np.linalg.norm(raw, axis=1)
        return ((found * raw).sum(axis=1) / norms).mean()

    return cosine


@pytest.fixture(scope="module")
def reconstructor():
    return FaceReconstructor(shipped_decoder(), "arcface-mbf")


def test_raw_vectors_go_to_the_decoder_as_they_are(raw, reconstructor, seen_again, recwarn):
    faces = reconstructor.transform(raw)
    assert not recwarn
    decoder, _ = decoders.load(shipped_decoder())
    with torch.inference_mode():
        exact = 255 * decoder.for_inference()(torch.from_numpy(raw)).numpy()
    np.testing.assert_array_equal(faces, exact.round())
    assert seen_again(faces) == pytest.approx(0.8885, abs=0.0005)


@pytest.mark.parametrize("name", ["l2-normalised", "times-64", "int8-codes"])
@pytest.mark.filterwarnings("ignore:embeddings of arcface-mbf should have norms near 20")
def test_vectors_of_a_format_give_the_faces_of_the_raw_ones(name, raw, reconstructor, seen_again):
    vectors = np.load(VECTORS / f"{name}.npy")
    faces = reconstructor.transform(vectors)
    assert seen_again(faces) == pytest.approx(0.8885, abs=0.001)
    assert np.abs(faces.astype(int) - reconstructor.transform(raw)).mean() < 3


@pytest.mark.filterwarnings("ignore:embeddings of arcface-mbf should have norms near 20")
def test_normalised_vectors_are_refined_as_raw_ones(raw, reconstructor, seen_again):
    refined = RefinedReconstructor(reconstructor, steps=2)
    few = raw[:4]
    unit = few / np.linalg.norm(few, axis=1, keepdims=True)
    faces = [refined.transform(x) for x in (20 * unit, unit)]
    assert np.abs(faces[0].astype(int) - faces[1]).mean() < 1


# --- the contract


def adapter(folder, width):
    card = AdapterCard("one", "two", None, None, width, width, 9, 1, 0.5, source_norm=2.0)
    matrix = toy.projection(size=width)[:width]
    return Adapter(adapters.save(folder / "adapter.safetensors", matrix, matrix[0], card))


def face_reconstructor(folder, width):
    decoder = LinearDecoder(width, (toy.SIDE, toy.SIDE))
    decoder.weight.copy_(torch.from_numpy(toy.projection(size=width)))
    decoder.bias.fill_(0.5)
    about = toy.write_recognizer(folder / "toy.onnx", size=width)
    card = ModelCard("toy", width, about.sha256, embedding_norm=2.0, positions=toy.POSITIONS)
    return FaceReconstructor(decoders.save(folder / "decoder.safetensors", decoder, card))


def refined_reconstructor(folder, width):
    plain = face_reconstructor(folder, width)
    about = toy.write_recognizer(folder / "toy.onnx", size=width)
    return RefinedReconstructor(plain, steps=1, jitter=False, recognizer=about)


#: Estimators of this project, for rows of some width.
ESTIMATORS = {
    "PartialLeak": lambda folder, width: PartialLeak(),
    "NoisyLeak": lambda folder, width: NoisyLeak(0.5),
    "QuantizedLeak": lambda folder, width: QuantizedLeak(4),
    "ProtectTemplates": lambda folder, width: ProtectTemplates(QuantisedEmbedding()),
    "InvertProtection": lambda folder, width: InvertProtection(
        QuantisedEmbedding(), embedding_size=width, embedding_norm=20.0
    ),
    "Adapter": adapter,
    "FaceReconstructor": face_reconstructor,
    "RefinedReconstructor": refined_reconstructor,
}

#: Columns of the rows that scikit-learn draws in a check, where they are not three.
WIDTHS = {
    "check_estimators_fit_returns_self": 2,
    "check_estimators_overwrite_params": 2,
    "check_fit_idempotent": 2,
    "check_fit_check_is_fitted": 2,
    "check_n_features_in": 2,
    "check_estimators_dtypes": 5,
    "check_dtype_object": 10,
    "check_transformers_unfitted": 10,
    "check_fit2d_1sample": 10,
    "check_fit2d_1feature": 1,
}

#: Checks that cannot hold, and why.
REASONS = {
    "check_complex_data": "complex numbers are refused in the words of this project",
    "check_dtype_object": "an array of objects is refused: nothing tells what its numbers are",
    "check_estimators_dtypes": "its integers hold a row of zeros, which has no direction",
    "check_estimators_empty_data_messages": "no rows give no rows: a system may acquire nobody",
    "check_fit2d_predict1d": "a single row is refused in the words of this project",
    "check_parameters_default_constructible": "no default can stand for the first parameter",
    "check_transformers_unfitted": "nothing is learnt: no fit is needed",
}

#: Estimators for which one of these checks holds.
EXCEPT = {
    ("InvertProtection", "check_estimators_dtypes"),  # zeros may be bits of a template
    ("FaceReconstructor", "check_parameters_default_constructible"),
    ("PartialLeak", "check_parameters_default_constructible"),
}


def checks():
    for name in ESTIMATORS:
        for index, (_, check) in enumerate(check_estimator(PartialLeak(), generate_only=True)):
            about = check.func.__name__
            marks = []
            if about in REASONS and (name, about) not in EXCEPT:
                marks = [pytest.mark.xfail(strict=True, reason=REASONS[about])]
            yield pytest.param(name, index, marks=marks, id=f"{name}-{about}-{index}")


@pytest.mark.parametrize(("name", "index"), checks())
@pytest.mark.filterwarnings("ignore:embeddings of .* should have norms near")
def test_check_of_scikit_learn(name, index, tmp_path):
    about = [c.func.__name__ for _, c in check_estimator(PartialLeak(), generate_only=True)][index]
    made = ESTIMATORS[name](tmp_path, WIDTHS.get(about, 3))
    estimator, check = list(check_estimator(made, generate_only=True))[index]
    assert check.func.__name__ == about
    check(estimator)


#: Checks of scikit-learn that give no rows to an estimator: all that images leave of them.
WITHOUT_ROWS = {
    "check_no_attributes_set_in_init",
    "check_estimator_get_tags_default_keys",
    "check_parameters_default_constructible",
    "check_get_params_invariance",
    "check_set_params",
}


def test_the_recogniser_keeps_the_contract_as_far_as_images_allow(tmp_path):
    about = toy.write_recognizer(tmp_path / "toy.onnx")
    done = set()
    for estimator, check in check_estimator(RecognizerTransformer(about), generate_only=True):
        if check.func.__name__ in WITHOUT_ROWS:
            check(estimator)
            done.add(check.func.__name__)
    assert done == WITHOUT_ROWS
    faces = np.random.default_rng(0).integers(0, 256, (3, 3, toy.SIDE, toy.SIDE), dtype=np.uint8)
    embed = RecognizerTransformer(about)
    assert embed.fit(faces) is embed
    np.testing.assert_array_equal(embed.fit_transform(faces), embed.transform(faces))
    masked = np.ma.masked_less(faces, 9)
    for work in (embed.fit, embed.transform):
        with pytest.raises(ValueError, match=r"`X\[0\]` must have shape \(3, 16, 16\) for toy"):
            work(faces[:, :1])
        with pytest.raises(TypeError, match=r"`X\[0\]` must be .* \(masked entries, which have no"):
            work(masked)
