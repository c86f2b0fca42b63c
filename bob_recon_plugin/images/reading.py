"""Read image files; all databases use these functions."""

from __future__ import annotations

import struct
import threading
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import resources
from io import BytesIO
from pathlib import Path
from typing import IO

import numpy as np
from PIL import Image, ImageFile, ImageOps

from ..common.validation import InputError, MissingFileError

#: extensions of image files
EXTENSIONS = (".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
#: what Pillow and zipfile raise on damaged files
UNREADABLE = (
    OSError,
    EOFError,
    SyntaxError,
    ValueError,
    struct.error,
    zlib.error,
    zipfile.BadZipFile,
    RuntimeError,  # encrypted member; NotImplementedError: unknown compression
    Image.DecompressionBombError,
)
#: formats that Pillow may read; others are unsafe (its EPS reader runs Ghostscript)
FORMATS = ("BMP", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP")
_MOST_BYTES = 256 << 20  # of an image in an archive, uncompressed
#: grey modes of more than 8 bits; Pillow clips their values instead of scaling them
_DEEP = ("I", "F")
#: formats whose mode "I" holds 16 bits
_SIXTEEN = ("PNG", "PPM")
#: for Pillow's setting LOAD_TRUNCATED_IMAGES, which all threads share
_LOCK = threading.Lock()


@contextmanager
def _truncation_is_an_error() -> Iterator[None]:
    """Make Pillow refuse truncated images; importing bob.io.base makes it fill them with grey."""
    with _LOCK:
        before = ImageFile.LOAD_TRUNCATED_IMAGES
        ImageFile.LOAD_TRUNCATED_IMAGES = False
        try:
            yield
        finally:
            ImageFile.LOAD_TRUNCATED_IMAGES = before


def decode_image(stream: IO[bytes], name: str) -> np.ndarray:
    """Read an open image as :func:`load_image` does; ``name`` is used in messages."""
    try:
        with _truncation_is_an_error(), Image.open(stream, formats=FORMATS) as image:
            sixteen = image.mode.startswith("I;16") or (
                image.mode == "I" and image.format in _SIXTEEN
            )
            upright = ImageOps.exif_transpose(image) or image
            upright.load()
            if sixteen:  # keep the high byte, as Pillow does for 16-bit colours
                upright = Image.fromarray((np.asarray(upright) >> 8).astype(np.uint8))
            if not upright.mode.startswith(_DEEP):
                rgb = np.asarray(upright.convert("RGB"))
                return np.ascontiguousarray(rgb.transpose(2, 0, 1))
    except UNREADABLE as error:
        raise InputError(
            f"`image` must be a readable image file, got the truncated or damaged image {name} "
            f"({error}); restore or remove it."
        ) from error
    raise InputError(
        f"`image` must have 8 or 16 bits a channel, got mode {upright.mode} in {name}; convert it."
    )


def load_image(path: str | Path) -> np.ndarray:
    """Read an image file.

    Parameters
    ----------
    path : str or Path
        BMP, GIF, JPEG, JPEG 2000, PNG, PPM, TIFF or WebP of 8 or 16 bits a channel; of 16 bits,
        the upper 8 are kept. The EXIF orientation is applied, transparency is dropped, and grey
        becomes three equal channels.

    Returns
    -------
    ndarray of shape (3, H, W), uint8
        RGB, [0, 255].

    Raises
    ------
    FileNotFoundError
        When there is no such file.
    ValueError
        When the file is truncated, damaged, not an image, or deeper than 16 bits.
    """
    path = Path(path)
    if not path.is_file():
        raise MissingFileError(f"`image` must be an existing file, got {path}; restore it.")
    with path.open("rb") as stream:
        return decode_image(stream, str(path))


@contextmanager
def open_archive(archive: str | None) -> Iterator[zipfile.ZipFile]:
    """Open the ZIP file ``archive``, or the demo faces of this package when it is None.

    Raises FileNotFoundError when it does not exist, ValueError when it is not a ZIP file.
    """
    if archive is None:
        source = resources.files("bob_recon_plugin.data").joinpath("demo_faces.zip")
        remedy = "install the package again."
    else:
        source = Path(archive).expanduser()
        remedy = "pass the path of a ZIP file of <subject>/<index>.webp members."
    if not source.is_file():
        raise MissingFileError(f"`archive` must be an existing file, got {source}; {remedy}")
    with source.open("rb") as stream:
        try:
            opened = zipfile.ZipFile(stream)
        except zipfile.BadZipFile as error:
            raise InputError(
                f"`archive` must be a ZIP file, got {source} ({error}); {remedy}"
            ) from error
        with opened:
            yield opened


def load_member(archive: str | None, member: str) -> np.ndarray:
    """Read an image from a ZIP file, as :func:`load_image` does from a folder."""
    with open_archive(archive) as opened:
        return read_member(opened, member)


def read_member(archive: zipfile.ZipFile, member: str) -> np.ndarray:
    """Read an image from an open ZIP file.

    Raises
    ------
    FileNotFoundError
        When there is no such member.
    ValueError
        When it is larger than 256 MiB, encrypted, damaged or not an image.
    """
    name = f"{member} in {archive.filename}"
    try:
        check_size(archive.getinfo(member).file_size, name)
        content = archive.read(member)
    except KeyError as error:
        raise MissingFileError(
            f"`member` must be in {archive.filename}, got {member}; restore the archive."
        ) from error
    except InputError:
        raise
    except UNREADABLE as error:
        raise InputError(
            f"`archive` must hold whole images, got the damaged {name} ({error}); restore it."
        ) from error
    return decode_image(BytesIO(content), name)


def check_size(size: int, name: str) -> None:
    """Raise ValueError for an image whose size in its archive is above 256 MiB."""
    if size > _MOST_BYTES:
        raise InputError(
            f"`archive` must hold images of at most {_MOST_BYTES >> 20} MiB, got {name} of "
            f"{size >> 20} MiB; remove it."
        )
