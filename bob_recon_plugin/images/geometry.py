"""Eye positions of the usual crops, and the similarity transform between two pairs of eyes."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

Eyes = Mapping[str, tuple[float, float]]

#: Eyes (y, x) in the 112 x 112 crop of InsightFace, on which the models of the ArcFace family are
#: trained. Decoders draw faces with these eyes. The eyes are 35 pixels apart; FFHQ's 1024 x 1024
#: images scaled to 112 x 112 have them 29.5 pixels apart.
INSIGHTFACE_EYES: dict[str, tuple[float, float]] = {
    "reye": (51.6963, 38.2946),
    "leye": (51.5014, 73.5318),
}
#: Eyes (y, x) in the 112 x 112 crop of Bob's ArcFace pipelines.
BOB_EYES: dict[str, tuple[float, float]] = {"reye": (55.0, 40.0), "leye": (55.0, 72.0)}
#: Eyes (y, x) in FFHQ's 1024 x 1024 images, the same in every image.
FFHQ_SIDE = 1024
FFHQ_EYES: dict[str, tuple[float, float]] = {"reye": (480.0, 380.0), "leye": (480.0, 650.0)}


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
