"""The images behind templates, cropped as a decoder draws faces."""

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
    """An image behind a template, as it can be shown beside reconstructions.

    Attributes
    ----------
    image : ndarray of shape (3, H, W), uint8, RGB
    aligned : bool
        Whether the eyes lie where the decoder puts them; if not, this is the whole picture.
    """

    image: np.ndarray
    aligned: bool


def aligned(image: Any, eyes: Any, positions: Positions, size: tuple[int, int]) -> Original:
    """Crop an image to eye positions; where its eyes are not known, take it whole.

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
        # a picture to look at may be enlarged, however small the face in it
        crop = EyeCropper(dict(positions), size, enlarge=np.inf).transform(image, eyes)
    except InputError:  # no eyes, or eyes that no face can have
        return Original(shrunk(image, size), aligned=False)
    return Original(crop, aligned=True)


def shrunk(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Fit a uint8 image of shape (3, H, W) into (height, width), on white."""
    picture = Image.fromarray(image.transpose(1, 2, 0))
    return np.asarray(ImageOps.pad(picture, size[::-1], color="white")).transpose(2, 0, 1)


class Originals:
    """Crops of the images from which templates were made, by template.

    Parameters
    ----------
    database : Bob database
        Of the run.
    groups : iterable of str
        Those of the scores.
    positions : mapping, optional
        Where the decoder puts the eyes, (y, x).
    size : (int, int)
        Height and width of the decoder's faces.
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
        """First image of a template, of the decoder's size, or None where it cannot be had.

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
        except Exception as error:  # any database and any annotation may come here
            logger.warning(f"No original of {template}: {error}")
            return None


def reopen(about: Mapping[str, Any]) -> Any:
    """Open the database of a run again, from its record.

    Parameters
    ----------
    about : mapping
        What `database.content.describe_database` noted.

    Returns
    -------
    Bob database

    Raises
    ------
    FileNotFoundError, ValueError
        If it is none of this package, or its images are gone.
    """
    from .. import database as ours

    name = about.get("class")
    if name not in ours.__all__ or not str(name).endswith("Database"):
        raise InputError(f"the run's database, {name or 'not recorded'}, cannot be opened by name")
    made_by = getattr(ours, str(name))
    known = signature(made_by).parameters
    return made_by(**{key: value for key, value in about.items() if key in known})


def source_of(template: str, attack: str) -> str:
    """Template that an attack's ``probe_template_id`` was made from: "type2/A/1" gives "A/1"."""
    return template.removeprefix(f"{attack}/")
