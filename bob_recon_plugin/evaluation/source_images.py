"""The original images of templates, with the size and eye positions of the decoder's faces."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from inspect import signature
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from ..common.validation import InputError
from ..images.crop import EyeCropper
from ..images.geometry import INSIGHTFACE_EYES

logger = logging.getLogger(__name__)

Positions = Mapping[str, tuple[float, float]]


@dataclass(frozen=True, eq=False)
class Original:
    """The original image of a template, to be shown beside reconstructions.

    Attributes
    ----------
    image : ndarray of shape (3, H, W), uint8, RGB
    aligned : bool
        Whether the eyes are at the positions of the decoder; if not, this is the whole image.
    """

    image: np.ndarray
    aligned: bool


def aligned(image: Any, eyes: Any, positions: Positions, size: tuple[int, int]) -> Original:
    """Crop an image to eye positions, or take the whole image if its eyes are not known.

    Parameters
    ----------
    image : array of shape (3, H, W) or (H, W)
        [0, 255].
    eyes : mapping or None
        ``reye`` and ``leye`` in the image, (y, x).
    positions : mapping
        The same two in the result.
    size : (int, int)
        Height and width of the result.
    """
    image = np.asarray(image)
    if image.ndim == 2:
        image = np.stack([image] * 3)
    image = np.clip(image, 0, 255).astype(np.uint8)
    try:
        # an image to look at may be enlarged, however small its face is
        crop = EyeCropper(dict(positions), size, enlarge=np.inf).transform(image, eyes)
    except InputError:  # no eyes, or impossible eye positions
        return Original(shrunk(image, size), aligned=False)
    return Original(crop, aligned=True)


def shrunk(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Fit a uint8 image of shape (3, H, W) into (height, width), on white."""
    picture = Image.fromarray(image.transpose(1, 2, 0))
    return np.asarray(ImageOps.pad(picture, size[::-1], color="white")).transpose(2, 0, 1)


class Originals:
    """Crops of the original images, by template.

    Parameters
    ----------
    database : Bob database
        The database of the run.
    groups : iterable of str
        The groups of the scores.
    positions : mapping, optional
        Eye positions in the faces of the decoder, (y, x).
    size : (int, int)
        Height and width of the faces of the decoder.
    """

    def __init__(
        self,
        database: Any,
        groups: Iterable[str],
        positions: Positions | None = None,
        size: tuple[int, int] = (112, 112),
    ) -> None:
        self.name = type(database).__name__
        self.size = (int(size[0]), int(size[1]))
        self.positions = dict(positions or INSIGHTFACE_EYES)
        self.fixed = getattr(database, "fixed_positions", None)
        self.samples: dict[str, Any] = {}
        for group in groups:
            sets = [*database.references(group=group), *database.probes(group=group)]
            for sample_set in sets:
                self.samples.setdefault(str(sample_set.template_id), sample_set.samples[0])
                self.samples.setdefault(str(sample_set.key), sample_set.samples[0])

    def get(self, template: str) -> Original | None:
        """Return the first image of a template in the size of the decoder, or None without one.

        Parameters
        ----------
        template : str
            ``template_id`` of a reference or a probe.
        """
        sample = self.samples.get(template)
        if sample is None:
            return None
        try:
            eyes = self.fixed or getattr(sample, "annotations", None)
            return aligned(sample.data, eyes, self.positions, self.size)
        except Exception as error:  # any database may raise anything
            logger.warning(f"No original image of {template}: {error}")
            return None


def reopen(about: Mapping[str, Any]) -> Any:
    """Open the database of a run again, from its record.

    Parameters
    ----------
    about : mapping
        As `bob_recon_plugin.database.content.describe_database` returns it.

    Returns
    -------
    Bob database

    Raises
    ------
    FileNotFoundError, ValueError
        If its class is not of this package, or its images are gone.
    """
    from .. import database as ours

    name = about.get("class")
    if name not in ours.__all__ or not str(name).endswith("Database"):
        raise InputError(
            f"the database of the run must be one of this package, got {name or 'none recorded'}"
        )
    made_by = getattr(ours, str(name))
    known = signature(made_by).parameters
    return made_by(**{key: value for key, value in about.items() if key in known})


def source_of(template: str, attack: str) -> str:
    """Return the template of an attack by its ``probe_template_id``: "A/1" for "type2/A/1"."""
    return template.removeprefix(f"{attack}/")
