"""Read training faces: a folder or a zip of aligned crops."""

from __future__ import annotations

import zipfile
from io import BytesIO
from pathlib import Path

import numpy as np

from ..database._images import decode_image

_EXTENSIONS = (".png", ".jpg", ".jpeg", ".webp")
_SHAPE = (3, 112, 112)


def read_faces(source: Path) -> np.ndarray:
    """Read aligned faces in order of their names.

    Parameters
    ----------
    source : Path
        Folder, or zip file, of 112 x 112 images with the eyes at
        ``{"reye": (51.6963, 38.2946), "leye": (51.5014, 73.5318)}``.

    Returns
    -------
    uint8 ndarray of shape (n, 3, 112, 112)
        RGB, [0, 255].

    Raises
    ------
    FileNotFoundError
        When there is no such folder or file.
    ValueError
        For an image of another size or that cannot be read, and for less than 20 images.
    """
    if source.is_dir():
        files = {p.name: p.read_bytes() for p in source.iterdir()}
    elif source.is_file():
        with zipfile.ZipFile(source) as archive:
            files = {name: archive.read(name) for name in archive.namelist()}
    else:
        raise FileNotFoundError(f"`source` must be a folder or a zip file of faces, got {source}.")
    names = sorted(name for name in files if name.lower().endswith(_EXTENSIONS))
    if len(names) < 20:
        raise ValueError(
            f"`source` must hold at least 20 aligned faces, got {len(names)} in {source}."
        )
    return np.stack([_face(name, files[name]) for name in names])


def _face(name: str, content: bytes) -> np.ndarray:
    face = decode_image(BytesIO(content), name)
    if face.shape != _SHAPE:
        raise ValueError(
            f"{name} must be an aligned face of 112 x 112 pixels, got {face.shape[1:]}; crop it by "
            "its eye positions."
        )
    return face
