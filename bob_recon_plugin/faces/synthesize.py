"""Aligned synthetic faces, as many as asked for, one file each."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from tqdm import tqdm

from ..common.files import whole_or_nothing
from ..common.record import versions, write_json
from ..common.validation import InputError
from ..images.crop import EyeCropper
from ..images.geometry import FFHQ_EYES
from ..recognizers import get
from .generator import Generator
from .output_folder import claim_folder
from .prepare import MANIFEST

LICENCE = "CC BY-NC-SA 4.0, as FFHQ, on which the generator was trained"
_MEAN_OF = 2000  # styles; their mean is the average face
_FOLDER = 1000  # images


@dataclass(frozen=True)
class FaceDrawer:
    """Draws face i, which depends on the seed and i alone.

    Parameters
    ----------
    generator : Generator
    cropper : EyeCropper
        Takes an FFHQ-aligned image.
    seed : int
    psi : float
        Distance from the average face: at 1 as the generator was trained; below 1 faces
        are more alike and have fewer faults.
    mean : ndarray of shape (512,)
        Style of the average face.
    """

    generator: Any
    cropper: EyeCropper
    seed: int
    psi: float
    mean: np.ndarray

    def draw(self, i: int) -> np.ndarray:
        """Return face i: uint8 of shape (3, H, W), RGB, [0, 255]."""
        style = self.generator.styles(np.random.default_rng([self.seed, i]))[0]
        image = self.generator.image(self.mean + self.psi * (style - self.mean))
        return self.cropper.transform(image, FFHQ_EYES)

    def write(self, i: int, path: Path) -> None:
        """Write face i as PNG."""
        face = self.draw(i)
        with whole_or_nothing(path) as part:
            Image.fromarray(face.transpose(1, 2, 0)).save(part, format="png")


def path_of(directory: Path, i: int) -> Path:
    """File of face i; a folder holds a thousand, which file managers can show.

    Examples
    --------
    >>> path_of(Path("faces"), 70_123).as_posix()
    'faces/070/070123.png'
    """
    return directory / f"{i // _FOLDER:03d}" / f"{i:06d}.png"


def synthesize(
    n: int,
    output: str | Path,
    seed: int = 0,
    psi: float = 0.85,
    recognizer: str = "arcface-mbf",
    generator: Any = None,
) -> int:
    """Write aligned synthetic faces; existing ones are kept.

    Parameters
    ----------
    n : int
        How many faces the folder holds in the end.
    output : str or Path
        Folder; face i is ``000/000000.png`` and so on.
    seed : int
        Of all draws, at least 0.
    psi : float
        Distance from the average face, in (0, 2].
    recognizer : str
        Recognition model for whose size and eye positions the faces are cropped.
    generator : Generator, optional
        Default: a new one.

    Returns
    -------
    int
        How many faces were drawn in this call.

    Raises
    ------
    FileNotFoundError
        When the package of the generator is missing.
    ValueError
        For numbers out of range, and for a folder that holds other files.

    References
    ----------
    Truncation by ``psi``: T. Karras, S. Laine, T. Aila, "A Style-Based Generator
    Architecture for Generative Adversarial Networks", CVPR 2019, appendix B.
    """
    if n < 1:
        raise InputError(f"`n` must be at least 1, got {n}.")
    if seed < 0:
        raise InputError(f"`seed` must be at least 0, got {seed}.")
    if not 0 < psi <= 2:
        raise InputError(f"`psi` must lie in (0, 2], got {psi}; below 1 faces are more alike.")
    model = get(recognizer)
    generator = Generator() if generator is None else generator
    directory = Path(output).expanduser()
    geometry = {"image_size": model.image_size, "positions": model.cropped_positions}
    identity = {"seed": seed, "psi": psi, "generator": generator.identity, **geometry}
    claim_folder(directory, identity)
    missing = [i for i in range(n) if not path_of(directory, i).is_file()]
    if missing:
        _write_manifest(directory, identity)
    # the average face is the same for every seed
    mean = generator.styles(np.random.default_rng(0), _MEAN_OF).mean(axis=0)
    cropper = EyeCropper(model.cropped_positions, model.image_size)
    drawer = FaceDrawer(generator, cropper, seed, psi, mean)
    # without a terminal the bar is not shown
    with tqdm(
        total=n, initial=n - len(missing), unit="face", desc="synthesize", disable=None
    ) as bar:
        _draw(drawer, directory, missing, bar)
    return len(missing)


def _write_manifest(directory: Path, identity: dict[str, Any]) -> None:
    """Write what the faces are, for `prepare` and for readers."""
    about = (
        "synthetic faces, drawn by MobileStyleGAN trained on FFHQ "
        f"(seed {identity['seed']}, psi {identity['psi']:g}); {LICENCE}"
    )
    record = {"about": about, "licence": LICENCE, "versions": versions()}
    write_json(directory / MANIFEST, {**identity, **record})


def _draw(drawer: FaceDrawer, directory: Path, missing: list[int], bar: tqdm) -> None:
    """Draw as many faces at once as torch may use threads, each on one of them."""
    threads = torch.get_num_threads()
    try:
        with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            files = [path_of(directory, i) for i in missing]
            for _ in pool.map(drawer.write, missing, files):
                bar.update()
    finally:
        torch.set_num_threads(threads)
