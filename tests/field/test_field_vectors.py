"""Files of vectors as people keep them: all give the faces of the raw embeddings."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from bob_recon_plugin.cli import recon
from bob_recon_plugin.images import load_image
from bob_recon_plugin.recognizers import RecognizerTransformer

VECTORS = Path(__file__).parents[3] / "shared" / "cases" / "vectors"
NAMED = [f"user-{i:03d}" for i in range(20)]
COUNTED = [str(i) for i in range(20)]
FILES = {
    "raw.npy": COUNTED,
    "l2-normalised.npy": COUNTED,
    "times-64.npy": COUNTED,
    "int8-codes.npy": COUNTED,
    "ids-and-vectors.csv": NAMED,
    "store.jsonl": NAMED,
    "named.npz": NAMED,
}


@pytest.fixture(scope="module")
def raw() -> np.ndarray:
    if not VECTORS.is_dir():
        pytest.skip(f"needs the vectors in {VECTORS}, which are not part of the project")
    return np.load(VECTORS / "raw.npy")


@pytest.mark.parametrize("name", FILES)
def test_faces_of_a_file_are_those_of_the_raw_vectors(name, raw, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "xdg"))
    output = tmp_path / "out"
    arguments = ["reconstruct", str(VECTORS / name), "-o", str(output)]
    result = CliRunner().invoke(recon, arguments)
    assert result.exit_code == 0, result.output
    assert "20 faces of arcface-mbf, 20 drawn now, mean cosine 0.88" in result.output
    faces = np.stack([load_image(output / f"{label}.png") for label in FILES[name]])
    seen = RecognizerTransformer("arcface-mbf").transform(faces)
    norms = np.linalg.norm(seen, axis=1) * np.linalg.norm(raw, axis=1)
    assert ((seen * raw).sum(axis=1) / norms).mean() == pytest.approx(0.888, abs=0.002)
    scaled = result.output.count("should have norms near 20")
    assert scaled == (name != "raw.npy")
