"""What the shipped files were made with."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from bob_recon_plugin.decoders import load
from bob_recon_plugin.training import demo_decoder, linear_decoder
from bob_recon_plugin.training.demo_decoder import NobodysEmbeddings, Recipe, Trainer
from bob_recon_plugin.training.faces import read_faces
from bob_recon_plugin.training.generator import similarity

DEMO = Path(__file__).parents[1] / "bob_recon_plugin" / "data" / "demo_faces.zip"
TINY = Recipe(width=0.05, pixel_steps=1, steps=3)


@pytest.fixture(scope="module")
def faces() -> np.ndarray:
    return read_faces(DEMO)[:40]


def test_faces_of_a_zip_and_of_a_folder_are_the_same(tmp_path):
    with zipfile.ZipFile(DEMO) as archive:
        for name in archive.namelist():
            (tmp_path / name.replace("/", "-")).write_bytes(archive.read(name))
    (tmp_path / "notes.txt").write_text("no image")
    np.testing.assert_array_equal(read_faces(tmp_path), read_faces(DEMO))


def test_faces_that_cannot_be_used_are_told(tmp_path):
    with pytest.raises(FileNotFoundError, match="must be a folder or a zip file of faces"):
        read_faces(tmp_path / "none")
    with pytest.raises(ValueError, match="at least 20 aligned faces, got 0"):
        read_faces(tmp_path)
    for i in range(20):
        Image.new("RGB", (112, 112)).save(tmp_path / f"{i:02d}.png")
    Image.new("RGB", (64, 64)).save(tmp_path / "07.png")
    with pytest.raises(ValueError, match=r"07.png must be an aligned face of 112 x 112 pixels"):
        read_faces(tmp_path)
    (tmp_path / "07.png").write_bytes((tmp_path / "08.png").read_bytes()[:80])
    with pytest.raises(ValueError, match=r"07\.png"):
        read_faces(tmp_path)


def test_similarity_moves_both_points_and_keeps_angles():
    source, target = np.array([[0.0, 0.0], [2.0, 0.0]]), np.array([[1.0, 1.0], [1.0, 5.0]])
    warp = similarity(source, target)
    np.testing.assert_allclose(warp @ [0, 0, 1], [1, 1], atol=1e-12)
    np.testing.assert_allclose(warp @ [2, 0, 1], [1, 5], atol=1e-12)
    # a quarter turn and twice the size: the third corner is known
    np.testing.assert_allclose(warp @ [0, 1, 1], [-1, 1], atol=1e-12)


def test_nobodys_embeddings_lie_between_the_fitted_and_the_isotropic():
    generator = torch.Generator().manual_seed(0)
    axis = torch.zeros(16)
    axis[0] = 10.0
    real = axis + 0.1 * torch.randn(500, 16, generator=generator)
    drawn = NobodysEmbeddings(real, Recipe(norm=22.0), generator).draw(2000)
    norms = drawn.norm(dim=1)
    assert norms.mean() == pytest.approx(22, abs=0.3)
    assert norms.min() >= 22 - 2.5 * 2.5 - 1e-3
    cosines = drawn[:, 0] / norms
    assert 0.4 < cosines.mean() < 0.9  # neither the axis (1) nor isotropic (0)


@pytest.mark.slow
def test_stopped_training_resumes_to_the_same_weights(faces, tmp_path):
    whole = Trainer(faces, tmp_path / "whole.safetensors", TINY)
    before = whole.cosine()
    whole.run(every=2)
    part = Trainer(faces, tmp_path / "part.safetensors", TINY)
    for _ in range(2):
        part._advance()
    torch.save(part._state(), tmp_path / "part.resume.pt")
    resumed = Trainer(faces, tmp_path / "part.safetensors", TINY)
    resumed.run(every=2)
    for name, weight in whole.average.state_dict().items():
        torch.testing.assert_close(resumed.average.state_dict()[name], weight, rtol=0, atol=1e-6)
    assert whole.step == resumed.step == 4
    assert whole.cosine() != before


@pytest.mark.slow
def test_commands_write_decoders_with_their_cards(tmp_path, monkeypatch):
    folder = tmp_path / "faces"
    folder.mkdir()
    for i, face in enumerate(read_faces(DEMO)[:24]):
        Image.fromarray(face.transpose(1, 2, 0)).save(folder / f"{i:02d}.png")
    linear_decoder.main([str(folder), str(tmp_path / "l.safetensors"), "--about", "of nobody"])
    _, card = load(tmp_path / "l.safetensors")
    assert (card.decoder, card.recognizer) == ("linear", "arcface-mbf")
    assert card.training_data == "24 faces; of nobody"
    monkeypatch.setattr(demo_decoder, "Recipe", lambda: TINY)
    demo_decoder.main([str(folder), str(tmp_path / "d.safetensors")])
    decoder, card = load(tmp_path / "d.safetensors")
    assert card.decoder == "dscasconv"
    assert decoder(torch.zeros(1, 512)).shape == (1, 3, 112, 112)
