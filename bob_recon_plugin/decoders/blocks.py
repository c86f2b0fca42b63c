"""What the convolutional decoders share: blocks that grow one pixel into a face, and a head."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import torch
from torch import nn

from ..common.validation import InputError
from .inputs import SquareDecoder, flat_embeddings

_NATIVE_SIDE = 112


def scaled(channels: int, width: float) -> int:
    """Channels at a width multiplier: a multiple of 8, which CPU and GPU kernels prefer."""
    return max(8, int(channels * width / 8 + 0.5) * 8)


class BlockDecoder(SquareDecoder, ABC):
    """Upsampling blocks one after the other, then a convolution to RGB and a sigmoid.

    Parameters
    ----------
    embedding_size : int
        Length ``d`` of an embedding.
    width : float
        Multiplier on the channels of every block, rounded to multiples of 8.
    output_size : int
        Side of the square image. The blocks make 112; any other side is
        resized from that (bilinear, anti-aliased).
    """

    def __init__(self, embedding_size: int = 512, width: float = 1.0, output_size: int = 112):
        super().__init__(embedding_size, output_size)
        if not (width > 0 and math.isfinite(width)):
            raise InputError(f"`width` must be positive and finite, got {width}.")
        self.width = width
        blocks, channels = self._grown()
        self.blocks = nn.Sequential(*blocks)
        self.head = nn.Conv2d(channels, 3, 3, padding=1)

    @abstractmethod
    def _grown(self) -> tuple[list[nn.Module], int]:
        """Return the blocks, from one pixel to 112 x 112, and the channels of the last one."""

    def forward(self, embeddings: torch.Tensor) -> torch.Tensor:
        """Decode a batch.

        Parameters
        ----------
        embeddings : Tensor of shape (n, d) or (n, d, 1, 1)
            Raw embeddings, not normalised to unit length.

        Returns
        -------
        Tensor of shape (n, 3, output_size, output_size)
            RGB in [0, 1].

        Raises
        ------
        ValueError
            For embeddings of another shape.
        """
        x = flat_embeddings(embeddings, self.embedding_size)
        faces = torch.sigmoid(self.head(self.blocks(x[:, :, None, None])))
        if self.output_size != _NATIVE_SIDE:
            faces = nn.functional.interpolate(
                faces, size=self.output_size, mode="bilinear", antialias=True
            )
        return faces
