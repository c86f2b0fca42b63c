"""Presets: what decides a training, besides faces, decoder and seed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from types import MappingProxyType
from typing import Any

from ..common.validation import InputError, one_of
from . import losses


@dataclass(frozen=True)
class Preset:
    """One way to train a decoder.

    Parameters
    ----------
    weights : mapping of str to float
        Weights of the terms of :class:`~bob_recon_plugin.training.losses.Loss`.
    batch_size : int
        Faces of one step.
    epochs : float
        Length of the training where no number of steps is given: passes over the faces.
    learning_rate : float
        Highest rate of Adam.
    beta2 : float
        Decay of Adam's second moment.
    halve_every : int
        Epochs after which the rate is halved; 0: it follows half a cosine over the
        whole training, down to a hundredth.
    warmup_steps : int
        Steps over which the rate rises from zero.
    sampled : int
        Embeddings a step that belong to no face, for the identity terms alone
        (:class:`~bob_recon_plugin.training.sampled_embeddings.SampledEmbeddings`).
    pixel_share : float
        First part of the training, in [0, 1), without the identity terms and with
        ``batch_size + sampled`` faces a step.
    mirror : bool
        Show faces mirrored, with the stored embedding of the mirrored face, half of the time.
    jitter : bool
        The judge sees reconstructions shifted by up to two pixels, mirrored
        half of the time, with noise of 0.01.
    ema : float
        Decay a step of the averaged weights, which are the result; 0: no average.
    departure : float
        Weight of the decoder's own regulariser
        (:meth:`~bob_recon_plugin.decoders.Decoder.departure`), where it has one.
    draft_share : float
        First part of the training, in [0, 1], in which decoders that can draw drafts.
    """

    weights: Mapping[str, float] = field(default_factory=dict)
    batch_size: int = 32
    epochs: float = 100
    learning_rate: float = 1e-3
    beta2: float = 0.999
    halve_every: int = 0
    warmup_steps: int = 0
    sampled: int = 0
    pixel_share: float = 0.0
    mirror: bool = False
    jitter: bool = False
    ema: float = 0.0
    departure: float = 0.0
    draft_share: float = 0.0

    def __post_init__(self) -> None:
        for name, least in (
            ("batch_size", 2),
            ("halve_every", 0),
            ("warmup_steps", 0),
            ("sampled", 0),
        ):
            if getattr(self, name) < least:
                raise InputError(f"`{name}` must be at least {least}, got {getattr(self, name)}.")
        for name in ("epochs", "learning_rate"):
            if not 0 < getattr(self, name) < float("inf"):
                raise InputError(
                    f"`{name}` must be positive and finite, got {getattr(self, name)}."
                )
        if not 0 <= self.departure < float("inf"):
            raise InputError(f"`departure` must be at least 0 and finite, got {self.departure}.")
        if not 0 <= self.draft_share <= 1:
            raise InputError(f"`draft_share` must lie in [0, 1], got {self.draft_share}.")
        for name in ("pixel_share", "ema", "beta2"):
            if not 0 <= getattr(self, name) < 1:
                raise InputError(f"`{name}` must lie in [0, 1), got {getattr(self, name)}.")
        if self.sampled and not any(term.startswith("identity") for term in self.weights):
            raise InputError(
                f"`sampled` must be 0 without an identity term, got {self.sampled}: no other term "
                "applies to embeddings without a face."
            )

    @property
    def samples(self) -> int:
        """Reconstructions of one step."""
        return self.batch_size + self.sampled

    def describe(self) -> dict[str, Any]:
        """Return the fields as plain values."""
        return {f.name: getattr(self, f.name) for f in fields(self)} | {
            "weights": dict(self.weights)
        }

    def rate(self, step: int, steps: int, faces: int) -> float:
        """Learning rate at a step of so many, on so many training faces."""
        warm = min(1.0, (step + 1) / (self.warmup_steps + 1))
        if self.halve_every:
            epoch = step * self.batch_size // faces
            return self.learning_rate * warm * 0.5 ** (epoch // self.halve_every)
        return self.learning_rate * max(warm * _cosine(step / steps), 0.01)


def _cosine(progress: float) -> float:
    return 0.5 + 0.5 * math.cos(math.pi * progress)


#: ``icip2022`` and ``tifs2024`` are the published trainings (the 200 epochs of the second are
#: uncertain); ``best`` and, for the generator prior, ``prior`` are ours.
PRESETS: Mapping[str, Preset] = MappingProxyType(
    {
        "icip2022": Preset(weights=losses.PRESETS["icip2022"], epochs=100, halve_every=10),
        "tifs2024": Preset(weights=losses.PRESETS["tifs2024"], epochs=200, halve_every=10),
        "best": Preset(
            weights=MappingProxyType({"mae": 1.0, "dssim": 0.3, "identity_cosine": 1.0}),
            batch_size=16,
            sampled=16,
            epochs=25,
            learning_rate=1.5e-3,
            beta2=0.99,
            warmup_steps=100,
            pixel_share=0.1,
            mirror=True,
            jitter=True,
            ema=0.998,
        ),
        "prior": Preset(
            weights=MappingProxyType({"identity_cosine": 1.0}),
            batch_size=16,
            epochs=2,
            learning_rate=7e-4,
            beta2=0.99,
            warmup_steps=20,
            mirror=True,
            jitter=True,
            ema=0.99,
            departure=0.02,
            draft_share=0.85,
        ),
    }
)


def get(name: str, settings: Mapping[str, str] | None = None) -> Preset:
    """Return a preset with some of its fields changed.

    Parameters
    ----------
    name : {"icip2022", "tifs2024", "best", "prior"}
    settings : mapping of str to str
        Text of the new value by field; a term of the loss is a field too
        (``{"identity": "0.1", "ema": "0"}``), and its weight 0 takes it out.

    Raises
    ------
    ValueError
        For an unknown name or field, or a value that cannot be.

    Examples
    --------
    >>> get("best", {"sampled": "8", "identity_cosine": "1"}).sampled
    8
    """
    one_of("preset", name, PRESETS)
    preset = PRESETS[name]
    own = {f.name: type(getattr(preset, f.name)) for f in fields(Preset) if f.name != "weights"}
    changes: dict[str, Any] = {}
    weights = dict(preset.weights)
    for key, text in (settings or {}).items():
        one_of("setting", key, (*own, *losses.TERMS))
        value = _parsed(key, text, own.get(key, float))
        if key in own:
            changes[key] = value
        else:
            weights[key] = value
    weights = {term: weight for term, weight in weights.items() if weight}
    return replace(preset, weights=weights, **changes)


def _parsed(key: str, text: str, kind: type) -> Any:
    if kind is bool:
        one_of(key, text, ("true", "false"))
        return text == "true"
    try:
        return kind(text)
    except ValueError as error:
        raise InputError(f"`{key}` must be a {kind.__name__}, got {text!r}.") from error
