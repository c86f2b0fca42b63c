"""The model card: what must be known of a decoder before it may be used."""

from __future__ import annotations

import json
import math
import re
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from ..common.identity import Identity
from ..common.json_files import check_types, parse
from ..common.validation import InputError, InputTypeError
from ..images.geometry import INSIGHTFACE_EYES

_KINDS: dict[str, Any] = {
    **dict.fromkeys(("training_data", "preset", "judge", "licence", "decoder"), str),
    **dict.fromkeys(("recognizer_sha256", "judge_sha256"), str | None),
    **dict.fromkeys(("metrics", "versions"), dict),
    "seed": int | None,
}


@dataclass(frozen=True)
class ModelCard:
    """Origin of a decoder and conditions of its use; stored inside its file.

    Parameters
    ----------
    recognizer : str
        Name of the recognition model whose embeddings the decoder inverts.
    embedding_size : int
        Length of these embeddings.
    recognizer_sha256 : str or None
        SHA-256 of that model's weights, 64 hexadecimal digits. None when unknown.
    embedding_norm : float or None
        Mean Euclidean norm of the embeddings that the decoder was trained on. Templates that were
        scaled (to unit length, into 8 bits) before they were stored are brought to it.
    positions : dict
        ``{"reye": (y, x), "leye": (y, x)}`` in pixels of the decoder's image.
    training_data : str
        Which faces, how many, and where they come from.
    preset : str
        Name of the training preset.
    judge : str
        Name of the recognition model whose gradients trained the decoder; "none" where
        no model's did. Empty in files from before judges were recorded: see :meth:`judged_by`.
    judge_sha256 : str or None
        SHA-256 of its weights.
    seed : int or None
        Seed of the training.
    licence : str
        Licence of the weights.
    metrics : dict of str to float
        Results with names that say on what and at which threshold.
    versions : dict of str to str
        Versions of the packages. Filled in on saving when empty.
    decoder, decoder_parameters : str, dict
        Registered name and constructor parameters of the decoder. Always
        filled in on saving, from the decoder itself.

    Raises
    ------
    TypeError, ValueError
        When a field cannot be true.
    """

    recognizer: str
    embedding_size: int
    recognizer_sha256: str | None = None
    embedding_norm: float | None = None
    positions: dict[str, tuple[float, float]] = field(
        default_factory=lambda: dict(INSIGHTFACE_EYES)
    )
    training_data: str = ""
    preset: str = ""
    judge: str = ""
    judge_sha256: str | None = None
    seed: int | None = None
    licence: str = ""
    metrics: dict[str, float] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    decoder: str = ""
    decoder_parameters: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not isinstance(self.recognizer, str) or not self.recognizer:
            raise InputTypeError(
                f"`recognizer` must be the name of a recognition model, got {self.recognizer!r}."
            )
        size = self.embedding_size
        if not isinstance(size, int) or isinstance(size, bool) or size < 1:
            raise InputError(f"`embedding_size` must be a positive integer, got {size!r}.")
        digest = self.recognizer_sha256
        if isinstance(digest, str) and not re.fullmatch(r"[0-9a-f]{64}", digest):
            raise InputError(
                f"`recognizer_sha256` must be 64 hexadecimal digits in lower case, got {digest!r}; "
                "leave it None when the file of the weights is not known."
            )
        norm = self.embedding_norm
        if norm is not None and not (_is_number(norm) and norm > 0):
            raise InputError(f"`embedding_norm` must be positive and finite, got {norm!r}.")
        check_types(self, _KINDS)
        object.__setattr__(self, "positions", _checked_positions(self.positions))

    @property
    def inverts(self) -> Identity:
        """The recognition model whose embeddings the decoder inverts."""
        return Identity(self.recognizer, self.recognizer_sha256, self.embedding_size)

    def judged_by(self) -> Identity | None:
        """The model whose gradients trained the decoder; None for no model.

        Files from before judges were recorded: the judge was the inverted model itself, and the
        linear decoder had none.
        """
        if self.judge == "none" or (not self.judge and self.decoder == "linear"):
            return None
        if not self.judge:
            return self.inverts
        return Identity(self.judge, self.judge_sha256)

    def to_json(self) -> str:
        """Return the card as one line of JSON.

        Raises
        ------
        ValueError
            When a field holds what JSON cannot (an array, NaN).
        """
        try:
            return json.dumps(asdict(self), allow_nan=False, ensure_ascii=False)
        except (TypeError, ValueError) as error:
            raise InputError(
                f"`card` must hold only text, finite numbers, lists and dicts, got: {error}; "
                "convert arrays and leave out undefined metrics."
            ) from error

    @classmethod
    def from_json(cls, text: str) -> ModelCard:
        """Read what :meth:`to_json` wrote.

        Raises
        ------
        ValueError
            When the text is no card.
        """
        try:
            values = parse(text)
            unknown = sorted(set(values) - {f.name for f in fields(cls)})
            if unknown:
                raise InputError(f"unknown fields {', '.join(unknown)}")
            return cls(**values)
        except (TypeError, ValueError, AttributeError) as error:
            raise InputError(
                f"the model card must hold a decoder's fields, got: {error}"
            ) from error


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and abs(value) < math.inf


def _checked_positions(positions: object) -> dict[str, tuple[float, float]]:
    try:
        eyes = {str(k): (float(y), float(x)) for k, (y, x) in positions.items()}  # type: ignore[attr-defined]
    except (AttributeError, TypeError, ValueError, OverflowError):
        eyes = {}
    finite = all(math.isfinite(side) for eye in eyes.values() for side in eye)
    if not {"reye", "leye"} <= set(eyes) or not finite:
        raise InputError(
            '`positions` must be {"reye": (y, x), "leye": (y, x)} in pixels of the decoded image, '
            f"got {positions!r}."
        )
    return eyes
