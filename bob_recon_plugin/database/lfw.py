"""Labeled Faces in the Wild, view 2, for Bob 12."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

from ..common.settings import bob_data_directory, directory, setting
from ..common.validation import MissingFileError, existing_directory, existing_file, one_of
from ..images.annotations import ISSUERS, read_lfw_annotation
from ..images.geometry import Positions, fixed_eye_positions
from ..images.reading import load_image
from .pairs import Pair, read_pairs
from .single_group import Face, SingleGroupDatabase, sample_set

_KEY = "bob.bio.face.lfw.directory"
_ANNOTATION_KEY = "bob.bio.face.lfw.annotation_directory"
_EXTENSION_KEY = "bob.bio.face.lfw.extension"


def _first_lines(pairs: list[Pair]) -> dict[str, int]:
    """Return the line where each image is named first, in the order of the file."""
    lines: dict[str, int] = {}
    for pair in pairs:
        lines.setdefault(pair.reference, pair.line)
        lines.setdefault(pair.probe, pair.line)
    return lines


def _check_images(paths: dict[str, str], lines: dict[str, int]) -> None:
    """Raise FileNotFoundError when an image of the pairs is missing."""
    missing = [key for key, path in paths.items() if not os.path.isfile(path)]
    if not missing:
        return
    first = missing[0]
    folder = os.path.dirname(paths[first])
    reason = "" if os.path.isdir(folder) else f", no folder for the person {first.split('/')[0]}"
    raise MissingFileError(
        f"`original_directory` must hold every image that pairs.txt names, got {len(missing)} of "
        f"{len(paths)} missing (first: {paths[first]}, line {lines[first]}{reason}); restore them."
    )


def _annotation_directory(given: str | Path | None, issuer: str) -> str:
    """Return the folder of annotation files: given, from the settings, or Bob's own."""
    path = given or setting(_ANNOTATION_KEY)
    own = bob_data_directory() / "lfw_annotations" / issuer
    if not path and own.is_dir():
        path = own
    if path and Path(path).expanduser().is_dir():
        return os.path.abspath(Path(path).expanduser())
    # slow to import, and needed here only
    from bob.bio.face.database import LFWDatabase as BobDatabase

    remedy = (
        f"unpack {BobDatabase.urls()[0]}, type `bob config set {_ANNOTATION_KEY} "
        f"PATH/lfw_annotations/{issuer}`, or pass `fixed_positions` if all images are aligned."
    )
    return str(existing_directory("annotation_directory", path, remedy))


def _annotator(
    keys: list[str], fixed: Positions | None, given: str | Path | None, issuer: str
) -> Callable[[str], Positions]:
    """Return a function from an image's key to its annotations."""
    if fixed is not None:
        return lambda key: fixed
    folder = _annotation_directory(given, issuer)
    paths = {key: os.path.join(folder, key + ISSUERS[issuer][0]) for key in keys}
    missing = [path for path in paths.values() if not os.path.isfile(path)]
    if missing:
        raise MissingFileError(
            f"`annotation_directory` must hold a file of {issuer!r} annotations for every image, "
            f"got {len(missing)} of {len(paths)} missing (first: {missing[0]}); restore them, or "
            "pass `fixed_positions` if all images are aligned."
        )
    return lambda key: read_lfw_annotation(paths[key], issuer)


class LFWDatabase(SingleGroupDatabase):
    """LFW view 2: 6,000 comparisons of two images, half of them genuine.

    Images are ``<directory>/<image_relative_path>/<Name>/<Name>_0001.jpg``; the comparisons are in
    ``<directory>/view2/pairs.txt``. The only group is ``dev``. The pairs file may have fewer folds
    than the original.

    Bob's class of this name raises an error in Bob 12. This class has the same settings and keys.
    ``subject_id`` is the person's name. All files are checked at construction, and nothing is
    downloaded.

    Parameters
    ----------
    protocol : {"view2"}
    original_directory : str or Path, optional
        Default: the key ``bob.bio.face.lfw.directory`` of ``bob config``.
    annotation_directory : str or Path, optional
        Folder with ``<Name>/<Name>_0001.jpg.pts`` (or ``.pos``). Default: the key
        ``bob.bio.face.lfw.annotation_directory`` of ``bob config``, then
        ``lfw_annotations/<issuer>`` in Bob's data folder.
    fixed_positions : dict, optional
        ``{"reye": (y, x), "leye": (y, x)}`` in pixels, if all images are aligned alike. Annotation
        files are then not needed.
    annotation_type : str
        Type of the annotations, for Bob's pipelines.
    annotation_issuer : {"funneled", "idiap", "named"}
        Origin, and therefore format, of the annotation files.
    extension : str, optional
        Extension of the images. Default: the key ``bob.bio.face.lfw.extension`` of ``bob config``,
        then ".jpg".
    image_relative_path : str
        Folder of the images in ``original_directory``.

    Raises
    ------
    FileNotFoundError
        When a folder, the pairs file, an image or an annotation file is missing.
    ValueError
        When a line of the pairs file, an annotation file or a position is malformed.

    References
    ----------
    G. B. Huang et al., "Labeled Faces in the Wild: A Database for Studying Face
    Recognition in Unconstrained Environments", University of Massachusetts,
    Amherst, Technical Report 07-49, 2007.
    """

    def __init__(
        self,
        protocol: str = "view2",
        original_directory: str | Path | None = None,
        annotation_directory: str | Path | None = None,
        fixed_positions: Positions | None = None,
        annotation_type: str = "eyes-center",
        annotation_issuer: str = "funneled",
        extension: str | None = None,
        image_relative_path: str = "all_images",
    ) -> None:
        one_of("protocol", protocol, self.protocols())
        one_of("annotation_issuer", annotation_issuer, ISSUERS)
        fixed_positions = fixed_eye_positions(fixed_positions)
        root = directory("original_directory", original_directory, _KEY)
        remedy = "`original_directory` must hold view2/pairs.txt and the images."
        pairs = read_pairs(existing_file("pairs", Path(root, "view2", "pairs.txt"), remedy))
        lines = _first_lines(pairs)
        ending = extension or setting(_EXTENSION_KEY) or ".jpg"
        paths = {key: os.path.join(root, image_relative_path, key + ending) for key in lines}
        _check_images(paths, lines)
        positions = _annotator(
            list(lines), fixed_positions, annotation_directory, annotation_issuer
        )
        faces = {
            key: Face(key, key.split("/")[0], partial(load_image, path), positions(key))
            for key, path in paths.items()
        }
        enrolled = dict.fromkeys(pair.reference for pair in pairs)
        targets: dict[str, list[str]] = {}
        for pair in pairs:
            targets.setdefault(pair.probe, []).append(pair.reference)
        super().__init__(
            references=[sample_set(faces[key]) for key in enrolled],
            probes=[sample_set(faces[key], references=keys) for key, keys in targets.items()],
            protocol=protocol,
            score_all_vs_all=False,
            annotation_type=annotation_type,
            fixed_positions=fixed_positions,
        )
        self.original_directory = root

    @staticmethod
    def protocols() -> list[str]:
        """Return the names of the protocols."""
        return ["view2"]
