"""Recognition models as differentiable torch modules."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from ..common.validation import InputError
from .description import Recognizer


class _FixedPReLU(torch.autograd.Function):
    """PReLU whose slopes are constants.

    torch always computes the gradient of the slopes too, which took most of the time of a backward
    pass of a MobileFaceNet.
    """

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, slopes: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(x, slopes)
        return torch.prelu(x, slopes)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None]:
        x, slopes = ctx.saved_tensors
        (g,) = gradients
        slopes = slopes.reshape(-1, *[1] * max(x.ndim - 2, 0)).to(g.dtype)
        # g where x > 0, slopes * g elsewhere; torch.where is slow on a CPU
        passed = torch.ops.aten.threshold_backward(g, x.to(g.dtype), 0)
        return passed.lerp_(g, slopes), None


class FixedPReLU(nn.Module):
    """PReLU with constant slopes of shape (1,) or (channels,)."""

    slopes: torch.Tensor

    def __init__(self, slopes: torch.Tensor):
        super().__init__()
        self.register_buffer("slopes", slopes.detach().reshape(-1).clone())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return _FixedPReLU.apply(x, self.slopes)


def freeze(network: nn.Module) -> nn.Module:
    """Switch off the gradients of the weights, in place."""
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if type(child) is nn.PReLU:
                setattr(parent, name, FixedPReLU(child.weight))
    return network.requires_grad_(False)


class FrozenModule(nn.Module):
    """A network that stays in evaluation mode, even inside a model in training mode."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = freeze(network)
        self.train(False)

    def train(self, mode: bool = True) -> FrozenModule:
        """Stay in evaluation mode; ``mode`` is ignored."""
        super().train(False)
        return self


def full_precision(images: torch.Tensor) -> torch.Tensor:
    """Convert half precision, which decoders return under autocast, to float32.

    Some networks switch off autocast, and their weights are float32.
    """
    return images.float() if images.dtype in (torch.float16, torch.bfloat16) else images


class RecognizerModule(FrozenModule):
    """Embed faces with the network of a description.

    Parameters
    ----------
    recognizer : Recognizer
    network : Module
        Its input is normalised faces, in the channel order and the layout of the description.
    """

    def __init__(self, recognizer: Recognizer, network: nn.Module):
        super().__init__(network)
        self.recognizer = recognizer

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Embed a batch; gradients are computed for ``images``.

        Parameters
        ----------
        images : Tensor of shape (n, 3, H, W)
            Floats, RGB, [0, 255], of the size of the description.

        Returns
        -------
        Tensor of shape (n, d)
            Raw embeddings, not normalised to unit length.
        """
        about = self.recognizer
        if images.ndim != 4 or tuple(images.shape[1:]) != (3, *about.image_size):
            height, width = about.image_size
            raise InputError(
                f"`images` must have shape (n, 3, {height}, {width}) for {about.name}, got "
                f"{tuple(images.shape)}; crop or resize them first."
            )
        images = full_precision(images)
        if about.color == "bgr":
            images = images.flip(1)
        images = (images - about.mean) / about.scale
        if about.layout == "nhwc":
            images = images.permute(0, 2, 3, 1)
        embeddings = self.network(images)
        check_embeddings(embeddings, len(images), about.embedding_size, about.name)
        return embeddings


def check_embeddings(embeddings: Any, n: int, size: int | None, name: str) -> None:
    """Raise ValueError unless ``embeddings`` is a tensor of shape (n, size)."""
    shape = tuple(embeddings.shape) if isinstance(embeddings, torch.Tensor) else None
    if shape is None or len(shape) != 2 or shape != (n, shape[1] if size is None else size):
        got = type(embeddings).__name__ if shape is None else shape
        raise InputError(
            f"`{name}` must turn {n} images into embeddings of shape ({n}, {size or 'd'}), got "
            f"{got}; give a network whose only output is the embedding."
        )
