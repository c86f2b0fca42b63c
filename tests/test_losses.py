"""Losses: hand-made values, an independent SSIM, and gradients that arrive."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.metrics import structural_similarity

from bob_recon_plugin.decoders import DSCasConv
from bob_recon_plugin.training import losses
from bob_recon_plugin.training.losses import PRESETS, TERMS, Loss, Perceptual


def images(seed: int = 0, n: int = 2, side: int = 24, dtype=torch.float64) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(n, 3, side, side, generator=generator, dtype=dtype)


class Recognizer(torch.nn.Module):
    """Mean colour of an image in [0, 255], and a count of the images seen."""

    def __init__(self):
        super().__init__()
        self.gain = torch.nn.Parameter(torch.ones(1))
        self.norm = torch.nn.BatchNorm1d(3)
        self.seen = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.seen += len(x)
        return self.gain * self.norm(x.mean(dim=(2, 3)))


@pytest.fixture(scope="module")
def perceptual() -> Perceptual:
    torch.manual_seed(0)
    return Perceptual(weights=None, layers=("relu1_2", "relu2_2"))


# --- SSIM


@pytest.mark.parametrize(("height", "width"), [(11, 11), (24, 40), (112, 112)])
@pytest.mark.parametrize("noise", [0.05, 1.0])
def test_ssim_agrees_with_scikit_image(height, width, noise):
    random = np.random.default_rng(0)
    x = random.random((3, height, width))
    y = (x + noise * random.normal(size=x.shape)).clip(0, 1)
    expected = structural_similarity(
        x,
        y,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        data_range=1,
        channel_axis=0,
    )
    ours = losses.ssim(torch.from_numpy(x)[None], torch.from_numpy(y)[None])
    assert ours.item() == pytest.approx(expected, abs=1e-9)
    single = losses.ssim(torch.from_numpy(x)[None].float(), torch.from_numpy(y)[None].float())
    assert single.item() == pytest.approx(expected, abs=1e-5)


def test_ssim_of_flat_images():
    # no variance: only the term of the means remains
    x = torch.full((1, 3, 16, 16), 0.25, dtype=torch.float64)
    y = torch.full_like(x, 0.75)
    expected = (2 * 0.25 * 0.75 + 1e-4) / (0.25**2 + 0.75**2 + 1e-4)
    assert losses.ssim(x, y).item() == pytest.approx(expected, abs=1e-12)


@settings(max_examples=20)
@given(st.integers(0, 99), st.integers(0, 99))
def test_ssim_laws(a, b):
    x, y = images(a), images(b)
    forward = losses.ssim(x, y)
    torch.testing.assert_close(forward, losses.ssim(y, x))
    torch.testing.assert_close(losses.ssim(x, x), torch.ones(2, dtype=x.dtype))
    assert (forward.abs() <= 1 + 1e-9).all()
    assert losses.dssim(x, y).item() == pytest.approx((1 - forward.mean().item()) / 2)


def test_ssim_is_judged_image_by_image():
    x, y = images(0, n=3), images(1, n=3)
    alone = torch.cat([losses.ssim(x[i : i + 1], y[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(losses.ssim(x, y), alone)


def test_ssim_gradient_is_that_of_finite_differences():
    x, y = images(0, n=1, side=12).requires_grad_(), images(1, n=1, side=12)
    assert torch.autograd.gradcheck(lambda t: losses.ssim(t, y), [x])


def test_ssim_after_inference_mode_still_trains():
    x, y = images(2, side=13), images(3, side=13)
    with torch.inference_mode():
        losses.ssim(x, y)
    x = x.clone().requires_grad_()
    losses.dssim(x, y).backward()
    assert x.grad.abs().sum() > 0


def test_ssim_under_autocast_is_as_exact():
    x = 0.5 + 0.02 * images(0, dtype=torch.float32)  # small variances on a large mean
    y = 0.5 + 0.02 * images(1, dtype=torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        found = losses.ssim(x, y)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, losses.ssim(x, y), rtol=0, atol=0)
    assert torch.isfinite(losses.ssim(x.bfloat16(), y.bfloat16())).all()


def test_ssim_refuses_small_images():
    with pytest.raises(ValueError, match="at least 11 pixels high and wide"):
        losses.ssim(images(side=10), images(side=10))


# --- pixel and identity terms


def test_pixel_terms_by_hand():
    x = torch.zeros(1, 3, 1, 2)
    y = torch.zeros(1, 3, 1, 2)
    y[0, 0] = torch.tensor([0.6, 0.3])  # 2 of 6 values
    assert losses.mse(x, y).item() == pytest.approx((0.36 + 0.09) / 6)
    assert losses.mae(x, y).item() == pytest.approx(0.9 / 6)


def test_identity_terms_by_hand():
    x = torch.tensor([[3.0, 4.0], [1.0, 0.0]])
    y = torch.tensor([[3.0, 0.0], [0.0, 2.0]])
    assert losses.identity(x, y).item() == pytest.approx((16 + 1 + 4) / 4)
    assert losses.identity_cosine(x, y).item() == pytest.approx(1 - (0.6 + 0) / 2)


@pytest.mark.parametrize("term", [losses.mse, losses.mae, losses.ssim])
def test_images_must_be_pairs(term):
    with pytest.raises(ValueError, match="must be two tensors of the same shape with 4 dimensions"):
        term(images(n=2), images(n=1))
    with pytest.raises(ValueError, match="at least one pair, got none"):
        term(images(n=2)[:0], images(n=2)[:0])


def test_embeddings_must_be_pairs():
    with pytest.raises(ValueError, match=r"of the same shape with 2 dimensions, got .* and"):
        losses.identity(torch.zeros(2, 3), torch.zeros(3))


# --- perceptual


def test_perceptual_maps_are_those_of_torchvision():
    vgg = pytest.importorskip("torchvision.models.vgg")
    features = vgg.make_layers(vgg.cfgs["D"], batch_norm=False)
    ours = Perceptual(features.state_dict(), ("relu1_2", "relu4_3", "relu5_3"))
    x = images(side=32, dtype=torch.float32)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    expected, y = [], (x - mean[:, None, None]) / std[:, None, None]
    with torch.no_grad():
        for index, module in enumerate(features):
            y = module(y)
            if index in (3, 22, 29):
                expected.append(y.clone())
    found = ours.maps(x)
    assert [m.shape[1:] for m in found] == [(64, 32, 32), (512, 4, 4), (512, 2, 2)]
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b)


def test_perceptual_is_the_sum_of_mean_differences(perceptual):
    x, y = images(0, dtype=torch.float32), images(1, dtype=torch.float32)
    maps = zip(perceptual.maps(x), perceptual.maps(y), strict=True)
    expected = sum((a - b).abs().mean() for a, b in maps)
    torch.testing.assert_close(perceptual(x, y), expected)
    assert perceptual(x, x) == 0


def test_perceptual_trains_the_image_and_not_itself(perceptual):
    x = images(0, dtype=torch.float32).requires_grad_()
    perceptual(x, images(1, dtype=torch.float32)).backward()
    assert x.grad.abs().sum() > 0
    assert not any(p.requires_grad for p in perceptual.parameters())
    assert len(perceptual.features) == 9  # nothing after relu2_2


def test_imagenet_weights_come_from_torchvision(monkeypatch):
    models = pytest.importorskip("torchvision.models")
    complete = Perceptual(weights=None, layers=["relu5_3"]).features.state_dict()
    asked = {}

    def answer(_self, **options):
        asked.update(options)
        state = {f"features.{k}": torch.full_like(v, 0.5) for k, v in complete.items()}
        return {**state, "classifier.0.weight": torch.zeros(1)}

    monkeypatch.setattr(models.VGG16_Weights, "get_state_dict", answer)
    assert Perceptual(layers=["relu1_1"]).features[0].weight.unique().tolist() == [0.5]
    assert asked == {"check_hash": True, "weights_only": True}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layers": ["relu9_1"]}, "`layers` must be one of 'relu1_1'"),
        ({"weights": "x"}, "imagenet"),
    ],
)
def test_perceptual_refuses(options, message):
    with pytest.raises(ValueError, match=message):
        Perceptual(**{"weights": None, **options})


# --- the sum


def test_total_is_the_weighted_sum_of_unweighted_terms(perceptual):
    weights = {"mae": 0.5, "dssim": 2.0, "perceptual": 3.0, "identity": 0.25, "mse": 0.0}
    x, y = images(0, dtype=torch.float32), images(1, dtype=torch.float32)
    recognizer, e = Recognizer(), torch.randn(2, 3)
    found = Loss(weights, recognizer, perceptual)(x, y, e)
    assert list(found) == [*weights, "total"]
    expected = {
        "mae": losses.mae(x, y),
        "dssim": losses.dssim(x, y),
        "perceptual": perceptual(x, y),
        "identity": losses.identity(recognizer(255 * x), e),
        "mse": losses.mse(x, y),
    }
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value)
    total = sum(weights[k] * expected[k] for k in weights)
    torch.testing.assert_close(found["total"], total)


def test_recognizer_sees_reconstructions_in_255_once():
    recognizer = Recognizer()
    recognizer.register_forward_hook(lambda _m, inputs, _o: seen.append(inputs[0]))
    seen: list[torch.Tensor] = []
    loss = Loss({"identity": 1.0, "identity_cosine": 1.0}, recognizer)
    x = images(dtype=torch.float32)
    loss(x, images(1), torch.randn(2, 3))
    assert recognizer.seen == 2
    torch.testing.assert_close(seen[0], 255 * x)


def test_faces_without_an_image_are_judged_by_identity_alone():
    x, y, e = images(0, n=5, dtype=torch.float32), images(1, n=2, dtype=torch.float32), None
    loss = Loss({"mse": 1.0, "identity": 1.0}, lambda t: t.mean(dim=(2, 3)))
    e = torch.randn(5, 3)
    found = loss(x, y, e)
    torch.testing.assert_close(found["mse"], losses.mse(x[:2], y))
    torch.testing.assert_close(found["identity"], losses.identity(255 * x.mean(dim=(2, 3)), e))
    with pytest.raises(ValueError, match=r"got \(5, 3\) and \(2, 3\)"):
        loss(x, y, e[:2])
    with pytest.raises(ValueError, match="must be two tensors of the same shape"):
        loss(x[:1], y, e[:1])
    with pytest.raises(ValueError, match="must be two tensors of the same shape"):
        Loss({"mse": 1.0})(x, y)


def test_the_recognizer_is_frozen_and_judges_in_evaluation_mode():
    recognizer = Recognizer().train()
    loss = Loss({"identity": 1.0}, recognizer).train()
    assert not recognizer.training
    assert not recognizer.norm.training
    assert not any(p.requires_grad for p in loss.parameters())
    parent = torch.nn.ModuleList([loss]).train()
    assert parent.training
    assert not recognizer.training


def test_networks_that_no_term_needs_are_not_kept(perceptual):
    loss = Loss({"mse": 1.0}, Recognizer(), perceptual)
    assert list(loss.children()) == []


@pytest.mark.parametrize("name", PRESETS)
def test_each_term_of_each_preset_reaches_the_decoder(name, perceptual):
    torch.manual_seed(0)
    decoder = DSCasConv(6, 0.01, output_size=24)
    e = torch.randn(3, 6)
    loss = Loss(PRESETS[name], lambda x: x.flatten(1)[:, :6] / 255, perceptual)
    found = loss(decoder(e), images(n=3, dtype=torch.float32), e)
    assert set(found) == {*PRESETS[name], "total"}
    for term in found.values():
        gradients = torch.autograd.grad(term, decoder.parameters(), retain_graph=True)
        assert all(torch.isfinite(g).all() for g in gradients)
        assert sum(g.abs().sum() for g in gradients) > 0


def test_presets_hold_the_published_weights():
    assert PRESETS["icip2022"] == {"mse": 1, "dssim": 0.1, "identity": 0.005}
    assert PRESETS["tifs2024"] == {
        "mae": 1,
        "dssim": 0.75,
        "perceptual": 0.02,
        "identity": 0.025,
    }
    with pytest.raises(TypeError):
        PRESETS["icip2022"]["mse"] = 2


def test_training_lowers_the_loss():
    torch.manual_seed(0)
    decoder, e = DSCasConv(6, 0.01, output_size=24), torch.randn(4, 6)
    y = torch.sigmoid(e[:, :3, None, None]).expand(4, 3, 24, 24)  # a colour each
    loss = Loss(PRESETS["icip2022"], lambda x: x.flatten(1)[:, :6] / 255)
    optimizer = torch.optim.Adam(decoder.parameters(), 1e-2)
    history = []
    for _ in range(15):
        optimizer.zero_grad()
        total = loss(decoder(e), y, e)["total"]
        total.backward()
        optimizer.step()
        history.append(total.item())
    assert history[-1] < 0.7 * history[0]


@pytest.mark.parametrize(
    ("weights", "recognizer", "message"),
    [
        ({"l1": 1.0}, None, "`weights` must be one of 'mse', 'mae', 'dssim', 'perceptual', "),
        ({"mse": -1.0}, None, "finite and not negative, got mse=-1.0"),
        ({"mse": float("nan")}, None, "finite and not negative"),
        ({}, None, "must hold a term to train on"),
        ({"mse": 0.0}, None, "must hold a term to train on"),
        ({"identity": 1.0}, None, "`recognizer` must be given for identity, got None"),
    ],
)
def test_impossible_sums_are_refused(weights, recognizer, message):
    with pytest.raises(ValueError, match=message):
        Loss(weights, recognizer)


def test_identity_needs_target_embeddings():
    loss = Loss({"identity": 1.0}, Recognizer())
    with pytest.raises(ValueError, match="`target_embeddings` must be given for identity"):
        loss(images(), images())


def test_terms_are_all_usable(perceptual):
    loss = Loss(dict.fromkeys(TERMS, 1.0), Recognizer(), perceptual)
    x = images(dtype=torch.float32)
    assert set(loss(x, x, torch.randn(2, 3))) == {*TERMS, "total"}
