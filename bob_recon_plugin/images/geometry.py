"""Eye positions: those of the usual crops, their validation, and the map between two pairs."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from ..common.validation import InputError, InputTypeError

#: (y, x) of ``reye`` and ``leye``, in pixels; as an argument any mapping
Positions = dict[str, tuple[float, float]]
Eyes = Mapping[str, tuple[float, float]]

#: Eyes (y, x) in the 112 x 112 crop of InsightFace, on which the models of the ArcFace family are
#: trained. Decoders draw faces with these eyes. The eyes are 35 pixels apart; FFHQ's 1024 x 1024
#: images scaled to 112 x 112 have them 29.5 pixels apart.
INSIGHTFACE_EYES: Positions = {
    "reye": (51.6963, 38.2946),
    "leye": (51.5014, 73.5318),
}
#: Eyes (y, x) in the 112 x 112 crop of Bob's ArcFace pipelines.
BOB_EYES: Positions = {"reye": (55.0, 40.0), "leye": (55.0, 72.0)}
#: Eyes (y, x) in FFHQ's 1024 x 1024 images, the same in every image.
FFHQ_SIDE = 1024
FFHQ_EYES: Positions = {"reye": (480.0, 380.0), "leye": (480.0, 650.0)}


def eye_positions(name: str, positions: object) -> Positions:
    """Return ``positions`` as {"reye": (y, x), "leye": (y, x), ...} of finite floats.

    Raises TypeError unless it is a mapping, ValueError unless it has both eyes,
    each a finite (y, x).
    """
    expected = '{"reye": (y, x), "leye": (y, x)}'
    if not isinstance(positions, Mapping):
        raise InputTypeError(f"`{name}` must be {expected}, got {type(positions).__name__}.")
    try:
        checked = {key: (float(y), float(x)) for key, (y, x) in positions.items()}
        eyes = checked["reye"] + checked["leye"]
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"`{name}` must be {expected}, got {positions!r}.") from error
    if not all(map(math.isfinite, eyes)):
        raise InputError(f"`{name}` must be finite, got {positions!r}.")
    return checked


def fixed_eye_positions(positions: object) -> Positions | None:
    """Check ``fixed_positions``, which may be None.

    Raises the errors of :func:`eye_positions`, and ValueError unless the person's right eye is on
    the left side of the image.
    """
    if positions is None:
        return None
    checked = eye_positions("fixed_positions", positions)
    if checked["reye"][1] >= checked["leye"][1]:
        raise InputError(
            f"`fixed_positions` must have the x of reye below that of leye, got {positions!r}; "
            "reye is the person's right eye, and positions are (y, x)."
        )
    return checked


def eye_points(positions: Eyes) -> np.ndarray:
    """Right and left eye as (x, y) rows."""
    return np.array([positions["reye"][::-1], positions["leye"][::-1]], dtype=np.float64)


def similarity(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Return the 2 x 3 similarity transform that maps two points (x, y) to two others."""
    turn = complex(*(target[1] - target[0])) / complex(*(source[1] - source[0]))
    matrix = np.array([[turn.real, -turn.imag], [turn.imag, turn.real]])
    shift = target.mean(axis=0) - matrix @ source.mean(axis=0)
    return np.hstack([matrix, shift[:, None]])


def same_place(one: Eyes, other: Eyes) -> bool:
    """Whether two pairs of eye positions lie within half a pixel of each other, along each axis."""
    return all(np.abs(np.subtract(one[eye], other[eye])).max() <= 0.5 for eye in ("reye", "leye"))
