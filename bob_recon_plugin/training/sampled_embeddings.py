"""Embeddings drawn at random: whoever holds the recognition model needs no faces for them."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F


class SampledEmbeddings(nn.Module):
    """Draw embeddings between a Gaussian fitted to real ones and the isotropic one.

    Synthetic or few training faces crowd a part of the embedding space, and
    victims lie outside it. Directions drawn evenly between the fitted
    distribution and all directions carry the identity term there. Norms are
    drawn evenly between 0.85 and 1.3 of the mean norm: real faces, with their
    better pictures, have longer embeddings than generated ones.

    Parameters
    ----------
    embeddings : Tensor of shape (n, d)
        Raw embeddings of training faces.
    """

    mean: torch.Tensor
    factor: torch.Tensor
    norm: torch.Tensor

    def __init__(self, embeddings: torch.Tensor):
        super().__init__()
        size = embeddings.shape[1]
        rows = embeddings.double()
        # fewer faces than dimensions leave a singular covariance: a trace of all directions
        covariance = torch.cov(rows.T) + 1e-4 * torch.eye(size, dtype=rows.dtype)
        self.register_buffer("mean", rows.mean(0).float(), persistent=False)
        self.register_buffer("factor", torch.linalg.cholesky(covariance).float(), persistent=False)
        self.register_buffer("norm", rows.norm(dim=1).mean().float(), persistent=False)

    def draw(self, n: int, generator: torch.Generator) -> torch.Tensor:
        """Return n embeddings of shape (n, d); ``generator`` is one of the CPU."""
        device = self.mean.device
        normal = torch.randn(2, n, len(self.mean), generator=generator).to(device)
        even = torch.rand(2, n, 1, generator=generator).to(device)
        fitted = F.normalize(self.mean + normal[0] @ self.factor.T)
        share = even[0]
        direction = F.normalize(share * fitted + (1 - share) * F.normalize(normal[1]))
        return direction * self.norm * (0.85 + 0.45 * even[1])
