"""A small collection in the form of MOBIO: images in folders, protocols in CSV files."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from bob_recon_plugin.images import INSIGHTFACE_EYES

_GROUPS = ("train", "dev", "eval")
_PROTOCOLS = {"mobile0-male-female": "mf", "mobile0-male": "m", "mobile0-female": "f"}
_COLUMNS = ["path", "subject_id", "template_id", "gender", "leye_x", "leye_y", "reye_x", "reye_y"]


def noise(seed: int) -> Iterator[np.ndarray]:
    """Draw 112 x 112 images without end, uint8 of shape (3, 112, 112)."""
    generator = np.random.default_rng(seed)
    while True:
        yield generator.integers(0, 256, (3, 112, 112), dtype=np.uint8)


def make(
    directory: str | Path,
    n_subjects: int = 2,
    images: Iterable[np.ndarray] | None = None,
    seed: int = 0,
    *,
    enrolled: int = 2,
    probes: int = 2,
    positions: dict[str, tuple[float, float]] = INSIGHTFACE_EYES,
) -> tuple[Path, Path]:
    """Write images and protocol files.

    Parameters
    ----------
    directory : path
        Gets the folders ``images`` and ``protocols``.
    n_subjects : int
        In each of train, dev and eval, every second one female; at least 2.
    images : iterable of ndarray of shape (3, H, W), uint8, optional
        One after the other: ``enrolled + probes`` images of every subject of
        train, then of dev, then of eval. Default: noise.
    seed : int
        Of the noise.
    enrolled, probes : int
        Images of a subject that make its template, and that are compared.
    positions : dict
        Eyes as (y, x), the same in every image.

    Returns
    -------
    images, protocols : Path
        What ``MobioDatabase`` takes as ``original_directory`` and
        ``dataset_protocols_path``.
    """
    source = iter(noise(seed) if images is None else images)
    image_root, protocol_root = Path(directory, "images"), Path(directory, "protocols")
    eyes = {f"{eye}_{axis}": value for eye in positions for axis, value in _axes(positions[eye])}
    for group in _GROUPS:
        rows = list(_write_images(image_root, group, n_subjects, enrolled + probes, source, eyes))
        for protocol, genders in _PROTOCOLS.items():
            chosen = [row for row in rows if row["gender"] in genders]
            _write_lists(protocol_root / protocol / group, chosen, enrolled)
    return image_root, protocol_root


def _axes(position: tuple[float, float]) -> zip[tuple[str, float]]:
    return zip("yx", position, strict=True)


def _write_images(
    root: Path,
    group: str,
    n_subjects: int,
    count: int,
    source: Iterator[np.ndarray],
    eyes: dict[str, float],
) -> Iterator[dict[str, Any]]:
    for number in range(n_subjects):
        gender = "mf"[number % 2]
        subject = f"{gender}{_GROUPS.index(group)}{number:02d}"
        for index in range(count):
            path = f"{group}/{subject}/{subject}_{index:02d}"
            target = root / f"{path}.png"
            target.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(next(source).transpose(1, 2, 0)).save(target)
            yield {"path": path, "subject_id": subject, "gender": gender, "index": index, **eyes}


def _write_lists(folder: Path, rows: list[dict[str, Any]], enrolled: int) -> None:
    if folder.name == "train":
        lists = {"for_background_model": [{**row, "template_id": row["path"]} for row in rows]}
    else:
        first = [row for row in rows if row["index"] < enrolled]
        rest = [row for row in rows if row["index"] >= enrolled]
        lists = {
            "for_enrolling": [{**row, "template_id": row["subject_id"]} for row in first],
            "for_probing": [{**row, "template_id": row["path"]} for row in rest],
        }
    folder.mkdir(parents=True, exist_ok=True)
    for name, listed in lists.items():
        with (folder / f"{name}.csv").open("w", newline="") as stream:
            writer = csv.DictWriter(stream, _COLUMNS, extrasaction="ignore")
            writer.writeheader()
            writer.writerows(listed)
