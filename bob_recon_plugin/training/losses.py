"""Training losses of a decoder: pixel, structural, perceptual, identity, and their sum.

Images are float tensors of shape (n, 3, H, W), RGB, in [0, 1]; embeddings are
(n, d). Every term is a mean over the batch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import torch
from torch import nn
from torch.nn import functional as F

from ..common.validation import InputError, one_of
from ..common.weights_files import read_weights, shortened
from ..images.ssim import check_pair, ssim


def dssim(images: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Structural dissimilarity ``(1 - SSIM) / 2``, a scalar in [0, 1]."""
    return (1 - ssim(images, targets).mean()) / 2


def mse(images: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Mean squared error of the pixels, a scalar."""
    check_pair(images, targets, 4, "`images` and `targets`")
    return F.mse_loss(images, targets)


def mae(images: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Mean absolute error of the pixels, a scalar."""
    check_pair(images, targets, 4, "`images` and `targets`")
    return F.l1_loss(images, targets)


def identity(embeddings: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Mean squared error between embeddings that are not normalised, a scalar.

    The identity term of the paper.
    """
    check_pair(embeddings, targets, 2, "`embeddings` and `targets`")
    return F.mse_loss(embeddings, targets)


def identity_cosine(embeddings: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """``1 - cosine`` between embeddings, averaged: what a cosine comparator measures."""
    check_pair(embeddings, targets, 2, "`embeddings` and `targets`")
    return 1 - F.cosine_similarity(embeddings, targets).mean()


_CONVOLUTIONS = (2, 2, 3, 3, 3)  # of the blocks of VGG-16
_VGG16_FILE = "vgg16-397923af.pth"
_VGG16_REMEDY = f"give torchvision's {_VGG16_FILE}."
_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_STD = (0.229, 0.224, 0.225)


def _vgg16_features() -> tuple[nn.Sequential, dict[str, int]]:
    """Convolutional part of torchvision's VGG-16, and where each ReLU stands."""
    from torchvision.models import vgg  # here: the other losses need no torchvision

    features = vgg.make_layers(vgg.cfgs["D"])
    names = [f"relu{b}_{c + 1}" for b, n in enumerate(_CONVOLUTIONS, 1) for c in range(n)]
    places = [i for i, layer in enumerate(features) if isinstance(layer, nn.ReLU)]
    return features, dict(zip(names, places, strict=True))


def _imagenet_weights(path: Path | None = None) -> dict[str, torch.Tensor]:
    kept = Path(torch.hub.get_dir(), "checkpoints", _VGG16_FILE)
    if path is None and not kept.is_file():
        from torchvision.models import VGG16_Weights

        weights = VGG16_Weights.IMAGENET1K_V1
        try:
            state = weights.get_state_dict(check_hash=True, weights_only=True)
        except (OSError, RuntimeError) as error:  # no network, or a broken download
            raise InputError(
                f"the perceptual term must have the weights of VGG-16, got none from {weights.url} "
                f"({error}); download it elsewhere and name it with `--vgg16 FILE`, or take "
                "a preset without this term, such as best."
            ) from error
    else:
        state = read_weights(path or kept, "vgg16", _VGG16_REMEDY)
    if not isinstance(state, dict):
        state = {}
    names = [k for k in state if isinstance(k, str) and k.startswith("features.")]
    return {name.removeprefix("features."): state[name] for name in names}


#: Activations that the perceptual term compares where none are named.
PERCEPTUAL_LAYERS = ("relu1_2", "relu2_2", "relu3_3", "relu4_3")


class Perceptual(nn.Module):
    """Distance of VGG-16 feature maps: the perceptual term.

    The mean absolute difference of the maps, summed over the layers. Images go
    in at their own size with ImageNet's mean and deviation taken out. Which
    layers the paper compared is not published; the default are those of
    Johnson et al.

    Parameters
    ----------
    weights : {"imagenet", None}, Path or mapping
        "imagenet": torchvision's ``VGG16_Weights.IMAGENET1K_V1``, downloaded (528 MB) now, or
        read from ``$TORCH_HOME/hub/checkpoints/vgg16-397923af.pth`` when it is there.
        A Path: a copy of that file. None: random, for tests. A state dict of
        torchvision's ``vgg16().features``.
    layers : sequence of str
        Names such as "relu3_3": the third activation of the third block.

    References
    ----------
    J. Johnson, A. Alahi, L. Fei-Fei, "Perceptual losses for real-time style
    transfer and super-resolution", ECCV 2016, eq. 2.
    K. Simonyan, A. Zisserman, "Very deep convolutional networks for large-scale
    image recognition", ICLR 2015, configuration D.
    """

    features: nn.Sequential
    mean: torch.Tensor
    std: torch.Tensor

    def __init__(
        self,
        weights: str | Path | Mapping[str, torch.Tensor] | None = "imagenet",
        layers: Sequence[str] = PERCEPTUAL_LAYERS,
    ):
        super().__init__()
        features, relus = _vgg16_features()
        for layer in layers:
            one_of("layers", layer, relus)
        if isinstance(weights, str):
            one_of("weights", weights, ["imagenet"])
            weights = _imagenet_weights()
        elif isinstance(weights, Path):
            weights = _imagenet_weights(weights)
        if weights is not None:
            try:
                features.load_state_dict(weights)
            except (RuntimeError, TypeError, AttributeError) as error:
                raise InputError(
                    f"`vgg16` must be the state dict of torchvision's VGG-16, got another "
                    f"({shortened(error)}); {_VGG16_REMEDY}"
                ) from error
        self.layers = tuple(layers)
        self._stops = {relus[layer] for layer in layers}
        self.features = nn.Sequential(*list(features)[: max(self._stops) + 1])
        self.register_buffer("mean", torch.tensor(_IMAGENET_MEAN).reshape(3, 1, 1))
        self.register_buffer("std", torch.tensor(_IMAGENET_STD).reshape(3, 1, 1))
        self.requires_grad_(False)

    def maps(self, images: torch.Tensor) -> list[torch.Tensor]:
        """Return the feature maps of each layer, first layer first."""
        x, found = (images - self.mean) / self.std, []
        for index, module in enumerate(self.features):
            x = module(x)
            if index in self._stops:
                found.append(x)
        return found

    def forward(self, images: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Return the distance, a scalar."""
        check_pair(images, targets, 4, "`images` and `targets`")
        with torch.no_grad():
            wanted = self.maps(targets)
        distances = [F.l1_loss(a, b) for a, b in zip(self.maps(images), wanted, strict=True)]
        return torch.stack(distances).sum()


_PIXEL_TERMS: dict[str, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]] = {
    "mse": mse,
    "mae": mae,
    "dssim": dssim,
}
_IDENTITY_TERMS: dict[str, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]] = {
    "identity": identity,
    "identity_cosine": identity_cosine,
}
#: Names of the terms of :class:`Loss`.
TERMS = (*_PIXEL_TERMS, "perceptual", *_IDENTITY_TERMS)

#: Weights of the published losses: "icip2022" of H. Otroshi Shahreza, V. Krivokuća Hahn,
#: S. Marcel, "Face Reconstruction from Deep Facial Embeddings using a Convolutional Neural
#: Network", ICIP 2022, DOI 10.1109/ICIP46576.2022.9897535 (the identity weight is 0.005 in one
#: re-implementation and 0.1 in another); "tifs2024" of the same authors, "Vulnerability of
#: State-of-the-Art Face Recognition Models to Template Inversion Attack", IEEE TIFS 19, 2024,
#: DOI 10.1109/TIFS.2024.3381820.
PRESETS: Mapping[str, Mapping[str, float]] = MappingProxyType(
    {
        "icip2022": MappingProxyType({"mse": 1.0, "dssim": 0.1, "identity": 0.005}),
        "tifs2024": MappingProxyType(
            {"mae": 1.0, "dssim": 0.75, "perceptual": 0.02, "identity": 0.025}
        ),
    }
)


class Loss(nn.Module):
    """Weighted sum of terms.

    Parameters
    ----------
    weights : mapping of str to float
        Weight of each term, names out of :data:`TERMS`. A term of weight 0 is
        reported and not trained on.
    recognizer : callable or None
        Maps RGB images of shape (n, 3, H, W) in **[0, 255]** to embeddings
        (n, d) and lets gradients through. Needed by the identity terms. A module
        is frozen.
    perceptual : callable or None
        Maps images and targets to a scalar. None builds :class:`Perceptual`
        (which fetches its weights) if, and only if, ``weights`` names the term.

    Examples
    --------
    >>> loss = Loss({"mae": 1.0, "dssim": 0.5})
    >>> faces = torch.zeros(2, 3, 16, 16)
    >>> {name: round(float(value), 3) for name, value in loss(faces, faces + 0.5).items()}
    {'mae': 0.5, 'dssim': 0.5, 'total': 0.75}
    """

    def __init__(
        self,
        weights: Mapping[str, float],
        recognizer: Callable[[torch.Tensor], torch.Tensor] | None = None,
        perceptual: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] | None = None,
    ):
        super().__init__()
        _check_weights(weights)
        self.weights = dict(weights)
        self._identity_terms = [name for name in weights if name in _IDENTITY_TERMS]
        if self._identity_terms and recognizer is None:
            raise InputError(
                f"`recognizer` must be given for {', '.join(self._identity_terms)}, got None; "
                "pass recognizers.load_module(name)."
            )
        self.recognizer = recognizer if self._identity_terms else None
        if "perceptual" in weights and perceptual is None:
            perceptual = Perceptual()
        self.perceptual = perceptual if "perceptual" in weights else None
        self.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> Loss:
        """Stay in evaluation mode: the networks inside are constants."""
        return super().train(False)

    def forward(
        self,
        faces: torch.Tensor,
        targets: torch.Tensor,
        target_embeddings: torch.Tensor | None = None,
    ) -> dict[str, torch.Tensor]:
        """Compute the terms for a batch of reconstructions.

        The recognition model sees ``faces`` only: embeddings of real images are
        stored, and computing them again would double its work.

        Parameters
        ----------
        faces : Tensor of shape (n, 3, H, W)
            Reconstructions, RGB, [0, 1].
        targets : Tensor of shape (m, 3, H, W), m <= n
            Real images of the first m reconstructions. Faces beyond them were
            made from embeddings that have no image; only the identity terms use them.
        target_embeddings : Tensor of shape (n, d) or None
            The embeddings that the faces were made from. Without an identity
            term they are not used, and m must be n.

        Returns
        -------
        dict of str to Tensor
            Each term as it is, without its weight, and ``"total"``, their weighted sum.
        """
        terms: dict[str, torch.Tensor] = {}
        if self._identity_terms:
            terms |= self._identity(faces, target_embeddings)
            paired = faces[: len(targets)]
        else:
            paired = faces
        for name in self.weights:
            if name == "perceptual":
                terms[name] = self.perceptual(paired, targets)  # type: ignore[misc]
            elif name in _PIXEL_TERMS:
                terms[name] = _PIXEL_TERMS[name](paired, targets)
        terms = {name: terms[name] for name in self.weights}
        total = sum(weight * terms[name] for name, weight in self.weights.items() if weight)
        return {**terms, "total": torch.as_tensor(total)}

    def _identity(
        self, faces: torch.Tensor, target_embeddings: torch.Tensor | None
    ) -> dict[str, torch.Tensor]:
        if target_embeddings is None:
            raise InputError(
                f"`target_embeddings` must be given for {', '.join(self._identity_terms)}, "
                "got None; pass the embeddings that the faces were made from."
            )
        embeddings = self.recognizer(255 * faces)  # type: ignore[misc]
        return {
            name: _IDENTITY_TERMS[name](embeddings, target_embeddings)
            for name in self._identity_terms
        }


def _check_weights(weights: Mapping[str, float]) -> None:
    for name, weight in weights.items():
        one_of("weights", name, TERMS)
        if not 0 <= weight < math.inf:
            raise InputError(f"`weights` must be finite and not negative, got {name}={weight}.")
    if not any(weights.values()):
        raise InputError(f"`weights` must hold a term to train on, got {dict(weights)}.")
