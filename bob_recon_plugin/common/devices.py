"""Torch devices by name."""

from __future__ import annotations

import torch

from .validation import InputError


def torch_device(name: str) -> torch.device:
    """Return the torch device of a name.

    Parameters
    ----------
    name : str
        "cpu", "cuda", "cuda:1", ...; "auto" is "cuda" if there is a GPU.

    Raises
    ------
    ValueError
        For a name that torch does not know, and for CUDA on a machine without it.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except (RuntimeError, TypeError) as error:
        raise InputError(
            f'`device` must be "auto" or a torch device, got {name!r}; try "auto".'
        ) from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise InputError(f'`device` must be available, got {name!r} without CUDA; try "auto".')
    return device
