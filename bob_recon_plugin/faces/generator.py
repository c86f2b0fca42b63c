"""Faces of people who do not exist, from the FFHQ generator in the package `random-face`."""

from __future__ import annotations

import importlib.util
from typing import Any

import numpy as np

from ..common.files import sha256
from ..common.validation import MissingFileError
from ..decoders.mobilestylegan import checked_folder

_NETWORKS = ("MappingNetwork", "SynthesisNetwork")


class Generator:
    """MobileStyleGAN trained on FFHQ, run by OpenVINO on the CPU.

    Needs the packages ``openvino`` and ``random-face`` (Apache-2.0; its code is
    not used, only its two models). Threads may share a generator.

    Attributes
    ----------
    identity : dict of str to str
        Hashes of the two networks.
    streams : int
        How many threads may ask for images at once before they wait for each other.

    Raises
    ------
    FileNotFoundError
        When a package is missing.
    ValueError
        When its files hold another network: they are not opened then.

    References
    ----------
    S. Belousov, "MobileStyleGAN: A Lightweight Convolutional Neural Network
    for High-Fidelity Image Synthesis", 2021, arXiv:2104.04767.
    """

    def __init__(self) -> None:
        if importlib.util.find_spec("openvino") is None:
            raise MissingFileError(
                "the generator must be installed, got no package `openvino`; "
                "run `pip install openvino`."
            )
        folder = checked_folder()
        import openvino

        core = openvino.Core()
        weights = {name: folder / f"{name}.bin" for name in _NETWORKS}
        self.identity = {name: sha256(path) for name, path in weights.items()}
        # without the second, processors that have bfloat16 draw other faces
        options = {"PERFORMANCE_HINT": "THROUGHPUT", "INFERENCE_PRECISION_HINT": "f32"}
        mapping, synthesis = (core.read_model(folder / f"{name}.xml") for name in _NETWORKS)
        mapping.reshape([-1, 512])
        self._mapping = core.compile_model(mapping, "CPU", options)
        self._synthesis = core.compile_model(synthesis, "CPU", options)
        self.streams = int(self._synthesis.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS"))

    def styles(self, rng: np.random.Generator, n: int = 1) -> np.ndarray:
        """Draw styles of shape (n, 512)."""
        return _run(self._mapping, rng.standard_normal((n, 512)).astype(np.float32))

    def image(self, style: np.ndarray) -> np.ndarray:
        """Return the image of a style: uint8 of shape (3, 1024, 1024), RGB, aligned as FFHQ is."""
        image = _run(self._synthesis, style.reshape(1, 512).astype(np.float32))[0]
        return ((image + 1) * 127.5).clip(0, 255).astype(np.uint8)


def _run(model: Any, values: np.ndarray) -> np.ndarray:
    request = model.create_infer_request()  # one a call: a request is not shared by threads
    return request.infer({0: values})[model.output(0)]
