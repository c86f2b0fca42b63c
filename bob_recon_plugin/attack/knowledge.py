"""What the attacker knows: the five attacks of a template inversion, told from what took part."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from ..common.validation import InputError
from ..decoders import ModelCard
from ..recognizers import Identity

#: What the attacker of each attack knows.
KNOWLEDGE = {
    1: "the leaked model is known, inside and out, and the same system is attacked",
    2: "the leaked model is known, inside and out, and another system is attacked",
    3: "the leaked model is a black box, and the same system is attacked",
    4: "the leaked model is a black box, and another system is attacked, whose model is known "
    "and judged the training",
    5: "the leaked model is a black box, and another system is attacked, which is unknown",
}


@dataclass(frozen=True)
class Threat:
    """Which of the five attacks a run is.

    Attributes
    ----------
    number : int
        From 1 to 5.
    leaked, attacked : str
        Recognition models that the templates are of, and that judges the faces.
    judge : str
        Model whose gradients trained the decoder, or "none".

    References
    ----------
    H. Otroshi Shahreza, S. Marcel, "Comprehensive Vulnerability Evaluation of Face Recognition
    Systems to Template Inversion Attacks via 3D Face Reconstruction", IEEE TPAMI 45, 2023,
    DOI 10.1109/TPAMI.2023.3312123, defines five attacks by the attacker's knowledge.
    """

    number: int
    leaked: str
    attacked: str
    judge: str

    @classmethod
    def of(
        cls, inverted: Identity, attacked: Identity, card: ModelCard, refined: bool = False
    ) -> Threat:
        """Tell the attack from the two systems and the decoder's card.

        Faces that are refined with the gradient of the decoder's recogniser need that model.
        """
        judge = card.judged_by()
        if refined:
            judge = card.recognizer, card.recognizer_sha256
        known = judge is not None and same_model(judge, (inverted.name, inverted.sha256))
        same = same_model((inverted.name, inverted.sha256), (attacked.name, attacked.sha256))
        if same:
            number = 1 if known else 3
        elif known:
            number = 2
        else:
            aimed = judge is not None and same_model(judge, (attacked.name, attacked.sha256))
            number = 4 if aimed else 5
        return cls(number, inverted.name, attacked.name, judge[0] if judge else "none")

    @property
    def knowledge(self) -> str:
        """What the attacker knows, in words."""
        return KNOWLEDGE[self.number]

    def describe(self) -> dict[str, str | int]:
        """Return the attack as plain values, for the record of a run."""
        return {
            "attack": self.number,
            "knowledge": self.knowledge,
            "leaked": self.leaked,
            "attacked": self.attacked,
            "judge": self.judge,
        }

    def check(self, number: int) -> None:
        """Raise ValueError unless this is the attack of that number."""
        if number != self.number:
            raise InputError(
                f"recon-attack-{number} must be one in which {KNOWLEDGE[number]}, got templates of "
                f"{self.leaked}, a decoder trained with the gradients of {self.judge}, and "
                f"{self.attacked} under attack, which is attack {self.number}; name another "
                f"decoder or other systems, or chain recon-attack-{self.number}."
            )


def same_model(one: tuple[str, str | None], other: tuple[str, str | None]) -> bool:
    """Whether two (name, SHA-256) are one recognition model: hashes decide where both are known."""
    if one[1] is not None and other[1] is not None:
        return one[1] == other[1]
    return one[0] == other[0]


class Part(NamedTuple):
    """A recognition model that took part in a run; `sha256` is None where it is not recorded."""

    role: str
    name: str
    sha256: str | None


def took_part(record: Mapping[str, Any]) -> list[Part]:
    """Tell every recognition model that took part in a run.

    Parameters
    ----------
    record : mapping
        Content of ``recon-run.json``; empty where there is none.

    Returns
    -------
    list of Part
        One for each part; a model that has several stands there several times.
    """
    identity, card = record.get("identity", {}), record.get("card", {})
    leaked = identity.get("inverted", identity).get("recognizer", {})
    attacked = identity.get("recognizer", {})
    inverted = card.get("recognizer") or identity.get("decoder", {}).get("recognizer")
    digest = card.get("recognizer_sha256")
    parts = [
        ("is under attack", attacked.get("name"), attacked.get("sha256")),
        ("made the stolen templates", leaked.get("name"), leaked.get("sha256")),
        ("made the embeddings that the decoder inverts", inverted, digest),
    ]
    if card.get("recognizer"):
        judge = ModelCard.from_json(json.dumps(card)).judged_by()
        parts += [("judged the decoder's training", *judge)] if judge else []
    for adapter in record.get("adapters", []):
        for side, what in (("source", "went into"), ("target", "came out of")):
            role = f"made the embeddings that {what} the training of an adapter"
            parts.append((role, adapter[side], adapter[f"{side}_sha256"]))
    if "refinement" in identity:
        parts.append(("refined the faces", inverted, digest))
    return [Part(role, str(name), sha256) for role, name, sha256 in parts if name]
