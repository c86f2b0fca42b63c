"""A recogniser that sees faces a little moved: what holds for one view alone convinces it less."""

from __future__ import annotations

import torch
from torch import nn

_SHIFT = 2  # pixels
_NOISE = 0.01 * 255


def moved(faces: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Shift a batch by up to two pixels each way, and mirror it half of the time.

    Parameters
    ----------
    faces : Tensor of shape (n, 3, H, W)
    generator : Generator
        On the CPU. All faces of a batch move alike, so that three numbers are
        drawn whatever their count.

    Returns
    -------
    Tensor of shape (n, 3, H, W)
        What leaves on one side comes in on the other.
    """
    down, right = torch.randint(-_SHIFT, _SHIFT + 1, (2,), generator=generator)
    faces = torch.roll(faces, (int(down), int(right)), (2, 3))
    if torch.rand((), generator=generator) < 0.5:
        faces = faces.flip(3)
    return faces


class Watched(nn.Module):
    """The recogniser, behind a small random change of the picture when there is a generator."""

    def __init__(self, recognizer: nn.Module):
        super().__init__()
        self.recognizer = recognizer
        self.generator: torch.Generator | None = None

    def forward(self, faces: torch.Tensor) -> torch.Tensor:
        if self.generator is not None:
            faces = moved(faces, self.generator)
            noise = torch.randn(faces.shape, generator=self.generator)
            faces = faces + _NOISE * noise.to(faces.device)
        return self.recognizer(faces.contiguous(memory_format=torch.channels_last))
