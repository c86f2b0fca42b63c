"""Aligned faces for tests: those of the demo, of people who do not exist."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from bob_recon_plugin import recognizers
from bob_recon_plugin.database import FolderDatabase, LFWDatabase
from bob_recon_plugin.faces.dataset import write_card, write_shard
from bob_recon_plugin.images import INSIGHTFACE_EYES
from bob_recon_plugin.recognizers import RecognizerTransformer

DEMO = Path(__file__).parents[1] / "bob_recon_plugin" / "data" / "demo_faces.zip"


def demo_faces(n: int) -> np.ndarray:
    """First n faces of the demo: uint8 of shape (n, 3, 112, 112), RGB."""
    with zipfile.ZipFile(DEMO) as archive:
        contents = [archive.read(name) for name in sorted(archive.namelist())[:n]]
    images = [np.asarray(Image.open(BytesIO(content)).convert("RGB")) for content in contents]
    return np.stack(images).transpose(0, 3, 1, 2)


def people(folder: Path, n: int = 4, pictures: int = 3) -> FolderDatabase:
    """Some people of the demo in a folder, up to four pictures each; all against all."""
    with zipfile.ZipFile(DEMO) as archive:
        for name in sorted(archive.namelist())[: 4 * n]:
            if int(Path(name).stem) < pictures:
                archive.extract(name, folder)
    return FolderDatabase(folder, fixed_positions=INSIGHTFACE_EYES)


def lfw(folder: Path) -> LFWDatabase:
    """Two people of the demo as LFW: images are references and probes, a probe may have several."""
    for place, face in enumerate(demo_faces(8)):
        person = "AB"[place // 4]
        path = folder / "all_images" / person / f"{person}_{place % 4 + 1:04d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(face.transpose(1, 2, 0)).save(path, quality=95)
    (folder / "view2").mkdir()
    pairs = ["1\t3", "A\t1\t2", "A\t2\t3", "B\t1\t2", "A\t1\tB\t2", "A\t3\tB\t1", "A\t4\tB\t2"]
    (folder / "view2" / "pairs.txt").write_text("\n".join(pairs) + "\n")
    return LFWDatabase(original_directory=folder, fixed_positions=INSIGHTFACE_EYES)


def prepared(folder: Path, n: int, recognizer: str = "arcface-mbf") -> Path:
    """Write the first n faces of the demo as a prepared dataset."""
    faces = demo_faces(n)
    transformer = RecognizerTransformer(recognizer)
    sides = [transformer.transform(x) for x in (faces, faces[..., ::-1].copy())]
    write_shard(folder, 0, [f"{i:02d}" for i in range(n)], faces, np.stack(sides, axis=1))
    about = recognizers.get(recognizer)
    write_card(
        folder,
        recognizer=about.name,
        recognizer_sha256=about.sha256,
        embedding_size=about.embedding_size,
        image_size=about.image_size,
        positions=about.cropped_positions,
        crop="aligned",
        source="the demo",
        about="people who do not exist",
    )
    return folder


def prepared_embeddings(
    folder: Path,
    embeddings: np.ndarray,
    recognizer: str = "a",
    sha256: str | None = None,
    keys: Sequence[str] | None = None,
) -> Path:
    """Write embeddings of shape (n, 2, d) as a prepared dataset of black faces of 2 x 2."""
    n, _, size = embeddings.shape
    faces = np.zeros((n, 3, 2, 2), np.uint8)
    write_shard(folder, 0, keys or [f"{i:02d}" for i in range(n)], faces, embeddings)
    write_card(
        folder,
        recognizer=recognizer,
        recognizer_sha256=sha256,
        embedding_size=size,
        image_size=(2, 2),
        positions={"reye": (0, 0), "leye": (0, 1)},
        crop="aligned",
        source="a test",
    )
    return folder
