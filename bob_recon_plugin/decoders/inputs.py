"""What decoders accept, and the sizes that those of square faces have in common."""

from __future__ import annotations

import torch
from torch import nn

from ..common.validation import InputError


class SquareDecoder(nn.Module):
    """A decoder of square faces.

    Parameters
    ----------
    embedding_size : int
        Length ``d`` of an embedding.
    output_size : int
        Side of a face, in pixels.

    Raises
    ------
    ValueError
        For sizes that cannot be.
    """

    def __init__(self, embedding_size: int, output_size: int):
        super().__init__()
        if embedding_size < 1:
            raise InputError(f"`embedding_size` must be at least 1, got {embedding_size}.")
        if output_size < 8:
            raise InputError(f"`output_size` must be at least 8 pixels, got {output_size}.")
        self.embedding_size = embedding_size
        self.output_size = output_size

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width of a face, in pixels."""
        return self.output_size, self.output_size


def flat_embeddings(embeddings: torch.Tensor, size: int) -> torch.Tensor:
    """Return embeddings of shape (n, size) or (n, size, 1, 1) as (n, size).

    Raises
    ------
    ValueError
        For any other shape.
    """
    shape = tuple(embeddings.shape)
    if shape[1:] not in ((size,), (size, 1, 1)):
        raise InputError(
            f"`embeddings` must have shape (n, {size}), got {shape}; "
            "pass one raw embedding a row, of the recogniser that this decoder was made for."
        )
    return embeddings.flatten(1)
