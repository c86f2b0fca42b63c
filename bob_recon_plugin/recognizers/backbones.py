"""Bob's network architectures, with weights from a local state dict."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..common.validation import InputError, one_of
from ..common.weights_files import read_weights, shortened
from .description import Recognizer
from .pickled_module import read_tensors

_IRESNETS = ("iresnet34", "iresnet50", "iresnet100")
_HEAD = {"feat_dim": 512, "out_h": 7, "out_w": 7}


def _stage(modules: int, block: str, blocks: int, *channels: int) -> dict[str, Any]:
    return {
        "NUM_MODULES": modules,
        "NUM_BRANCHES": len(channels),
        "BLOCK": block,
        "NUM_BLOCKS": [blocks] * len(channels),
        "NUM_CHANNELS": list(channels),
        "FUSE_METHOD": "SUM",
    }


#: Content of FaceX-Zoo's `backbone_conf.yaml`, which the wheel of bob.bio.face does not include.
_FACEXZOO: dict[str, dict[str, Any]] = {
    "AttentionNet": {**_HEAD, "stage1_modules": 1, "stage2_modules": 1, "stage3_modules": 1},
    "EfficientNet": {**_HEAD, "width": 1.0, "depth": 1.0, "image_size": 112, "drop_ratio": 0.2},
    "GhostNet": {**_HEAD, "width": 1.0, "drop_ratio": 0.2},
    "HRNet": {
        **_HEAD,
        "IMAGE_SIZE": [112, 112],
        "EXTRA": {
            "STAGE1": _stage(1, "BOTTLENECK", 4, 64),
            "STAGE2": _stage(1, "BASIC", 4, 18, 36),
            "STAGE3": _stage(4, "BASIC", 4, 18, 36, 72),
            "STAGE4": _stage(3, "BASIC", 4, 18, 36, 72, 144),
        },
    },
    "MobileFaceNet": _HEAD,
    "ReXNet": {
        **_HEAD,
        "input_ch": 16,
        "final_ch": 180,
        "width_mult": 1.0,
        "depth_mult": 1.0,
        "use_se": 0,
        "se_ratio": 12,
        "dropout_ratio": 0.2,
    },
    "ResNeSt": {**_HEAD, "depth": 50, "drop_ratio": 0.4},
    "ResNet": {**_HEAD, "depth": 152, "drop_ratio": 0.4, "net_mode": "ir_se"},
    "TF-NAS": {**_HEAD, "drop_ratio": 0.2},
}


def build_backbone(network: str) -> nn.Module:
    """Return one of Bob's architectures with random weights, by its name in a description."""
    one_of("network", network, ("onnx", *_IRESNETS, *(f"facexzoo-{name}" for name in _FACEXZOO)))
    if network in _IRESNETS:
        from bob.bio.face.pytorch.backbones import iresnet

        return getattr(iresnet, network)()
    from bob.bio.face.pytorch.facexzoo.backbone_def import BackboneFactory

    # its constructor would only read the missing file
    factory = BackboneFactory.__new__(BackboneFactory)
    factory.backbone_type = network.removeprefix("facexzoo-")
    factory.backbone_param = _FACEXZOO[factory.backbone_type]
    return factory.get_backbone()


def load_backbone(recognizer: Recognizer, path: Path) -> nn.Module:
    """Build the network of a description and load its state dict.

    Raises
    ------
    ValueError
        If the file does not hold a state dict, or holds one of another network.
    """
    network = build_backbone(recognizer.network)
    try:
        network.load_state_dict(_state_dict(path))
    except (RuntimeError, TypeError, AttributeError) as error:  # the last two: not tensors
        raise InputError(
            f"`weights` must be a state dict of {recognizer.network}, got {path} "
            f"({shortened(error)}); {recognizer.source}."
        ) from error
    if recognizer.batch_norm_eps is not None:
        for layer in network.modules():
            if isinstance(layer, (nn.BatchNorm1d, nn.BatchNorm2d)):
                layer.eps = recognizer.batch_norm_eps
    return network


def _state_dict(path: Path) -> dict[str, torch.Tensor]:
    """Return tensors by name, of a state dict, a FaceX-Zoo checkpoint or a pickled module."""
    try:
        content = read_weights(path, "weights", "download it again, or save the state_dict().")
    except InputError:
        if tensors := _module_tensors(path):
            return tensors
        raise
    if isinstance(content, dict) and isinstance(content.get("state_dict"), dict):
        prefix = "backbone."
        content = {
            key.removeprefix(prefix): value
            for key, value in content["state_dict"].items()
            if isinstance(key, str) and key.startswith(prefix)
        }
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise InputError(
            f"`weights` must hold a state dict, got {type(content).__name__} in {path}; "
            "save the network's state_dict()."
        )
    return content


def _module_tensors(path: Path) -> dict[str, torch.Tensor]:
    """Return the tensors of a pickled network; empty for any other file."""
    try:
        return read_tensors(path)
    except Exception:  # a damaged pickle fails in any way
        return {}
