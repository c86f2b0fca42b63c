"""Faces of people who do not exist, from the FFHQ generator in the package `random-face`."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import cv2
import numpy as np

#: Eyes (x, y) in the generator's 1024 x 1024 images, which are aligned as FFHQ is.
_EYES = np.array([[380.0, 480.0], [650.0, 480.0]])  # right, left
#: Eyes (x, y) in the 112 x 112 crop.
_CROP_EYES = np.array([[38.2946, 51.6963], [73.5318, 51.5014]])
_SIDE = 112


def similarity(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Return the 2 x 3 rotation, scale and shift that moves two points (x, y) onto two others."""
    turn = complex(*(target[1] - target[0])) / complex(*(source[1] - source[0]))
    matrix = np.array([[turn.real, -turn.imag], [turn.imag, turn.real]])
    shift = target.mean(axis=0) - matrix @ source.mean(axis=0)
    return np.hstack([matrix, shift[:, None]])


class Generator:
    """MobileStyleGAN trained on FFHQ, run by OpenVINO.

    Needs the packages ``openvino`` and ``random-face`` (Apache-2.0; install
    the latter with ``--no-deps``: its code is not used, only its two models).

    Parameters
    ----------
    seed : int
        Of all random draws.
    threads : int
        Of OpenVINO.

    References
    ----------
    S. Belousov, "MobileStyleGAN: A Lightweight Convolutional Neural Network
    for High-Fidelity Image Synthesis", 2021, arXiv:2104.04767.
    """

    def __init__(self, seed: int = 0, threads: int = 2):
        import openvino

        spec = importlib.util.find_spec("random_face")
        if spec is None or not spec.submodule_search_locations:
            raise FileNotFoundError(
                "the generator must be installed, got no package `random_face`; run "
                "`pip install openvino` and `pip install --no-deps random-face==2021.7.21.1`."
            )
        folder = Path(spec.submodule_search_locations[0]) / "data"
        core = openvino.Core()
        options = {"INFERENCE_NUM_THREADS": threads}
        self._mapping, self._synthesis = (
            core.compile_model(core.read_model(folder / f"{name}.xml"), "CPU", options)
            for name in ("MappingNetwork", "SynthesisNetwork")
        )
        self.rng = np.random.default_rng(seed)
        self.mean = np.mean([self._style() for _ in range(2000)], axis=0)

    def _style(self) -> np.ndarray:
        z = self.rng.standard_normal((1, 512)).astype(np.float32)
        return self._mapping(z)[self._mapping.output(0)][0]

    def style(self, psi: float) -> np.ndarray:
        """Draw a style vector of shape (512,), pulled to the mean face by ``psi`` < 1."""
        return self.mean + psi * (self._style() - self.mean)

    def crop(self, style: np.ndarray) -> np.ndarray:
        """Return the aligned face of a style: uint8 of shape (3, 112, 112), RGB, [0, 255]."""
        result = self._synthesis(style[None].astype(np.float32))[self._synthesis.output(0)][0]
        image = ((result.transpose(1, 2, 0) + 1) * 127.5).clip(0, 255).astype(np.uint8)
        warp = similarity(_EYES, _CROP_EYES)
        # shrink by area to twice the final scale first, so that the warp cannot alias
        side = 2 * round(1024 * float(np.hypot(*warp[:, 0])))
        image = cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA)
        warp[:, :2] *= 1024 / side
        return cv2.warpAffine(image, warp, (_SIDE, _SIDE), flags=cv2.INTER_LINEAR).transpose(
            2, 0, 1
        )
