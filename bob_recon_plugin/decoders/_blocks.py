"""What the convolutional decoders share: blocks that grow one pixel into a face, and a head."""

from __future__ import annotations

import copy
import math
from abc import abstractmethod
from typing import Any

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from ..common.validation import InputError
from ..images.geometry import Eyes
from ._base import SquareDecoder, flat_embeddings

_NATIVE_SIDE = 112


def scaled(channels: int, width: float) -> int:
    """Channels at a width multiplier: a multiple of 8, which CPU and GPU kernels prefer."""
    return max(8, int(channels * width / 8 + 0.5) * 8)


class _BlockNetwork(SquareDecoder):
    """Upsampling blocks one after the other, then a convolution to RGB and a sigmoid."""

    blocks: nn.Sequential
    head: nn.Module

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


class BlockDecoder(_BlockNetwork):
    """A decoder of upsampling blocks, each of which begins with a layer ``deconv``.

    ``deconv`` is a transposed convolution, a batch normalisation and an activation.

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

    first_weight = ("blocks.0.deconv.0.weight", 0)  # of shape (d, channels, height, width)

    def __init__(self, embedding_size: int = 512, width: float = 1.0, output_size: int = 112):
        super().__init__(embedding_size, output_size)
        if not (width > 0 and math.isfinite(width)):
            raise InputError(f"`width` must be positive and finite, got {width}.")
        self.width = width
        blocks, channels = self._grown()
        self.blocks = nn.Sequential(*blocks)
        self.head = nn.Conv2d(channels, 3, 3, padding=1)

    @classmethod
    def for_faces(
        cls, embedding_size: int, image_size: tuple[int, int], positions: Eyes, width: float
    ) -> BlockDecoder:
        """Make an untrained decoder; ``positions`` do not matter to it."""
        return cls(embedding_size, width, cls._side(image_size))

    @abstractmethod
    def _grown(self) -> tuple[list[nn.Module], int]:
        """Return the blocks, from one pixel to 112 x 112, and the channels of the last one."""

    def for_inference(self) -> FoldedBlocks:
        """Return the form without batch normalisations.

        Pixels differ by rounding alone: by 5e-7 on a CPU, of [0, 1].

        Returns
        -------
        FoldedBlocks
            In evaluation mode. Its weights are constants; gradients reach the embeddings.
        """
        return FoldedBlocks(self)


class FoldedBlocks(_BlockNetwork):
    """A trained decoder of blocks without batch normalisations, channels last.

    They have become part of the (transposed) convolutions before them, and the
    first of these, which sees a single pixel, a matrix product. It has other
    weights than a decoder's file, and :func:`~bob_recon_plugin.decoders.save` refuses it.

    Parameters
    ----------
    decoder : BlockDecoder
        On any device; it stays as it is.
    """

    def __init__(self, decoder: BlockDecoder):
        super().__init__(decoder.embedding_size, decoder.output_size)
        trained: Any = copy.deepcopy(decoder).eval().requires_grad_(False)
        for parent in list(trained.modules()):
            for name, child in list(parent.named_children()):
                if isinstance(child, nn.Sequential) and _is_normalised(child):
                    setattr(parent, name, folded(child))
        trained.blocks[0].deconv[0] = _FromOnePixel(trained.blocks[0].deconv[0])
        self.blocks, self.head = trained.blocks, trained.head
        self.eval().to(memory_format=torch.channels_last)


def _is_normalised(layers: nn.Sequential) -> bool:
    return len(layers) == 3 and isinstance(layers[1], nn.BatchNorm2d)


def folded(layers: Any) -> nn.Sequential:
    """A (transposed) convolution, its normalisation and an activation, as two layers."""
    convolution, normalisation, activation = layers
    transposed = isinstance(convolution, nn.ConvTranspose2d)
    return nn.Sequential(fuse_conv_bn_eval(convolution, normalisation, transposed), activation)


class _FromOnePixel(nn.Module):
    """A transposed convolution without padding of images of one pixel, as a matrix product.

    Kernels for any image are several times slower there, and reorder the weights each time.
    """

    weight: torch.Tensor
    bias: torch.Tensor

    def __init__(self, convolution: nn.ConvTranspose2d):
        super().__init__()
        inputs, *self.shape = convolution.weight.shape  # outputs, height, width
        # rows in the order of an image whose channels are last
        rows = convolution.weight.permute(2, 3, 1, 0).reshape(-1, inputs)
        self.register_buffer("weight", rows.contiguous())
        assert convolution.bias is not None  # of the normalisation
        self.register_buffer("bias", convolution.bias.repeat(len(rows) // self.shape[0]))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        outputs, height, width = self.shape
        rows = nn.functional.linear(x.flatten(1), self.weight, self.bias)
        return rows.view(-1, height, width, outputs).permute(0, 3, 1, 2)
