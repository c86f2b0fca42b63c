"""Images in a folder of one's own."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

from ..common.settings import directory
from ..common.validation import InputError, existing_file, one_of
from ..images.annotations import Positions, fixed_eye_positions, read_table
from ..images.reading import EXTENSIONS, load_image
from .first_enrolled import FirstEnrolledDatabase, group_by_subject
from .left_out import ANNOTATIONS, LeftOut, walk
from .single_group import Face

_KEY = "bob_recon_plugin.folder.directory"


def _find(root: str, extensions: Iterable[str]) -> dict[str, list[str]]:
    """List the images of every subject, relative to ``root``."""
    left_out = LeftOut(extensions)
    subjects = group_by_subject(walk(root, left_out), left_out)
    if not subjects:
        besides = f" (left out: {left_out})" if str(left_out) else ""
        raise InputError(
            f"`original_directory` must hold images as <subject>/<image>, got none in {root} "
            f"with {', '.join(extensions)}{besides}; give every person a folder of that form."
        )
    left_out.tell(root)
    return subjects


def _annotator(
    root: str, images: list[str], fixed: Positions | None, given: str | Path | None
) -> Callable[[str], Positions | None]:
    """Return what gives the annotations of an image, by its path relative to ``root``."""
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
    """Images of one's own, ``<directory>/<subject>/<image>``.

    The first image of every subject, by name, is enrolled; every other image is
    compared to all enrolled subjects. The only group is ``dev``. Files elsewhere (in
    deeper folders, hidden, of other extensions) are left out, and counted on stderr.

    Parameters
    ----------
    original_directory : str or Path, optional
        Default: the key ``bob_recon_plugin.folder.directory`` of ``bob config``.
    protocol : {"default"}
    fixed_positions : dict, optional
        ``{"reye": (y, x), "leye": (y, x)}`` in pixels, when all images are aligned copies.
    annotations : str or Path, optional
        CSV file with the columns path, reye_y, reye_x, leye_y, leye_x and a row
        for every image; paths are relative to ``original_directory``, positions
        are in pixels of the image as displayed. Four empty cells: there is no face in
        this image, which counts as a failure to acquire. Default: ``annotations.csv`` in
        ``original_directory``, if there is one. Without it, and without
        ``fixed_positions``, samples have the annotations None, and a pipeline
        has to find the eyes itself.
    annotation_type : str
        What Bob's pipelines are told about the annotations.
    extensions : iterable of str
        Which files are images.
    single_image : {"error", "skip", "impostor"}
        What to do with a subject of one image: raise, leave it out, or compare it
        to all enrolled subjects without enrolling it.

    Raises
    ------
    FileNotFoundError
        When the folder or ``annotations`` does not exist.
    ValueError
        When there are no images, a subject has one image, fewer than two subjects
        can be enrolled, or the annotations are malformed or lack an image.

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
                f"`annotations` must be None beside `fixed_positions`, got {annotations}; "
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
