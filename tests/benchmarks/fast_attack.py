"""The attack of ``bob bio pipeline simple DATABASE PIPELINE recon``, each image handled once.

Bob's command embeds an image for every template it is in and writes what it does to disk. For a
table of many decoders that is the same work many times. Here every image is embedded once a
recognition model, and every template inverted once a decoder; croppers, networks, re-entry at the
camera and the choice of comparisons are those of the command, and so are the scores.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from bob.pipelines import Sample
from tqdm import tqdm

from bob_recon_plugin import decoders
from bob_recon_plugin.attack.gallery import Gallery
from bob_recon_plugin.attack.system import crops_by_own_positions
from bob_recon_plugin.common.files import whole_or_nothing
from bob_recon_plugin.evaluation import metrics
from bob_recon_plugin.evaluation import source_images as originals
from bob_recon_plugin.evaluation.scores import Scores
from bob_recon_plugin.inversion.reconstructor import FaceReconstructor
from bob_recon_plugin.recognizers import Recognizer, bob_pipeline, get, identify
from bob_recon_plugin.training import losses

KINDS = ("genuine", "impostor", "type1", "type2")
_BATCH = 256


@dataclass(frozen=True)
class Protocol:
    """Images of a database, and which of them are compared.

    Attributes
    ----------
    name : str
        Of the database, and its protocol.
    samples : list of Sample
        Every image once, in memory, with ``key``, ``subject_id`` and ``annotations``.
    pairs : mapping of str to int ndarray of shape (n, 2)
        For "genuine", "impostor", "type1" and "type2": the places in `samples` of the enrolled
        image, and of the image that is the probe, or whose template leaks.
    fixed_positions : dict or None
        Eyes of all images, (y, x), instead of annotations.
    annotation_type : str
    digest : str
        SHA-256 of keys and pixels.
    """

    name: str
    samples: list[Sample]
    pairs: Mapping[str, np.ndarray]
    fixed_positions: Any
    annotation_type: str
    digest: str

    @property
    def leaked(self) -> np.ndarray:
        """Places of the images whose templates are inverted, each once, in order."""
        return np.unique(np.concatenate([self.pairs[kind][:, 1] for kind in ("type1", "type2")]))


def read_protocol(database: Any) -> Protocol:
    """Read the images of a database of one group, and list its comparisons.

    Raises
    ------
    ValueError
        For a database of several groups, or of templates of several images.
    """
    references, probes = database.references(), database.probes()
    if len(database.groups()) != 1 or any(len(s.samples) != 1 for s in [*references, *probes]):
        raise ValueError(
            "`database` must have one group and one image a template, got groups "
            f"{database.groups()}; run `bob bio pipeline simple` for any other."
        )
    images = {str(s.samples[0].key): s.samples[0] for s in [*references, *probes]}
    place = {key: number for number, key in enumerate(images)}
    samples = [
        Sample(np.asarray(image.data), parent=image)
        for image in tqdm(images.values(), desc="images", disable=None)
    ]
    pairs = _pairs(references, probes, database.score_all_vs_all)
    return Protocol(
        name=f"{type(database).__name__} ({database.protocol})",
        samples=samples,
        pairs={
            kind: np.array([(place[a], place[b]) for a, b in found], int).reshape(-1, 2)
            for kind, found in pairs.items()
        },
        fixed_positions=database.fixed_positions,
        annotation_type=database.annotation_type,
        digest=_digest(samples),
    )


def _digest(samples: Iterable[Sample]) -> str:
    digest = hashlib.sha256()
    for sample in samples:
        digest.update(f"{sample.key} {sample.data.shape} {sample.data.dtype}\n".encode())
        digest.update(np.ascontiguousarray(sample.data).tobytes())
    return digest.hexdigest()


def _pairs(
    references: Sequence[Any], probes: Sequence[Any], all_vs_all: bool
) -> dict[str, list[tuple[str, str]]]:
    """Keys of the enrolled image and of the other one, by class of comparison."""
    image = {str(r.template_id): str(r.samples[0].key) for r in references}
    subject = {str(r.template_id): str(r.subject_id) for r in references}
    gallery = Gallery.of(references)
    pairs: dict[str, list[tuple[str, str]]] = {kind: [] for kind in KINDS}
    pairs["type1"] = [(key, key) for key in image.values()]
    for probe in probes:
        key = str(probe.samples[0].key)
        for template in image if all_vs_all else map(str, probe.references):
            mated = subject[template] == str(probe.subject_id)
            pairs["genuine" if mated else "impostor"].append((image[template], key))
        pairs["type2"] += [(image[t], key) for t in gallery.targets(probe, all_vs_all)]
    return pairs


class System:
    """A recognition model as it stands in Bob's pipeline: cropper, then network.

    Parameters
    ----------
    recognizer : str or Recognizer
    protocol : Protocol
        Its annotations decide how the cropper works.
    device : str
        As for :class:`~bob_recon_plugin.recognizers.RecognizerTransformer`.
    """

    def __init__(self, recognizer: str | Recognizer, protocol: Protocol, device: str = "auto"):
        self.recognizer, self.protocol = get(recognizer), protocol
        pipeline = bob_pipeline(
            recognizer, protocol.annotation_type, protocol.fixed_positions, device=device
        )
        self.transformer = pipeline.transformer
        self.sha256 = identify(self.transformer).sha256

    def enrolled(self, cache: Path | None = None) -> np.ndarray:
        """Embeddings of the protocol's images, of shape (n, d); from the cache if they are there.

        Parameters
        ----------
        cache : Path, optional
            Folder of earlier results; files are named by recogniser, its crop, and images.
        """
        about = self.recognizer
        crops = f"{self.sha256} {about} {self.protocol.fixed_positions}"
        name = hashlib.sha256(f"{crops} {self.protocol.digest}".encode()).hexdigest()[:24]
        path = None if cache is None else cache / f"{about.name}-{name}.npy"
        if path is not None and path.is_file():
            return np.load(path)
        steps = [step for _, step in self.transformer.steps]
        found = self._embed(self.protocol.samples, steps, f"{about.name}: templates")
        if path is not None:
            with whole_or_nothing(path) as part, part.open("wb") as stream:
                np.save(stream, found)
        return found

    def presented(self, faces: np.ndarray, positions: Mapping[str, Any]) -> np.ndarray:
        """Embeddings of reconstructions that enter at the camera.

        Parameters
        ----------
        faces : uint8 ndarray of shape (n, 3, H, W)
        positions : mapping
            Their eyes, (y, x).
        """
        steps = [crops_by_own_positions(step) for _, step in self.transformer.steps]
        box = {"topleft": (0, 0), "bottomright": faces.shape[2:]}
        samples = [
            Sample(face, key=str(i), annotations={**positions, **box})
            for i, face in enumerate(faces)
        ]
        return self._embed(samples, steps, f"{self.recognizer.name}: reconstructions")

    @staticmethod
    def _embed(samples: Sequence[Sample], steps: Sequence[Any], told: str) -> np.ndarray:
        found: list[np.ndarray] = []
        with tqdm(total=len(samples), desc=told, unit="image", disable=None) as bar:
            for start in range(0, len(samples), _BATCH):
                block: Any = samples[start : start + _BATCH]
                for step in steps:
                    block = step.transform(block)
                found += [np.asarray(sample.data, dtype=np.float32) for sample in block]
                bar.update(len(block))
        return np.stack(found)


@dataclass(frozen=True)
class Attacked:
    """What one decoder does to one system.

    Attributes
    ----------
    card : ModelCard
    parameters : int
        Of the decoder.
    cosines : mapping of str to float64 ndarray
        By kind, in the order of the protocol's pairs. Bob's scores are these less one.
    points : list of OperatingPoint
        At FMR 1e-2 and 1e-3.
    ssim : float
        Mean, of each inverted template's reconstruction against its aligned image.
    faces : dict of int to uint8 ndarray of shape (3, H, W)
        Reconstructions that were asked for, by place of the image.
    """

    card: decoders.ModelCard
    parameters: int
    cosines: Mapping[str, np.ndarray]
    points: list[metrics.OperatingPoint]
    ssim: float
    faces: dict[int, np.ndarray]


def attack(
    decoder: Path,
    system: System,
    enrolled: np.ndarray,
    fmrs: Sequence[float] = (1e-2, 1e-3),
    keep: Iterable[int] = (),
    device: str = "auto",
) -> Attacked:
    """Invert the templates that leak, present the faces, and measure.

    Parameters
    ----------
    decoder : Path
        Of the system's recognition model; any other is refused.
    system : System
    enrolled : ndarray of shape (n, d)
        Of `System.enrolled`.
    fmrs : sequence of float
        Target false match rates, in [0, 1].
    keep : iterable of int
        Places of images whose reconstructions are returned.
    device : str
        Of the decoder.

    Raises
    ------
    FileNotFoundError, ValueError
        As :class:`~bob_recon_plugin.inversion.reconstructor.FaceReconstructor`.
    """
    about, protocol = system.recognizer, system.protocol
    reconstructor = FaceReconstructor(decoder, about.name, system.sha256, device=device)
    card = reconstructor.card()
    leaked = protocol.leaked
    faces = reconstructor.transform(enrolled[leaked])
    presented = np.full_like(enrolled, np.nan)
    presented[leaked] = system.presented(faces, card.positions)
    cosines = {}
    for kind, pairs in protocol.pairs.items():
        probes = presented if kind in KINDS[2:] else enrolled
        cosines[kind] = cosine(enrolled[pairs[:, 0]], probes[pairs[:, 1]])
    rates = Scores(
        cosines["genuine"], cosines["impostor"], {kind: cosines[kind] for kind in KINDS[2:]}
    )
    row = {int(place): face for place, face in zip(leaked, faces, strict=True)}
    return Attacked(
        card=card,
        parameters=_parameters(decoder),
        cosines=cosines,
        points=metrics.evaluate(rates, fmrs=fmrs),
        ssim=_mean_ssim(protocol, leaked, faces, card.positions),
        faces={place: row[place] for place in keep},
    )


def _parameters(path: Path) -> int:
    """Count what was learnt; the linear decoder's weights are buffers, not torch's parameters."""
    state = decoders.load(path)[0].state_dict()
    statistics = ("running_mean", "running_var", "num_batches_tracked")
    return sum(value.numel() for name, value in state.items() if not name.endswith(statistics))


def cosine(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Cosine of each pair of rows of shape (n, d), in float64 as Bob's `Distance` computes it.

    Examples
    --------
    >>> cosine(np.array([[3.0, 4.0]]), np.array([[4.0, 3.0]]))
    array([0.96])
    """
    a, b = one.astype(np.float64), other.astype(np.float64)
    norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return (a * b).sum(axis=1) / norms


def aligned(protocol: Protocol, place: int, positions: Any, size: tuple[int, int]) -> np.ndarray:
    """Crop an image as a decoder draws it: uint8 of shape (3, *size)."""
    sample = protocol.samples[place]
    eyes = protocol.fixed_positions or sample.annotations
    return originals.aligned(sample.data, eyes, positions, size).image


@torch.inference_mode()
def _mean_ssim(
    protocol: Protocol, leaked: np.ndarray, faces: np.ndarray, positions: Mapping[str, Any]
) -> float:
    total, size = 0.0, (faces.shape[2], faces.shape[3])
    for start in tqdm(range(0, len(leaked), 64), desc="SSIM", disable=None):
        part = slice(start, start + 64)
        originals = np.stack([aligned(protocol, int(i), positions, size) for i in leaked[part]])
        x, y = (torch.from_numpy(images).float() / 255 for images in (originals, faces[part]))
        total += losses.ssim(y, x).sum().item()
    return total / len(leaked)
