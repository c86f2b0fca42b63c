"""Aligned faces for tests: those of the demo, of people who do not exist."""

from __future__ import annotations

import zipfile
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

DEMO = Path(__file__).parents[1] / "bob_recon_plugin" / "data" / "demo_faces.zip"


def demo_faces(n: int) -> np.ndarray:
    """First n faces of the demo: uint8 of shape (n, 3, 112, 112), RGB."""
    with zipfile.ZipFile(DEMO) as archive:
        contents = [archive.read(name) for name in sorted(archive.namelist())[:n]]
    images = [np.asarray(Image.open(BytesIO(content)).convert("RGB")) for content in contents]
    return np.stack(images).transpose(0, 3, 1, 2)
