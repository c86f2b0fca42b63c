"""Make one shard of a dataset from one part of a source: crop, embed, write."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import joblib
import numpy as np
from bob.bio.face.preprocessor import FaceCrop
from bob.pipelines import DelayedSample, Sample, wrap

from ..common.threads import map_ahead
from ..common.validation import InputError
from ..images.crop import EyeCropper, ffhq_eyes
from ..images.geometry import Positions
from ..recognizers import get
from .dataset import write_shard


class FaceCutter:
    """Crop the face of one image, or return the reason why this is not possible.

    Parameters
    ----------
    crop : {"aligned", "ffhq", "annotations"}
        The image is already cropped; has eyes at FFHQ's positions; has annotated eyes.
    image_size : (int, int)
        Height and width of the faces.
    positions : dict
        (y, x) of ``reye`` and ``leye`` in the faces, in pixels.
    """

    def __init__(self, crop: str, image_size: tuple[int, int], positions: Positions):
        self.crop = crop
        self.image_size = image_size
        cropper = FaceCrop(
            cropped_image_size=image_size,
            cropped_positions=positions,
            cropper=EyeCropper(positions, image_size),
            color_channel="rgb",
        )
        self.step = wrap(
            ["sample"], cropper, transform_extra_arguments=(("annotations", "annotations"),)
        )

    def __call__(self, sample: Sample | DelayedSample) -> np.ndarray:
        """Return the face of a sample: uint8 of shape (3, H, W), RGB, [0, 255].

        Raises
        ------
        ValueError
            For an image without a usable face.
        """
        image = as_rgb(sample.data)
        size = (image.shape[1], image.shape[2])
        if self.crop == "aligned":
            if size != self.image_size:
                found, wanted = (f"{height} x {width}" for height, width in (size, self.image_size))
                raise InputError(f"{found} pixels, an aligned face has {wanted}")
            return image
        # not None, which FaceCrop would drop; the cropper raises an error for missing eyes
        annotated = getattr(sample, "annotations", None) or {}
        eyes = ffhq_eyes(size) if self.crop == "ffhq" else annotated
        [cropped] = self.step.transform([Sample(image, annotations=eyes)])
        return cropped.data

    def attempt(self, sample: Sample | DelayedSample) -> tuple[str, np.ndarray | None, str]:
        """Return the key of a sample, its face or None, and the reason if there is no face."""
        key = str(sample.key)
        try:
            return key, self(sample), ""
        except MemoryError:
            raise
        except Exception as error:  # any error of a file or a database
            return key, None, " ".join(str(error).split()) or type(error).__name__


def as_rgb(image: Any) -> np.ndarray:
    """Return an image as uint8 of shape (3, H, W), grey in three equal channels.

    Raises
    ------
    ValueError
        For another shape, or values outside [0, 255].
    """
    array = np.asarray(image)
    if array.ndim == 2:
        array = np.stack([array] * 3)
    if array.ndim != 3 or array.shape[0] != 3 or 0 in array.shape:
        raise InputError(f"an image must have the shape (3, H, W), got {array.shape}")
    if array.dtype != np.uint8:
        if array.dtype.kind not in "uif" or not (array.min() >= 0 and array.max() <= 255):
            raise InputError(f"an image must lie in [0, 255], got {array.dtype} values outside")
        array = np.rint(array).astype(np.uint8)
    return array


@dataclass(frozen=True)
class ShardMaker:
    """Makes a shard from a part of a source; sent to Dask's workers, without weights.

    Parameters
    ----------
    directory : Path
        Folder of the dataset, which all workers must be able to write.
    cutter : FaceCutter
    embedder : wrapped RecognizerTransformer
        From samples to samples.
    image_size : (int, int)
        Height and width of the faces.
    batch_size : int
        Faces embedded at once, together with their mirror images.
    threads : int or None
        Threads that read and crop; None: one per core.
    """

    directory: Path
    cutter: FaceCutter
    embedder: Any
    image_size: tuple[int, int]
    batch_size: int
    threads: int | None = None

    def __call__(
        self,
        index: int,
        samples: list[DelayedSample],
        report: Callable[[int, int], None] | None = None,
    ) -> tuple[int, int]:
        """Make one shard; call ``report(images, bad)`` after every batch.

        Returns
        -------
        (int, int)
            Numbers of faces and of bad images.
        """
        size = get(self.embedder.estimator.recognizer).embedding_size
        faces = np.empty((len(samples), 3, *self.image_size), np.uint8)
        embeddings = np.empty((len(samples), 2, size), np.float32)
        keys: list[str] = []
        bad: list[tuple[str, str]] = []
        for batch in self._batches(samples):
            before = len(bad)
            bad += [(key, reason) for key, _, reason in batch if reason]
            good = [(key, face) for key, face, _ in batch if face is not None]
            for (key, face), rows in zip(good, self._embed([f for _, f in good]), strict=True):
                if not np.isfinite(rows).all():
                    bad.append((key, "its embedding is NaN or infinity"))
                    continue
                faces[len(keys)], embeddings[len(keys)] = face, rows
                keys.append(key)
            if report is not None:
                report(len(batch), len(bad) - before)
        k = len(keys)
        write_shard(self.directory, index, keys, faces[:k], embeddings[:k], bad)
        return k, len(bad)

    def _batches(self, samples: list[DelayedSample]) -> Iterator[list[tuple[str, Any, str]]]:
        threads = self.threads or joblib.cpu_count()
        batch = []
        # the next batch is read while this one is embedded
        for cut in map_ahead(self.cutter.attempt, samples, self.batch_size + 2 * threads, threads):
            batch.append(cut)
            if len(batch) == self.batch_size:
                yield batch
                batch = []
        if batch:
            yield batch

    def _embed(self, faces: list[np.ndarray]) -> np.ndarray:
        """Return embeddings of faces and mirror images, of shape (k, 2, d)."""
        if not faces:
            return np.empty((0, 2, 0), np.float32)
        both = faces + [np.ascontiguousarray(face[..., ::-1]) for face in faces]
        rows = self.embedder.transform([Sample(face) for face in both])
        stacked = np.stack([row.data for row in rows])
        return stacked.reshape(2, len(faces), -1).swapaxes(0, 1)
