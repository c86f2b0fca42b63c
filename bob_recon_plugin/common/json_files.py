"""Read JSON safely: finite numbers, limited size and depth."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .validation import InputTypeError

_MOST_BYTES = 256 << 20


def parse(text: str) -> Any:
    """Return what a JSON text holds.

    Raises
    ------
    ValueError
        For invalid JSON, for NaN and infinite numbers, and for JSON that is nested too deeply.
    """
    try:
        return json.loads(text, parse_constant=_finite, parse_float=_finite)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def read(path: Path) -> dict[str, Any]:
    """Return the object that a JSON file holds.

    Raises
    ------
    OSError, ValueError
        For a file that cannot be read, is larger than 256 MiB, or holds anything else.
    """
    if path.stat().st_size > _MOST_BYTES:
        raise ValueError(f"it is larger than {_MOST_BYTES >> 20} MiB")
    content = parse(path.read_text(encoding="utf-8"))
    if not isinstance(content, dict):
        raise ValueError(f"it holds {type(content).__name__}, not an object")
    return content


def check_types(card: object, kinds: Mapping[str, Any]) -> None:
    """Raise TypeError for a field of another type than ``kinds`` says."""
    for name, kind in kinds.items():
        value = getattr(card, name)
        if not isinstance(value, kind):
            expected = kind.__name__ if isinstance(kind, type) else str(kind)
            raise InputTypeError(f"`{name}` must be of the type {expected}, got {value!r}.")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"it holds the number {text}")
    return number
