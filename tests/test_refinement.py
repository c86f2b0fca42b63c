"""Refinement: never worse in the recogniser's eyes, and what it may not do."""

from __future__ import annotations

import pickle
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from bob.pipelines import Sample, SampleBatch
from bob.pipelines.wrappers import estimator_requires_fit
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import clone

from bob_recon_plugin import recognizers
from bob_recon_plugin.attack.chain import shipped_decoder
from bob_recon_plugin.attack.pipeline import AttackPipeline
from bob_recon_plugin.decoders import LinearDecoder, ModelCard, save
from bob_recon_plugin.evaluation import scores
from bob_recon_plugin.inversion.reconstructor import FaceReconstructor
from bob_recon_plugin.inversion.refinement import RefinedReconstructor
from bob_recon_plugin.recognizers import RecognizerTransformer
from bob_recon_plugin.recognizers.jitter import JitteredRecognizer, shift_and_mirror
from tests import toy
from tests.faces import demo_faces

OVER = ("embedding", "pixels")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("refinement")


@pytest.fixture(scope="module")
def recognizer(folder):
    return toy.write_recognizer(folder / "toy.onnx")


@pytest.fixture(scope="module")
def card(recognizer):
    return ModelCard("toy", toy.SIZE, recognizer.sha256, positions=toy.POSITIONS)


@pytest.fixture(scope="module")
def checkpoint(folder, card):
    """A decoder whose faces resemble their templates a little: that of toy.py, and noise."""
    random = np.random.default_rng(3)
    faces = random.integers(0, 256, (400, 3, toy.SIDE, toy.SIDE), dtype=np.uint8)
    decoder = LinearDecoder.fit(toy.ToyRecognizer().transform(faces), faces, alpha=1e-6)
    decoder.weight.add_(torch.from_numpy(random.normal(0, 0.004, decoder.weight.shape)).float())
    return save(folder / "d.safetensors", decoder, card, "float32")


@pytest.fixture(scope="module")
def templates():
    images = np.stack([toy.image(100 * person) for person in range(19)])
    return toy.ToyRecognizer().transform(images).astype(np.float32)


@pytest.fixture(scope="module")
def plain(checkpoint):
    return FaceReconstructor(checkpoint, "toy", batch_size=7, device="cpu")


@pytest.fixture(scope="module")
def refined(plain, recognizer):
    """Make a refinement of the plain reconstructor."""

    def make(over="embedding", **more):
        usual = {"recognizer": recognizer, "device": "cpu", "steps": 12, "enough": 1.0}
        return RefinedReconstructor(plain, over, **usual | {"jitter": False} | more)

    return make


def cosines(faces: np.ndarray, templates: np.ndarray) -> np.ndarray:
    """Of faces to templates, by the toy recogniser in numpy."""
    found = toy.ToyRecognizer().transform(faces)
    norms = np.linalg.norm(found, axis=1) * np.linalg.norm(templates, axis=1)
    return (found * templates).sum(1) / norms


# --- what it is for


@pytest.mark.parametrize("over", OVER)
def test_every_face_comes_nearer_to_its_template(refined, plain, templates, over):
    before = cosines(plain.transform(templates), templates)
    faces = refined(over).transform(templates)
    after = cosines(faces, templates)
    assert faces.shape == (19, 3, toy.SIDE, toy.SIDE)
    assert faces.dtype == np.uint8
    assert before.mean() < 0.9
    assert (after > before + 0.3 * (1 - before)).all()


@settings(max_examples=25)
@given(
    st.sampled_from(OVER), st.integers(0, 6), st.floats(1e-4, 30), st.floats(0, 100), st.booleans()
)
def test_no_face_ever_gets_worse(refined, plain, templates, over, steps, rate, stay, jitter):
    estimator = refined(over, steps=steps, rate=rate, stay=stay, jitter=jitter)
    before, after = (
        cosines(faces, templates)
        for faces in (plain.transform(templates), estimator.transform(templates))
    )
    assert (after >= before - 1e-5).all()


@pytest.mark.parametrize("over", OVER)
def test_a_larger_budget_is_never_worse(refined, templates, over):
    found = refined(over).transform_at(templates, [0, 1, 3, 6, 12])
    reached = np.stack([cosines(faces, templates) for faces in found])
    assert (np.diff(reached, axis=0) >= -1e-5).all()
    assert (reached[-1] > reached[1]).all()


def test_the_first_step_over_pixels_is_one_of_adam_along_the_gradient(refined, plain, templates):
    start = plain.transform(templates).astype(np.float64)
    matrix = toy.projection()
    seen = toy.ToyRecognizer().transform(start)
    a, b = np.linalg.norm(seen, axis=1)[:, None], np.linalg.norm(templates, axis=1)[:, None]
    cosine = (seen * templates).sum(1, keepdims=True) / (a * b)
    slope = ((templates / b - cosine * seen / a) / a) @ matrix.T  # of the cosine by each pixel
    wanted = np.clip(start + np.sign(slope.reshape(start.shape)), 0, 255)
    found = refined("pixels", steps=1, rate=1 / 255).transform(templates)
    differing = found != wanted
    assert differing.mean() < 1e-3  # of a slope near zero, or of a cosine in float32
    np.testing.assert_allclose(found[~differing], wanted[~differing])


def test_over_the_embedding_every_face_is_one_of_the_decoder(refined, checkpoint, templates):
    from bob_recon_plugin import decoders

    decoder, _ = decoders.load(checkpoint)
    faces = refined("embedding", steps=3).transform(templates) / 255
    inside = (faces > 0).all((1, 2, 3)) & (faces < 1).all((1, 2, 3))
    rows = faces[inside].reshape(inside.sum(), -1) - decoder.bias.numpy()
    fitted, *_ = np.linalg.lstsq(decoder.weight.numpy(), rows.T, rcond=None)
    residual = rows.T - decoder.weight.numpy() @ fitted
    assert inside.sum() > 0
    assert np.abs(residual).max() < 0.51 / 255 * 1.5  # rounding alone


@pytest.mark.parametrize("over", OVER)
def test_the_shipped_decoder_is_refined_by_the_recogniser_of_its_card(over):
    judge = RecognizerTransformer("arcface-mbf", device="cpu")
    templates = judge.transform(demo_faces(3))
    plain = FaceReconstructor(shipped_decoder(), device="cpu")
    found = RefinedReconstructor(plain, over, device="cpu").transform_at(templates, [0, 4])
    embedded = [torch.from_numpy(judge.transform(faces)) for faces in found]
    before, after = (
        torch.cosine_similarity(seen, torch.from_numpy(templates)) for seen in embedded
    )
    assert (after > before + 0.1 * (1 - before)).all()


def test_refinements_follow_one_another(refined, templates):
    first = refined("embedding", steps=4)
    both = clone(first).set_params(reconstructor=first, over="pixels")
    one, two = (cosines(r.transform(templates), templates) for r in (first, both))
    assert (two >= one).all()
    assert two.mean() > one.mean()
    assert both.checkpoint == first.checkpoint
    assert both.batch_size == 7


@pytest.mark.slow
def test_it_stands_where_a_reconstructor_does(plain, refined, tmp_path):
    means = []
    for number, reconstructor in enumerate((plain, refined("pixels"))):
        output = tmp_path / str(number)
        attack = AttackPipeline(toy.system(), reconstructor)
        toy.execute(attack, output, checkpoint=False)
        found = scores.load(output / "scores-dev.csv")
        assert len(found.attacks["type1"]) == 6
        means.append(found.attacks["type1"].mean())
    assert means[1] > means[0] + 0.05


# --- when it stops


@pytest.fixture
def seen(recognizer):
    """Count the faces that the recogniser sees, call by call."""
    counts = []
    module = recognizers.shared_module(recognizer, None, torch.device("cpu"))
    handle = module.register_forward_hook(lambda _m, inputs, _o: counts.append(len(inputs[0])))
    yield counts
    handle.remove()


@pytest.mark.parametrize("over", OVER)
def test_faces_that_are_good_enough_are_left_alone(refined, plain, templates, over):
    before = plain.transform(templates)
    reached = cosines(before, templates)
    enough = float(np.sort(reached)[9:11].mean())
    faces = refined(over, enough=enough).transform(templates)
    changed = (faces != before).any((1, 2, 3))
    np.testing.assert_array_equal(changed, reached < enough)
    assert 0 < changed.sum() < 19
    assert (cosines(faces, templates)[changed] > reached[changed]).all()


@pytest.mark.parametrize("over", OVER)
def test_a_face_that_got_there_is_seen_no_more(refined, templates, over, seen):
    refined(over, steps=40, enough=0.93).transform(templates[:7])
    start, *steps = seen
    assert start == 7
    assert steps == sorted(steps, reverse=True)
    assert steps[-1] < steps[0]
    assert sum(steps) < 7 * 40


def test_none_is_moved_where_all_are_good_enough(refined, plain, templates, seen):
    faces = refined(enough=-1.0).transform(templates)
    np.testing.assert_array_equal(faces, plain.transform(templates))
    assert seen == [7, 7, 5]  # each batch is looked at once


@pytest.mark.parametrize("jitter", [False, True])
def test_a_step_is_one_look_and_jitter_another(refined, templates, jitter, seen):
    refined("pixels", steps=3, jitter=jitter).transform(templates[:4])
    # the start, then the face before each step and the one after the last
    assert len(seen) == 1 + 4 + 3 * jitter


@pytest.mark.parametrize("over", OVER)
def test_no_budget_is_the_plain_reconstructor(refined, plain, templates, over, seen):
    faces = refined(over, steps=0).transform(templates)
    np.testing.assert_array_equal(faces, plain.transform(templates))
    assert not seen


@pytest.mark.parametrize("over", OVER)
def test_budgets_together_are_those_one_by_one(refined, templates, over):
    budgets = [5, 0, 2]
    together = refined(over, jitter=True).transform_at(templates, budgets)
    for faces, steps in zip(together, budgets, strict=True):
        alone = refined(over, jitter=True, steps=steps).transform(templates)
        np.testing.assert_array_equal(faces, alone)
    assert refined(over).transform_at(templates, []) == []


# --- how far it goes


def test_the_penalty_holds_pixels_near_the_decoders_face(refined, plain, templates):
    start = plain.transform(templates) / 255

    def variation(stay):
        change = refined("pixels", stay=stay).transform(templates) / 255 - start
        return sum(np.abs(np.diff(change, axis=axis)).mean() for axis in (2, 3))

    free, held, tight = variation(0.0), variation(5.0), variation(100.0)
    assert tight < held < free
    assert tight < 0.5 * free


def test_the_penalty_holds_the_correction_short(refined, plain, templates):
    start = plain.transform(templates).astype(float)
    moved = [
        np.abs(refined("embedding", stay=stay, steps=30).transform(templates) - start).mean()
        for stay in (0.0, 0.5, 20.0)
    ]
    assert moved[0] > moved[1] > moved[2]


# --- the same faces again


@pytest.mark.parametrize("over", OVER)
@pytest.mark.parametrize("jitter", [False, True])
def test_the_same_call_gives_the_same_bytes(refined, templates, over, jitter):
    one, two = (refined(over, jitter=jitter).transform(templates) for _ in range(2))
    np.testing.assert_array_equal(one, two)


def test_the_seed_decides_the_jitter_alone(refined, templates):
    jittered = [refined("pixels", jitter=True, seed=seed).transform(templates) for seed in (0, 1)]
    assert (jittered[0] != jittered[1]).any()
    plain = [refined("pixels", seed=seed).transform(templates) for seed in (0, 1)]
    np.testing.assert_array_equal(plain[0], plain[1])


@settings(max_examples=10)
@given(st.integers(1, 25), st.sampled_from(OVER), st.booleans())
def test_batch_size_changes_nothing(refined, plain, templates, batch_size, over, jitter):
    other = clone(plain).set_params(batch_size=batch_size)
    usual = refined(over, jitter=jitter, steps=6)
    again = clone(usual).set_params(reconstructor=other).transform(templates)
    assert_equal_up_to_rounding(again, usual.transform(templates), templates)


@pytest.mark.parametrize("over", OVER)
def test_neighbours_change_nothing(refined, templates, over):
    estimator = refined(over, jitter=True, steps=6, enough=0.97)
    order = np.random.default_rng(1).permutation(19)
    again = estimator.transform(templates[order])
    assert_equal_up_to_rounding(again, estimator.transform(templates)[order], templates[order])
    alone = np.concatenate([estimator.transform(row[None]) for row in templates[:3]])
    assert_equal_up_to_rounding(alone, estimator.transform(templates)[:3], templates[:3])


def assert_equal_up_to_rounding(one, other, templates):
    """Steps enlarge how kernels round: few pixels differ, and the cosines hardly."""
    assert (one != other).mean() < 0.02
    assert np.abs(one.astype(int) - other).max() <= 4
    np.testing.assert_allclose(cosines(one, templates), cosines(other, templates), atol=2e-3)


# --- the jitter, shared with the training


def test_moved_faces_are_shifted_and_mirrored_alike():
    faces = torch.arange(2 * 3 * 8 * 9).reshape(2, 3, 8, 9).float()
    found = set()
    for seed in range(60):
        result = shift_and_mirror(faces, torch.Generator().manual_seed(seed))
        options = [
            (down, right, mirrored)
            for down in range(-2, 3)
            for right in range(-2, 3)
            for mirrored in (False, True)
            if torch.equal(result, _by_hand(faces, down, right, mirrored))
        ]
        assert len(options) == 1
        found.add(options[0])
    assert {abs(down) for down, _, _ in found} == {0, 1, 2}
    assert {mirrored for _, _, mirrored in found} == {False, True}
    assert len(found) > 25


def _by_hand(faces, down, right, mirrored):
    rows = [(i - down) % 8 for i in range(8)]
    columns = [(j - right) % 9 for j in range(9)]
    result = faces[:, :, rows][:, :, :, columns]
    return result[..., list(reversed(range(9)))] if mirrored else result


def test_the_training_sees_moved_faces_with_noise():
    watched = JitteredRecognizer(torch.nn.Identity())
    faces = torch.full((2, 3, 8, 8), 100.0)
    assert torch.equal(watched(faces), faces)
    watched.generator = torch.Generator().manual_seed(0)
    noise = watched(faces) - 100
    assert 1.5 < noise.std() < 3.5  # a hundredth of 255


# --- the scikit-learn contract


def test_clone_and_pickle_keep_parameters_alone(refined, templates):
    estimator = refined("pixels", steps=2, jitter=True, seed=4)
    before = pickle.dumps(estimator)
    faces = estimator.transform(templates)
    assert pickle.dumps(estimator) == before
    assert len(before) < 3000
    copy = clone(estimator)
    parameters = copy.get_params()
    assert parameters["reconstructor__batch_size"] == 7
    same = {k: v for k, v in parameters.items() if k != "reconstructor"}
    assert same == {k: v for k, v in estimator.get_params().items() if k != "reconstructor"}
    for other in (copy, pickle.loads(before)):
        np.testing.assert_array_equal(other.transform(templates), faces)


def test_construction_reads_nothing():
    RefinedReconstructor(FaceReconstructor("/nowhere"), "air", -1, 7, -1, -1, 3, -1)


def test_the_repr_tells_every_parameter_that_was_changed():
    told = repr(RefinedReconstructor(FaceReconstructor("d"), "pixels", 5, stay=0.5, jitter=False))
    assert told == (
        "RefinedReconstructor(jitter=False, over='pixels',\n"
        "                     reconstructor=FaceReconstructor(checkpoint='d'), stay=0.5,\n"
        "                     steps=5)"
    )


def test_it_tells_what_the_reconstructor_tells(refined, plain):
    estimator = refined()
    assert estimator.card() == plain.card()
    assert estimator.checkpoint == plain.checkpoint
    assert estimator.batch_size == plain.batch_size == 7
    assert estimator.fit() is estimator
    assert estimator.validate() is estimator
    assert not estimator_requires_fit(estimator)


def test_copies_share_one_recogniser(folder, refined, templates, monkeypatch, tmp_path):
    from bob_recon_plugin.recognizers import transformer

    own = {"weights": shutil.copy(folder / "toy.onnx", tmp_path)}  # read by no other test
    loads = []
    load = transformer.load_module
    monkeypatch.setattr(transformer, "load_module", lambda *a: loads.append(a) or load(*a))
    copy = pickle.loads(pickle.dumps(refined(**own)))
    for estimator in (refined(**own), refined("pixels", **own), copy):
        estimator.validate().transform(templates[:2])
    assert len(loads) == 1


def test_any_sequence_of_embeddings(refined, templates):
    faces = refined(steps=2).transform(templates)
    batch = SampleBatch([Sample(row) for row in templates])
    for given_ in (templates.tolist(), batch, templates.astype(np.float64)):
        np.testing.assert_array_equal(refined(steps=2).transform(given_), faces)
    assert refined().transform(np.zeros((0, toy.SIZE))).shape == (0, 3, toy.SIDE, toy.SIDE)


# --- what is refused


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"over": "air"}, "`over` must be one of 'embedding', 'pixels', got 'air'"),
        ({"steps": -1}, "`steps` must be a whole number of at least 0, got -1"),
        ({"steps": 2.0}, "`steps` must be a whole number of at least 0, got 2.0"),
        ({"seed": -1}, "`seed` must be a whole number of at least 0, got -1"),
        ({"enough": 1.1}, r"`enough` must be a cosine in \[-1, 1\], got 1.1"),
        ({"enough": float("nan")}, "`enough` must be a cosine"),
        ({"stay": -0.1}, "`stay` must be at least 0 and finite, got -0.1"),
        ({"stay": float("inf")}, "`stay` must be at least 0 and finite, got inf"),
        ({"rate": 0}, "`rate` must be positive and finite, got 0"),
        ({"device": "abacus"}, '`device` must be "auto" or a torch device'),
        ({"recognizer": "nobody"}, "`recognizer` must be one of"),
        ({"recognizer": None}, "`recognizer` must be one of .*, got 'toy'"),
        ({"weights": "/nowhere"}, "`weights of toy` must be an existing file, got /nowhere"),
    ],
)
def test_wrong_parameters_are_told_before_any_work(refined, change, message):
    estimator = refined(**change)
    for work in (estimator.validate, lambda: estimator.transform(np.zeros((0, toy.SIZE)))):
        with pytest.raises((ValueError, FileNotFoundError), match=message):
            work()


def test_another_recogniser_is_refused(refined, folder, recognizer):
    other = toy.write_recognizer(folder / "other.onnx", seed=1)
    told = (
        rf"`recognizer` must be toy \({recognizer.sha256}\), for which the checkpoint was made, "
        rf"got toy \({other.sha256}\); refine with (.*), or leave the refinement out\."
    )
    with pytest.raises(ValueError, match=told):
        refined(recognizer=other).validate()
    # the name does not decide where the hash is known
    refined(recognizer=replace(recognizer, name="renamed")).validate()


def test_names_decide_where_the_card_knows_no_hash(refined, folder, checkpoint, card, recognizer):
    from bob_recon_plugin import decoders

    decoder, _ = decoders.load(checkpoint)
    path = save(folder / "unknown", decoder, replace(card, recognizer_sha256=None))
    estimator = refined().set_params(reconstructor=FaceReconstructor(path)).validate()
    with pytest.raises(ValueError, match=r"must be toy \(hash not known\).*got renamed \("):
        estimator.set_params(recognizer=replace(recognizer, name="renamed")).validate()


@pytest.mark.parametrize(
    "change",
    [
        {"cropped_positions": {"reye": (5.0, 5.0), "leye": (5.0, 9.0)}},
        {"image_size": (16, 20)},
    ],
)
def test_a_recogniser_of_other_crops_is_refused(refined, recognizer, change):
    with pytest.raises(ValueError, match=r"`checkpoint` must draw faces as toy takes them, \(16, "):
        refined(recognizer=replace(recognizer, **change)).validate()


def test_a_file_that_changes_is_refused(refined, folder):
    own = toy.write_recognizer(folder / "changing.onnx")
    with (folder / "changing.onnx").open("ab") as stream:
        stream.write(b"\0")
    with pytest.raises(ValueError, match="`weights` of toy must have SHA-256"):
        refined(recognizer=own).validate()


@pytest.mark.parametrize("wrong", [np.zeros((2, 3)), np.full((2, toy.SIZE), np.nan)])
def test_embeddings_are_checked(refined, wrong):
    with pytest.raises(ValueError, match="`X` must"):
        refined().transform(wrong)


def test_budgets_are_checked(refined, templates):
    with pytest.raises(ValueError, match="`budgets` must be a whole number of at least 0, got -1"):
        refined().transform_at(templates, [3, -1])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA here")
@pytest.mark.parametrize("over", OVER)
def test_cuda_reaches_what_the_cpu_reaches(refined, templates, over):
    cpu, cuda = (refined(over, device=d).transform(templates) for d in ("cpu", "cuda"))
    one, other = (cosines(faces, templates) for faces in (cpu, cuda))
    np.testing.assert_allclose(one, other, atol=0.01)
