"""Jitter: small random changes of faces, against overfitting to one recognition model."""

from __future__ import annotations

import torch
from torch import nn

_SHIFT = 2  # pixels
_NOISE = 0.01 * 255  # standard deviation, in grey levels


def shift_and_mirror(faces: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Shift a batch by up to two pixels in each direction, and mirror it half of the time.

    Parameters
    ----------
    faces : Tensor of shape (n, 3, H, W)
    generator : Generator
        On the CPU. All faces of a batch are changed alike: three numbers are drawn, for any
        batch size.

    Returns
    -------
    Tensor of shape (n, 3, H, W)
        Pixels that leave the image on one side enter it on the other.
    """
    down, right = torch.randint(-_SHIFT, _SHIFT + 1, (2,), generator=generator)
    faces = torch.roll(faces, (int(down), int(right)), (2, 3))
    if torch.rand((), generator=generator) < 0.5:
        faces = faces.flip(3)
    return faces


class JitteredRecognizer(nn.Module):
    """A recogniser that jitters its input, and adds noise to it, while ``generator`` is set.

    Parameters
    ----------
    recognizer : Module
        From faces (n, 3, H, W) in [0, 255] to embeddings (n, d).
    """

    def __init__(self, recognizer: nn.Module):
        super().__init__()
        self.recognizer = recognizer
        self.generator: torch.Generator | None = None

    def forward(self, faces: torch.Tensor) -> torch.Tensor:
        if self.generator is not None:
            faces = shift_and_mirror(faces, self.generator)
            noise = torch.randn(faces.shape, generator=self.generator)
            faces = faces + _NOISE * noise.to(faces.device)
        return self.recognizer(faces.contiguous(memory_format=torch.channels_last))
