"""The five attacks, told from the two systems and the decoder's judge."""

from __future__ import annotations

import pytest

from bob_recon_plugin.attack.knowledge import KNOWLEDGE, Threat
from bob_recon_plugin.decoders import ModelCard
from bob_recon_plugin.recognizers import Identity

LEAKED, OTHER = Identity("leaked", "a" * 64, 4), Identity("other", "b" * 64, 4)


def card(judge: str = "", digest: str | None = None, decoder: str = "dscasconv") -> ModelCard:
    return ModelCard(
        recognizer="leaked",
        recognizer_sha256="a" * 64,
        embedding_size=4,
        judge=judge,
        judge_sha256=digest,
        decoder=decoder,
    )


@pytest.mark.parametrize(
    ("judge", "digest", "attacked", "number"),
    [
        ("leaked", "a" * 64, LEAKED, 1),
        ("leaked", "a" * 64, OTHER, 2),
        ("proxy", "c" * 64, LEAKED, 3),
        ("none", None, LEAKED, 3),
        ("other", "b" * 64, LEAKED, 3),
        ("other", "b" * 64, OTHER, 4),
        ("proxy", "c" * 64, OTHER, 5),
        ("none", None, OTHER, 5),
    ],
)
def test_each_attack(judge, digest, attacked, number):
    threat = Threat.of(LEAKED, attacked, card(judge, digest))
    assert threat.number == number
    assert threat.describe() == {
        "attack": number,
        "knowledge": KNOWLEDGE[number],
        "leaked": "leaked",
        "attacked": attacked.name,
        "judge": judge,
    }
    threat.check(number)
    wrong = number % 5 + 1
    with pytest.raises(ValueError, match=rf"recon-attack-{wrong} must .* is attack {number}; name"):
        threat.check(wrong)


def test_refinement_needs_the_leaked_model():
    assert Threat.of(LEAKED, LEAKED, card("proxy"), refined=True).number == 1
    assert Threat.of(LEAKED, OTHER, card("none"), refined=True).number == 2


def test_cards_from_before_judges_were_noted_tell_the_recogniser():
    assert card().judged_by() == LEAKED
    assert card(decoder="linear").judged_by() is None
    assert Threat.of(LEAKED, LEAKED, card()).number == 1
    assert Threat.of(LEAKED, LEAKED, card(decoder="linear")).number == 3
    assert ModelCard.from_json(card("proxy").to_json()).judged_by() == Identity("proxy")


def test_hashes_decide_where_both_are_known():
    assert Identity("a", "1").same_as(Identity("b", "1"))
    assert not Identity("a", "1").same_as(Identity("a", "2"))
    assert Identity("a", None).same_as(Identity("a", "2"))
    assert not Identity("a", None).same_as(Identity("b", None))
