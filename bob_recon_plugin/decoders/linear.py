"""The linear baseline: closed-form ridge regression from embeddings to pixels."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from ..common.validation import InputError, finite_matrix
from ..images.geometry import Eyes
from ._base import Decoder, flat_embeddings


class LinearDecoder(Decoder, name="linear"):
    """Decode embeddings with one affine map, clipped to [0, 1].

    The floor that a network has to beat: it has no iterations and no random
    numbers, and blurred as its faces are, they are often accepted.

    Parameters
    ----------
    embedding_size : int
        Length ``d`` of an embedding.
    image_size : pair of int
        Height and width of a face, in pixels.

    Attributes
    ----------
    weight : Tensor of shape (3 H W, d)
        Zero until fitted or loaded.
    bias : Tensor of shape (3 H W,)

    Examples
    --------
    >>> faces = np.zeros((3, 3, 2, 2), dtype=np.uint8)
    >>> faces[0] = 255
    >>> decoder = LinearDecoder.fit(np.eye(3), faces, alpha=1e-6)
    >>> decoder(torch.eye(3))[:, 0, 0, 0].round(decimals=3)
    tensor([1., 0., 0.])
    """

    preset = "ridge"
    closed_form = True

    weight: torch.Tensor
    bias: torch.Tensor

    def __init__(self, embedding_size: int = 512, image_size: tuple[int, int] = (112, 112)):
        super().__init__()
        height, width = (int(side) for side in image_size)
        if embedding_size < 1 or height < 1 or width < 1:
            raise InputError(
                "`embedding_size` and `image_size` must be positive, "
                f"got {embedding_size} and {tuple(image_size)}."
            )
        self.embedding_size = embedding_size
        self.image_size = (height, width)
        self.register_buffer("weight", torch.zeros(3 * height * width, embedding_size))
        self.register_buffer("bias", torch.zeros(3 * height * width))

    @classmethod
    def for_faces(
        cls, embedding_size: int, image_size: tuple[int, int], positions: Eyes, width: float
    ) -> LinearDecoder:
        """Make one whose weights are zero; ``positions`` and ``width`` do not matter to it."""
        return cls(embedding_size, image_size)

    def forward(self, embeddings: torch.Tensor) -> torch.Tensor:
        """Decode a batch.

        Parameters
        ----------
        embeddings : Tensor of shape (n, d)
            Raw embeddings, not normalised to unit length.

        Returns
        -------
        Tensor of shape (n, 3, H, W)
            RGB in [0, 1].
        """
        rows = flat_embeddings(embeddings, self.embedding_size)
        pixels = nn.functional.linear(rows, self.weight, self.bias)
        return pixels.clamp(0, 1).unflatten(1, (3, *self.image_size))

    @classmethod
    def fit(
        cls,
        embeddings: np.ndarray,
        faces: np.ndarray,
        alpha: float = 0.3,
        block_size: int = 256,
    ) -> LinearDecoder:
        """Solve the ridge regression of pixels on embeddings, with an intercept.

        The normal equations are summed over blocks of faces in double
        precision, so ``faces`` may be a memory map; the memory taken is about
        ``16 d P + 8 block_size P`` bytes for P = 3 H W (0.7 GB at 512 and 112 x 112).

        Parameters
        ----------
        embeddings : array of shape (n, d)
            Raw embeddings of the faces.
        faces : uint8 array of shape (n, 3, H, W)
            RGB, [0, 255].
        alpha : float
            Penalty on squared weights **per face**: the regression's lambda is ``alpha * n``.
        block_size : int
            Faces read at once. It does not change the result.

        Returns
        -------
        LinearDecoder
            In evaluation mode, float32, on the CPU.

        Raises
        ------
        ValueError
            For shapes, types or numbers that do not fit together.

        References
        ----------
        A. E. Hoerl, R. W. Kennard, "Ridge regression: biased estimation for
        nonorthogonal problems", Technometrics 12(1), 1970, eq. 2.1.
        """
        rows = finite_matrix("embeddings", embeddings, None, "pass one embedding a face.")
        _check_fit(rows, faces, alpha, block_size)
        x = torch.from_numpy(rows).double()
        mean = x.mean(0)
        x -= mean
        cross, pixel_mean = _cross_products(x, faces, block_size)
        gram = x.T @ x
        gram.diagonal().add_(alpha * len(x))
        solution = torch.cholesky_solve(cross, torch.linalg.cholesky(gram))  # (d, P)
        decoder = cls(x.shape[1], (faces.shape[2], faces.shape[3]))
        decoder.weight.copy_(solution.T)
        decoder.bias.copy_(pixel_mean - mean @ solution)
        return decoder.eval()


def _cross_products(
    x: torch.Tensor, faces: np.ndarray, block_size: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return ``x.T @ pixels`` of shape (d, P) and the mean pixels (P,), pixels in [0, 1].

    ``x`` sums to zero over the faces, so the pixels need no centring.
    """
    pixels = int(np.prod(faces.shape[1:]))
    cross = x.new_zeros(x.shape[1], pixels)
    total = x.new_zeros(pixels)
    for start in range(0, len(x), block_size):
        block = torch.from_numpy(np.array(faces[start : start + block_size])).flatten(1).double()
        cross.addmm_(x[start : start + block_size].T, block)
        total += block.sum(0)
    return cross.div_(255), total.div_(255 * len(x))


def _check_fit(rows: np.ndarray, faces: np.ndarray, alpha: float, block_size: int) -> None:
    shape, dtype = getattr(faces, "shape", None), getattr(faces, "dtype", None)
    if shape is None or len(shape) != 4 or shape[1] != 3 or dtype != np.uint8:
        raise InputError(
            "`faces` must be a uint8 array of shape (n, 3, H, W), "
            f"got {type(faces).__name__} of shape {shape} and type {dtype}; "
            "stack RGB faces in [0, 255]."
        )
    if len(faces) != len(rows) or len(rows) < 2:
        raise InputError(
            "`embeddings` and `faces` must be as many, two or more, "
            f"got {len(rows)} and {len(faces)}; pass one embedding a face, in the same order."
        )
    if not 0 < alpha < float("inf"):
        raise InputError(f"`alpha` must be positive and finite, got {alpha}; try 0.3.")
    if block_size < 1:
        raise InputError(f"`block_size` must be at least 1, got {block_size}.")
