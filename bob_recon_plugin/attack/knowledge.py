"""What the attacker knows: five attacks, found from the models that take part."""

from __future__ import annotations

from dataclasses import dataclass

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
        judge = card.inverts if refined else card.judged_by()
        known = judge is not None and judge.same_as(inverted)
        same = inverted.same_as(attacked)
        if same:
            number = 1 if known else 3
        elif known:
            number = 2
        else:
            aimed = judge is not None and judge.same_as(attacked)
            number = 4 if aimed else 5
        return cls(number, inverted.name, attacked.name, judge.name if judge else "none")

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
