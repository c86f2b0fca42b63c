"""Refinement at test time: change a face until its embedding is near the stolen template."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from ..common.devices import torch_device
from ..common.fixed_transformer import FixedTransformer
from ..common.memory import keep_freed_memory
from ..common.rows import embedding_rows, restore_norm
from ..common.validation import InputError, one_of, whole_number
from ..decoders import ModelCard
from ..images.geometry import same_place
from ..recognizers import Identity, Recognizer, get, model_sha256, shared_module, verified
from ..recognizers.jitter import shift_and_mirror
from .reconstructor import Reconstructor, shared_decoder

#: Length of the first step, as a share of an embedding's norm or of the range of a pixel.
_RATES = {"embedding": 0.05, "pixels": 0.004}
_MOMENTA = (0.8, 0.95)  # of Adam; lower than usual, since there are few steps


class RefinedReconstructor(FixedTransformer):
    """Refine the faces of a reconstructor by the gradient of the recogniser it inverts.

    For an attacker who has the recognition model (white box). Each face is optimised for some
    steps towards a higher cosine between its embedding and the template, and the best face seen
    is kept. For this recogniser, after rounding to 8 bits, no face is worse than before. For
    another model, or compared with another image of the person, it may be worse: part of the gain
    is overfitting to this network, most of all over pixels without jitter.

    The estimator holds parameters alone; weights are shared by all copies in a process, as for
    :class:`~bob_recon_plugin.inversion.reconstructor.FaceReconstructor`.

    Parameters
    ----------
    reconstructor : Reconstructor
        Makes the faces to start from. Its decoder must draw faces of the size and with the eye
        positions that the recogniser takes.
    over : {"embedding", "pixels"}
        What is optimised: a correction that is added to the embedding before it is decoded, or
        the pixels.
    steps : int
        Most steps for a face; 0 returns the reconstructor's faces. A step is one forward and
        backward pass through the recogniser (and the decoder).
    enough : float
        Cosine at which a face is no longer changed, at most 1.
    stay : float
        Weight of the penalty on the distance from the decoder's face, added to one minus the
        cosine. Over the embedding: the squared norm of the correction, relative to the
        embedding's. Over pixels: the total variation of the change, the mean over pixels of
        ``|dx| + |dy|``, for pixels in [0, 1].
    rate : float or None
        Adam's learning rate, the length of the first step: over the embedding as a share of its
        norm, over pixels as a share of their range. None: 0.05 and 0.004 (a grey level).
    jitter : bool
        Compute the gradient for a face that is shifted by up to two pixels and mirrored half of
        the time, as in training. It overfits less to this network, and costs one more forward
        pass for each step.
    seed : int
        Of the jitter. In one step, all faces are shifted and mirrored alike.
    recognizer : str, Recognizer or None
        Description of the recognition model; None: the registered model that the card names. A
        model of your own needs its description.
    weights : str or None
        Path of another copy of its weights file.
    device : str
        As for the reconstructor.

    Notes
    -----
    The same call gives the same faces on a CPU. Faces are refined independently, but kernels
    round differently in batches of other sizes (another ``batch_size``, or faces that stop
    earlier), and steps amplify that: cosines then differ in the third decimal, pixels by some
    grey levels.

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
        reconstructor: Reconstructor,
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
        """The decoder's file; None: the decoder that ships with the package."""
        return self.reconstructor.checkpoint

    @property
    def portraits(self) -> bool:
        """False: whole pictures cannot be refined."""
        return False

    @property
    def batch_size(self) -> int:
        """Embeddings decoded, and faces refined, at once."""
        return self.reconstructor.batch_size

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width of the faces, in pixels."""
        return self.reconstructor.image_size

    def card(self) -> ModelCard:
        """Return the model card of the checkpoint, without loading its weights."""
        return self.reconstructor.card()

    def describe(self) -> dict[str, Any]:
        """Return what decides the faces: reconstructor, recogniser's weights and parameters."""
        parameters = self.get_params(deep=False)
        for name in ("reconstructor", "recognizer", "weights", "device"):
            del parameters[name]
        about = get(self.recognizer or self.card().recognizer)
        model = {"name": about.name, "sha256": _verified_sha256(about, self.weights)}
        return self.reconstructor.describe() | {"refinement": parameters | {"recognizer": model}}

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
            When a parameter is out of range, or the checkpoint was made for another recogniser.
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
        """Reconstruct and refine with several numbers of steps, in one run of the largest.

        Parameters
        ----------
        X : array, list of arrays, or SampleBatch, of shape (n, d)
        budgets : sequence of int
            Values of ``steps``.

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
            whole_number("budgets", budget, 0)
        keep_freed_memory()
        card = self.card()
        rows = restore_norm(self._rows(X), card.embedding_norm, card.recognizer)
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
        found = {0: kept.as_uint8()}
        for step in range(max(budgets) + 1):
            active = kept.below()
            if len(active):
                with torch.set_grad_enabled(step < max(budgets)):
                    drawn = _in_8_bits(search.draw(active))
                    cosines = kept.compare(drawn, active)
            if step in budgets and step:
                found[step] = kept.as_uint8()
            if step == max(budgets) or not len(active):
                break
            if self.jitter:
                view = _laid_out(shift_and_mirror(drawn, _random(self.seed, step)))
                cosines = F.cosine_similarity(recognizer(view), templates[active])
            loss = (1 - cosines).sum() + self.stay * search.distance(active).sum()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()  # also changes the rows that stopped; they are not drawn again
        return [found.get(budget, kept.as_uint8()) for budget in budgets]

    def _ready(self) -> tuple[nn.Module, nn.Module]:
        """Check everything; return recogniser and decoder."""
        self._check_parameters()
        if self.reconstructor.portraits:
            raise InputError(
                "`reconstructor` must make crops to refine, got portraits=True; leave out "
                "the portraits or the refinement."
            )
        self.reconstructor.validate()
        device = torch_device(self.device)
        decoder, card = shared_decoder(self.checkpoint, device)
        about = get(self.recognizer or card.recognizer)
        _check_identity(card, about, _verified_sha256(about, self.weights))
        _check_geometry(card, about, decoder)
        return shared_module(about, self.weights, device), decoder

    def _check_parameters(self) -> None:
        one_of("over", self.over, _SEARCHES)
        whole_number("steps", self.steps, 0)
        whole_number("seed", self.seed, 0)
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
    """The best face so far for each template, and its cosine."""

    def __init__(
        self, recognizer: nn.Module, templates: torch.Tensor, faces: torch.Tensor, enough: float
    ):
        self.recognizer, self.templates, self.enough = recognizer, templates, enough
        self.faces = faces.float()
        self.cosines = torch.full_like(templates[:, 0], -torch.inf)
        with torch.no_grad():
            self.compare(self.faces, torch.arange(len(faces), device=faces.device))

    def below(self) -> torch.Tensor:
        """Indices of templates whose face is below the cosine ``enough``."""
        return (self.cosines < self.enough).nonzero()[:, 0]

    def compare(self, faces: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        """Return the cosines of faces to the templates of these rows; keep better faces."""
        cosines = F.cosine_similarity(self.recognizer(_laid_out(faces)), self.templates[rows])
        better = cosines.detach() > self.cosines[rows]
        self.faces[rows[better]] = faces.detach()[better]
        self.cosines[rows[better]] = cosines.detach()[better]
        return cosines

    def as_uint8(self) -> np.ndarray:
        """The best faces, uint8 of shape (n, 3, H, W)."""
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
        """Faces, mostly in [0, 1]; values may lie a little outside."""
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
    """Round faces in [0, 1] to grey levels in [0, 255]; the gradient ignores the rounding."""
    levels = 255 * faces
    rounded = levels.detach().clamp(0, 255).round()
    return rounded + (levels - levels.detach())  # in this order, exactly zero is added


def _laid_out(faces: torch.Tensor) -> torch.Tensor:
    return faces.contiguous(memory_format=torch.channels_last)


def _random(seed: int, step: int) -> torch.Generator:
    """Random numbers of one step, the same in every batch."""
    return torch.Generator().manual_seed(seed * 1_000_003 + step)


def _verified_sha256(about: Recognizer, weights: str | None) -> str:
    return model_sha256(verified(about, weights), about.network)


def _check_identity(card: ModelCard, about: Recognizer, digest: str) -> None:
    if not Identity(about.name, digest).same_as(card.inverts):
        known = card.recognizer_sha256 or "hash not known"
        raise InputError(
            f"`recognizer` must be {card.recognizer} ({known}), for which the "
            f"checkpoint was made, got {about.name} ({digest}); refine with "
            f"{card.recognizer}, or leave the refinement out."
        )


def _check_geometry(card: ModelCard, about: Recognizer, decoder: nn.Module) -> None:
    """Raise ValueError unless the recogniser can take the decoder's faces without a crop."""
    places = about.cropped_positions
    if decoder.image_size != about.image_size or not same_place(card.positions, places):
        raise InputError(
            f"`checkpoint` must draw faces as {about.name} takes them, {about.image_size} pixels "
            f"with eyes at {places}, got {decoder.image_size} and {card.positions}; "
            "train a decoder on faces prepared for it."
        )
