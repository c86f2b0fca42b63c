"""Protected templates: the schemes, the system that uses them, and what attackers make of them."""

from __future__ import annotations

import math
import pickle
from dataclasses import FrozenInstanceError

import numpy as np
import pytest
import scipy.linalg
import scipy.spatial.distance
from bob.bio.base.algorithm import Distance
from bob.bio.base.pipelines import (
    BioAlgCheckpointWrapper,
    PipelineSimple,
)
from bob.pipelines import Sample, SampleBatch, SampleSet
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.linear_model import Ridge

from bob_recon_plugin.attack.comparison import Comparison
from bob_recon_plugin.attack.gallery import as_vectors
from bob_recon_plugin.attack.options import AttackOptions
from bob_recon_plugin.attack.pipeline import AttackPipeline
from bob_recon_plugin.decoders import ModelCard
from bob_recon_plugin.inversion.reconstructor import FaceReconstructor
from bob_recon_plugin.protection import (
    BioHashing,
    IndexOfMax,
    InvertProtection,
    MLPHash,
    ProtectedComparison,
    ProtectTemplates,
    QuantisedEmbedding,
    RandomProjection,
    attackers_key,
    subjects_key,
)
from bob_recon_plugin.protection.estimates import estimate, mean_of_largest
from bob_recon_plugin.protection.matrices import gaussian, orthonormal
from bob_recon_plugin.protection.scheme import Scheme
from tests import toy

SIZE = 64
KEYED = [
    BioHashing(bits=64),
    MLPHash(bits=64, hidden=(128, 64)),
    IndexOfMax(hashes=60, directions=8),
    RandomProjection(size=32),
]
SCHEMES = [*KEYED, QuantisedEmbedding(bits=2)]
CHANCE = {BioHashing: 1 / 2, MLPHash: None, IndexOfMax: 1 / 8, RandomProjection: 0}


def drawn(n: int, seed: int = 0, size: int = SIZE) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, size)).astype(np.float32)


def cosines(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    norms = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    return (one * other).sum(axis=1) / norms


# --- keys and matrices ---


def test_a_key_is_of_one_seed_and_one_subject():
    everyone = [subjects_key(seed, s) for seed in (0, 1, 10) for s in ("a", "b", 0, 1, "attacker")]
    everyone += [attackers_key(0), attackers_key(1), attackers_key(10)]
    assert len(set(everyone)) == 18
    assert all(0 <= key < 2**128 for key in everyone)
    # a token once issued stays good: the first 16 bytes of SHA-256
    assert subjects_key(0, "anna") == 0x92536FE987C8E758000AEE6BB483A4CE


@pytest.mark.parametrize(("rows", "columns"), [(9, 9), (9, 4), (4, 9)])
def test_directions_are_those_of_gram_schmidt(rows, columns):
    found = orthonormal(5, rows, columns)
    assert found.shape == (rows, columns)
    tall = gaussian(5, max(rows, columns), min(rows, columns)).astype(float)
    expected = np.empty_like(tall)
    for i, column in enumerate(tall.T):  # the schoolbook's
        rest = column - expected[:, :i] @ (expected[:, :i].T @ column)
        expected[:, i] = rest / np.linalg.norm(rest)
    np.testing.assert_allclose(found if columns <= rows else found.T, expected, atol=1e-6)
    # the same space as scipy's
    base = scipy.linalg.orth(tall)
    np.testing.assert_allclose(expected @ expected.T, base @ base.T, atol=1e-12)


def test_layers_and_keys_draw_apart_and_nobody_writes_into_them():
    three = [orthonormal(1, 20, 20), orthonormal(1, 20, 20, 1), orthonormal(2, 20, 20)]
    for i in range(3):
        for j in range(i):
            assert abs(np.trace(three[i].T @ three[j])) < 5  # of 20; standard deviation 1
    for matrix in (three[0], gaussian(1, 3, 3)):
        with pytest.raises(ValueError, match="read-only"):
            matrix[0, 0] = 0


# --- schemes ---


def test_biohashing_by_hand():
    scheme, rows = BioHashing(bits=3), drawn(5, size=4)
    bits = scheme.protect(rows, 7)
    directions = orthonormal(7, 4, 3)
    for row, code in zip(rows, bits, strict=True):
        for i in range(3):
            assert code[i] == (sum(row[j] * directions[j, i] for j in range(4)) > 0)


def test_mlp_hash_by_hand():
    rows = drawn(3, size=4)
    bits = MLPHash(bits=5, hidden=(6, 3)).protect(rows, 7)
    for row, code in zip(rows, bits, strict=True):
        values = row
        for layer, (width, out) in enumerate([(4, 6), (6, 3)]):
            weights = orthonormal(7, width, out, layer)
            values = [max(0, sum(values * weights[:, i])) for i in range(out)]
        last = orthonormal(7, 3, 5, 2)
        assert code.tolist() == [float(sum(values * last[:, i]) > 0) for i in range(5)]


def test_index_of_max_by_hand():
    scheme, rows = IndexOfMax(hashes=4, directions=3), drawn(5, size=6)
    codes = scheme.protect(rows, 7)
    matrix = gaussian(7, 12, 6)
    for row, code in zip(rows, codes, strict=True):
        for group in range(4):
            products = [matrix[3 * group + j] @ row for j in range(3)]
            assert code[group] == products.index(max(products))


def test_random_projection_by_hand():
    found = RandomProjection(size=2).protect(np.array([[3.0, 0.0, 4.0]]), 7)
    expected = np.array([0.6, 0.0, 0.8]) @ gaussian(7, 3, 2) / math.sqrt(2)
    np.testing.assert_allclose(found, expected[None], rtol=1e-6)


def test_quantised_by_hand():
    # of norm 2 in four dimensions: standard deviation 1; levels of 1.5, middles at .75 and 2.25
    rows = np.array([[1.6, -0.8, 0.8, -0.4]], np.float32)
    found = QuantisedEmbedding(bits=2).protect(rows, 0)
    assert found.tolist() == [[2.25, -0.75, 0.75, -0.75]]
    far = np.eye(100, dtype=np.float32)[:1]  # ten standard deviations
    assert QuantisedEmbedding(bits=2).protect(far, 0).max() == 2.25


@pytest.mark.parametrize("scheme", SCHEMES, ids=repr)
def test_similarity_is_that_of_scipy(scheme):
    one, other = scheme.protect(drawn(6), 1), scheme.protect(drawn(4, 1), 1)
    of_codes = isinstance(scheme, BioHashing | MLPHash | IndexOfMax)
    metric = "hamming" if of_codes else "cosine"
    expected = 1 - scipy.spatial.distance.cdist(one, other, metric)
    np.testing.assert_allclose(scheme.similarity(one, other), expected, atol=1e-6)


@pytest.mark.parametrize("scheme", SCHEMES, ids=repr)
def test_templates_are_float32_of_the_key_and_of_the_direction(scheme):
    rows = drawn(20)
    templates = scheme.protect(rows, 3)
    assert templates.dtype == np.float32
    assert templates.shape[0] == 20
    np.testing.assert_array_equal(templates, scheme.protect(rows.tolist(), 3))
    np.testing.assert_allclose(templates[4:6], scheme.protect(rows[4:6], 3), atol=1e-6)
    np.testing.assert_allclose(scheme.protect(4 * rows, 3), templates, rtol=1e-5)
    again = pickle.loads(pickle.dumps(scheme))
    assert again == scheme
    assert hash(again) == hash(scheme)
    with pytest.raises(FrozenInstanceError):
        scheme.bits = 2


@pytest.mark.parametrize("scheme", SCHEMES, ids=repr)
def test_one_key_keeps_the_order_of_similarities(scheme):
    base = drawn(200)
    noise = drawn(200, 1)
    found = []
    for angle in (0, 0.4, 0.8, 1.2, np.pi / 2):
        moved = np.cos(angle) * base + np.sin(angle) * noise
        every = scheme.similarity(scheme.protect(base, 5), scheme.protect(moved, 5))
        found.append(np.diag(every).mean())
    assert found[0] == pytest.approx(1)
    assert (np.diff(found) < -0.02).all()


@pytest.mark.parametrize("scheme", KEYED, ids=repr)
def test_another_key_tells_nothing(scheme):
    rows = drawn(200)
    every = scheme.similarity(scheme.protect(rows, 1), scheme.protect(rows, 2))
    same, others = np.diag(every), every[~np.eye(200, dtype=bool)]
    # people whose templates have different keys are as unlike themselves as others
    assert abs(same.mean() - others.mean()) < 5 * same.std() / math.sqrt(200)
    if CHANCE[type(scheme)] is not None:
        assert same.mean() == pytest.approx(CHANCE[type(scheme)], abs=0.05)


def test_biohashing_measures_angles():
    """Goemans and Williamson: the share of equal signs is one less the angle over pi."""
    base, noise = drawn(400, size=256), drawn(400, 1, size=256)
    scheme = BioHashing(bits=256)
    for angle in (0.3, 1.0, 2.0):
        moved = np.cos(angle) * base + np.sin(angle) * noise
        every = scheme.similarity(scheme.protect(base, 5), scheme.protect(moved, 5))
        assert np.diag(every).mean() == pytest.approx(1 - angle / np.pi, abs=0.01)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: BioHashing(bits=0), "`bits` .* whole number of at least 1, got 0."),
        (
            lambda: MLPHash(hidden=(5, 2.5)),
            "`hidden` .* at least 1, got 2.5.",
        ),
        (
            lambda: IndexOfMax(directions=1),
            "`directions` .* at least 2, got 1.",
        ),
        (
            lambda: IndexOfMax(hashes=True),
            "`hashes` .* at least 1, got True.",
        ),
        (
            lambda: BioHashing(bits=9).protect(drawn(2, size=8), 0),
            "`bits` must be at most the length of the embeddings, 8, got 9",
        ),
        (
            lambda: RandomProjection(size=9).protect(drawn(2, size=8), 0),
            "`size` must be at most the length of the embeddings, 8, got 9",
        ),
        (
            lambda: MLPHash().protect(drawn(1)[0], 0),
            r"`embeddings` must have shape \(n, d\), got \(64,\)",
        ),
        (
            lambda: QuantisedEmbedding().protect([[1.0, math.nan]], 0),
            "`embeddings` must be finite, got NaN or infinity in 1 of 1 rows",
        ),
    ],
)
def test_what_a_scheme_cannot_do_is_told(make, message):
    with pytest.raises(ValueError, match=message):
        make()


# --- the system ---


def people(n: int, images: int = 1, seed: int = 0, prefix: str = "r", **about) -> list[SampleSet]:
    """Sample sets of two subjects in turn each three, with embeddings near that of the subject."""
    random = np.random.default_rng(seed)
    sets = []
    for i in range(n):
        subject = i % max(2, n // 2)
        centre = drawn(1, 1000 + subject)[0]
        samples = [
            Sample(centre + 0.5 * random.normal(size=SIZE), key=f"{prefix}{i}/{j}")
            for j in range(1 + i % images)
        ]
        name = f"{prefix}{i}"
        more = {column: values[i] for column, values in about.items()}
        sets.append(
            SampleSet(samples, key=name, template_id=name, subject_id=f"s{subject}", **more)
        )
    return sets


def probes_of(n: int, m: int, **about) -> list[SampleSet]:
    listed = [[f"r{(i + 3) % n}", f"r{i % n}"] for i in range(m)]
    return people(m, 3, 7, "p", references=listed, **about)


@pytest.mark.parametrize("scenario", ["normal", "stolen"])
@pytest.mark.parametrize("scheme", SCHEMES, ids=repr)
def test_scores_are_those_of_one_pair_at_a_time(scheme, scenario):
    """Written out from the definition of the scenarios, for every pair of people."""
    algorithm = ProtectedComparison(scheme, scenario, seed=4)
    references, probes = people(6, 2), people(4, 3, 7, "p")
    probes[3].attack_type = "type1"
    enrolled = algorithm.create_templates_from_samplesets(references, enroll=True)
    presented = algorithm.create_templates_from_samplesets(probes, enroll=False)
    found = algorithm.compare(SampleBatch(enrolled), SampleBatch(presented))
    for i, reference in enumerate(references):
        target = subjects_key(4, reference.subject_id)
        mean = np.mean([s.data for s in reference.samples], axis=0)
        template = scheme.protect(mean[None], target)
        np.testing.assert_allclose(enrolled[i].data, template[0], atol=1e-6)
        for j, probe in enumerate(probes):
            own = attackers_key(4) if j == 3 else subjects_key(4, probe.subject_id)
            key = target if scenario == "stolen" else own
            shots = scheme.protect(np.stack([s.data for s in probe.samples]), key)
            expected = scheme.similarity(template, shots).max()
            assert found[i, j] == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("all_vs_all", [True, False])
@pytest.mark.parametrize("scenario", ["normal", "stolen"])
@pytest.mark.parametrize("scheme", SCHEMES[::2], ids=repr)
def test_bobs_way_and_ours_give_the_same_scores(scheme, scenario, all_vs_all, tmp_path):
    algorithm = ProtectedComparison(scheme, scenario)
    wrapped = BioAlgCheckpointWrapper(algorithm, base_dir=str(tmp_path))  # references on disk
    probes = probes_of(7, 9)
    probes[4].samples = [Sample(None, key="gone")]
    enrolled = wrapped.create_templates_from_samplesets(people(7, 3), enroll=True)
    presented = wrapped.create_templates_from_samplesets(probes, enroll=False)
    bobs = algorithm.score_sample_templates(presented, enrolled, all_vs_all)
    ours = Comparison(algorithm, enrolled)
    if all_vs_all:
        found = list(ours.against_all(presented))
    else:
        found = [scores for _, scores in ours.against_listed(presented)]
    for scores, rows in zip(found, bobs, strict=True):
        np.testing.assert_allclose(scores, [float(s.data) for s in rows.samples], atol=1e-12)
    assert np.isnan(found[4]).all()
    assert np.isfinite(np.concatenate(found[:4])).all()


def test_bob_scores_probes_of_which_none_was_acquired():
    algorithm = ProtectedComparison(KEYED[0], "stolen")
    enrolled = algorithm.create_templates_from_samplesets(people(3), enroll=True)
    gone = SampleSet([Sample(None, key="gone")], key="gone", template_id="gone", subject_id="s0")
    presented = algorithm.create_templates_from_samplesets([gone], enroll=False)
    [rows] = algorithm.score_sample_templates(presented, enrolled, True)
    assert np.isnan([s.data for s in rows.samples]).all()


def test_a_template_is_one_vector_that_may_leak():
    algorithm = ProtectedComparison(KEYED[2])
    for template in algorithm.create_templates_from_samplesets(people(4, 3), enroll=True):
        np.testing.assert_array_equal(as_vectors(template), template.data[None])


def test_scenarios_part_impostors_and_attackers_not_genuine_people():
    """A stolen token makes impostors score as embeddings do; without, by chance."""
    scheme = KEYED[0]
    references, probes = people(40), people(40, 1, 7, "p")
    mated = np.array([[r.subject_id == p.subject_id for p in probes] for r in references])
    spread, genuine = {}, {}
    for scenario in ("normal", "stolen"):
        algorithm = ProtectedComparison(scheme, scenario)
        enrolled = algorithm.create_templates_from_samplesets(references, enroll=True)
        presented = algorithm.create_templates_from_samplesets(probes, enroll=False)
        every = algorithm.compare(SampleBatch(enrolled), SampleBatch(presented))
        spread[scenario], genuine[scenario] = every[~mated], every[mated]
    np.testing.assert_array_equal(genuine["normal"], genuine["stolen"])
    embeddings = [np.stack([s.samples[0].data for s in sets]) for sets in (references, probes)]
    alike = 1 - scipy.spatial.distance.cdist(*embeddings, "cosine")[~mated]
    assert np.corrcoef(alike, spread["stolen"])[0, 1] > 0.5
    assert abs(np.corrcoef(alike, spread["normal"])[0, 1]) < 0.15


def test_the_algorithm_is_its_parameters():
    algorithm = ProtectedComparison(BioHashing(8), "stolen", seed=3, probes_score_fusion="mean")
    text = (
        "ProtectedComparison(probes_score_fusion='mean', scenario='stolen',\n"
        "                    scheme=BioHashing(bits=8), seed=3)"
    )
    for same in (algorithm, clone(algorithm), pickle.loads(pickle.dumps(algorithm))):
        assert repr(same) == text
    attack = InvertProtection(BioHashing(8), "stolen", 3, 16, 20.0)
    for same in (attack, clone(attack), pickle.loads(pickle.dumps(attack))):
        assert repr(same) == (
            "InvertProtection(embedding_norm=20.0, embedding_size=16, scenario='stolen',\n"
            "                 scheme=BioHashing(bits=8), seed=3)"
        )
    assert len(pickle.dumps(attack)) < 1000


def test_what_the_system_must_know_is_told():
    with pytest.raises(TypeError, match=r"`scheme` must be a Scheme, got 'biohashing'"):
        ProtectedComparison("biohashing")
    with pytest.raises(ValueError, match="`scenario` must be one of 'normal', 'stolen', got 'no'"):
        InvertProtection(BioHashing(), "no")
    algorithm = ProtectedComparison(KEYED[0], "stolen")
    nobody = SampleSet([Sample(drawn(1)[0], key="x")], key="x", template_id="x")
    with pytest.raises(ValueError, match="sample 'x' must have a `subject_id`"):
        algorithm.create_templates_from_samplesets([nobody], enroll=True)
    enrolled = algorithm.create_templates_from_samplesets(people(3), enroll=True)
    with pytest.raises(TypeError, match=r"`enroll_templates` must be a SampleBatch .* got list"):
        algorithm.compare([e.data for e in enrolled], [drawn(1)])


@pytest.mark.parametrize("scenario", ["normal", "stolen"])
def test_a_protected_pipeline_runs_under_attack_with_the_scores_of_bob(scenario, tmp_path):
    decoder = FaceReconstructor(toy.decoder(tmp_path / "toy.safetensors"))

    def system():
        algorithm = ProtectedComparison(RandomProjection(size=toy.SIZE), scenario)
        return PipelineSimple(toy.system().transformer, algorithm)

    stock = toy.run(system(), tmp_path / "stock")
    every = toy.run(
        AttackPipeline(system(), decoder, AttackOptions(keep_faces=False)), tmp_path / "attacked"
    )
    kinds = [row["probe_attack_type"] for row in every]
    assert [kinds.count(kind) for kind in ("", "type1", "type2")] == [108, 6, 18]
    found = [float(row["score"]) for row in every[:108]]
    np.testing.assert_allclose(found, [float(row["score"]) for row in stock], atol=1e-5)


class Inverting(FaceReconstructor):
    """A decoder behind the inversion of a scheme that has no key."""

    def transform(self, embeddings):
        attack = InvertProtection(QuantisedEmbedding(bits=6), "normal", 0, toy.SIZE, 20.0)
        return super().transform(attack.transform(embeddings))


def test_what_has_no_key_opens_the_system(tmp_path):
    algorithm = ProtectedComparison(QuantisedEmbedding(bits=6))
    system = PipelineSimple(toy.system().transformer, algorithm)
    decoder = Inverting(toy.decoder(tmp_path / "toy.safetensors"))
    rows = toy.run(
        AttackPipeline(system, decoder, AttackOptions(keep_faces=False)), tmp_path / "attacked"
    )
    opened = [float(r["score"]) for r in rows if r["probe_attack_type"] == "type1"]
    assert len(opened) == 6
    assert min(opened) > 0.9


# --- the attack ---


class AnyScheme(Scheme):
    """A scheme of which no estimate knows the structure."""

    def __init__(self, scheme: Scheme):
        self.scheme = scheme

    def protect(self, embeddings, key):
        return self.scheme.protect(embeddings, key)

    def similarity(self, enrolled, presented):
        return self.scheme.similarity(enrolled, presented)


#: cosine to the embedding, lowest and highest. BioHashing: sqrt(2 / pi) = 0.798 with as many
#: orthonormal bits as dimensions; half of the dimensions: sqrt(1 / 2) = 0.707.
REACHED = {0: (0.78, 0.81), 1: (0.45, 0.65), 2: (0.80, 0.90), 3: (0.66, 0.73), 4: (0.90, 0.98)}


@pytest.mark.parametrize("number", REACHED, ids=lambda n: repr(SCHEMES[n]))
def test_with_the_key_the_embedding_is_estimated(number):
    scheme, rows = SCHEMES[number], drawn(60)
    subjects = [f"s{i // 3}" for i in range(60)]
    stolen = np.concatenate(
        [scheme.protect(r[None], subjects_key(2, s)) for r, s in zip(rows, subjects, strict=True)]
    )
    found = InvertProtection(scheme, "stolen", 2, SIZE, 21.5).transform(stolen, subjects)
    assert found.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 21.5, rtol=1e-5)
    low, high = REACHED[number]
    assert low < cosines(found, rows).mean() < high
    if scheme.keyed:  # another system's tokens tell nothing
        lost = InvertProtection(scheme, "stolen", 3, SIZE, 21.5).transform(stolen, subjects)
        assert abs(cosines(lost, rows).mean()) < 0.06


@pytest.mark.parametrize("scheme", SCHEMES, ids=repr)
def test_templates_are_protected_under_the_key_of_their_subject(scheme):
    rows, subjects = drawn(6), ["a", "b", "a", "c", "c", "a"]
    found = ProtectTemplates(scheme, seed=5).transform(rows, subjects)
    for row, subject, protected in zip(rows, subjects, found, strict=True):
        alone = scheme.protect(row[None], subjects_key(5, subject))[0]
        np.testing.assert_allclose(protected, alone, atol=1e-4)
    with pytest.raises(ValueError, match="one subject for each of 6 embeddings, got 1"):
        ProtectTemplates(scheme).transform(rows, ["a"])


def test_templates_of_another_scheme_are_refused():
    stolen = BioHashing(bits=8).protect(drawn(2), subjects_key(0, "a"))
    attack = InvertProtection(BioHashing(bits=16), "stolen", 0, SIZE, 20.0)
    with pytest.raises(
        ValueError, match=r"templates of BioHashing\(bits=16\), of length 16, got 8"
    ):
        attack.transform(stolen, ["a", "a"])


@pytest.mark.parametrize("scheme", KEYED, ids=repr)
def test_the_attackers_own_token_gives_a_pre_image_not_the_embedding(scheme):
    rows = drawn(60)
    stolen = np.concatenate(
        [scheme.protect(row[None], subjects_key(0, i)) for i, row in enumerate(rows)]
    )
    found = InvertProtection(scheme, "normal", 0, SIZE, 1.0).transform(stolen)
    assert abs(cosines(found, rows).mean()) < 0.06
    presented = np.diag(scheme.similarity(stolen, scheme.protect(found, attackers_key(0))))
    by_chance = np.diag(scheme.similarity(stolen, scheme.protect(drawn(60, 9), attackers_key(0))))
    assert presented.mean() > by_chance.mean() + 0.15


def test_the_general_estimate_comes_near_the_closed_forms():
    rows = drawn(100)
    for scheme in (BioHashing(bits=48), RandomProjection(size=32)):
        codes = scheme.protect(rows, 5)
        closed = estimate(scheme, codes, 5, SIZE)
        drawn_from = estimate(AnyScheme(scheme), codes, 5, SIZE)
        assert cosines(closed, drawn_from).mean() > 0.97
        gap = cosines(closed, rows).mean() - cosines(drawn_from, rows).mean()
        assert 0 < gap + 1e-3 < 0.02


@pytest.mark.parametrize("hidden", [(64,), (128, 64), (32,), ()])
def test_going_back_through_the_layers_beats_the_general_estimate(hidden):
    scheme, rows = MLPHash(bits=48, hidden=hidden), drawn(300)
    codes = scheme.protect(rows, 5)
    back = estimate(scheme, codes, 5, SIZE)
    general = estimate(AnyScheme(scheme), codes, 5, SIZE)
    assert cosines(back, rows).mean() > cosines(general, rows).mean() - 0.01


def test_bits_that_are_the_same_for_everybody_do_no_harm():
    scheme, rows = MLPHash(bits=64, hidden=(64,) * 12), drawn(50)
    codes = scheme.protect(rows, 5)
    assert (codes.std(axis=0) == 0).any()
    found = estimate(scheme, codes, 5, SIZE)
    assert np.isfinite(found).all()
    assert cosines(found, rows).mean() > 0


def test_without_hidden_layers_mlp_hash_is_biohashing():
    codes = BioHashing(bits=48).protect(drawn(9), 5)
    np.testing.assert_array_equal(MLPHash(bits=48, hidden=()).protect(drawn(9), 5), codes)
    one, other = (estimate(s, codes, 5, SIZE) for s in (BioHashing(48), MLPHash(48, ())))
    np.testing.assert_allclose(cosines(one, other), 1, atol=1e-6)


def test_the_general_estimate_is_the_ridge_of_scikit_learn():
    scheme, rows = MLPHash(bits=20, hidden=(16,)), drawn(10, size=12)
    codes = scheme.protect(gaussian(0, 4096, 12), 5)
    ridge = Ridge(alpha=codes.var(axis=0).sum()).fit(codes, gaussian(0, 4096, 12))
    found = estimate(AnyScheme(scheme), scheme.protect(rows, 5), 5, 12)
    expected = ridge.predict(scheme.protect(rows, 5)) - ridge.predict(codes.mean(axis=0)[None])
    np.testing.assert_allclose(found, expected, atol=1e-3)


def test_the_estimate_of_index_of_max_beats_the_sum_of_nearest_directions():
    scheme, rows = IndexOfMax(hashes=60, directions=8), drawn(100)
    codes = scheme.protect(rows, 5)
    matrix = scheme.matrix(5, SIZE).reshape(60, 8, SIZE)
    plain = np.stack([matrix[np.arange(60), c].sum(axis=0) for c in codes.astype(int)])
    found = estimate(scheme, codes, 5, SIZE)
    assert cosines(found, rows).mean() > cosines(plain, rows).mean() + 0.02


def test_mean_of_the_largest_normal_number():
    assert mean_of_largest(1) == pytest.approx(0, abs=1e-9)
    assert mean_of_largest(2) == pytest.approx(1 / math.sqrt(math.pi))
    assert mean_of_largest(3) == pytest.approx(1.5 / math.sqrt(math.pi))


@settings(max_examples=10)
@given(st.permutations(range(12)))
def test_templates_are_inverted_alone_and_in_any_order(order):
    scheme = BioHashing(bits=64)
    codes = scheme.protect(drawn(12), 1)
    subjects = [f"s{i // 2}" for i in range(12)]
    attack = InvertProtection(scheme, "stolen", 0, SIZE, 3.0)
    whole = attack.transform(codes, subjects)
    again = attack.transform(codes[order], [subjects[i] for i in order])
    np.testing.assert_allclose(again, whole[order], atol=1e-5)


def test_the_card_of_the_decoder_gives_size_and_norm():
    card = ModelCard("toy", 64, embedding_norm=9.5)
    attack = InvertProtection.before(card, KEYED[0], "stolen", 5)
    expected = {"embedding_size": 64, "embedding_norm": 9.5, "scenario": "stolen", "seed": 5}
    assert attack.get_params(deep=False) == {"scheme": KEYED[0], **expected}


def test_what_the_attack_must_know_is_told():
    attack = InvertProtection(KEYED[0], "stolen", embedding_size=SIZE, embedding_norm=1.0)
    with pytest.raises(ValueError, match="one subject for each of 2 templates, got none"):
        attack.transform(np.ones((2, 64)))
    with pytest.raises(ValueError, match="one subject for each of 2 templates, got 1"):
        attack.transform(np.ones((2, 64)), ["a"])
    with pytest.raises(ValueError, match="`X` must be finite"):
        attack.transform(np.full((2, 64), np.nan), ["a", "b"])
    with pytest.raises(ValueError, match="one subject for each of 2 embeddings, got none"):
        ProtectTemplates(KEYED[0]).transform(np.ones((2, 64)))
    with pytest.raises(TypeError, match="`scheme` must be a Scheme, got 'biohashing'"):
        clone(attack).set_params(scheme="biohashing").transform(np.ones((2, 64)))
    with pytest.raises(ValueError, match="`embedding_norm` must be a positive number, got None"):
        InvertProtection(KEYED[0]).transform(np.ones((2, 64)))


def test_a_scheme_without_a_key_needs_no_subjects():
    step, x = ProtectTemplates(QuantisedEmbedding(bits=2)), drawn(3)
    np.testing.assert_array_equal(step.transform(x), step.transform(x, ["a", "b", "c"]))


@pytest.mark.parametrize("scheme", [BioHashing(bits=8), QuantisedEmbedding()], ids=repr)
def test_only_the_direction_is_protected_and_there_must_be_one(scheme):
    x = drawn(3)
    for factor in (1e-6, 1e6):
        np.testing.assert_array_equal(scheme.protect(factor * x, 7), scheme.protect(x, 7))
    with pytest.raises(ValueError, match="`embeddings` must have a direction in each row, got"):
        scheme.protect(0 * x, 7)


def test_bits_of_a_template_may_be_booleans():
    scheme, x = BioHashing(bits=8), drawn(3)
    attack = InvertProtection(scheme, "normal", 0, SIZE, 1.0)
    bits = scheme.protect(x, 7)
    np.testing.assert_array_equal(attack.transform(bits > 0), attack.transform(bits))


def test_the_unprotected_system_is_not_changed():
    """Bob's Distance through `Comparison`, whose enrolled templates are now a SampleBatch."""
    algorithm = Distance("euclidean")
    enrolled = algorithm.create_templates_from_samplesets(people(3), enroll=True)
    presented = algorithm.create_templates_from_samplesets(probes_of(3, 2), enroll=False)
    found = Comparison(algorithm, enrolled).against_all(presented)
    expected = algorithm.compare([e.data for e in enrolled], [p.data for p in presented]).T
    np.testing.assert_array_equal(found, expected)
