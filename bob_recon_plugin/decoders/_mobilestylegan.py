"""The FFHQ generator in the package `random-face`, built in torch from its OpenVINO files."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import ClassVar

import torch
from torch import nn
from torch.nn import functional as F

from ..common.files import sha256
from ..common.validation import InputError, MissingFileError
from ._openvino_files import Graph

#: Length of a style.
STYLE_SIZE = 512
#: Styles that one image takes: one for each modulated layer.
LAYERS = 23
_SLOPE = 0.2  # of the leaky rectifiers
_DRAFT_LEVELS = 5  # of 7: from 4 x 4 to 128 x 128 pixels
_STYLES, _FACES = 6000, 80  # for what is fitted
_SHA256 = {
    "MappingNetwork.xml": "73e2096cad6e696e4af47df2477e048ab4c42c0e0dec83c7c66604822689e55b",
    "SynthesisNetwork.xml": "7918fce515243954d3e06628cb39a23902d6b1d5d02932cc0c2faee7a2aeeedd",
    "MappingNetwork.bin": "212dd716bdb556e18db603ea97300d4fa3c872b878c726b2402fea80820e7305",
    "SynthesisNetwork.bin": "c7da15fa22d508c82e1c30dd6b4cdf67fe3ccdddaf85b310ee764dbf0c289645",
}
_INSTALL = (
    "run `pip install --no-deps random-face==2021.7.21.1` (with its dependencies, which are not "
    "used here, it brings Jupyter)."
)


def _folder() -> Path:
    """Return the folder of the generator's files, after a check of their hashes."""
    spec = importlib.util.find_spec("random_face")
    if spec is None or not spec.submodule_search_locations:
        raise MissingFileError(
            f"the generator must be installed, got no package `random_face`; {_INSTALL}"
        )
    folder = Path(spec.submodule_search_locations[0]) / "data"
    for name, digest in _SHA256.items():
        if not (folder / name).is_file() or sha256(folder / name) != digest:
            raise InputError(
                f"the generator must be the one of random-face 2021.7.21.1, got another "
                f"{folder / name}; {_INSTALL}"
            )
    return folder


class MobileStyleGAN(nn.Module):
    """MobileStyleGAN trained on FFHQ, from styles to faces.

    Its weights are constants; gradients reach the styles. They are read from the
    package `random-face` (Apache-2.0), of which no code runs; OpenVINO is not
    needed. Faces are those of OpenVINO to 1e-4, of [0, 1].

    Attributes
    ----------
    identity : dict of str to str
        SHA-256 of the weights of its two networks.
    mean : Tensor of shape (512,)
        The average style.
    factor : Tensor of shape (512, 512)
        Cholesky factor of the covariance of styles: ``mean + factor @ u`` with
        standard normal u has the mean and the covariance of styles.

    Raises
    ------
    FileNotFoundError
        When the package is missing.
    ValueError
        When its files hold another network.

    References
    ----------
    S. Belousov, "MobileStyleGAN: A Lightweight Convolutional Neural Network
    for High-Fidelity Image Synthesis", 2021, arXiv:2104.04767.
    """

    identity: ClassVar[dict[str, str]] = {
        name: _SHA256[f"{name}.bin"] for name in ("MappingNetwork", "SynthesisNetwork")
    }
    start: torch.Tensor
    weight: torch.Tensor
    bias: torch.Tensor
    mean: torch.Tensor
    factor: torch.Tensor
    draft_weight: torch.Tensor | None
    draft_bias: torch.Tensor | None

    def __init__(self) -> None:
        super().__init__()
        folder = _folder()
        self.mapping = _Mapping(Graph(folder / "MappingNetwork.xml"))
        graph = Graph(folder / "SynthesisNetwork.xml")
        convolutions = list(graph.of_kind("Convolution", "GroupConvolution"))
        splits = [graph.inputs(node)[0] for node in graph.of_kind("VariadicSplit")]
        raised = [node for node in splits if graph.kind(node) == "Multiply"]
        first, *inner, last = convolutions
        # the constant of the last of its two broadcasts
        self.register_buffer("start", graph.constant([*graph.of_kind("Broadcast")][-1]))
        self.first = _Convolution(graph, first)
        self.levels = nn.ModuleList(
            nn.ModuleList(
                [
                    _Upsampling(graph, product),
                    _Convolution(graph, *inner[4 * i : 4 * i + 2]),
                    _Convolution(graph, *inner[4 * i + 2 : 4 * i + 4]),
                ]
            )
            for i, product in enumerate(raised)
        )
        self.modulation = _Modulation(graph, graph.inputs(last)[0])
        self.register_buffer("weight", graph.constant(last))
        self.register_buffer("bias", graph.constant(graph.sum_of(last)).flatten())
        self.requires_grad_(False)
        self.eval()
        self._fit_styles()
        self.register_buffer("draft_weight", None)
        self.register_buffer("draft_bias", None)

    def styles(self, noise: torch.Tensor) -> torch.Tensor:
        """Return the styles of Gaussian noise, both of shape (n, 512)."""
        return self.mapping(noise)

    def forward(self, styles: torch.Tensor) -> torch.Tensor:
        """Draw faces.

        Parameters
        ----------
        styles : Tensor of shape (n, 512) or (n, 23, 512)
            One of an image, or one of each modulated layer.

        Returns
        -------
        Tensor of shape (n, 3, 1024, 1024)
            RGB, about [0, 1], which single pixels leave; aligned as FFHQ is.
        """
        return (upsampled(self._ended(*self._begun(styles))) + 1) / 2

    def medium(self, styles: torch.Tensor) -> torch.Tensor:
        """Draw faces of (n, 3, 512, 512): the averages of each 2 x 2 pixels."""
        return _averages(self._ended(*self._begun(styles)))

    def draft(self, styles: torch.Tensor) -> torch.Tensor:
        """Draw faces of (n, 3, 256, 256) from the middle of the network, at a quarter of the cost.

        Channels at 128 x 128 pixels are taken to colours by a linear map, fitted to
        finished faces of 80 styles when it is first needed.
        """
        if self.draft_weight is None:
            with torch.inference_mode(False):
                self._fit_draft()
        assert self.draft_weight is not None
        found = F.conv2d(self._begun(styles)[0], self.draft_weight, self.draft_bias)
        return F.pixel_shuffle(found, 2)

    def _begun(self, styles: torch.Tensor) -> tuple[torch.Tensor, Iterator[torch.Tensor]]:
        """Channels at 128 x 128 pixels, and the styles that are left."""
        layers = iter([styles] * LAYERS if styles.ndim == 2 else styles.unbind(1))
        x = self.first(self.start.expand(len(styles), -1, -1, -1), next(layers))
        return _through(self.levels[:_DRAFT_LEVELS], x, layers), layers

    def _ended(self, x: torch.Tensor, layers: Iterator[torch.Tensor]) -> torch.Tensor:
        """Haar bands of (n, 12, 512, 512), from what :meth:`_begun` returns."""
        x = _through(self.levels[_DRAFT_LEVELS:], x, layers)
        return F.conv2d(x * self.modulation(next(layers)), self.weight, self.bias)

    @torch.no_grad()
    def _fit_styles(self) -> None:
        drawn = self.styles(_noise(_STYLES)).double()
        covariance = torch.cov(drawn.T) + 1e-5 * torch.eye(STYLE_SIZE, dtype=drawn.dtype)
        self.register_buffer("mean", drawn.mean(0).float())
        self.register_buffer("factor", torch.linalg.cholesky(covariance).float())

    @torch.no_grad()
    def _fit_draft(self) -> None:
        """Least squares from channels at 128 x 128, and one, to the pixels that each covers."""
        gram = cross = torch.zeros(1, dtype=torch.float64, device=self.mean.device)
        for style in self.styles(_noise(_FACES).to(self.mean.device))[:, None]:
            x, layers = self._begun(style)
            finished = _averages(self._ended(x, layers))
            face = F.pixel_unshuffle(F.avg_pool2d(finished, 2), 2)
            rows = F.pad(x[0].flatten(1), (0, 0, 0, 1), value=1.0).double()
            gram, cross = gram + rows @ rows.T, cross + rows @ face[0].flatten(1).T.double()
        found = torch.linalg.solve(gram + 1e-3 * torch.diag(gram.diagonal()), cross).T.float()
        self.register_buffer("draft_weight", found[:, :-1, None, None].contiguous())
        self.register_buffer("draft_bias", found[:, -1].contiguous())


def _through(
    levels: nn.ModuleList, x: torch.Tensor, layers: Iterator[torch.Tensor]
) -> torch.Tensor:
    for level in levels:
        for part in level:  # type: ignore[attr-defined]
            x = part(x, next(layers))
    return x


def _averages(wavelets: torch.Tensor) -> torch.Tensor:
    """Faces of half the side, about [0, 1], from the Haar bands of an image in [-1, 1]."""
    return (wavelets[:, :3] / 2 + 1) / 2


def _noise(n: int) -> torch.Tensor:
    return torch.randn(n, STYLE_SIZE, generator=torch.Generator().manual_seed(0))


@lru_cache(maxsize=2)
def shared_generator(device: str) -> MobileStyleGAN:
    """Return the generator on a device, loaded once a process."""
    with torch.inference_mode(False):  # kept for calls with gradients too
        return MobileStyleGAN().to(device)


def upsampled(wavelets: torch.Tensor) -> torch.Tensor:
    """Join the four Haar bands, of shape (n, 4 c, h, w), to an image of shape (n, c, 2 h, 2 w).

    Channels are ``c`` averages, then three details of each of ``c``.
    """
    channels = wavelets.shape[1] // 4
    low = wavelets[:, :channels]
    down, right, both = wavelets[:, channels:].unflatten(1, (channels, 3)).unbind(2)
    corners = (
        low + down + right + both,
        low + down - right - both,
        low - down + right - both,
        low - down - right + both,
    )
    return F.pixel_shuffle(torch.stack(corners, 2).flatten(1, 2) / 2, 2)


class _Modulation(nn.Module):
    """Factors of channels from a style: the affine map before a product in the graph."""

    weight: torch.Tensor
    bias: torch.Tensor

    def __init__(self, graph: Graph, product: str):
        super().__init__()
        scale, node = _style_of(graph, product)
        # reshape <- add (bias) <- product of matrices (weight)
        added = graph.inputs(node)[0]
        multiplied = graph.inputs(added)[0]
        self.register_buffer("weight", scale * graph.constant(multiplied))
        self.register_buffer("bias", scale * graph.constant(added).flatten())

    def forward(self, style: torch.Tensor) -> torch.Tensor:
        return F.linear(style, self.weight, self.bias)[:, :, None, None]


def _style_of(graph: Graph, product: str) -> tuple[float, str]:
    """Constant factor and reshaped style among what is multiplied."""
    for node in graph.inputs(product):
        if graph.kind(node) == "Multiply":
            return graph.constant(node).item(), graph.inputs(node)[0]
        if graph.kind(node) == "Reshape":
            return 1.0, node
    raise InputError(f"product {product} of the generator takes no style")


class _Upsampling(nn.Module):
    """A modulated image twice as large: its channels are taken as Haar bands."""

    def __init__(self, graph: Graph, product: str):
        super().__init__()
        self.modulation = _Modulation(graph, product)

    def forward(self, x: torch.Tensor, style: torch.Tensor) -> torch.Tensor:
        return upsampled(x * self.modulation(style))


class _Convolution(nn.Module):
    """A modulated convolution (3 x 3, or depthwise and pointwise), noise, bias, rectifier."""

    noise: torch.Tensor
    bias: torch.Tensor

    def __init__(self, graph: Graph, *nodes: str):
        super().__init__()
        self.modulation = _Modulation(graph, graph.inputs(nodes[0])[0])
        # of a depthwise one: groups, outputs of a group, inputs of a group, height, width
        kernels = [graph.constant(node) for node in nodes]
        self.kernels = nn.ParameterList(k.flatten(0, k.ndim - 4) for k in kernels)
        noise = graph.sum_of(nodes[-1])
        self.register_buffer("noise", graph.constant(noise))
        self.register_buffer("bias", graph.constant(graph.sum_of(noise)))

    def forward(self, x: torch.Tensor, style: torch.Tensor) -> torch.Tensor:
        x = x * self.modulation(style)
        for kernel in self.kernels:
            groups = x.shape[1] // kernel.shape[1]
            x = F.conv2d(x, kernel, padding=kernel.shape[-1] // 2, groups=groups)
        return F.leaky_relu_(x.add_(self.noise).add_(self.bias), _SLOPE)


class _Mapping(nn.Module):
    """From Gaussian noise to styles: noise of unit power through eight layers."""

    def __init__(self, graph: Graph):
        super().__init__()
        self.layers = nn.ModuleList()
        for product in graph.of_kind("MatMul"):
            bias = graph.inputs(graph.sum_of(product))[1]
            layer = nn.Linear(STYLE_SIZE, STYLE_SIZE)
            layer.weight.data = graph.constant(product)
            layer.bias.data = graph.constant(bias)
            self.layers.append(layer)

    def forward(self, noise: torch.Tensor) -> torch.Tensor:
        x = noise * (noise.square().mean(1, keepdim=True) + 1e-8).rsqrt()
        for layer in self.layers:
            x = 2**0.5 * F.leaky_relu(layer(x), _SLOPE)
        return x
