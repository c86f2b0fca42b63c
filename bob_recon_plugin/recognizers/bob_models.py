"""Bob's recognition transformers as differentiable torch modules."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from ..common.validation import InputError, InputTypeError
from .backbones import load_backbone
from .module import FrozenModule, check_embeddings, full_precision
from .registry import get

if TYPE_CHECKING:
    from bob.bio.face.embeddings.pytorch import PyTorchModel

_BOB_CLASSES = {
    "IResnet34": "arcface-iresnet34",
    "IResnet50": "arcface-iresnet50",
    "IResnet100": "arcface-iresnet100",
    "IResnet100Elastic": "elasticface-iresnet100",
}


def known_name(transformer: PyTorchModel) -> str | None:
    """Return our name of the model of one of Bob's classes; None for any other class."""
    kind = type(transformer).__name__
    if kind == "FaceXZooModel":
        return f"facexzoo-{transformer.arch.lower()}"
    return _BOB_CLASSES.get(kind)


class BobModule(FrozenModule):
    """Preprocessor and network of one of Bob's ``PyTorchModel`` transformers."""

    def __init__(
        self, name: str, preprocessor: Callable[[torch.Tensor], torch.Tensor], network: nn.Module
    ):
        super().__init__(network)
        self.name = name
        self.preprocessor = preprocessor

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Embed RGB images (n, 3, H, W) in [0, 255] as (n, d); gradients reach ``images``."""
        # a copy, since some of Bob's preprocessors change their input
        embeddings = self.network(self.preprocessor(full_precision(images).clone()))
        if isinstance(embeddings, (tuple, list)):  # Oxford's networks: (class scores, features)
            embeddings = embeddings[-1]
        if isinstance(embeddings, torch.Tensor) and embeddings.shape[2:].numel() == 1:
            embeddings = embeddings.flatten(1)
        check_embeddings(embeddings, len(images), None, self.name)
        return embeddings


def from_bob(transformer: PyTorchModel) -> nn.Module:
    """Make a differentiable module of one of Bob's ``PyTorchModel`` transformers.

    The checkpoint is read now. For Bob's iResNet and FaceX-Zoo classes, the architecture is the
    one in Bob, and no downloaded code is executed. A user's own class is loaded with its
    ``_load_model``. Bob's other classes execute a Python file that is downloaded with the weights:
    they are refused, unless they are already loaded. The transformer is not changed.

    Parameters
    ----------
    transformer : PyTorchModel

    Returns
    -------
    Module
        From RGB images (n, 3, H, W) in [0, 255], of the size that the transformer takes, to
        embeddings (n, d); frozen, on the CPU.

    Raises
    ------
    TypeError
        For any other object.
    ValueError
        For a class that would execute a Python file, and for a checkpoint that cannot be read.
    """
    from bob.bio.face.embeddings.pytorch import PyTorchModel

    if not isinstance(transformer, PyTorchModel):
        raise InputTypeError(
            "`transformer` must be a PyTorchModel of bob.bio.face, got "
            f"{type(transformer).__name__}; unwrap it first, or describe the model's file with "
            "recognizers.from_onnx."
        )
    name = type(transformer).__name__
    return BobModule(name, transformer.preprocessor, _network_of(transformer).to("cpu"))


def _network_of(transformer: Any) -> nn.Module:
    loaded = transformer.model
    if loaded is not None:
        return copy.deepcopy(loaded)
    name = known_name(transformer)
    if name is not None:
        return load_backbone(get(name), Path(transformer.checkpoint_path))
    if str(transformer.config).endswith(".py"):
        raise InputError(
            f"`transformer` must load without executing a file, got {type(transformer).__name__}, "
            f"which executes {transformer.config}; if you trust that file, call "
            "transformer._load_model() first."
        )
    transformer._load_model()
    network, transformer.model = transformer.model, None
    return network
