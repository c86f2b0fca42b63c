"""FolderDatabase: images in a local folder."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

from ..common.settings import directory
from ..common.validation import InputError, existing_file, one_of
from ..images.annotations import read_table
from ..images.geometry import Positions, fixed_eye_positions
from ..images.reading import EXTENSIONS, load_image
from .first_enrolled import FirstEnrolledDatabase, group_by_subject
from .left_out import ANNOTATIONS, LeftOut, walk
from .single_group import Face

_KEY = "bob_recon_plugin.folder.directory"


def _find(root: str, extensions: Iterable[str]) -> dict[str, list[str]]:
    """Return the images of each subject, relative to ``root``."""
    left_out = LeftOut(extensions)
    subjects = group_by_subject(walk(root, left_out), left_out)
    if not subjects:
        ignored = f" (left out: {left_out})" if str(left_out) else ""
        raise InputError(
            f"`original_directory` must hold images as <subject>/<image>, got none in {root} "
            f"with {', '.join(extensions)}{ignored}; put the images of each person into one folder."
        )
    left_out.report(root)
    return subjects


def _annotator(
    root: str, images: list[str], fixed: Positions | None, given: str | Path | None
) -> Callable[[str], Positions | None]:
    """Return a function from an image's path, relative to ``root``, to its annotations."""
    if fixed is not None:
        return lambda image: fixed
    if given is not None:
        table_path = existing_file("annotations", given, "pass the path of a CSV file.")
    elif (Path(root) / ANNOTATIONS).is_file():
        table_path = Path(root) / ANNOTATIONS
    else:
        return lambda image: None
    table = read_table(table_path)
    missing = [image for image in images if image not in table]
    if missing:
        raise InputError(
            f"`annotations` must have a row for every image, got {table_path} without "
            f"{len(missing)} of {len(images)} (first: {missing[0]}); add them, with empty cells "
            "for an image without a face."
        )
    return table.__getitem__


class FolderDatabase(FirstEnrolledDatabase):
    """Images in a local folder, as ``<directory>/<subject>/<image>``.

    The first image of each subject, by name, is enrolled; every other image is compared to all
    enrolled subjects. The only group is ``dev``. Other files (in deeper folders, hidden, or with
    other extensions) are left out, and their number is printed on stderr.

    Parameters
    ----------
    original_directory : str or Path, optional
        Default: the key ``bob_recon_plugin.folder.directory`` of ``bob config``.
    protocol : {"default"}
    fixed_positions : dict, optional
        ``{"reye": (y, x), "leye": (y, x)}`` in pixels, if all images are aligned alike.
    annotations : str or Path, optional
        CSV file with the columns path, reye_y, reye_x, leye_y, leye_x and a row for every image.
        Paths are relative to ``original_directory``. Positions are in pixels of the image as
        displayed. Four empty cells mean that there is no face in the image, which is a failure to
        acquire. Default: ``annotations.csv`` in ``original_directory``, if it exists. Without it,
        and without ``fixed_positions``, annotations are None, and the pipeline must find the eyes.
    annotation_type : str
        Type of the annotations, for Bob's pipelines.
    extensions : iterable of str
        Extensions of image files.
    single_image : {"error", "skip", "impostor"}
        What to do with a subject with one image: raise an error, leave it out, or compare the image
        to all enrolled subjects without enrolling it.

    Raises
    ------
    FileNotFoundError
        When the folder or ``annotations`` does not exist.
    ValueError
        When there are no images, a subject has one image, fewer than two subjects can be enrolled,
        annotations are malformed, or an image has no annotations.

    Examples
    --------
    >>> from bob_recon_plugin.database import FolderDatabase
    >>> database = FolderDatabase("~/faces")  # doctest: +SKIP
    >>> len(database.references()), len(database.probes())  # doctest: +SKIP
    (40, 360)
    """

    def __init__(
        self,
        original_directory: str | Path | None = None,
        protocol: str = "default",
        fixed_positions: Positions | None = None,
        annotations: str | Path | None = None,
        annotation_type: str = "eyes-center",
        extensions: Iterable[str] = EXTENSIONS,
        single_image: str = "error",
    ) -> None:
        one_of("protocol", protocol, self.protocols())
        fixed_positions = fixed_eye_positions(fixed_positions)
        if fixed_positions is not None and annotations is not None:
            raise InputError(
                f"`annotations` must be None if `fixed_positions` are given, got {annotations}; "
                "pass one of them."
            )
        root = directory("original_directory", original_directory, _KEY)
        found = _find(root, tuple(extensions))
        images = [image for subject in found.values() for image in subject]
        positions = _annotator(root, images, fixed_positions, annotations)
        super().__init__(
            {
                subject: [
                    Face(
                        image,
                        subject,
                        partial(load_image, os.path.join(root, image)),
                        positions(image),
                    )
                    for image in paths
                ]
                for subject, paths in found.items()
            },
            source="original_directory",
            single_image=single_image,
            fixed_positions=fixed_positions,
            annotation_type=annotation_type,
        )
        self.original_directory = root
