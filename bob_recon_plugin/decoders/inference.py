"""The form of a decoder that decodes fastest; it draws the same faces."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from .blocks import BlockDecoder
from .dscasconv import DSCasConv
from .nbnet import NbNet


def for_inference(decoder: nn.Module) -> nn.Module:
    """Return a decoder in the form that decodes fastest.

    Pixels differ by rounding alone: by 5e-7 on a CPU, of [0, 1]. A decoder
    without such a form is returned as it is.

    Parameters
    ----------
    decoder : nn.Module
        On any device; it stays as it is.

    Returns
    -------
    nn.Module
        In evaluation mode. Its weights are constants; gradients reach the embeddings.

    Examples
    --------
    >>> decoder = DSCasConv(embedding_size=6, width=0.01).eval()
    >>> fast, x = for_inference(decoder), torch.randn(2, 6)
    >>> torch.allclose(fast(x), decoder(x), atol=1e-5)
    True
    """
    if type(decoder) is DSCasConv:
        return FoldedDSCasConv(decoder)
    return FoldedNbNet(decoder) if type(decoder) is NbNet else decoder


class FoldedDSCasConv(DSCasConv):
    """A trained DSCasConv without batch normalisations, channels last.

    They have become part of the (transposed) convolutions before them, and the
    first of these, which sees a single pixel, a matrix product. It has other
    weights than a decoder's file, and :func:`~.checkpoint.save` refuses it.

    Parameters
    ----------
    decoder : DSCasConv
        It stays as it is.
    """

    def __init__(self, decoder: DSCasConv):
        with torch.device("meta"):  # replaced below
            super().__init__(decoder.embedding_size, decoder.width, decoder.output_size)
        _fold_into(self, decoder)


class FoldedNbNet(NbNet):
    """A trained NbNet without batch normalisations, as :class:`FoldedDSCasConv`.

    Parameters
    ----------
    decoder : NbNet
        It stays as it is.
    """

    def __init__(self, decoder: NbNet):
        with torch.device("meta"):  # replaced below
            super().__init__(decoder.embedding_size, decoder.width, decoder.output_size)
        _fold_into(self, decoder)


def _fold_into(target: BlockDecoder, decoder: BlockDecoder) -> None:
    trained: Any = copy.deepcopy(decoder).eval().requires_grad_(False)
    for parent in list(trained.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.Sequential) and isinstance(child[1], nn.BatchNorm2d):
                setattr(parent, name, _folded(child))
    trained.blocks[0].deconv[0] = _FromOnePixel(trained.blocks[0].deconv[0])
    target.blocks, target.head = trained.blocks, trained.head
    target.eval().to(memory_format=torch.channels_last)


def _folded(layers: Any) -> nn.Sequential:
    """A (transposed) convolution, its normalisation and an activation, as two layers."""
    convolution, normalisation, activation = layers
    transposed = isinstance(convolution, nn.ConvTranspose2d)
    return nn.Sequential(fuse_conv_bn_eval(convolution, normalisation, transposed), activation)


class _FromOnePixel(nn.Module):
    """A transposed convolution without padding of images of one pixel, as a matrix product.

    Kernels for any image are several times slower there, and order the weights anew each time.
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
