"""NbNet: the decoder of neighbourly de-convolution blocks, to compare with."""

from __future__ import annotations

import torch
from torch import nn

from ._blocks import BlockDecoder, scaled

#: (channels at width 1, kernel, stride, padding) of each block's transposed convolution.
#: Sides grow 1 -> 7 -> 14 -> 28 -> 56 -> 112.
_BLOCKS = (
    (256, 7, 1, 0),
    (128, 4, 2, 1),
    (64, 4, 2, 1),
    (32, 4, 2, 1),
    (16, 4, 2, 1),
)
_GROWTH = 8  # channels that each convolution adds


class _NeighbourlyBlock(nn.Module):
    """One block, its result ``[d, c_1, ..., c_P]`` twice as many channels as ``d``.

    ``d`` is upsampled from the block before; ``c_1`` sees ``d`` alone, and every
    other convolution ``d`` and its neighbour, ``[d, c_(p-1)]``.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, padding: int):
        super().__init__()
        self.deconv = nn.Sequential(
            nn.ConvTranspose2d(inputs, outputs, kernel, stride, padding, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(inplace=True),
        )
        self.neighbours = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(outputs + (_GROWTH if p else 0), _GROWTH, 3, padding=1, bias=False),
                nn.BatchNorm2d(_GROWTH),
                nn.ReLU(inplace=True),
            )
            for p in range(outputs // _GROWTH)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        d = self.deconv(x)
        first, *others = self.neighbours
        found = [d, first(d)]
        for convolution in others:
            found.append(convolution(torch.cat([d, found[-1]], 1)))
        return torch.cat(found, 1)


class NbNet(BlockDecoder, name="nbnet"):
    """Decode face embeddings with neighbourly de-convolution blocks.

    Blocks of the paper's form B: half of a block's channels are those of a
    transposed convolution, the other half come eight at a time from 3 x 3
    convolutions of it and of the eight before. It is like NbNet, not equal to it: five
    blocks from 7 x 7, where six from 5 x 5 made faces of 160 pixels; normalisation
    and ReLU behind every convolution; the head of the other decoders here, 3 x 3 and a sigmoid.

    Parameters
    ----------
    embedding_size : int
        Length ``d`` of an embedding.
    width : float
        Multiplier on the channels of every block, rounded to multiples of 8, and so on
        the number of its convolutions. 1 has the channels of the paper (8,636,515
        parameters and 386 M multiply-adds a face for ``d = 512``); 0.625 (4,892,371 and
        157 M) is about as large as DSCasConv of width 0.4375 (4,195,227 and 174 M).
    output_size : int
        Side of the square image. The blocks make 112; any other side is
        resized from that (bilinear, anti-aliased).

    References
    ----------
    G. Mai, K. Cao, P. C. Yuen, A. K. Jain, "On the Reconstruction of Face
    Images from Deep Face Templates", IEEE TPAMI 41(5), 2019,
    DOI 10.1109/TPAMI.2018.2827389.

    Examples
    --------
    >>> decoder = NbNet(embedding_size=512, width=0.25).eval()
    >>> decoder(torch.zeros(2, 512)).shape
    torch.Size([2, 3, 112, 112])
    """

    def _grown(self) -> tuple[list[nn.Module], int]:
        inputs = self.embedding_size
        blocks: list[nn.Module] = []
        for channels, kernel, stride, padding in _BLOCKS:
            outputs = scaled(channels, self.width)
            blocks.append(_NeighbourlyBlock(inputs, outputs, kernel, stride, padding))
            inputs = 2 * outputs
        return blocks, inputs
