"""The demo faces that ship with this package, for a first run without other data."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

from ..common.validation import InputError
from ..images.geometry import INSIGHTFACE_EYES
from ..images.reading import load_member, open_archive
from .first_enrolled import FirstEnrolledDatabase, group_by_subject
from .left_out import LeftOut
from .single_group import Face

_EXTENSIONS = (".webp", ".jpg")


class DemoDatabase(FirstEnrolledDatabase):
    """Synthetic aligned faces of 112 x 112 pixels.

    The first image of each subject is enrolled; every other image is compared to all enrolled
    subjects, as in :class:`~bob_recon_plugin.database.FolderDatabase`.

    Parameters
    ----------
    archive : str or Path, optional
        ZIP file with members ``<subject>/<index>.webp`` or ``.jpg``, with the eyes at
        :data:`~bob_recon_plugin.images.INSIGHTFACE_EYES`. Default: the archive in the package.

    Raises
    ------
    FileNotFoundError
        When the archive does not exist.
    ValueError
        When it is not a ZIP file, or a subject has fewer than two images.
    """

    def __init__(self, archive: str | Path | None = None) -> None:
        path = None if archive is None else os.path.abspath(os.path.expanduser(archive))
        with open_archive(path) as opened:
            names = [name for name in opened.namelist() if not name.endswith("/")]
        left_out = LeftOut(_EXTENSIONS)
        found = group_by_subject(names, left_out)
        if not found:
            raise InputError(
                f"`archive` must hold images as <subject>/<image>, got none in {path} with "
                f"{', '.join(_EXTENSIONS)} (left out: {str(left_out) or 'nothing'}); add one "
                "folder for each person."
            )
        left_out.report(str(path))
        super().__init__(
            {
                subject: [
                    Face(image, subject, partial(load_member, path, image), INSIGHTFACE_EYES)
                    for image in images
                ]
                for subject, images in found.items()
            },
            source="archive",
            single_image="error",
            fixed_positions=dict(INSIGHTFACE_EYES),
        )
        self.archive = path
