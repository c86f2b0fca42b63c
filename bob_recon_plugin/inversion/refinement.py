"""Refinement at test time: move a decoder's faces until the recogniser sees the stolen template."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from ..common.devices import torch_device
from ..common.files import sha256
from ..common.memory import keep_freed_memory
from ..common.rows import FixedTransformer, at_norm, embedding_rows
from ..common.validation import InputError, one_of
from ..decoders import ModelCard
from ..images.geometry import same_place
from ..recognizers import Identity, Recognizer, get, shared_module, verified
from ..recognizers.jitter import moved
from .reconstructor import shared_decoder

#: First step of what is moved: of an embedding's length, of the range of a pixel.
_RATES = {"embedding": 0.05, "pixels": 0.004}
_MOMENTA = (0.8, 0.95)  # of Adam: budgets are short


class RefinedReconstructor(FixedTransformer):
    """Refine the faces of a reconstructor by the gradient of the recogniser it inverts.

    For an attacker who holds the recognition model (white box). Each face is
    moved for some steps so that its embedding turns to the template, and the best that was seen
    is kept: in the eyes of this recogniser, after rounding to 8 bits, no
    face is worse than the reconstructor's own. In the eyes of another model, and against another
    picture of the person, it may be: part of what is gained is a fit to this
    network alone, most of all over pixels without jitter.

    The estimator holds parameters alone; weights are shared by all copies in a
    process, as those of :class:`~bob_recon_plugin.inversion.reconstructor.FaceReconstructor`.

    Parameters
    ----------
    reconstructor : FaceReconstructor, or another of its interface
        Its faces are the start. They must be those of a decoder's file
        (``checkpoint``) that draws faces as the recogniser takes them.
    over : {"embedding", "pixels"}
        What is moved: a correction that is added to the embedding before it
        is decoded, or the pixels.
    steps : int
        Budget of a face; 0 returns the reconstructor's faces. A step is one
        pass forward and backward through the recogniser (and the decoder).
    enough : float
        Cosine at which a face is no longer moved, at most 1.
    stay : float
        Weight of the penalty on leaving the decoder's face, beside one minus
        the cosine. Over the embedding: the squared length of the correction,
        relative to the embedding's. Over pixels: the total variation of the
        change, the mean over pixels of ``|dx| + |dy|``, in [0, 1] units of a pixel.
    rate : float or None
        Length of the first step (Adam's learning rate): over the embedding as a share of its
        length, over pixels as a share of their range. None: 0.05 and 0.004 (a grey level).
    jitter : bool
        The gradient is that of a face shifted by up to two pixels and mirrored half of the time,
        as in training: it then fits less to this one network. It costs a pass forward a step.
    seed : int
        Of the jitter. A step moves all faces alike, whatever stands beside them.
    recognizer : str, Recognizer or None
        Description of the recognition model; None: the registered one that the
        card names. A model of your own needs its description.
    weights : str or None
        Own copy of its weights file.
    device : str
        As for the reconstructor.

    Notes
    -----
    The same call gives the same faces on a CPU. Faces are refined independently, but kernels
    round otherwise in batches of other sizes (another ``batch_size``, other
    neighbours that stop earlier), and steps enlarge that: cosines then differ
    in the third decimal, pixels by some grey levels.

    References
    ----------
    A. Mahendran, A. Vedaldi, "Understanding deep image representations by
    inverting them", CVPR 2015, eq. 1 and 4 (loss to a representation, total variation).
    D. P. Kingma, J. Ba, "Adam: a method for stochastic optimization", ICLR 2015.

    Examples
    --------
    >>> from bob_recon_plugin.inversion.reconstructor import FaceReconstructor
    >>> plain = FaceReconstructor("decoder.safetensors", "arcface-mbf")
    >>> RefinedReconstructor(plain, over="embedding", steps=10).transform(x)  # doctest: +SKIP
    """

    def __init__(
        self,
        reconstructor: Any,
        over: str = "embedding",
        steps: int = 20,
        enough: float = 0.95,
        stay: float = 0.0,
        rate: float | None = None,
        jitter: bool = True,
        seed: int = 0,
        recognizer: str | Recognizer | None = None,
        weights: str | None = None,
        device: str = "auto",
    ):
        self.reconstructor = reconstructor
        self.over = over
        self.steps = steps
        self.enough = enough
        self.stay = stay
        self.rate = rate
        self.jitter = jitter
        self.seed = seed
        self.recognizer = recognizer
        self.weights = weights
        self.device = device

    @property
    def checkpoint(self) -> Any:
        """The decoder's file."""
        return self.reconstructor.checkpoint

    @property
    def batch_size(self) -> int:
        """Embeddings decoded, and faces refined, at once."""
        return self.reconstructor.batch_size

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width of its faces, in pixels."""
        return self.reconstructor.image_size

    def card(self) -> ModelCard:
        """Return the model card of the checkpoint, without loading its weights."""
        return self.reconstructor.card()

    def describe(self) -> dict[str, Any]:
        """What decides its faces: the reconstructor, the recogniser's weights, the search."""
        parameters = self.get_params(deep=False)
        for name in ("reconstructor", "recognizer", "weights", "device"):
            del parameters[name]
        about = get(self.recognizer or self.card().recognizer)
        judge = {"name": about.name, "sha256": sha256(verified(about, self.weights))}
        return self.reconstructor.describe() | {"refinement": parameters | {"recognizer": judge}}

    def validate(self) -> RefinedReconstructor:
        """Check parameters, reconstructor and recogniser, and load all weights.

        Returns
        -------
        RefinedReconstructor
            Itself.

        Raises
        ------
        FileNotFoundError
            When a file of weights does not exist.
        ValueError
            When a parameter is out of range, or the recogniser is not the one
            for which the checkpoint was made.
        """
        self._ready()
        return self

    def transform(self, X: Any) -> np.ndarray:
        """Reconstruct, then refine.

        Parameters
        ----------
        X : array, list of arrays, or SampleBatch, of shape (n, d)
            Embeddings, as for
            :meth:`FaceReconstructor.transform <.reconstructor.FaceReconstructor.transform>`.

        Returns
        -------
        uint8 ndarray of shape (n, 3, H, W)
            RGB, [0, 255]; the eyes lie at ``card().positions``.

        Raises
        ------
        FileNotFoundError, TypeError, ValueError
            As :meth:`validate`, and as the reconstructor.
        """
        return self.transform_at(X, [self.steps])[0]

    def transform_at(self, X: Any, budgets: Sequence[int]) -> list[np.ndarray]:
        """Reconstruct and refine with several budgets, for the work of the largest.

        Parameters
        ----------
        X : array, list of arrays, or SampleBatch, of shape (n, d)
        budgets : sequence of int
            Each instead of ``steps``.

        Returns
        -------
        list of uint8 ndarray of shape (n, 3, H, W)
            What :meth:`transform` gives for each budget.

        Raises
        ------
        FileNotFoundError, TypeError, ValueError
            As :meth:`transform`.
        """
        recognizer, decoder = self._ready()
        for budget in budgets:
            _check_count("budgets", budget)
        keep_freed_memory()
        card = self.card()
        rows = at_norm(self._rows(X), card.embedding_norm, card.recognizer)
        faces = self.reconstructor.transform(rows)
        found = [faces.copy() for _ in budgets]
        for start in range(0, len(rows) if any(budgets) else 0, self.batch_size):
            part = slice(start, start + self.batch_size)
            refined = self._refined(rows[part], faces[part], budgets, recognizer, decoder)
            for all_faces, batch in zip(found, refined, strict=True):
                all_faces[part] = batch
        return found

    def _rows(self, X: object) -> np.ndarray:
        card = self.card()
        remedy = f"pass one embedding a row as {card.recognizer} makes them."
        return embedding_rows("X", X, card.embedding_size, remedy)

    def _refined(
        self,
        rows: np.ndarray,
        faces: np.ndarray,
        budgets: Sequence[int],
        recognizer: nn.Module,
        decoder: nn.Module,
    ) -> list[np.ndarray]:
        """Refine one batch, of templates (n, d) and their faces (n, 3, H, W)."""
        device = torch_device(self.device)
        templates = torch.from_numpy(rows).to(device)
        kept = _Kept(recognizer, templates, torch.from_numpy(faces).to(device), self.enough)
        search = _SEARCHES[self.over](decoder, templates, kept.faces / 255)
        optimizer = torch.optim.Adam([search.change], self.rate or _RATES[self.over], _MOMENTA)
        found = {0: kept.in_memory()}
        for step in range(max(budgets) + 1):
            active = kept.below()
            if len(active):
                with torch.set_grad_enabled(step < max(budgets)):
                    drawn = _in_8_bits(search.draw(active))
                    cosines = kept.judge(drawn, active)
            if step in budgets and step:
                found[step] = kept.in_memory()
            if step == max(budgets) or not len(active):
                break
            if self.jitter:
                view = _laid_out(moved(drawn, _random(self.seed, step)))
                cosines = F.cosine_similarity(recognizer(view), templates[active])
            loss = (1 - cosines).sum() + self.stay * search.distance(active).sum()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()  # the rows left out too: nothing is drawn from them any more
        return [found.get(budget, kept.in_memory()) for budget in budgets]

    def _ready(self) -> tuple[nn.Module, nn.Module]:
        """Check everything; return recogniser and decoder."""
        self._check_parameters()
        if getattr(self.reconstructor, "portraits", False):
            raise InputError(
                "`reconstructor` must give crops to refine, got portraits=True; refine, or present "
                "whole pictures."
            )
        self.reconstructor.validate()
        device = torch_device(self.device)
        decoder, card = shared_decoder(self.checkpoint, device)
        about = get(self.recognizer or card.recognizer)
        _check_identity(card, about, sha256(verified(about, self.weights)))
        _check_geometry(card, about, decoder)
        return shared_module(about, self.weights, device), decoder

    def _check_parameters(self) -> None:
        one_of("over", self.over, _SEARCHES)
        _check_count("steps", self.steps)
        _check_count("seed", self.seed)
        if not -1 <= self.enough <= 1:
            raise InputError(f"`enough` must be a cosine in [-1, 1], got {self.enough!r}.")
        if not 0 <= self.stay < math.inf:
            raise InputError(f"`stay` must be at least 0 and finite, got {self.stay!r}.")
        if self.rate is not None and not 0 < self.rate < math.inf:
            raise InputError(
                f"`rate` must be positive and finite, got {self.rate!r}; None is the default."
            )

    def _more_tags(self) -> dict[str, Any]:
        return super()._more_tags() | {"bob_checkpoint_extension": ".png"}


class _Kept:
    """The best face of each template that the recogniser has seen, and its cosine."""

    def __init__(
        self, recognizer: nn.Module, templates: torch.Tensor, faces: torch.Tensor, enough: float
    ):
        self.recognizer, self.templates, self.enough = recognizer, templates, enough
        self.faces = faces.float()
        self.cosines = torch.full_like(templates[:, 0], -torch.inf)
        with torch.no_grad():
            self.judge(self.faces, torch.arange(len(faces), device=faces.device))

    def below(self) -> torch.Tensor:
        """Rows whose face is not good enough."""
        return (self.cosines < self.enough).nonzero()[:, 0]

    def judge(self, faces: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        """Return the cosines of faces of some rows to their templates; keep what is better."""
        cosines = F.cosine_similarity(self.recognizer(_laid_out(faces)), self.templates[rows])
        better = cosines.detach() > self.cosines[rows]
        self.faces[rows[better]] = faces.detach()[better]
        self.cosines[rows[better]] = cosines.detach()[better]
        return cosines

    def in_memory(self) -> np.ndarray:
        """The faces so far, uint8."""
        return self.faces.to(torch.uint8).cpu().numpy()


class _OverEmbedding:
    """A correction of the embedding, in units of the root mean square of its entries."""

    def __init__(self, decoder: nn.Module, templates: torch.Tensor, start: torch.Tensor):
        self.decoder, self.templates = decoder, templates
        self.scale = templates.square().mean(1, keepdim=True).sqrt()
        self.change = torch.zeros_like(templates, requires_grad=True)

    def draw(self, rows: torch.Tensor) -> torch.Tensor:
        """Faces in [0, 1]."""
        return self.decoder(self.templates[rows] + self.scale[rows] * self.change[rows])

    def distance(self, rows: torch.Tensor) -> torch.Tensor:
        """Squared length of the correction, relative to the embedding's."""
        return self.change[rows].square().mean(1)


class _OverPixels:
    """A change of the pixels, in [0, 1] units."""

    def __init__(self, decoder: nn.Module, templates: torch.Tensor, start: torch.Tensor):
        self.start = start
        self.change = torch.zeros_like(start, requires_grad=True)

    def draw(self, rows: torch.Tensor) -> torch.Tensor:
        """Faces about [0, 1], which they may leave a little."""
        return self.start[rows] + self.change[rows]

    def distance(self, rows: torch.Tensor) -> torch.Tensor:
        """Total variation of the change."""
        down, right = (self.change[rows].diff(dim=axis).abs() for axis in (2, 3))
        return down.mean((1, 2, 3)) + right.mean((1, 2, 3))


_SEARCHES: dict[str, type[_OverEmbedding] | type[_OverPixels]] = {
    "embedding": _OverEmbedding,
    "pixels": _OverPixels,
}


def _in_8_bits(faces: torch.Tensor) -> torch.Tensor:
    """Faces of [0, 1] as whole grey levels in [0, 255]; the gradient passes as if unrounded."""
    levels = 255 * faces
    rounded = levels.detach().clamp(0, 255).round()
    return rounded + (levels - levels.detach())  # in this order: what is added is exactly zero


def _laid_out(faces: torch.Tensor) -> torch.Tensor:
    return faces.contiguous(memory_format=torch.channels_last)


def _random(seed: int, step: int) -> torch.Generator:
    """Random numbers of one step, the same in every batch."""
    return torch.Generator().manual_seed(seed * 1_000_003 + step)


def _check_count(name: str, value: Any) -> None:
    if not isinstance(value, (int, np.integer)) or value < 0:
        raise InputError(f"`{name}` must be an integer of at least 0, got {value!r}.")


def _check_identity(card: ModelCard, about: Recognizer, digest: str) -> None:
    if not Identity(about.name, digest).same_as(card.inverts):
        known = card.recognizer_sha256 or "hash not known"
        raise InputError(
            f"`recognizer` must be {card.recognizer} ({known}), for which the "
            f"checkpoint was made, got {about.name} ({digest}); refine with that one, or not."
        )


def _check_geometry(card: ModelCard, about: Recognizer, decoder: nn.Module) -> None:
    """The recogniser looks at faces as they leave the decoder, without a crop between."""
    places = about.cropped_positions
    if decoder.image_size != about.image_size or not same_place(card.positions, places):
        raise InputError(
            f"`checkpoint` must draw faces as {about.name} takes them, {about.image_size} pixels "
            f"with eyes at {places}, got {decoder.image_size} and {card.positions}; "
            "train a decoder on faces prepared for it."
        )
