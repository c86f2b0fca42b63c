"""Load the torch module of a described recognition model."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from .backbones import load_backbone
from .description import Recognizer
from .module import RecognizerModule
from .registry import get
from .weights import verified


def load_module(recognizer: str | Recognizer, weights: str | Path | None = None) -> nn.Module:
    """Load a recognition model as a frozen, differentiable module on the CPU.

    Parameters
    ----------
    recognizer : str or Recognizer
        A name that :func:`~bob_recon_plugin.recognizers.names` lists, or a description.
    weights : str or Path, optional
        Path of another copy of the weights file.

    Returns
    -------
    Module
        From RGB images (n, 3, H, W) in [0, 255] to embeddings (n, d). Gradients are computed for
        the images, never for the weights. Every call returns a new module.

    Raises
    ------
    FileNotFoundError
        If the weights are missing.
    ValueError
        For an unknown name, a file with another hash, or one that cannot be read.
    """
    recognizer = get(recognizer)
    path = verified(recognizer, weights)
    if recognizer.network == "onnx":
        from .onnx.network import open_onnx  # slow: loads torchvision too

        return open_onnx(recognizer, path)
    return RecognizerModule(recognizer, load_backbone(recognizer, path))
