"""What every decoder accepts."""

from __future__ import annotations

import torch


def flat_embeddings(embeddings: torch.Tensor, size: int) -> torch.Tensor:
    """Return embeddings of shape (n, size) or (n, size, 1, 1) as (n, size).

    Raises
    ------
    ValueError
        For any other shape.
    """
    shape = tuple(embeddings.shape)
    if shape[1:] not in ((size,), (size, 1, 1)):
        raise ValueError(
            f"`embeddings` must have shape (n, {size}), got {shape}; "
            "pass one raw embedding a row, of the recogniser that this decoder was made for."
        )
    return embeddings.flatten(1)
