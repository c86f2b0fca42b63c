"""Bob's pipeline around a recognition model: crop, embed, compare by cosine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..common.validation import one_of
from .description import Recognizer
from .registry import get
from .transformer import RecognizerTransformer

if TYPE_CHECKING:
    from bob.bio.base.pipelines import PipelineSimple

_ANNOTATIONS = ("eyes-center", "bounding-box", "left-profile", "right-profile")


def bob_pipeline(
    recognizer: str | Recognizer,
    annotation_type: str | Sequence[str] | None = "eyes-center",
    fixed_positions: dict[str, tuple[float, float]] | None = None,
    *,
    annotator: Any = None,
    weights: str | None = None,
    batch_size: int | None = None,
    device: str = "auto",
) -> PipelineSimple:
    """Make a pipeline of Bob's face cropper, a recognition model and the cosine comparison.

    Parameters
    ----------
    recognizer : str or Recognizer
        A name that :func:`~bob_recon_plugin.recognizers.names` lists, or a description.
    annotation_type : str, sequence of str or None
        The annotation type of the database. None means ``"eyes-center"``: with ``-d`` and ``-p``
        on the command line, the pipeline is made before the database is known.
    fixed_positions : dict, optional
        (y, x) of ``reye`` and ``leye`` for every image, instead of annotations.
    annotator : str or Annotator, optional
        Finds the eyes in images without annotations, for example ``"mtcnn"`` (which needs
        tensorflow). Without it, such images are failures to acquire. Bounding boxes always need
        an annotator; the default for them is ``"mtcnn"``.
    weights, batch_size, device
        See :class:`~bob_recon_plugin.recognizers.RecognizerTransformer`.

    Returns
    -------
    PipelineSimple
    """
    from bob.bio.base.algorithm import Distance
    from bob.bio.base.pipelines import PipelineSimple
    from bob.bio.face.utils import embedding_transformer

    about = get(recognizer)
    annotation_type = annotation_type or "eyes-center"
    if annotation_type == "bounding-box":
        annotator = annotator or "mtcnn"
    transformer = embedding_transformer(
        cropped_image_size=about.image_size,
        embedding=RecognizerTransformer(recognizer, weights, batch_size, device),
        cropped_positions=_positions(about, annotation_type),
        fixed_positions=fixed_positions,
        color_channel="rgb",
        annotator=annotator,
    )
    return PipelineSimple(transformer, Distance())


def _positions(about: Recognizer, annotation_type: str | Sequence[str]) -> Any:
    """Return the positions to crop to, in Bob's form: a dict, or a list of dicts."""
    from bob.bio.face.utils import cropped_positions_arcface

    if not isinstance(annotation_type, str):
        return [_positions(about, kind) for kind in annotation_type]
    one_of("annotation_type", annotation_type, _ANNOTATIONS)
    if annotation_type.endswith("profile"):
        return cropped_positions_arcface(annotation_type)
    positions: dict[str, Any] = dict(about.cropped_positions)
    if annotation_type == "bounding-box":
        # with these, Bob searches for the eyes inside the box
        positions.update(topleft=(0, 0), bottomright=about.image_size)
    return positions
