"""A protocol for image folders: the first image is enrolled, the others are compared to all."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import PurePosixPath

from ..common.validation import InputError, one_of
from ..images.geometry import Positions
from .left_out import LeftOut
from .single_group import Face, SingleGroupDatabase, sample_set

SINGLE_IMAGE = ("error", "skip", "impostor")


def group_by_subject(paths: Iterable[str], left_out: LeftOut) -> dict[str, list[str]]:
    """Group paths of the form ``<subject>/<image>`` by subject.

    Parameters
    ----------
    paths : iterable of str
        Relative, with ``/``. Files in deeper folders, hidden files and files with other extensions
        are left out.
    left_out : LeftOut
        Has the extensions of images, and counts the files that are left out.

    Returns
    -------
    dict of subject to paths, both sorted
    """
    subjects: dict[str, list[str]] = {}
    for path in sorted(filter(left_out.is_image, paths)):
        parts = PurePosixPath(path).parts
        if len(parts) == 2:
            subjects.setdefault(parts[0], []).append(path)
        elif len(parts) > 2:
            left_out.add("images in deeper folders than <subject>/<image>", path)
        else:
            left_out.add("images outside of subjects' folders", path)
    return subjects


def _check(subjects: dict[str, list[Face]], source: str, single_image: str) -> None:
    one_of("single_image", single_image, SINGLE_IMAGE)
    dotted = [face.key for faces in subjects.values() for face in faces if ".." in face.key]
    if dotted:
        raise InputError(
            f"`{source}` must hold names without two dots in a row, got {dotted[0]}; "
            "rename it, since Bob uses names in file names."
        )
    single = [subject for subject, faces in subjects.items() if len(faces) == 1]
    if single and single_image == "error":
        named = ", ".join(single[:5]) + (", ..." if len(single) > 5 else "")
        raise InputError(
            f"`{source}` must hold at least two images of every subject, got one of {named} "
            f"({len(single)} of {len(subjects)} subjects); add images, or pass "
            "single_image='skip' or single_image='impostor'."
        )
    if len(subjects) - len(single) < 2:
        raise InputError(
            f"`{source}` must hold at least two subjects with two images or more, "
            f"got {len(subjects) - len(single)}; add images of more people."
        )


class FirstEnrolledDatabase(SingleGroupDatabase):
    """Enrol the first image of each subject, and compare all others to all enrolled subjects.

    Parameters
    ----------
    subjects : dict of subject to its faces
        In order; the first face is enrolled.
    source : str
        Name of the parameter, for messages.
    single_image : {"error", "skip", "impostor"}
        What to do with a subject with one image: raise an error, leave it out, or use the image as
        a probe of a subject who is not enrolled.
    fixed_positions, annotation_type
        See :class:`~bob_recon_plugin.database.FolderDatabase`.
    """

    def __init__(
        self,
        subjects: dict[str, list[Face]],
        *,
        source: str,
        single_image: str,
        fixed_positions: Positions | None,
        annotation_type: str = "eyes-center",
    ) -> None:
        _check(subjects, source, single_image)
        several = [faces for faces in subjects.values() if len(faces) > 1]
        probes = [face for faces in several for face in faces[1:]]
        if single_image == "impostor":
            probes += [faces[0] for faces in subjects.values() if len(faces) == 1]
        enrolled = [faces[0].key for faces in several]
        super().__init__(
            references=[sample_set(faces[0]) for faces in several],
            probes=[sample_set(face, references=enrolled) for face in probes],
            protocol="default",
            score_all_vs_all=True,
            annotation_type=annotation_type,
            fixed_positions=fixed_positions,
        )

    @staticmethod
    def protocols() -> list[str]:
        """Return the names of the protocols."""
        return ["default"]
