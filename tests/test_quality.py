"""Image quality against scikit-image, and where the originals come from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from bob_recon_plugin import quality
from bob_recon_plugin.database import DemoDatabase
from bob_recon_plugin.description import describe_database
from bob_recon_plugin.originals import Originals, reopen, source_of
from tests import toy


@pytest.fixture
def pairs() -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(0)
    first = draw.integers(0, 256, (5, 3, 48, 40), dtype=np.uint8)
    noise = draw.normal(0, 20, first.shape)
    return first, np.clip(first + noise, 0, 255).astype(np.uint8)


def test_ssim_and_psnr_agree_with_scikit_image(pairs: tuple[np.ndarray, np.ndarray]) -> None:
    ssim, psnr, lpips, identity = quality.measure(*pairs, recognizer=None)
    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    expected = [
        structural_similarity(x, y, channel_axis=0, data_range=255, **options)
        for x, y in zip(*pairs, strict=True)
    ]
    assert ssim.mean == pytest.approx(np.mean(expected), abs=1e-5)
    assert ssim.deviation == pytest.approx(np.std(expected, ddof=1), abs=1e-5)
    each = [peak_signal_noise_ratio(x, y, data_range=255) for x, y in zip(*pairs, strict=True)]
    assert quality.psnr(*pairs) == pytest.approx(each)
    assert psnr.mean == pytest.approx(np.mean(each))
    assert (ssim.name, psnr.name, lpips.name) == ("SSIM", "PSNR", "LPIPS")
    assert (identity.mean, identity.note) == (
        None,
        "not measured: no second recognition model is installed",
    )


def test_lpips_without_weights_says_so_and_fetches_nothing(
    pairs: tuple[np.ndarray, np.ndarray], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    lpips = quality.measure(*pairs, recognizer=None)[2]
    assert lpips.mean is None
    assert lpips.note.startswith("not measured: ")
    assert not any(tmp_path.iterdir())


@pytest.mark.slow
def test_lpips_with_weights(
    pairs: tuple[np.ndarray, np.ndarray], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("torchmetrics")
    from torchvision.models import alexnet

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "_hub_dir", None)
    quality.lpips_weights().parent.mkdir(parents=True)
    torch.save(alexnet(weights=None).state_dict(), quality.lpips_weights())
    wide = [np.pad(x, [(0, 0), (0, 0), (16, 16), (16, 16)]) for x in pairs]
    same = quality.measure(wide[0], wide[0], recognizer=None)[2]
    other = quality.measure(*wide, recognizer=None)[2]
    assert same.mean == pytest.approx(0, abs=1e-6)
    assert other.mean is not None
    assert other.mean > 1e-4


def test_wrong_pairs_are_refused(pairs: tuple[np.ndarray, np.ndarray]) -> None:
    with pytest.raises(ValueError, match=r"must have one shape \(n, 3, H, W\), n > 0, got \(4, 3"):
        quality.measure(pairs[0][:4], pairs[1], recognizer=None)


def test_the_second_model_is_another_one() -> None:
    name = quality.second_recognizer(["arcface-mbf"])
    assert name != "arcface-mbf"
    assert quality.second_recognizer([]) is not None
    assert quality.second_recognizer(quality.names()) is None


@pytest.mark.slow
def test_identity_of_a_face_with_itself_and_another() -> None:
    originals = Originals(DemoDatabase(), ["dev"])
    images = np.stack([originals.get(f"person-0{i}/0.webp") for i in (1, 2, 3)])  # type: ignore[misc]
    own, other = quality.measure(images, images, "arcface-mbf")[3:]
    assert own.mean == pytest.approx(1, abs=1e-6)
    assert other.mean is not None
    assert abs(other.mean) < 0.3
    assert own.note == "arcface-mbf, which had no part in the training"


def test_originals_are_the_images_behind_templates() -> None:
    originals = Originals(toy.ToyDatabase(), ["dev"], toy.POSITIONS)
    shown = originals.get("p2/0", (toy.SIDE, toy.SIDE))
    assert shown is not None
    # the eyes are where they shall be already: nothing moves
    assert np.abs(shown.astype(int) - toy.image(200)).max() <= 1
    probe = originals.get("p2/3", (toy.SIDE, toy.SIDE))
    assert probe is not None
    assert np.abs(probe.astype(int) - toy.image(203)).max() <= 1
    assert originals.get("nobody") is None


def test_an_image_that_is_gone_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    originals = Originals(toy.ToyDatabase(), ["dev"], toy.POSITIONS)
    monkeypatch.setattr(toy, "image", lambda seed: 1 / 0)
    originals.samples["p0/0"] = type("Broken", (), {"data": property(lambda self: 1 / 0)})()
    assert originals.get("p0/0") is None


def test_a_run_s_database_opens_again() -> None:
    record = describe_database(DemoDatabase())
    again = reopen(record)
    assert [r.template_id for r in again.references()] == [
        r.template_id for r in DemoDatabase().references()
    ]
    with pytest.raises(ValueError, match="the run's database, AtntDatabase, cannot be opened"):
        reopen({"class": "AtntDatabase"})
    with pytest.raises(ValueError, match="not recorded, cannot be opened"):
        reopen({})
    with pytest.raises(FileNotFoundError, match="gone"):
        reopen({"class": "FolderDatabase", "original_directory": "/gone"})


def test_source_of_an_attack() -> None:
    assert source_of("type2/A/1.jpg", "type2") == "A/1.jpg"
    assert source_of("A/1.jpg", "type2") == "A/1.jpg"
