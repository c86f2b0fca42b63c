"""Recognizer: the description of a recognition model."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..common.validation import InputError, one_of, whole_number
from ..images.geometry import INSIGHTFACE_EYES


def check_image_size(size: object) -> None:
    """Raise ValueError unless ``size`` is a height and a width."""
    if not isinstance(size, tuple) or len(size) != 2:
        raise InputError(f"`image_size` must be (height, width) in pixels, got {size!r}.")
    for side in size:
        whole_number("image_size", side)


@dataclass(frozen=True)
class Recognizer:
    """Description of a recognition model: its network, its weights and its input.

    Parameters
    ----------
    name : str
        Name on the command line, in score folders and in model cards.
    network : str
        ``"onnx"``, or one of Bob's backbones: ``"iresnet34"``, ``"iresnet50"``,
        ``"iresnet100"``, or ``"facexzoo-<architecture>"`` (``"facexzoo-MobileFaceNet"``).
    weights : str
        The weights file: an absolute path, a path in Bob's data folder, or ``"package:path"`` for
        a file in an installed package.
    embedding_size : int
        Length ``d`` of an embedding.
    image_size : (int, int)
        Height and width of the input face, in pixels.
    cropped_positions : dict of str to (float, float)
        (y, x) of ``reye`` and ``leye`` in the input face, in pixels.
    color : {"rgb", "bgr"}
        Channel order that the network was trained with. Callers always pass RGB.
    mean, scale : float
        The input of the network is ``(x - mean) / scale``, for x in [0, 255].
    batch_norm_eps : float or None
        Epsilon of every batch normalisation, if it differs from that of Bob's backbone.
    sha256 : str or None
        Hash of the weights (see :func:`~bob_recon_plugin.recognizers.model_sha256`), checked
        before they are used; None: not known.
    licence : str
        Licence of the weights.
    source : str
        How to get the weights, for messages.
    output : str or None
        Name of the output of the ONNX file that is the embedding; None: its only one, or the only
        one of shape (n, d) with d > 1.
    layout : {"nchw", "nhwc"}
        Whether the ONNX file takes images with channels first or last. Callers always pass
        channels first.
    """

    name: str
    network: str
    weights: str
    embedding_size: int
    image_size: tuple[int, int] = (112, 112)
    # not hashable, but the description must be: it is a key in the cache of loaded networks
    cropped_positions: dict[str, tuple[float, float]] = field(
        default_factory=lambda: dict(INSIGHTFACE_EYES), hash=False
    )
    color: str = "rgb"
    mean: float = 127.5
    scale: float = 127.5
    batch_norm_eps: float | None = None
    sha256: str | None = None
    licence: str = "unknown"
    source: str = "ask the author of this description for the file"
    output: str | None = None
    layout: str = "nchw"

    def __post_init__(self) -> None:
        one_of("color", self.color, ("rgb", "bgr"))
        one_of("layout", self.layout, ("nchw", "nhwc"))
        if self.network != "onnx" and (self.output is not None or self.layout != "nchw"):
            raise InputError(
                "`output` and `layout` must be left out for a network that is not in an ONNX "
                f"file, got {self.output!r} and {self.layout!r} for {self.network}."
            )
        check_image_size(self.image_size)
        if self.embedding_size < 1:
            raise InputError(f"`embedding_size` must be at least 1, got {self.embedding_size}.")
        if not self.scale > 0:
            raise InputError(f"`scale` must be positive, got {self.scale}.")
        if not {"reye", "leye"} <= set(self.cropped_positions):
            raise InputError(
                "`cropped_positions` must hold the (y, x) of 'reye' and 'leye', got "
                f"{self.cropped_positions!r}."
            )
