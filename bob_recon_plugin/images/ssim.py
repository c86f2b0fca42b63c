"""Structural similarity of images, as a differentiable torch function."""

from __future__ import annotations

import math

import torch
from torch.nn import functional as F

from ..common.validation import InputError

_WINDOW_SIDE = 11
_WINDOW_SIGMA = 1.5
_C1 = 0.01**2
_C2 = 0.03**2


def _gaussian_row() -> list[float]:
    """Row of a normalised Gaussian window, 11 values."""
    row = [
        math.exp(-((i - _WINDOW_SIDE // 2) ** 2) / (2 * _WINDOW_SIGMA**2))
        for i in range(_WINDOW_SIDE)
    ]
    return [value / sum(row) for value in row]


_GAUSSIAN = _gaussian_row()


def _smooth(images: torch.Tensor) -> torch.Tensor:
    """Gaussian-weighted local means over the positions where the window fits."""
    channels = images.shape[1]
    # not cached: a tensor made in inference mode cannot be used in training
    row = images.new_tensor(_GAUSSIAN).expand(channels, 1, 1, -1)
    images = F.conv2d(images, row, groups=channels)
    return F.conv2d(images, row.transpose(2, 3), groups=channels)


def ssim(images: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Mean structural similarity of each pair of images.

    Parameters
    ----------
    images, targets : Tensor of shape (n, c, H, W), values in [0, 1]
        H and W of at least 11, the side of the Gaussian window (sigma 1.5).
        Half precision is computed in float32, under autocast too: local
        variances are small differences of squares.

    Returns
    -------
    Tensor of shape (n,)
        In [-1, 1]; 1 for equal images.

    Notes
    -----
    Equals scikit-image's ``structural_similarity(x, y, gaussian_weights=True, sigma=1.5,
    use_sample_covariance=False, data_range=1, channel_axis=0)``, which pads the
    images and then leaves out a border of 5 pixels: the same windows.

    References
    ----------
    Z. Wang et al., "Image quality assessment: from error visibility to
    structural similarity", IEEE TIP 13(4), 2004, eq. 13.
    """
    check_pair(images, targets, 4, "`images` and `targets`")
    if min(images.shape[2:]) < _WINDOW_SIDE:
        raise InputError(
            f"`images` must be at least {_WINDOW_SIDE} pixels high and wide for SSIM, "
            f"got {tuple(images.shape[2:])}."
        )
    with torch.autocast(images.device.type, enabled=False):
        return _ssim(_at_least_float32(images), _at_least_float32(targets))


def _at_least_float32(images: torch.Tensor) -> torch.Tensor:
    return images if images.dtype == torch.float64 else images.float()


def _ssim(images: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    n, c = images.shape[:2]
    # one pass of the window over all five maps
    stacked = _smooth(
        torch.cat([images, targets, images * images, targets * targets, images * targets], 1)
    )
    mean_x, mean_y, xx, yy, xy = stacked.reshape(n, 5, c, *stacked.shape[2:]).unbind(1)
    product = mean_x * mean_y
    squares = mean_x.square() + mean_y.square()
    similarity = ((2 * product + _C1) * (2 * (xy - product) + _C2)) / (
        (squares + _C1) * (xx + yy - squares + _C2)
    )
    return similarity.mean(dim=(1, 2, 3))


def check_pair(first: torch.Tensor, second: torch.Tensor, dims: int, what: str) -> None:
    """Raise ValueError unless both are batches of one shape with ``dims`` dimensions."""
    if first.shape != second.shape or first.ndim != dims:
        raise InputError(
            f"{what} must be two tensors of the same shape with {dims} dimensions, got "
            f"{tuple(first.shape)} and {tuple(second.shape)}; compare batches that belong together."
        )
    if not len(first):
        raise InputError(f"{what} must hold at least one pair, got none; their mean is undefined.")
