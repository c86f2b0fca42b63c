"""How a decoder was trained: what its card tells, and the folder that its training left."""

from __future__ import annotations

import ast
import csv
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bob_recon_plugin.decoders import ModelCard
from bob_recon_plugin.training.presets import PRESETS

#: Names in the card: ``metrics`` hold the minutes, ``versions`` the device.
MINUTES, DEVICE = "training: minutes", "device"
_PRESET = re.compile(
    r"(?P<name>\w+), step (?P<step>\d+) of (?P<steps>\d+)"
    r"(?P<start>, started from \w+)?(?:: (?P<settings>\{.*\}))?"
)
_FACES = re.compile(r"(?P<n>\d+)\D*? faces")


@dataclass(frozen=True)
class Training:
    """One training; None and "" where nothing is recorded.

    Attributes
    ----------
    preset : str
        Name of the preset, and in brackets what was set otherwise.
    data : str
        What the training faces are.
    faces : int or None
        How many of them.
    step, steps : int or None
        The step whose weights are kept, and the length of the training.
    images : int or None
        Reconstructions until then, those of sampled embeddings included.
    epochs : float or None
        How often every face was seen until then.
    minutes : float or None
        Wall time until then.
    minutes_of : str
        "card", or "log" where they are worked out from images a second, without validations.
    device : str
    """

    preset: str
    data: str
    faces: int | None = None
    step: int | None = None
    steps: int | None = None
    images: int | None = None
    epochs: float | None = None
    minutes: float | None = None
    minutes_of: str = ""
    device: str = ""


def read_training(decoder: Path, card: ModelCard) -> Training:
    """Gather what is known of a decoder's training.

    Parameters
    ----------
    decoder : Path
        Its file; ``log.csv`` of the training may lie beside it.
    card : ModelCard
    """
    data, faces = _data(card.training_data)
    minutes = card.metrics.get(MINUTES)
    facts: dict[str, Any] = {"data": data, "faces": faces, "device": card.versions.get(DEVICE, "")}
    found = _PRESET.fullmatch(card.preset)
    if found is None:  # the linear decoder, or one trained elsewhere
        facts |= {} if minutes is None else {"minutes": minutes, "minutes_of": "card"}
        return Training(preset=card.preset.split("(")[0].strip(), **facts)
    settings = ast.literal_eval(found["settings"]) if found["settings"] else {}
    if "nobody" in settings:  # what the field was called when the shipped decoder was trained
        settings["sampled"] = settings.pop("nobody")
    step, steps = int(found["step"]), int(found["steps"])
    if settings:
        seen = _faces_seen(step, steps, settings)
        samples = settings["batch_size"] + settings["sampled"]
        facts |= {"images": step * samples, "epochs": seen / faces if faces else None}
        if minutes is None:
            minutes, of = _minutes_of_log(decoder.with_name("log.csv"), step, samples), "log"
        else:
            of = "card"
        facts |= {"minutes": minutes, "minutes_of": of if minutes is not None else ""}
    changes = _changes(found["name"], settings)
    if found["start"]:
        changes.append(found["start"].removeprefix(", "))
    preset = found["name"] + (f" ({', '.join(changes)})" if changes else "")
    return Training(preset=preset, step=step, steps=steps, **facts)


def _data(text: str) -> tuple[str, int | None]:
    """Take the number of training faces out of "3331 faces, 175 held out; synthetic"."""
    found = _FACES.match(text)
    about = re.sub(r"^\d+ faces, \d+ held out; ", "", text)
    return about, int(found["n"]) if found else None


def _faces_seen(step: int, steps: int, settings: Mapping[str, Any]) -> int:
    """Faces shown until a step: more a step while only pixels count."""
    first = min(step, round(settings["pixel_share"] * steps))
    return step * settings["batch_size"] + first * settings["sampled"]


def _changes(name: str, settings: Mapping[str, Any]) -> list[str]:
    """What differs from the preset, as ``name=value``."""
    if name not in PRESETS or not settings:
        return []
    usual = PRESETS[name].describe()
    weights, own = usual.pop("weights"), dict(settings)
    usual |= weights
    own |= dict.fromkeys(weights, 0) | own.pop("weights")
    return [f"{key}={value:g}" for key, value in own.items() if value != usual.get(key, 0)]


def _minutes_of_log(path: Path, step: int, samples: int) -> float | None:
    """Add up the stretches until a step: its images, by the images a second of each."""
    if not path.is_file():
        return None
    with path.open(newline="", encoding="utf-8") as stream:
        rows = [row for row in csv.DictReader(stream) if int(row["step"]) <= step]
    seconds, before = 0.0, 0
    for row in rows:
        seconds += (int(row["step"]) - before) * samples / float(row["images_per_second"])
        before = int(row["step"])
    return seconds / 60 if rows else None
