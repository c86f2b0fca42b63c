"""Templates of one system, another under attack: scores by hand, one result in every mode."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from bob.bio.base.pipelines import PipelineSimple

from bob_recon_plugin.attack.pipeline import AttackPipeline
from bob_recon_plugin.common.record import StaleOutputError
from bob_recon_plugin.common.template_steps import TemplateStep
from bob_recon_plugin.evaluation.run_folder import open_run
from bob_recon_plugin.inversion.reconstructor import FaceReconstructor
from tests import toy


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    """The decoder of the system of seed 1."""
    return toy.decoder(tmp_path_factory.mktemp("decoder") / "toy.safetensors", seed=1)


def other() -> PipelineSimple:
    return toy.system(toy.ToyRecognizer(1))


def attacked(checkpoint: Path, **options) -> AttackPipeline:
    options = {"inverted": other()} | options
    return toy.attack(checkpoint, **options)


def by_hand(checkpoint: Path, leaked: int, enrolled: int) -> float:
    """Bob's score of the face that the template of one image gives, with another image enrolled."""
    stolen = toy.ToyRecognizer(1).transform([toy.image(leaked)])
    face = FaceReconstructor(str(checkpoint)).transform(stolen)
    one, two = toy.ToyRecognizer().transform([face[0], toy.image(enrolled)])
    return one @ two / np.linalg.norm(one) / np.linalg.norm(two) - 1


def seed(key: str) -> int:
    person, shot = key.split("/")[-2:]
    return 100 * int(person[1:]) + int(shot)


@pytest.mark.parametrize("all_vs_all", [True, False])
def test_the_other_systems_templates_attack_this_one(checkpoint, tmp_path, all_vs_all):
    database = toy.ToyDatabase(4, score_all_vs_all=all_vs_all)
    rows = toy.run(attacked(checkpoint), tmp_path / "out", database)
    attacks = toy.of(rows, "type1") + toy.of(rows, "type2")
    assert len(attacks) == 4 + 12
    for row in attacks:
        images = (seed(row[f"{side}_template_id"]) for side in ("probe", "bio_ref"))
        assert float(row["score"]) == pytest.approx(by_hand(checkpoint, *images), abs=1e-6)
    own = toy.decoder(tmp_path / "own.safetensors")
    plain = AttackPipeline(toy.system(), FaceReconstructor(str(own)))
    assert toy.of(toy.run(plain, tmp_path / "plain", database), "") == toy.of(rows, "")


@pytest.mark.parametrize(
    "mode", [{"checkpoint": False}, {"client": "single-threaded"}, {"client": "threads"}], ids=str
)
def test_every_mode_gives_the_same_scores(checkpoint, tmp_path, mode):
    toy.run(attacked(checkpoint), tmp_path / "a")
    toy.run(attacked(checkpoint), tmp_path / "b", **mode)
    a, b = ((tmp_path / x / "scores-dev.csv").read_text() for x in "ab")
    assert a == b


def test_one_attack_alone(checkpoint, tmp_path):
    both = toy.run(attacked(checkpoint), tmp_path / "both")
    for name in ("type1", "type2"):
        rows = toy.run(attacked(checkpoint, attacks=(name,)), tmp_path / name)
        assert toy.of(rows, name) == toy.of(both, name)
        assert len(rows) == len(toy.of(both, "")) + len(toy.of(both, name))


def test_a_system_attacked_by_its_own_templates_told_twice(checkpoint, tmp_path):
    own = toy.decoder(tmp_path / "own.safetensors")
    twice = AttackPipeline(toy.system(), FaceReconstructor(str(own)), inverted=toy.system())
    once = AttackPipeline(toy.system(), FaceReconstructor(str(own)))
    assert toy.run(twice, tmp_path / "a") == toy.run(once, tmp_path / "b")


def test_the_record_tells_both_systems_and_what_the_attacker_knows(checkpoint, tmp_path):
    toy.run(attacked(checkpoint), tmp_path / "out")
    record = json.loads((tmp_path / "out/recon-run.json").read_text())
    assert "'seed': 1" in str(record["identity"]["inverted"]["system"])
    assert record["threat"]["attack"] == 3  # toys have one name, and linear decoders no judge
    assert open_run(tmp_path / "out").inverted == "ToyRecognizer"
    with pytest.raises(StaleOutputError, match=r"inverted was .*'seed': 1.* now None"):
        toy.run(attacked(checkpoint, inverted=None), tmp_path / "out")


def test_embeddings_are_kept_for_other_runs(checkpoint, tmp_path, monkeypatch):
    kept = tmp_path / "embeddings"
    first = toy.run(attacked(checkpoint, embeddings=kept), tmp_path / "a")
    assert first == toy.run(attacked(checkpoint), tmp_path / "plain")
    assert len(list(kept.iterdir())) == 2  # one folder a system

    seen = []
    transform = toy.ToyRecognizer.transform

    def counted(self, X):
        seen.append((self.seed, len(X)))
        return transform(self, X)

    monkeypatch.setattr(toy.ToyRecognizer, "transform", counted)
    assert toy.run(attacked(checkpoint, embeddings=kept), tmp_path / "b") == first
    # presented faces alone: 6 and 18
    assert sum(n for s, n in seen if s == 0) == 24
    assert not [n for s, n in seen if s == 1]


class Doubled(TemplateStep):
    """What an attacker may do to stolen templates, told by its parameters."""

    def __init__(self, factor: float = 2.0):
        self.factor = factor

    def transform(self, X, subjects=None):
        return self.factor * X


class OfSubjects(Doubled):
    """One that must know whose templates they are."""

    def transform(self, X, subjects):
        assert len(X) == len(subjects)
        signs = np.array([(-1) ** int(subject[1:]) for subject in subjects])
        return X * signs[:, None]


def test_leaked_templates_pass_through_the_attackers_steps(checkpoint, tmp_path):
    plain = toy.run(attacked(checkpoint), tmp_path / "plain")
    doubled = toy.run(attacked(checkpoint, leak=[Doubled()]), tmp_path / "doubled")
    halved = toy.run(attacked(checkpoint, leak=[Doubled(), Doubled(0.5)]), tmp_path / "both")
    assert halved == plain
    assert toy.of(doubled, "") == toy.of(plain, "")
    assert toy.of(doubled, "type1") != toy.of(plain, "type1")
    with pytest.raises(StaleOutputError, match=r"leak\.1 was .*'factor': 0\.5.*, now None"):
        toy.run(attacked(checkpoint, leak=[Doubled()]), tmp_path / "both")


def test_a_step_may_ask_for_the_owners_of_templates(checkpoint, tmp_path):
    plain = toy.run(attacked(checkpoint), tmp_path / "plain")
    rows = toy.run(attacked(checkpoint, leak=[OfSubjects()]), tmp_path / "out")
    for before, after in zip(toy.of(plain, "type1"), toy.of(rows, "type1"), strict=True):
        even = int(before["probe_subject_id"][1:]) % 2 == 0
        assert (before["score"] == after["score"]) is even


def test_what_is_no_system_is_refused(checkpoint):
    with pytest.raises(TypeError, match=r"`inverted` must be a Bob PipelineSimple, got str"):
        attacked(checkpoint, inverted="edgeface-s")
