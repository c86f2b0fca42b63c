"""What a decoder is to the rest of the package, and the decoders that there are."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from typing import Any, ClassVar

import numpy as np
import torch
from torch import nn

from ..common.validation import InputError
from ..images.geometry import Eyes

#: Decoders that a file may name and that can be trained, by name.
DECODERS: dict[str, type[Decoder]] = {}


class Decoder(nn.Module, ABC):
    """Base class of decoders: from raw embeddings (n, d) to faces (n, 3, H, W), RGB, in [0, 1].

    A new decoder is one new file in this folder. The file is called as the decoder is named, and
    its class is registered by that name::

        class MyDecoder(Decoder, name="my_decoder"):
            ...

    Training, the command line, :func:`~bob_recon_plugin.decoders.save` and
    :func:`~bob_recon_plugin.decoders.load` know it then. Files that begin with an underscore hold
    what decoders share. Constructor parameters must be kept as attributes of the same names, of
    types that JSON has: a file stores them.

    Attributes
    ----------
    embedding_size : int
        Length ``d`` of an embedding.
    image_size : pair of int
        Height and width of a face, in pixels.
    drafts : bool
        Whether cheaper, coarser faces will do in training mode. Training sets it; most decoders
        draw none.
    """

    #: Name in files and on the command line; empty for forms that go into no file.
    name: ClassVar[str] = ""
    #: Name of the training preset where the user names none.
    preset: ClassVar[str] = "best"
    #: Whether :meth:`fit` solves for the weights; otherwise they are trained step by step.
    closed_form: ClassVar[bool] = False
    #: The weight that embeddings meet first and its axis of embeddings, by which a training can
    #: start from the decoder of another recognition model. None: it cannot.
    first_weight: ClassVar[tuple[str, int] | None] = None
    #: Whether embeddings without a face help to train it.
    takes_sampled: ClassVar[bool] = True
    #: Held-out faces that a validation reconstructs, at most.
    validation_faces: ClassVar[int] = 512
    #: Whether it draws whole pictures too, by :meth:`portraits`.
    draws_portraits: ClassVar[bool] = False

    embedding_size: int
    image_size: tuple[int, int]
    drafts: bool = True

    def __init_subclass__(cls, name: str = "", **more: Any) -> None:
        super().__init_subclass__(**more)
        cls.name = name
        if not name:
            return
        if name in DECODERS:
            raise InputError(
                f"`name` must be the name of one decoder, got {name!r} of {DECODERS[name]} again; "
                "choose another."
            )
        DECODERS[name] = cls

    @classmethod
    @abstractmethod
    def for_faces(
        cls, embedding_size: int, image_size: tuple[int, int], positions: Eyes, width: float
    ) -> Decoder:
        """Make an untrained decoder for a set of faces.

        Parameters
        ----------
        embedding_size : int
        image_size : pair of int
            Height and width, in pixels.
        positions : dict
            ``{"reye": (y, x), "leye": (y, x)}``, in pixels.
        width : float
            Multiplier on the channels, for decoders that have such.

        Raises
        ------
        ValueError
            For faces that it cannot draw.
        """

    @classmethod
    def fit(cls, embeddings: np.ndarray, faces: np.ndarray, alpha: float) -> Decoder:
        """Solve for the weights, where :attr:`closed_form`; as :meth:`.LinearDecoder.fit`."""
        raise NotImplementedError(f"{cls.__name__} is trained step by step")

    @classmethod
    def check_installed(cls) -> None:
        """Raise FileNotFoundError, before any work, when a package that it needs is missing."""

    def constructor_parameters(self) -> dict[str, Any]:
        """Return the parameters that make such a decoder."""
        return {name: getattr(self, name) for name in inspect.signature(type(self)).parameters}

    def departure(self, embeddings: torch.Tensor) -> torch.Tensor | None:
        """Regulariser of its own, a scalar, for embeddings (n, d); None: it has none."""
        return None

    def for_inference(self) -> Decoder:
        """Return the form that decodes fastest; it draws the same faces up to rounding.

        The decoder stays as it is. One without another form returns itself.
        """
        return self

    def portraits(self, embeddings: torch.Tensor) -> torch.Tensor:
        """Decode a batch to whole pictures, where :attr:`draws_portraits`."""
        raise NotImplementedError(f"{type(self).__name__} draws faces alone")


class SquareDecoder(Decoder):
    """A decoder of square faces.

    Parameters
    ----------
    embedding_size : int
        Length ``d`` of an embedding.
    output_size : int
        Side of a face, in pixels.

    Raises
    ------
    ValueError
        For sizes that cannot be.
    """

    def __init__(self, embedding_size: int, output_size: int):
        super().__init__()
        if embedding_size < 1:
            raise InputError(f"`embedding_size` must be at least 1, got {embedding_size}.")
        if output_size < 8:
            raise InputError(f"`output_size` must be at least 8 pixels, got {output_size}.")
        self.embedding_size = embedding_size
        self.output_size = output_size
        self.image_size = (output_size, output_size)

    @classmethod
    def for_faces(
        cls, embedding_size: int, image_size: tuple[int, int], positions: Eyes, width: float
    ) -> SquareDecoder:
        """Make an untrained decoder, of these two sizes alone."""
        return cls(embedding_size, cls._side(image_size))

    @classmethod
    def _side(cls, image_size: tuple[int, int]) -> int:
        height, width = image_size
        if height != width:
            raise InputError(f"faces must be square for {cls.name}, got {height} x {width}.")
        return height


def flat_embeddings(embeddings: torch.Tensor, size: int) -> torch.Tensor:
    """Return embeddings of shape (n, size) or (n, size, 1, 1) as (n, size).

    Raises
    ------
    ValueError
        For any other shape.
    """
    shape = tuple(embeddings.shape)
    if shape[1:] not in ((size,), (size, 1, 1)):
        raise InputError(
            f"`embeddings` must have shape (n, {size}), got {shape}; "
            "pass one raw embedding a row, of the recognition model that this decoder was made for."
        )
    return embeddings.flatten(1)
