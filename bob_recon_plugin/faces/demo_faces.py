"""Make the demo database: ``python -m bob_recon_plugin.faces.demo_faces OUTPUT.zip``.

Forty synthetic people, four pictures each. The pictures of one person differ by small steps in
the generator's style space. A picture is kept when arcface-mbf accepts it as the same person, a
person when no other in the set is similar. The demo's accuracy is therefore better than that of
a real database.
"""

from __future__ import annotations

import argparse
import io
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from ..images.crop import EyeCropper
from ..images.geometry import FFHQ_EYES, INSIGHTFACE_EYES
from ..recognizers import RecognizerTransformer
from .generator import Generator

_PEOPLE, _PICTURES = 40, 4
_SAME, _OTHER = 0.40, 0.25  # cosines: at least within a person, at most between two


class _Draws:
    """Random styles, and the aligned face of a style."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.generator = Generator()
        # the shipped demo was drawn behind these numbers, which nothing else uses
        self.rng.standard_normal((2000, 512))
        self.cropper = EyeCropper(dict(INSIGHTFACE_EYES), (112, 112))

    def style(self) -> np.ndarray:
        return self.generator.styles(self.rng)[0]

    def face(self, style: np.ndarray) -> np.ndarray:
        return self.cropper.transform(self.generator.image(style), FFHQ_EYES)


def _unit(recognizer: RecognizerTransformer, face: np.ndarray) -> np.ndarray:
    embedding = recognizer.transform(face[None])[0]
    return embedding / np.linalg.norm(embedding)


def _pictures(draws: _Draws, recognizer: RecognizerTransformer, people: list) -> list | None:
    """Draw one person's pictures, or None when the first is similar to another person."""
    style = draws.style()
    first = draws.face(style)
    anchor = _unit(recognizer, first)
    if any(float(anchor @ other) > _OTHER for other in people):
        return None
    pictures = [first]
    while len(pictures) < _PICTURES:
        move = draws.rng.uniform(0.15, 0.30)
        picture = draws.face((1 - move) * style + move * draws.style())
        if float(anchor @ _unit(recognizer, picture)) >= _SAME:
            pictures.append(picture)
    people.append(anchor)
    return pictures


def main(arguments: list[str] | None = None) -> None:
    """Draw the people and write the archive."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("output", type=Path)
    parser.add_argument("--seed", type=int, default=2026)
    options = parser.parse_args(arguments)
    draws = _Draws(options.seed)
    recognizer = RecognizerTransformer("arcface-mbf")
    people: list[np.ndarray] = []
    with (
        zipfile.ZipFile(options.output, "w") as archive,
        tqdm(total=_PEOPLE, unit="person") as progress,
    ):
        while len(people) < _PEOPLE:
            pictures = _pictures(draws, recognizer, people)
            for index, picture in enumerate(pictures or []):
                packed = io.BytesIO()
                Image.fromarray(picture.transpose(1, 2, 0)).save(packed, "webp", quality=88)
                # a fixed date: the same seed gives the same file
                member = zipfile.ZipInfo(f"person-{len(people):02d}/{index}.webp")
                archive.writestr(member, packed.getvalue())
            progress.update(pictures is not None)


if __name__ == "__main__":
    main()
