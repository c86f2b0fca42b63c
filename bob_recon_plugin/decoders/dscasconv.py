"""DSCasConv: the deconvolution-and-cascaded-convolutions decoder of the paper."""

from __future__ import annotations

import torch
from torch import nn

from ._blocks import BlockDecoder, scaled

#: (channels at width 1, kernel, stride, padding) of each block's transposed convolution.
#: Sides grow 1 -> 4 -> 8 -> 16 -> 30 -> 58 -> 112.
_BLOCKS = (
    (512, 4, 1, 0),
    (256, 4, 2, 1),
    (128, 4, 2, 1),
    (64, 4, 2, 2),
    (32, 4, 2, 2),
    (16, 4, 2, 3),
)


class _ConvBlock(nn.Sequential):
    def __init__(self, channels: int):
        super().__init__(
            nn.Conv2d(channels, channels, 3, padding=1),
            nn.BatchNorm2d(channels),
            nn.ReLU(inplace=True),
        )


class _DeconvCascade(nn.Module):
    """One block, ``y = d + c(d)``: upsample, then refine the result with three convolutions."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, padding: int):
        super().__init__()
        self.deconv = nn.Sequential(
            nn.ConvTranspose2d(inputs, outputs, kernel, stride, padding, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(inplace=True),
        )
        self.cascade = nn.Sequential(*(_ConvBlock(outputs) for _ in range(3)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        d = self.deconv(x)
        return d + self.cascade(d)


class DSCasConv(BlockDecoder, name="dscasconv"):
    """Decode face embeddings into aligned face images.

    Six blocks of a transposed convolution and three cascaded convolutions with
    a skip connection, and a convolution with a sigmoid as head.

    Parameters
    ----------
    embedding_size : int
        Length ``d`` of an embedding.
    width : float
        Multiplier on the channels of every block, rounded to multiples of 8.
        1 is the network of the paper (16,434,179 parameters for ``d = 512``).
    output_size : int
        Side of the square image. The blocks make 112; any other side is
        resized from that (bilinear, anti-aliased).

    References
    ----------
    H. Otroshi Shahreza, V. Krivokuća Hahn, S. Marcel, "Face Reconstruction from
    Deep Facial Embeddings using a Convolutional Neural Network", ICIP 2022,
    DOI 10.1109/ICIP46576.2022.9897535.

    Examples
    --------
    >>> decoder = DSCasConv(embedding_size=512, width=0.25).eval()
    >>> decoder(torch.zeros(2, 512)).shape
    torch.Size([2, 3, 112, 112])
    """

    def _grown(self) -> tuple[list[nn.Module], int]:
        inputs = self.embedding_size
        blocks: list[nn.Module] = []
        for channels, kernel, stride, padding in _BLOCKS:
            outputs = scaled(channels, self.width)
            blocks.append(_DeconvCascade(inputs, outputs, kernel, stride, padding))
            inputs = outputs
        return blocks, inputs
