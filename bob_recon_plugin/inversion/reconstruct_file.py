"""A file of vectors to a folder of faces, with what a recognition model makes of each."""

from __future__ import annotations

import csv
import os
import re
import sys
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from PIL.PngImagePlugin import PngInfo
from tqdm import tqdm

from ..common.files import sha256, whole_or_nothing
from ..common.memory import keep_freed_memory
from ..common.validation import InputError
from ..faces.output_folder import claim_folder
from ..images.crop import EyeCropper
from ..images.geometry import same_place
from ..images.reading import UNREADABLE, load_image
from ..recognizers import Identity, RecognizerTransformer, get, names
from ..recognizers.weights import at_hand
from .adapter import Adapter
from .reconstructor import FaceReconstructor
from .vectors import Rows, as_float32, faults, read_vectors

TABLE, FAILURES, SHEET = "reconstructions.csv", "failures.csv", "contact-sheet.png"
_COSINE = "bob_recon_plugin.cosine"  # text of a face's PNG; empty: not measured
_LONGEST = 150  # bytes of an id in the name of a file
_SHOWN, _COLUMNS = 24, 8  # faces on the sheet
_SIDE, _GAP, _LINE = 112, 8, 16
_LETTERS = 16  # of an id on the sheet


@dataclass(frozen=True)
class Reconstructions:
    """What a folder holds.

    Parameters
    ----------
    faces : int
        Rows that have a face.
    drawn : int
        Faces that were drawn now.
    failures : int
        Rows without a face.
    cosine : float or None
        Mean over the faces, in [-1, 1]; None where it was not measured.
    """

    faces: int
    drawn: int
    failures: int
    cosine: float | None


def reconstruct_file(
    vectors: str | os.PathLike[str],
    output: str | os.PathLike[str],
    recognizer: str,
    decoder: str | os.PathLike[str],
    adapter: str | os.PathLike[str] | None = None,
    *,
    batch_size: int = 32,
    device: str = "auto",
    force: bool = False,
) -> Reconstructions:
    """Draw a face for every vector of a file; those that are there stay.

    Rows that cannot be inverted (not finite, zero, of another length) are left out and listed.

    Parameters
    ----------
    vectors : path
        See :func:`~bob_recon_plugin.inversion.vectors.read_vectors`.
    output : path
        Folder: a PNG a vector, ``reconstructions.csv``, ``contact-sheet.png``, and ``failures.csv``
        where rows were left out.
    recognizer : str
        Name of the recognition model whose embeddings the vectors are. Where it is a registered
        one and its weights are here, it embeds the faces again.
    decoder : path
        For that model, or for the one that the adapter leads to.
    adapter : path, optional
        A file of ``bob bio recon adapt``.
    batch_size : int
        Vectors decoded at once.
    device : str
        "auto", "cpu", "cuda", "cuda:1", ...
    force : bool
        Draw all faces again.

    Returns
    -------
    Reconstructions

    Raises
    ------
    FileNotFoundError
        When a file is missing.
    ValueError
        For a file that cannot be read, vectors of another length, a decoder or an adapter of
        another model, and a folder of other work.
    """
    drawer = _Drawer.of(recognizer, decoder, adapter, batch_size, device)
    ids, rows = read_vectors(vectors)
    bad = faults(rows, drawer.size)
    _check_rows(vectors, ids, rows, bad, drawer.size, recognizer)
    folder = Path(output).expanduser()
    claim_folder(folder, {"vectors": sha256(vectors), **drawer.describe()}, force)
    if force:
        _clear(folder)
    called = file_names(ids)
    good = {i: folder / called[i] for i in range(len(rows)) if i not in bad}
    found = {i: cosine for i, path in good.items() if (cosine := _noted(path)) is not None}
    drawn = len(good) - len(found)
    drawer.draw(rows, good, found)
    norms = {i: float(np.linalg.norm(np.asarray(rows[i], dtype=np.float64))) for i in good}
    table = [[ids[i], called[i], f"{norms[i]:.6g}", found[i]] for i in good]
    _write_table(folder / TABLE, ["id", "file", "norm", "cosine"], table)
    _write_failures(folder / FAILURES, ids, bad)
    _draw_sheet(folder, table[:_SHOWN])
    measured = [float(cosine) for cosine in found.values() if cosine]
    mean = float(np.mean(measured)) if measured else None
    return Reconstructions(len(good), drawn, len(bad), mean)


def inverted(recognizer: str, adapter: str | os.PathLike[str] | None) -> Identity:
    """Recognition model whose embeddings the decoder gets.

    Raises
    ------
    ValueError
        For an adapter that was made for another model.
    """
    model = _model(recognizer)
    if adapter is None:
        return model
    step = Adapter(adapter)
    card = step.card()
    if not model.same_as(Identity(card.source, card.source_sha256)):
        raise InputError(
            f"`adapter` must be made for {recognizer}, got {adapter}, made for {card.source}; "
            "name the model of the vectors with `-r`, or fit an adapter with `bob bio recon adapt`."
        )
    return step.leads_to(model)


def _model(name: str) -> Identity:
    """A recognition model by its name, registered or not."""
    if name not in names():
        return Identity(name)
    about, weights = get(name), at_hand(get(name))
    digest = about.sha256 if weights is None else sha256(weights)
    return Identity(name, digest, about.embedding_size)


def file_names(ids: Sequence[str]) -> list[str]:
    """Return the name of a PNG file for every id.

    Letters, digits, ``.``, ``-`` and ``_`` stay, other characters become ``_``; ``.`` and ``-``
    at the start go. A name that is then empty, or that an earlier row has (in any case of its
    letters), gets ``row`` and the row's number, from 0, at its end.

    Examples
    --------
    >>> file_names(["ann/1", "ann/1", "../x", "", "Ann_1"])
    ['ann_1.png', 'ann_1-row1.png', '_x.png', 'row3.png', 'Ann_1-row4.png']
    """
    found, taken = [], {Path(SHEET).stem}
    for number, label in enumerate(ids):
        name = re.sub(r"[^\w.-]", "_", label).lstrip(".-")
        name = name.encode()[:_LONGEST].decode(errors="ignore")
        while not name or name.casefold() in taken:
            name += f"-row{number}" if name else f"row{number}"
        taken.add(name.casefold())
        found.append(f"{name}.png")
    return found


def _check_rows(
    path: object,
    ids: Sequence[str],
    rows: Rows,
    bad: dict[int, str],
    size: int,
    recognizer: str,
) -> None:
    """Raise InputError when no row can be inverted."""
    if len(bad) < len(rows):
        return
    length, times = Counter(len(row) for row in rows).most_common(1)[0]
    if length not in (0, size):
        raise InputError(
            f"`vectors` must have {size} numbers a row, as {recognizer} makes them, got {length} "
            f"in {times} of the {len(rows)} rows of {path}; name the model that made them with "
            "`-r` and its decoder, or correct the file."
        )
    raise InputError(
        f"`vectors` must hold a vector that can be inverted, got none in the {len(rows)} rows of "
        f"{path} (first: {ids[0]!r}: {bad[0]}); correct the file."
    )


@dataclass(frozen=True)
class _Drawer:
    """What draws faces, and measures them."""

    recognizer: str
    adapter: Adapter | None
    reconstructor: FaceReconstructor
    again: _Again | None

    @classmethod
    def of(
        cls, recognizer: str, decoder: Any, adapter: Any, batch_size: int, device: str
    ) -> _Drawer:
        target = inverted(recognizer, adapter)
        reconstructor = FaceReconstructor(
            decoder, target.name, target.sha256, batch_size=batch_size, device=device
        ).validate()
        again = _Again.of(recognizer, reconstructor, device)
        return cls(recognizer, None if adapter is None else Adapter(adapter), reconstructor, again)

    @property
    def size(self) -> int:
        """Length of the vectors."""
        if self.adapter is not None:
            return self.adapter.card().source_size
        return self.reconstructor.card().embedding_size

    def describe(self) -> dict[str, Any]:
        """What decides faces and cosines."""
        return {
            "recognizer": self.recognizer,
            "measured_by": None if self.again is None else _model(self.recognizer).sha256,
            "decoder": self.reconstructor.describe(),
            "adapter": None if self.adapter is None else sha256(self.adapter.path),
        }

    def draw(self, rows: Rows, files: dict[int, Path], found: dict[int, str]) -> None:
        """Write the faces of rows that are not ``found``, and note their cosines there."""
        todo = [i for i in files if i not in found]
        keep_freed_memory()
        # hidden where no terminal shows it
        progress = tqdm(
            total=len(files), initial=len(found), unit="face", desc="reconstruct", disable=None
        )
        with _warnings_once(), progress as bar:
            for start in range(0, len(todo), self.reconstructor.batch_size):
                part = todo[start : start + self.reconstructor.batch_size]
                batch = np.stack([as_float32(rows[i]) for i in part])
                mapped = batch if self.adapter is None else self.adapter.transform(batch)
                faces = self.reconstructor.transform(mapped)
                cosines = [""] * len(part)
                if self.again is not None:
                    cosines = self.again.cosines(faces, batch)
                for i, face, cosine in zip(part, faces, cosines, strict=True):
                    _write_face(files[i], face, cosine)
                    found[i] = cosine
                bar.update(len(part))


@dataclass(frozen=True)
class _Again:
    """The recognition model of the vectors, which embeds the faces again."""

    embed: RecognizerTransformer
    positions: dict[str, tuple[float, float]]
    cropper: EyeCropper | None  # None: faces are drawn as the model takes them

    @classmethod
    def of(cls, name: str, reconstructor: FaceReconstructor, device: str) -> _Again | None:
        """The model; None, with a sentence that says why, where it is not here."""
        if name not in names():
            why = "it is no registered model"
        elif at_hand(get(name)) is None:
            why = f"its weights are not here; {get(name).source}"
        else:
            about, positions = get(name), reconstructor.card().positions
            embed = RecognizerTransformer(name, device=device)
            embed.transform([])  # unusable weights are an error before any work
            cropper = None
            same = same_place(positions, about.cropped_positions)
            if not same or reconstructor.image_size != about.image_size:
                cropper = EyeCropper(about.cropped_positions, about.image_size, enlarge=np.inf)
            return cls(embed, positions, cropper)
        _say(f"Note: no cosines, as {name} cannot embed the faces again: {why}.")
        return None

    def cosines(self, faces: np.ndarray, rows: np.ndarray) -> list[str]:
        """Cosines of what faces (n, 3, H, W) embed to with rows (n, d), as text."""
        if self.cropper is not None:
            faces = np.stack([self.cropper.transform(face, self.positions) for face in faces])
        seen, stolen = self.embed.transform(faces).astype(np.float64), rows.astype(np.float64)
        norms = np.linalg.norm(seen, axis=1) * np.linalg.norm(stolen, axis=1)
        return [f"{cosine:.6f}" for cosine in (seen * stolen).sum(axis=1) / norms]


def _say(sentence: str) -> None:
    tqdm.write(sentence, file=sys.stderr)


@contextmanager
def _warnings_once() -> Iterator[None]:
    """Show a warning that comes with every batch as one sentence."""
    said = set()

    def show(message: Warning | str, *_: Any, **__: Any) -> None:
        if str(message) not in said:
            said.add(str(message))
            _say(f"Note: {message}")

    with warnings.catch_warnings():
        warnings.simplefilter("always", UserWarning)
        warnings.showwarning = show
        yield


# -- files ---------------------------------------------------------------------


def _write_face(path: Path, face: np.ndarray, cosine: str) -> None:
    about = PngInfo()
    about.add_text(_COSINE, cosine)
    with whole_or_nothing(path) as part:
        Image.fromarray(face.transpose(1, 2, 0)).save(part, format="png", pnginfo=about)


def _noted(path: Path) -> str | None:
    """The cosine in a face's file; None where there is no such file."""
    if not path.is_file():
        return None
    try:
        with Image.open(path, formats=["PNG"]) as image:
            return image.info.get(_COSINE)
    except UNREADABLE:
        return None


def _clear(folder: Path) -> None:
    """Remove the faces that an earlier command drew."""
    for path in folder.glob("*.png"):
        if _noted(path) is not None:
            path.unlink()


def _write_table(path: Path, header: list[str], rows: Sequence[Sequence[object]]) -> None:
    with whole_or_nothing(path) as part, part.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([header, *rows])


def _write_failures(path: Path, ids: Sequence[str], bad: dict[int, str]) -> None:
    if not bad:
        path.unlink(missing_ok=True)
        return
    listed = [[number, ids[number], reason] for number, reason in bad.items()]
    _write_table(path, ["row", "id", "reason"], listed)


def _draw_sheet(folder: Path, table: Sequence[Sequence[str]]) -> None:
    """Draw the first faces, with their ids and cosines under them."""
    font = ImageFont.load_default(12)
    columns = min(_COLUMNS, len(table))
    width, height = _SIDE + _GAP, _SIDE + 2 * _LINE + _GAP
    lines = -(-len(table) // columns)
    sheet = Image.new("RGB", (columns * width + _GAP, lines * height + _GAP), "white")
    pen = ImageDraw.Draw(sheet)
    for place, (label, name, _, cosine) in enumerate(table):
        left, top = _GAP + place % columns * width, _GAP + place // columns * height
        face = Image.fromarray(load_image(folder / name).transpose(1, 2, 0))
        sheet.paste(face.resize((_SIDE, _SIDE)), (left, top))
        short = label if len(label) <= _LETTERS else f"{label[: _LETTERS - 3]}..."
        shown = f"cosine {float(cosine):.2f}" if cosine else ""
        pen.text((left, top + _SIDE), " ".join(short.split()), fill="black", font=font)
        pen.text((left, top + _SIDE + _LINE), shown, fill="gray", font=font)
    with whole_or_nothing(folder / SHEET) as part:
        sheet.save(part, format="png")
