"""Prepared faces: a dataset of crops and embeddings in memory-mapped shards, for training.

A dataset is a folder::

    dataset.json                source, recogniser, versions, see DatasetCard; written last
    shard-00000.faces.npy       uint8 (k, 3, H, W), RGB, [0, 255]
    shard-00000.embeddings.npy  float32 (k, 2, d), of each face and of its mirror image
    shard-00000.json            keys of the k faces, and bad images of this part of the source
    bad.csv                     all bad images, with the reason

Each file appears when it is complete. The JSON file of a shard is written last: with it, the shard
is complete.
"""

from __future__ import annotations

import csv
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..common.files import whole_or_nothing
from ..common.identity import Identity
from ..common.json_files import check_types, read
from ..common.record import write_json
from ..common.validation import InputError, existing_directory

CARD, BAD = "dataset.json", "bad.csv"
_HELD_OUT_ONE_IN = 20  # faces, for validation
_REMEDY = "give a folder that `bob bio recon prepare` made."
_AGAIN = "run the same `bob bio recon prepare` command again."
_KINDS: dict[str, Any] = {
    **dict.fromkeys(("recognizer", "crop", "source", "about"), str),
    **dict.fromkeys(("embedding_size", "n", "bad"), int),
    "recognizer_sha256": str | None,
    "versions": dict,
}
#: fields that must be equal in datasets that are read as one
_SHARED = ("recognizer", "recognizer_sha256", "embedding_size", "image_size", "positions")


@dataclass(frozen=True)
class DatasetCard:
    """Description of a prepared dataset, the content of ``dataset.json``.

    Parameters
    ----------
    recognizer : str
        Name of the recognition model of the embeddings.
    recognizer_sha256 : str or None
        Hash of its weights.
    embedding_size : int
        Length ``d`` of an embedding.
    image_size : (int, int)
        Height and width of the faces in pixels.
    positions : dict of str to (float, float)
        (y, x) of ``reye`` and ``leye`` in every face, in pixels.
    crop : str
        How the faces were cropped: ``"aligned"``, ``"ffhq"`` or ``"annotations"``.
    source : str
        Path or name of the source of the images.
    n, bad : int
        Numbers of faces, and of images without a usable face.
    about : str
        Description and licence of the faces, for the model card.
    versions : dict of str to str
        Versions of the packages that made the dataset.
    complete : bool
        Always true: the card is written after all shards.
    """

    recognizer: str
    recognizer_sha256: str | None
    embedding_size: int
    image_size: tuple[int, int]
    positions: dict[str, tuple[float, float]]
    crop: str
    source: str
    n: int
    bad: int = 0
    about: str = ""
    versions: dict[str, str] = field(default_factory=dict)
    complete: bool = True

    def __post_init__(self) -> None:
        height, width = self.image_size  # lists if read from JSON
        eyes = {eye: (float(y), float(x)) for eye, (y, x) in self.positions.items()}
        check_types(self, _KINDS)
        if not {"reye", "leye"} <= set(eyes):
            raise InputError(f"`positions` must hold reye and leye, got {self.positions!r}")
        object.__setattr__(self, "image_size", (int(height), int(width)))
        object.__setattr__(self, "positions", eyes)

    @property
    def recognition(self) -> Identity:
        """The recognition model of the embeddings."""
        return Identity(self.recognizer, self.recognizer_sha256, self.embedding_size)


@dataclass(frozen=True)
class Shard:
    """The files of one part of a dataset.

    Parameters
    ----------
    directory : Path
        Folder of the dataset.
    index : int
        Number of the shard, from 0.
    """

    directory: Path
    index: int

    @property
    def faces(self) -> Path:
        """File with the faces."""
        return self.directory / f"shard-{self.index:05d}.faces.npy"

    @property
    def embeddings(self) -> Path:
        """File with the embeddings."""
        return self.directory / f"shard-{self.index:05d}.embeddings.npy"

    @property
    def keys(self) -> Path:
        """File with the keys and the bad images."""
        return self.directory / f"shard-{self.index:05d}.json"

    @property
    def done(self) -> bool:
        """Whether the shard is complete."""
        return self.keys.is_file()

    def read_keys(self) -> dict[str, list]:
        """Return ``{"keys": [str, ...], "bad": [{"key": str, "reason": str}, ...]}``.

        Raises
        ------
        ValueError
            When the file is damaged.
        """
        try:
            content = read(self.keys)
            keys, bad = list(content["keys"]), list(content["bad"])
            if not all(isinstance(key, str) for key in keys):
                raise TypeError("a key is not text")
            if not all(isinstance(each, dict) and {"key", "reason"} == set(each) for each in bad):
                raise TypeError("a bad image has no key and reason")
            return {"keys": keys, "bad": bad}
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"`shard` must be readable, got {self.keys} ({error}); remove it and {_AGAIN}"
            ) from error


def shards(directory: Path) -> list[Shard]:
    """Return the complete shards, in order."""
    numbers = (path.stem.partition("-")[2] for path in directory.glob("shard-*.json"))
    return [Shard(directory, index) for index in sorted(int(n) for n in numbers if n.isdigit())]


def write_shard(
    directory: str | Path,
    index: int,
    keys: Sequence[str],
    faces: np.ndarray,
    embeddings: np.ndarray,
    bad: Iterable[tuple[str, str]] = (),
) -> None:
    """Write one shard, with its JSON file last.

    Parameters
    ----------
    directory : str or Path
        Folder of the dataset; it is made if it does not exist.
    index : int
        Number of the shard, from 0.
    keys : sequence of str
        Keys of the k faces.
    faces : uint8 ndarray of shape (k, 3, H, W)
        RGB, [0, 255].
    embeddings : float32 ndarray of shape (k, 2, d)
        Embeddings of each face and of its mirror image.
    bad : iterable of (key, reason)
        Images without a usable face.

    Raises
    ------
    ValueError
        When shapes or types are wrong, or an embedding is not finite.
    """
    k = len(keys)
    if faces.dtype != np.uint8 or faces.ndim != 4 or faces.shape[:2] != (k, 3):
        raise InputError(
            f"`faces` must be uint8 of shape ({k}, 3, H, W), got {faces.dtype} of {faces.shape}; "
            "give one face for each key."
        )
    if embeddings.ndim != 3 or embeddings.shape[:2] != (k, 2):
        raise InputError(
            f"`embeddings` must have shape ({k}, 2, d), got {embeddings.shape}; give embeddings "
            "of each face and of its mirror image."
        )
    _finite(embeddings, keys, "`embeddings`", "check the recognition model.")
    shard = Shard(Path(directory), index)
    for path, array in ((shard.faces, faces), (shard.embeddings, embeddings.astype(np.float32))):
        with whole_or_nothing(path) as part, part.open("wb") as stream:
            np.save(stream, array)
    listed = [{"key": key, "reason": reason} for key, reason in bad]
    write_json(shard.keys, {"keys": list(keys), "bad": listed})


def write_card(directory: str | Path, **about: Any) -> DatasetCard:
    """Complete a dataset after all shards are written: write ``bad.csv``, then ``dataset.json``.

    Parameters
    ----------
    directory : str or Path
        Folder of the dataset.
    **about
        Fields of :class:`DatasetCard`; ``n`` and ``bad`` are computed.

    Returns
    -------
    DatasetCard
    """
    folder = Path(directory)
    n, bad = 0, []
    for shard in shards(folder):
        content = shard.read_keys()
        n += len(content["keys"])
        bad += content["bad"]
    with (
        whole_or_nothing(folder / BAD) as part,
        part.open("w", newline="", encoding="utf-8") as stream,
    ):
        table = csv.DictWriter(stream, ["key", "reason"])
        table.writeheader()
        table.writerows(bad)
    card = DatasetCard(n=n, bad=len(bad), **about)
    write_json(folder / CARD, asdict(card))
    return card


class FaceDataset:
    """One or more datasets that ``bob bio recon prepare`` made, read as one.

    Parameters
    ----------
    path : str or Path
        Folder of a prepared dataset.
    *more : str or Path
        Folders of further datasets, for the same recogniser and crop.

    Attributes
    ----------
    about : DatasetCard
        Card of all datasets together.
    parts : list of DatasetCard
        Card of each dataset.
    keys : list of str, of length n
        Keys of the faces, unique in each dataset.
    embeddings : float32 ndarray of shape (n, 2, d)
        Embeddings of each face and of its mirror image, in memory.

    Raises
    ------
    FileNotFoundError
        For a folder that does not exist.
    ValueError
        For a dataset that is not complete, is damaged, or does not fit the others.

    Notes
    -----
    Faces are memory-mapped: they use no memory until they are read, and processes share them. A
    pickle contains only the paths.
    """

    def __init__(self, path: str | Path, *more: str | Path):
        self.paths = tuple(Path(each).expanduser().absolute() for each in (path, *more))
        self.parts = [read_card(each) for each in self.paths]
        _check_alike(self.paths, self.parts)
        self.keys: list[str] = []
        self._faces: list[np.ndarray] = []
        embeddings: list[np.ndarray] = []
        for folder, card in zip(self.paths, self.parts, strict=True):
            before = len(self.keys)
            for shard in shards(folder):
                keys, faces, rows = _open_shard(shard, card)
                self.keys += keys
                self._faces.append(faces)
                embeddings.append(rows)
            if len(self.keys) - before != card.n:
                raise InputError(
                    f"`dataset` must hold the {card.n} faces of its {CARD}, got "
                    f"{len(self.keys) - before} in {folder}; {_AGAIN}"
                )
        self.embeddings = np.concatenate(embeddings)
        self.about = _joined(self.parts)
        self._starts = np.cumsum([0, *map(len, self._faces)])

    def __len__(self) -> int:
        return len(self.keys)

    def __repr__(self) -> str:
        return f"FaceDataset({', '.join(repr(str(path)) for path in self.paths)})"

    def __reduce__(self) -> tuple[type[FaceDataset], tuple[Path, ...]]:
        return type(self), self.paths

    def faces(self, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        """Read faces.

        Parameters
        ----------
        indices : sequence of k integers
            In any order, from 0 to ``len(self) - 1``.

        Returns
        -------
        uint8 ndarray of shape (k, 3, H, W)
            RGB, [0, 255].

        Raises
        ------
        IndexError
            For an index out of range.
        """
        wanted = np.asarray(indices, dtype=np.int64).reshape(-1)
        if wanted.size and not (wanted.min() >= 0 and wanted.max() < len(self)):
            raise IndexError(
                f"`indices` must lie in [0, {len(self) - 1}], got {wanted.min()} to {wanted.max()}."
            )
        found = np.empty((len(wanted), 3, *self.about.image_size), np.uint8)
        shard = np.searchsorted(self._starts, wanted, side="right") - 1
        for number in np.unique(shard):
            here = shard == number
            found[here] = self._faces[number][wanted[here] - self._starts[number]]
        return found

    @property
    def validation(self) -> np.ndarray:
        """Which faces are held out for validation: bool ndarray of shape (n,), about one in 20.

        The choice depends only on the key, so it does not change when faces are added. At least
        one face is held out, and at least one is not.

        Raises
        ------
        ValueError
            When there is only one face.
        """
        if len(self) < 2:
            raise InputError(
                f"`dataset` must hold at least 2 faces to hold one out, got {len(self)} in "
                f"{self.paths[0]}; prepare more."
            )
        hashes = np.array([zlib.crc32(key.encode()) for key in self.keys], dtype=np.int64)
        held_out = hashes % _HELD_OUT_ONE_IN == 0
        if not held_out.any():
            held_out[hashes.argmin()] = True
        elif held_out.all():
            held_out[hashes.argmax()] = False
        return held_out


def open_datasets(paths: Sequence[str | Path]) -> FaceDataset:
    """Read several prepared datasets as one.

    Raises
    ------
    ValueError
        For no path, and with the differences when they were made for different
        recognition models or crops.
    """
    if not paths:
        raise InputError(f"`paths` must hold at least one dataset, got none; {_REMEDY}")
    return FaceDataset(*paths)


def read_card(path: Path) -> DatasetCard:
    """Read ``dataset.json``.

    Raises
    ------
    FileNotFoundError
        When there is no such folder.
    ValueError
        When the folder has no dataset, or an incomplete one.
    """
    folder = existing_directory("dataset", path, _REMEDY)
    try:
        content = read(folder / CARD)
        known = {each.name for each in fields(DatasetCard)}
        card = DatasetCard(**{name: value for name, value in content.items() if name in known})
    except FileNotFoundError as error:
        if shards(folder):
            raise InputError(
                f"`dataset` must be complete, got {folder} without {CARD}; {_AGAIN}"
            ) from error
        raise InputError(
            f"`dataset` must hold prepared faces, got {folder} without {CARD}; {_REMEDY}"
        ) from error
    except (ValueError, TypeError, AttributeError, OverflowError) as error:
        raise InputError(
            f"`dataset` must have a readable {CARD}, got that of {folder} ({error}); {_AGAIN}"
        ) from error
    if card.complete is not True:
        raise InputError(f"`dataset` must be complete, got {folder}; {_AGAIN}")
    return card


def _open_shard(shard: Shard, card: DatasetCard) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Return the keys, the memory-mapped faces and the embeddings of a shard, after checks."""
    keys = shard.read_keys()["keys"]
    k = len(keys)
    faces = _array(shard.faces, np.uint8, (k, 3, *card.image_size))
    embeddings = np.array(_array(shard.embeddings, np.float32, (k, 2, card.embedding_size)))
    _finite(embeddings, keys, str(shard.embeddings), f"remove {shard.keys.name} and {_AGAIN}")
    return keys, faces, embeddings


def kept_array(path: Path, shape: tuple[int, ...]) -> np.ndarray | None:
    """Return a float32 array that an earlier run saved; None for any other file."""
    try:
        array = np.load(path, mmap_mode="r")
    except (OSError, ValueError, EOFError):
        return None
    fits = isinstance(array, np.ndarray) and array.dtype == np.float32 and array.shape == shape
    return np.array(array) if fits else None


def _array(path: Path, dtype: type, shape: tuple[int, ...]) -> np.ndarray:
    remedy = f"remove {path.name.split('.')[0]}.json and {CARD} there, and {_AGAIN}"
    try:
        array = np.load(path, mmap_mode="r")
    except (OSError, ValueError, EOFError) as error:
        raise InputError(
            f"`dataset` must have complete shards, got {path} missing or truncated "
            f"({error}); {remedy}"
        ) from error
    if not isinstance(array, np.ndarray):
        raise InputError(f"{path} must hold one array, got an archive of arrays; {remedy}")
    if array.dtype != dtype or array.shape != shape:
        raise InputError(
            f"{path} must hold {np.dtype(dtype)} of shape {shape}, got {array.dtype} of "
            f"{array.shape}; {remedy}"
        )
    return array


def _finite(embeddings: np.ndarray, keys: Sequence[str], name: str, remedy: str) -> None:
    wrong = ~np.isfinite(embeddings).all(axis=(1, 2))
    if wrong.any():
        raise InputError(
            f"{name} must be finite, got NaN or infinity in {int(wrong.sum())} of {len(keys)} "
            f"(first: {keys[int(wrong.argmax())]}); {remedy}"
        )


def _check_alike(paths: Sequence[Path], cards: Sequence[DatasetCard]) -> None:
    first: Mapping[str, Any] = asdict(cards[0])
    for path, card in zip(paths[1:], cards[1:], strict=True):
        other = asdict(card)
        if differing := [name for name in _SHARED if first[name] != other[name]]:
            differences = "; ".join(f"{n} {first[n]!r} and {other[n]!r}" for n in differing)
            raise InputError(
                "`datasets` must be made for one recognition model and crop, got "
                f"{paths[0]} and {path} with {differences}; prepare one of them again."
            )


def _joined(cards: Sequence[DatasetCard]) -> DatasetCard:
    if len(cards) == 1:
        return cards[0]

    def joined(name: str) -> str:
        return "; ".join(dict.fromkeys(filter(None, (getattr(card, name) for card in cards))))

    return replace(
        cards[0],
        n=sum(card.n for card in cards),
        bad=sum(card.bad for card in cards),
        crop=joined("crop"),
        source=joined("source"),
        about=joined("about"),
    )
