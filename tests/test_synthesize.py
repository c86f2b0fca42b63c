"""Face i depends on the seed and i alone; a folder grows, and is never mixed."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from PIL import Image

from bob_recon_plugin.cli import recon
from bob_recon_plugin.decoders import shared_generator
from bob_recon_plugin.faces import synthesize
from bob_recon_plugin.faces.dataset import FaceDataset
from bob_recon_plugin.faces.generator import Generator
from bob_recon_plugin.faces.prepare import prepare
from bob_recon_plugin.images import BOB_EYES, load_image
from bob_recon_plugin.images.crop import EyeCropper
from bob_recon_plugin.images.geometry import FFHQ_EYES
from tests.faces import DEMO


class FakeGenerator:
    """Plain images of the colour that a style holds, with a dot in the right eye."""

    def __init__(self):
        self.identity = {"network": "none"}
        self.drawn: list[np.ndarray] = []

    def styles(self, rng, n=1):
        return rng.standard_normal((n, 3))

    def image(self, style):
        self.drawn.append(style)
        image = np.empty((3, 1024, 1024), np.uint8)
        image[:] = np.clip(127 + 30 * style, 0, 255)[:, None, None]
        (y, x), radius = FFHQ_EYES["reye"], 20
        image[:, int(y) - radius : int(y) + radius + 1, int(x) - radius : int(x) + radius + 1] = 255
        return image


@pytest.fixture(autouse=True)
def fake(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "xdg"))
    monkeypatch.chdir(tmp_path)
    made = FakeGenerator()
    monkeypatch.setattr(synthesize, "Generator", lambda: made)
    return made


def draw(n: int, output: str, **options) -> dict[str, bytes]:
    synthesize.synthesize(n, output, **options)
    return files(output)


def files(output: str) -> dict[str, bytes]:
    return {p.relative_to(output).as_posix(): p.read_bytes() for p in Path(output).rglob("*.png")}


@contextmanager
def threads(n: int) -> Iterator[None]:
    """Let torch use so many."""
    usual = torch.get_num_threads()
    torch.set_num_threads(n)
    yield
    assert torch.get_num_threads() == n
    torch.set_num_threads(usual)


def command(*arguments: object) -> Result:
    return CliRunner().invoke(recon, ["synthesize", *map(str, arguments)])


def test_a_face_depends_on_seed_and_number_alone():
    eight, three = draw(8, "eight"), draw(3, "three")
    assert sorted(eight) == [f"000/{i:06d}.png" for i in range(8)]
    assert three == {name: eight[name] for name in sorted(eight)[:3]}
    assert len(set(eight.values())) == 8
    with threads(4):
        assert draw(8, "again") == eight
    other = draw(8, "other", seed=1)
    assert not set(other.values()) & set(eight.values())


def test_psi_pulls_towards_the_average_face():
    """With psi p a face is mean + p (style - mean): computed here from the draws."""
    draw(4, "faces", psi=0.5, seed=7)
    mean = np.random.default_rng(0).standard_normal((2000, 3)).mean(axis=0)
    for i in range(4):
        style = np.random.default_rng([7, i]).standard_normal((1, 3))[0]
        colour = 127 + 30 * (mean + 0.5 * (style - mean))
        face = load_image(f"faces/000/{i:06d}.png")
        np.testing.assert_allclose(face[:, 5, 5], colour, atol=1)


def test_faces_are_aligned_for_the_recogniser_that_is_named():
    draw(1, "mbf")
    draw(1, "r100", recognizer="arcface-iresnet100")
    for name, (y, x) in (("mbf", (51.6963, 38.2946)), ("r100", BOB_EYES["reye"])):
        face = load_image(f"{name}/000/000000.png").astype(float)
        assert face.shape == (3, 112, 112)
        weight = (face - face[:, :1, :1]).sum(axis=0)
        rows, columns = np.mgrid[:112, :112]
        assert (weight * rows).sum() / weight.sum() == pytest.approx(y, abs=0.1)
        assert (weight * columns).sum() / weight.sum() == pytest.approx(x, abs=0.1)


def test_the_command_goes_on_and_grows(fake):
    assert command("-n", 3, "-o", "out").output == "out: 3 faces, 3 of them new.\n"
    assert len(fake.drawn) == 3
    Path("out/000/000001.png").unlink()
    assert command("-n", 5, "-o", "out").output == "out: 5 faces, 3 of them new.\n"
    assert len(fake.drawn) == 6
    assert files("out") == draw(5, "whole")
    assert command("-n", 2, "-o", "out").output == "out: 2 faces, 0 of them new.\n"
    assert len(files("out")) == 5


def test_several_threads_draw(fake):
    barrier = threading.Barrier(2, timeout=20)
    plain = fake.image

    def meeting(style):
        barrier.wait()  # passes only when two threads draw at once
        return plain(style)

    fake.image = meeting
    with threads(2):
        assert len(draw(8, "out")) == 8


FREED = """
import resource
from concurrent.futures import ThreadPoolExecutor
import numpy as np
from bob_recon_plugin.common.memory import keep_freed_memory

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

def work():
    before = faults()
    for _ in range(5):
        np.ones(80 << 20, np.uint8)
    return faults() - before

keep_freed_memory()
with ThreadPoolExecutor(1) as pool:
    print(pool.submit(work).result(), pool.submit(work).result())
"""


def test_threads_keep_the_memory_that_they_freed():
    done = subprocess.run([sys.executable, "-c", FREED], capture_output=True, text=True, check=True)
    first, second = map(int, done.stdout.split())
    assert first >= 40  # pages of 2 MB, or smaller ones, of one array
    assert second < 20


def test_a_fault_of_the_generator_ends_the_run(fake):
    def faulty(style):
        raise RuntimeError("out of order")

    fake.image = faulty
    with pytest.raises(RuntimeError, match="out of order"):
        draw(5, "out")
    assert files("out") == {}


def test_a_folder_of_another_seed_is_refused():
    draw(2, "out", psi=0.7)
    result = command("-n", 2, "-o", "out", "--seed", 3)
    assert result.exit_code == 2
    assert "psi was 0.7, now 0.85; seed was 0, now 3; choose another --output" in result.output
    Path("mine").mkdir()
    Path("mine/thesis.tex").write_text("precious")
    with pytest.raises(ValueError, match=r"must be a new folder, got mine with other files"):
        draw(2, "mine")


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"n": 0}, "`n` must be at least 1, got 0"),
        ({"seed": -1}, "`seed` must be at least 0, got -1"),
        ({"psi": 0}, r"`psi` must lie in \(0, 2\], got 0"),
        ({"psi": float("nan")}, r"`psi` must lie in \(0, 2\], got nan"),
        ({"recognizer": "mbf"}, "`recognizer` must be one of"),
    ],
)
def test_wrong_numbers_are_told(options, told):
    with pytest.raises(ValueError, match=told):
        synthesize.synthesize(**{"n": 1, "output": "out", **options})
    assert not Path("out").exists()


def test_prepare_takes_the_folder():
    draw(3, "synthetic")
    manifest = json.loads(Path("synthetic/synthesis.json").read_text())
    assert (manifest["seed"], manifest["psi"]) == (0, 0.85)
    assert manifest["licence"].startswith("CC BY-NC-SA 4.0")
    card = prepare("synthetic", "arcface-mbf", "synthetic-mbf")
    assert (card.n, card.bad, card.crop) == (3, 0, "aligned")
    assert "synthetic faces, drawn by MobileStyleGAN trained on FFHQ (seed 0" in card.about
    face = load_image("synthetic/000/000002.png")
    np.testing.assert_array_equal(FaceDataset("synthetic-mbf").faces([2])[0], face)


def test_a_missing_package_is_told_before_any_work(monkeypatch):
    real = importlib.util.find_spec

    def without(name, *more):
        return None if name == "random_face" else real(name, *more)

    shared_generator.cache_clear()
    monkeypatch.setattr(synthesize, "Generator", Generator)
    monkeypatch.setattr("importlib.util.find_spec", without)
    result = command("-n", 2, "-o", "out")
    assert result.exit_code == 2
    message = "got no package `random_face`; run `pip install --no-deps random-face==2021.7.21.1`"
    assert message in " ".join(result.output.split())
    assert not Path("out").exists()


def test_the_real_generator_draws_the_people_of_the_demo():
    """Its first draw, with the demo's seed, is the demo's first picture, up to WebP's loss."""
    if importlib.util.find_spec("random_face") is None:  # its own code does not import
        pytest.skip("the package random-face is not installed")
    from bob_recon_plugin.faces.demo_faces import _Draws

    draws = _Draws(2026)
    face = draws.face(draws.style()).astype(float)
    with zipfile.ZipFile(DEMO) as archive, archive.open("person-01/0.webp") as stream:
        shipped = np.asarray(Image.open(stream).convert("RGB")).transpose(2, 0, 1)
    assert np.abs(face - shipped).mean() < 6
    assert np.abs(face[:, :, ::-1] - shipped).mean() > 20  # its mirror image is another
    image = draws.generator.image(draws.style())
    assert (image.shape, image.dtype) == ((3, 1024, 1024), np.uint8)
    again = EyeCropper(BOB_EYES, (112, 112)).transform(image, FFHQ_EYES)
    assert again.std() > 20
