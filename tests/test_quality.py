"""Image quality against scikit-image, and where the originals come from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from bob_recon_plugin.database import DemoDatabase
from bob_recon_plugin.database.content import describe_database
from bob_recon_plugin.evaluation import quality
from bob_recon_plugin.evaluation.run_folder import Part
from bob_recon_plugin.evaluation.source_images import Originals, aligned, reopen, source_of
from bob_recon_plugin.images import INSIGHTFACE_EYES
from bob_recon_plugin.images.geometry import FFHQ_EYES
from bob_recon_plugin.recognizers import Identity, get, names
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
        "not measured: no recognition model is installed that took no part in the run",
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
    first = quality.second_recognizer([])
    assert first == "arcface-mbf"
    name = quality.second_recognizer([Part("is under attack", Identity(first))])
    assert name != first
    # the same file under another name is the same model, another file under this name is not
    digest = get(first).sha256
    assert quality.second_recognizer([Part("is under attack", Identity("mine", digest))]) == name
    assert quality.second_recognizer([Part("is under attack", Identity(first, "0" * 64))]) == first
    everyone = [Part("is under attack", Identity(name)) for name in names()]
    assert quality.second_recognizer(everyone) is None


@pytest.mark.slow
def test_identity_of_a_face_with_itself_and_another() -> None:
    originals = Originals(DemoDatabase(), ["dev"])
    images = np.stack([originals.get(f"person-0{i}/0.webp").image for i in (1, 2, 3)])  # type: ignore[union-attr]
    own, other = quality.measure(images, images, "arcface-mbf")[3:]
    assert own.mean == pytest.approx(1, abs=1e-6)
    assert other.mean is not None
    assert abs(other.mean) < 0.3
    assert own.note == "arcface-mbf: reconstruction with the original image of its template"


@pytest.mark.slow
def test_another_person_is_never_the_same_one() -> None:
    originals = Originals(DemoDatabase(), ["dev"])
    first, second = (originals.get(f"person-0{i}/0.webp").image for i in (1, 2))  # type: ignore[union-attr]
    images = np.stack([first, first, second])
    *_, other = quality.measure(images, images, "arcface-mbf", people=["1", "1", "2"])
    assert other.mean is not None
    assert abs(other.mean) < 0.3
    alone = quality.measure(images[:2], images[:2], "arcface-mbf", people=["1", "1"])
    assert [measure.name for measure in alone][3:] == ["Identity cosine"]


def test_originals_are_the_images_behind_templates() -> None:
    originals = Originals(toy.ToyDatabase(), ["dev"], toy.POSITIONS, (toy.SIDE, toy.SIDE))
    shown = originals.get("p2/0")
    assert shown is not None
    assert shown.aligned
    # the eyes are where they shall be already: nothing moves
    np.testing.assert_array_equal(shown.image, toy.image(200))
    probe = originals.get("p2/3")
    assert probe is not None
    np.testing.assert_array_equal(probe.image, toy.image(203))
    assert originals.get("nobody") is None


def test_originals_do_not_alias() -> None:
    """Fine texture of a large image becomes grey, at a tenth of its size, and not noise."""
    board = 255 * (np.indices((1024, 1024)).sum(axis=0) % 2).astype(np.uint8)
    found = aligned(board, FFHQ_EYES, INSIGHTFACE_EYES, (112, 112))
    assert found.aligned
    np.testing.assert_allclose(found.image[:, 8:-8, 8:-8], 127.5, atol=1.5)


@pytest.mark.parametrize(
    "eyes",
    [
        None,
        {"topleft": (0, 0), "bottomright": (30, 60)},
        {"reye": (10.0, 40.0), "leye": (10.0, 20.0)},
        {"reye": (10.0, 20.0), "leye": (10.0, 200.0)},
    ],
    ids=["none", "a box", "swapped", "outside"],
)
def test_an_image_without_eyes_is_whole_and_not_aligned(eyes: dict[str, object] | None) -> None:
    image = np.full((3, 30, 60), 80, dtype=np.uint8)
    found = aligned(image, eyes, INSIGHTFACE_EYES, (112, 112))
    assert not found.aligned
    # as wide as the frame and half as high, in the middle of white
    assert (found.image[:, 30:82] == 80).all()
    assert (found.image[:, [0, 27, 84, 111]] == 255).all()


def test_a_small_face_is_enlarged() -> None:
    eyes = {"reye": (10.0, 10.0), "leye": (10.0, 14.0)}
    assert aligned(np.zeros((3, 30, 30)), eyes, INSIGHTFACE_EYES, (112, 112)).aligned


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
    with pytest.raises(ValueError, match="must be one of this package, got AtntDatabase"):
        reopen({"class": "AtntDatabase"})
    with pytest.raises(ValueError, match="must be one of this package, got none recorded"):
        reopen({})
    with pytest.raises(FileNotFoundError, match="gone"):
        reopen({"class": "FolderDatabase", "original_directory": "/gone"})


def test_source_of_an_attack() -> None:
    assert source_of("type2/A/1.jpg", "type2") == "A/1.jpg"
    assert source_of("A/1.jpg", "type2") == "A/1.jpg"
