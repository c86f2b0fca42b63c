"""Image quality: similarity of a reconstruction to the original image of its template."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..common.files import sha256
from ..common.validation import InputError
from ..common.weights_files import read_weights
from ..images.crop import EyeCropper
from ..images.geometry import INSIGHTFACE_EYES
from ..images.ssim import ssim
from ..recognizers import Identity, RecognizerTransformer, get, names
from ..recognizers.weights import at_hand
from .run_folder import Part
from .source_images import Positions

_BATCH = 64
_LPIPS_FILE = "alexnet-owt-7be5be79.pth"


@dataclass(frozen=True)
class QualityMeasure:
    """Mean and standard deviation over pairs; `note` says what it is, or why there is none."""

    name: str
    mean: float | None
    deviation: float | None
    note: str

    @classmethod
    def of(cls, name: str, values: np.ndarray, note: str) -> QualityMeasure:
        """Summarise one value per pair."""
        spread = len(values) > 1 and np.isfinite(values).all()  # PSNR of equal images is infinite
        deviation = float(values.std(ddof=1)) if spread else None
        return cls(name, float(values.mean()), deviation, note)


def second_recognizer(parts: Sequence[Part]) -> str | None:
    """Return the first recognition model with installed weights that is none of these."""
    for name in names():
        path = at_hand(get(name))
        if path is not None and part_of(name, parts) is None:
            return name
    return None


def part_of(name: str, parts: Sequence[Part]) -> Part | None:
    """Return the first role of a recognition model in a run, or None; known hashes decide."""
    path = at_hand(get(name)) if name in names() else None
    model = Identity(name, None if path is None else sha256(path))
    return next((part for part in parts if model.same_as(part.model)), None)


def measure(
    originals: np.ndarray,
    reconstructions: np.ndarray,
    recognizer: str | None,
    positions: Positions | None = None,
    people: Sequence[str] | None = None,
) -> list[QualityMeasure]:
    """Compare reconstructions with the original images of their templates.

    Parameters
    ----------
    originals, reconstructions : ndarray of shape (n, 3, H, W), uint8
        RGB, [0, 255], with the same eye positions; row i of both is the same person.
    recognizer : str or None
        A recognition model that took no part in the run; None to skip the identity.
    positions : mapping, optional
        Eye positions in these images, (y, x).
    people : sequence of n str, optional
        The person of each row. Default: all rows are of different people.

    Returns
    -------
    list of QualityMeasure
        SSIM, PSNR, LPIPS, and the cosine of the identity, with the own original and, if there are
        other people, with that of another person.

    Raises
    ------
    ValueError
        If the arrays have different shapes, or are not (n, 3, H, W).
    """
    if originals.shape != reconstructions.shape or originals.ndim != 4 or not len(originals):
        raise InputError(
            "`originals` and `reconstructions` must have one shape (n, 3, H, W), n > 0, got "
            f"{originals.shape} and {reconstructions.shape}; crop both to one size."
        )
    found = [
        QualityMeasure.of(
            "SSIM", _ssim(originals, reconstructions), "1 for equal images; Wang 2004"
        ),
        QualityMeasure.of(
            "PSNR", psnr(originals, reconstructions), "dB, peak 255; higher is closer"
        ),
        _lpips(originals, reconstructions),
    ]
    others = _others(range(len(originals)) if people is None else people)
    positions = positions or INSIGHTFACE_EYES
    return found + _identity(originals, reconstructions, recognizer, positions, others)


def _others(people: Sequence[Any]) -> list[tuple[int, int]]:
    """Pair each row with the next row, cyclically, that is of another person."""
    n = len(people)
    found = []
    for i in range(n):
        following = (j % n for j in range(i + 1, i + n))
        other = next((j for j in following if people[j] != people[i]), None)
        if other is not None:
            found.append((i, other))
    return found


def psnr(originals: np.ndarray, reconstructions: np.ndarray) -> np.ndarray:
    """Return the peak signal-to-noise ratio of each pair in dB, shape (n,), inf if equal."""
    difference = originals.astype(np.float64) - reconstructions
    error = (difference**2).mean(axis=(1, 2, 3))
    with np.errstate(divide="ignore"):
        return 10 * np.log10(255.0**2 / error)


def _batches(*arrays: np.ndarray) -> Any:
    for start in range(0, len(arrays[0]), _BATCH):
        part = slice(start, start + _BATCH)
        yield tuple(torch.from_numpy(np.ascontiguousarray(a[part])).float() / 255 for a in arrays)


@torch.inference_mode()
def _ssim(originals: np.ndarray, reconstructions: np.ndarray) -> np.ndarray:
    return np.concatenate([ssim(x, y).numpy() for x, y in _batches(originals, reconstructions)])


def lpips_weights() -> Path:
    """Return the file in which LPIPS expects the weights of AlexNet; it is not downloaded."""
    return Path(torch.hub.get_dir(), "checkpoints", _LPIPS_FILE)


@torch.inference_mode()
def _lpips(originals: np.ndarray, reconstructions: np.ndarray) -> QualityMeasure:
    if not lpips_weights().is_file():
        note = f"not measured: {_LPIPS_FILE} is not in the folder of torch's checkpoints"
        return QualityMeasure("LPIPS", None, None, note)
    # torchvision would load any pickled object of the file
    read_weights(lpips_weights(), "weights of LPIPS", f"remove {lpips_weights()}.")
    from torchmetrics.image.lpip import LearnedPerceptualImagePatchSimilarity

    network = LearnedPerceptualImagePatchSimilarity("alex", normalize=True)
    values = []
    for x, y in _batches(originals, reconstructions):
        values += [float(network(x[i : i + 1], y[i : i + 1])) for i in range(len(x))]
    return QualityMeasure.of("LPIPS", np.array(values), "AlexNet; 0 for equal images; Zhang 2018")


def _identity(
    originals: np.ndarray,
    reconstructions: np.ndarray,
    recognizer: str | None,
    positions: Positions,
    others: Sequence[tuple[int, int]],
) -> list[QualityMeasure]:
    if recognizer is None:
        why = "not measured: no recognition model is installed that took no part in the run"
        return [QualityMeasure("Identity cosine", None, None, why)]
    about = get(recognizer)
    embed = RecognizerTransformer(recognizer, device="cpu")
    cropper = EyeCropper(about.cropped_positions, about.image_size, enlarge=np.inf)
    vectors = []
    for images in (originals, reconstructions):
        crops = np.stack([cropper.transform(image, positions) for image in images])
        rows = embed.transform(crops).astype(np.float64)
        vectors.append(rows / np.linalg.norm(rows, axis=1, keepdims=True))
    own = (vectors[0] * vectors[1]).sum(axis=1)
    note = f"{recognizer}: reconstruction with the original image of its template"
    found = [QualityMeasure.of("Identity cosine", own, note)]
    if others:
        made, original = np.transpose(others)
        other = (vectors[0][original] * vectors[1][made]).sum(axis=1)
        note = f"{recognizer}: reconstruction with the image of another person, for comparison"
        found.append(QualityMeasure.of("Identity cosine, another person", other, note))
    return found
