"""The generator prior: from an embedding to the styles of a generator of photographs."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from ..images.geometry import FFHQ_EYES, FFHQ_SIDE, INSIGHTFACE_EYES, Eyes, eye_points, similarity
from ._base import SquareDecoder, flat_embeddings
from ._mobilestylegan import LAYERS, STYLE_SIZE, MobileStyleGAN, shared_generator

_MOVED = 17  # layers with a style of their own, to 128 x 128 pixels; the others share the last
_HIDDEN = 512
_RANK = 128
_AT_ONCE = 2  # faces drawn at once, which bounds the memory
_SHRUNK = 256  # side from which the crop is cut: twice as fine as the crop


class GeneratorPrior(SquareDecoder, name="generator"):
    """Decode embeddings with a generator of photographs, whose styles a small network chooses.

    The network (2.0 M parameters) learns; the generator
    (:class:`~bob_recon_plugin.decoders.MobileStyleGAN`, from the package `random-face`)
    stays as it is, and is not in the file of a decoder. Each of its first 17 layers has a style of
    its own, near a common one. In training mode faces are drafts
    (:meth:`.MobileStyleGAN.draft`) unless ``drafts`` is False.

    Parameters
    ----------
    embedding_size : int
        Length ``d`` of an embedding.
    positions : dict
        ``{"reye": (y, x), "leye": (y, x)}`` in a face, in pixels.
    output_size : int
        Side of a face, in pixels.

    References
    ----------
    H. Otroshi Shahreza, S. Marcel, "Face Reconstruction from Facial Templates by Learning Latent
    Space of a Generator Network", NeurIPS 2023: the idea. That network is
    adversarial and takes noise beside the embedding; this one keeps its styles
    near the average by :meth:`departure`.

    Examples
    --------
    >>> decoder = GeneratorPrior()
    >>> decoder.styles(torch.zeros(2, 512)).shape  # doctest: +SKIP
    torch.Size([2, 23, 512])
    """

    preset = "prior"
    takes_sampled = False  # the generator draws photographs, and such embeddings have none
    validation_faces = 48  # each takes half a second of a core
    draws_portraits = True

    def __init__(
        self,
        embedding_size: int = 512,
        positions: Eyes = INSIGHTFACE_EYES,
        output_size: int = 112,
    ):
        super().__init__(embedding_size, output_size)
        self.positions = {eye: (float(y), float(x)) for eye, (y, x) in positions.items()}
        self.hidden = nn.Linear(embedding_size, _HIDDEN)
        features = embedding_size + _HIDDEN
        self.common = nn.Linear(features, STYLE_SIZE)
        self.narrow = nn.Linear(features, _RANK, bias=False)
        self.own = nn.Linear(_RANK, _MOVED * STYLE_SIZE)
        for last in (self.common, self.own):  # the average face, first
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)

    @classmethod
    def for_faces(
        cls, embedding_size: int, image_size: tuple[int, int], positions: Eyes, width: float
    ) -> GeneratorPrior:
        """Make one that draws the average face; it has one ``width``."""
        return cls(embedding_size, positions, cls._side(image_size))

    @classmethod
    def check_installed(cls) -> None:
        """Load the generator, whose package may be missing."""
        shared_generator("cpu")

    def forward(self, embeddings: torch.Tensor) -> torch.Tensor:
        """Decode a batch.

        Parameters
        ----------
        embeddings : Tensor of shape (n, d)
            Raw embeddings; their length does not matter.

        Returns
        -------
        Tensor of shape (n, 3, output_size, output_size)
            RGB in [0, 1].
        """
        generator, styles = self._generator(), self.styles(embeddings)
        if self.training and self.drafts:
            faces = generator.draft(styles)
        else:
            faces = _few_at_once(lambda some: _shrunk(generator.medium(some)), styles)
        return self._crop(faces).clamp(0, 1)

    def portraits(self, embeddings: torch.Tensor) -> torch.Tensor:
        """Decode a batch to whole pictures, aligned as FFHQ is.

        Returns
        -------
        Tensor of shape (n, 3, 1024, 1024)
            RGB in [0, 1].
        """
        generator, styles = self._generator(), self.styles(embeddings)
        return _few_at_once(lambda some: generator(some).clamp(0, 1), styles)

    def departure(self, embeddings: torch.Tensor) -> torch.Tensor:
        """How far styles are from the average, and from each other; a scalar, the regulariser.

        The mean square of the common style, in standard deviations of styles
        (1 for faces as various as the generator's own), and that of what layers add to it.
        """
        common, own = self._moved(embeddings)
        return common.square().mean() + own.square().mean()

    def styles(self, embeddings: torch.Tensor) -> torch.Tensor:
        """Return the styles, of shape (n, 23, 512), that embeddings are decoded with."""
        generator = self._generator()
        common, own = self._moved(embeddings)
        moved = generator.mean + (common[:, None] + own) @ generator.factor.T
        return torch.cat([moved, moved[:, -1:].expand(-1, LAYERS - _MOVED, -1)], 1)

    def _moved(self, embeddings: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x = F.normalize(flat_embeddings(embeddings, self.embedding_size))
        x = x * self.embedding_size**0.5
        features = torch.cat([x, F.leaky_relu(self.hidden(x), 0.2)], 1)
        own = self.own(self.narrow(features)).unflatten(1, (_MOVED, STYLE_SIZE))
        return self.common(features), own

    def _generator(self) -> MobileStyleGAN:
        return shared_generator(str(self.common.weight.device))

    def _crop(self, faces: torch.Tensor) -> torch.Tensor:
        points = tuple(map(tuple, eye_points(self.positions)))
        grid = _grid(points, self.output_size, str(faces.device))
        return F.grid_sample(faces, grid.expand(len(faces), -1, -1, -1), align_corners=False)


def _few_at_once(draw: Any, styles: torch.Tensor) -> torch.Tensor:
    """Draw so that memory holds few faces; with gradients each is drawn a second time for them."""
    parts = styles.split(_AT_ONCE)
    if styles.requires_grad and torch.is_grad_enabled():
        return torch.cat([checkpoint(draw, part, use_reentrant=False) for part in parts])
    return torch.cat([draw(part) for part in parts])


def _shrunk(faces: torch.Tensor) -> torch.Tensor:
    return F.avg_pool2d(faces, faces.shape[-1] // _SHRUNK)


@lru_cache(maxsize=8)
def _grid(points: tuple[tuple[float, float], ...], side: int, device: str) -> torch.Tensor:
    """Where the pixels of a crop lie in the picture, as grid_sample takes it."""
    warp = similarity(eye_points(FFHQ_EYES), np.array(points))
    inverse = np.linalg.inv(np.vstack([warp, [0, 0, 1]]))
    place = _unit(FFHQ_SIDE) @ inverse @ np.linalg.inv(_unit(side))
    with torch.inference_mode(False):  # kept for calls with gradients too
        theta = torch.tensor(place[None, :2], dtype=torch.float32)
        return F.affine_grid(theta, [1, 3, side, side], align_corners=False).to(device)


def _unit(side: int) -> np.ndarray:
    """From pixels to [-1, 1] across an image."""
    return np.array([[2 / side, 0, 1 / side - 1], [0, 2 / side, 1 / side - 1], [0, 0, 1]])
