"""Crop faces to eye positions, with subpixel accuracy and without aliasing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin

from ..common.validation import InputError
from .geometry import FFHQ_EYES, FFHQ_SIDE, Positions, eye_points, eye_positions, similarity


def ffhq_eyes(image_size: tuple[int, int]) -> Positions:
    """Eye positions in an FFHQ image of any size.

    Parameters
    ----------
    image_size : (int, int)
        Height and width: 1024 x 1024, or another square to which the whole image was scaled.

    Raises
    ------
    ValueError
        When it is not a square.

    Examples
    --------
    >>> ffhq_eyes((1024, 1024))
    {'reye': (480.0, 380.0), 'leye': (480.0, 650.0)}
    >>> ffhq_eyes((512, 512))  # half a pixel of this image is a quarter of the larger
    {'reye': (239.75, 189.75), 'leye': (239.75, 324.75)}
    """
    height, width = image_size
    if height != width:
        raise InputError(f"an FFHQ image must be a square, got {height} x {width} pixels")
    scale = width / FFHQ_SIDE
    return {eye: (_scaled(y, scale), _scaled(x, scale)) for eye, (y, x) in FFHQ_EYES.items()}


def _scaled(coordinate: float, scale: float) -> float:
    """Return the coordinate of a pixel's centre after its image is scaled."""
    return (coordinate + 0.5) * scale - 0.5


class EyeCropper(TransformerMixin, BaseEstimator):
    """A ``cropper`` for Bob's FaceCrop without aliasing and without rounding of positions.

    Bob's FaceEyesNorm samples the large image at single points, which turns fine texture into
    noise (from 1024 to 112 pixels, 98 of 100 pixels are ignored), and crops at whole pixels. This
    cropper shrinks by area to twice the final scale, then rotates, scales and shifts in one
    interpolation.

    Parameters
    ----------
    positions : dict
        (y, x) of ``reye`` and ``leye`` in the crop, in pixels.
    image_size : (int, int)
        Height and width of the crop.
    enlarge : float
        Largest factor by which a face may be enlarged; beyond it, a face is too blurred.
    """

    def __init__(self, positions: Positions, image_size: tuple[int, int], enlarge: float = 2.0):
        self.positions = positions
        self.image_size = image_size
        self.enlarge = enlarge

    def fit(self, X: Any = None, y: Any = None) -> EyeCropper:
        """Do nothing: the positions are fixed."""
        return self

    def transform(self, X: np.ndarray, annotations: Any = None) -> np.ndarray:
        """Crop one face.

        Parameters
        ----------
        X : uint8 ndarray of shape (3, H, W)
            [0, 255].
        annotations : dict
            (y, x) of ``reye`` and ``leye`` in the image, in pixels.

        Returns
        -------
        uint8 ndarray of shape (3, h, w)
            Black outside the image.

        Raises
        ------
        ValueError
            When the eyes are missing, outside the image, swapped, or too close together.
        """
        image = np.asarray(X)
        if not isinstance(annotations, Mapping) or not {"reye", "leye"} <= set(annotations):
            raise InputError("there are no eye positions (reye, leye)")
        eyes = {eye: annotations[eye] for eye in ("reye", "leye")}
        source = eye_points(eye_positions("annotations", eyes))
        target = eye_points(self.positions)
        _check_eyes(source, target, image.shape[1:], self.enlarge)
        height, width = self.image_size
        shrunk, warp = _shrink(cv2.merge([*image]), similarity(source, target))
        face = cv2.warpAffine(shrunk, warp, (width, height), flags=cv2.INTER_LINEAR)
        return np.ascontiguousarray(face.transpose(2, 0, 1))

    def _more_tags(self) -> dict[str, Any]:
        return {"requires_fit": False}


def _check_eyes(
    source: np.ndarray, target: np.ndarray, image_size: tuple[int, ...], enlarge: float
) -> None:
    height, width = image_size
    inside = (source >= 0).all() and (source <= (width - 1, height - 1)).all()
    if not inside:
        raise InputError(f"an eye lies outside the image of {height} x {width} pixels")
    if source[0, 0] >= source[1, 0]:
        raise InputError("the right eye of the person is not on the left of the image: swapped?")
    needed = np.linalg.norm(np.diff(target, axis=0)) / enlarge
    if (found := np.linalg.norm(np.diff(source, axis=0))) < needed:
        raise InputError(f"the face is too small: {found:.0f} pixels between the eyes")


def _shrink(image: np.ndarray, warp: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Shrink an (H, W, 3) image by area to twice the scale of the warp, and the warp with it."""
    factor = 2 * float(np.hypot(*warp[:, 0]))
    if factor >= 1:
        return image, warp
    height, width = image.shape[:2]
    small = (max(1, round(width * factor)), max(1, round(height * factor)))
    scale = np.array(small) / (width, height)
    # a pixel p of the small image is (p + 0.5) / scale - 0.5 of the large one
    matrix = warp[:, :2] / scale
    shift = warp[:, 2] + warp[:, :2] @ (0.5 / scale - 0.5)
    shrunk = cv2.resize(image, small, interpolation=cv2.INTER_AREA)
    return shrunk, np.hstack([matrix, shift[:, None]])
