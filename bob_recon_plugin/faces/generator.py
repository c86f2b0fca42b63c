"""Synthetic faces of 1024 x 1024 pixels, from the FFHQ generator in the package `random-face`."""

from __future__ import annotations

import numpy as np
import torch

from ..common.memory import keep_freed_memory
from ..decoders import MobileStyleGAN, shared_generator


class Generator:
    """:class:`~bob_recon_plugin.decoders.MobileStyleGAN` on the CPU, from NumPy to NumPy.

    Threads may share a generator.

    Attributes
    ----------
    identity : dict of str to str
        Hashes of the two networks.

    Raises
    ------
    FileNotFoundError
        When the package is missing.
    ValueError
        When its files hold another network.
    """

    identity = MobileStyleGAN.identity

    def __init__(self) -> None:
        keep_freed_memory()  # before threads start; a face takes half the time
        self._network = shared_generator("cpu")

    @torch.inference_mode()
    def styles(self, rng: np.random.Generator, n: int = 1) -> np.ndarray:
        """Draw styles of shape (n, 512)."""
        noise = rng.standard_normal((n, 512)).astype(np.float32)
        return self._network.styles(torch.from_numpy(noise)).numpy()

    @torch.inference_mode()
    def image(self, style: np.ndarray) -> np.ndarray:
        """Return the image of a style: uint8 of shape (3, 1024, 1024), RGB, aligned as FFHQ is."""
        styles = torch.from_numpy(style.reshape(1, 512).astype(np.float32))
        return self._network(styles)[0].mul_(255).clamp_(0, 255).to(torch.uint8).numpy()
