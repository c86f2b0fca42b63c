"""NbNet: its structure and size, the form for inference, its file, its training."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from click.testing import CliRunner

from bob_recon_plugin.cli import recon
from bob_recon_plugin.decoders import (
    DSCasConv,
    LinearDecoder,
    ModelCard,
    NbNet,
    load,
    save,
)
from bob_recon_plugin.faces.dataset import FaceDataset
from bob_recon_plugin.training import presets
from bob_recon_plugin.training.run import Plan
from bob_recon_plugin.training.start import start_from
from tests.faces import prepared

NAME = "arcface-mbf"


@pytest.fixture
def small() -> NbNet:
    """A network of one convolution a block, all of whose normalisations matter."""
    torch.manual_seed(0)
    decoder = NbNet(embedding_size=6, width=0.01).requires_grad_(False)
    return uneven(decoder)


def uneven(decoder: NbNet) -> NbNet:
    for layer in decoder.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.weight.uniform_(0.5, 2)
            layer.bias.normal_()
            layer.running_mean.normal_()
            layer.running_var.uniform_(0.1, 1)
    decoder.eval()
    decoder.head.weight.div_(decoder(torch.randn(8, 6)).logit(eps=1e-6).std())
    return decoder


def parameters(decoder: torch.nn.Module) -> int:
    return sum(p.numel() for p in decoder.parameters())


def multiply_adds(decoder: torch.nn.Module) -> int:
    """Of one face, by what goes in and out of each convolution."""
    count = [0]

    def add(layer, inputs, output):
        seen = inputs[0] if isinstance(layer, torch.nn.ConvTranspose2d) else output
        count[0] += layer.weight.numel() * seen.shape[2] * seen.shape[3]

    for layer in decoder.modules():
        if isinstance(layer, torch.nn.Conv2d | torch.nn.ConvTranspose2d):
            layer.register_forward_hook(add)
    with torch.no_grad():
        decoder.eval()(torch.zeros(1, decoder.embedding_size, device=decoder.head.weight.device))
    return count[0]


@pytest.mark.parametrize(
    ("kind", "width", "size", "work"),
    [
        (NbNet, 1, 8_636_515, 385_662_144),
        (NbNet, 0.625, 4_892_371, 157_248_448),
        (DSCasConv, 0.4375, 4_195_227, 173_831_168),
    ],
)
def test_size_and_work_are_those_of_the_docstring(kind, width, size, work):
    with torch.device("meta"):
        decoder = kind(width=width)
    assert parameters(decoder) == size
    assert multiply_adds(decoder) == work
    assert f"{size:,}" in NbNet.__doc__
    assert f"{work / 1e6:.0f} M" in NbNet.__doc__


def test_parameters_by_hand():
    # a block: deconvolution k^2 i c, 2 c for its normalisation, then c / 8 convolutions of 3 x 3,
    # from c channels or, but for the first, c + 8, to 8, with 2 x 8 for their normalisations
    total, inputs = 0, 512
    for channels, side in [(256, 7), (128, 4), (64, 4), (32, 4), (16, 4)]:
        total += side * side * inputs * channels + 2 * channels
        total += (channels // 8) * (9 * 8 * (channels + 8) + 16) - 9 * 8 * 8
        inputs = 2 * channels
    with torch.device("meta"):
        assert parameters(NbNet()) == total + 9 * 32 * 3 + 3


def test_sides_and_channels_after_each_block():
    decoder, shapes = NbNet(6, 0.25).eval(), []
    for block in decoder.blocks:
        block.register_forward_hook(lambda _m, _i, out: shapes.append(tuple(out.shape[1:])))
    assert decoder(torch.zeros(1, 6)).shape == (1, 3, 112, 112)
    assert [shape[1:] for shape in shapes] == [(s, s) for s in (7, 14, 28, 56, 112)]
    assert [shape[0] for shape in shapes] == [128, 64, 32, 16, 16]  # twice 64, 32, 16, 8, 8
    assert all(b[1] == 2 * a[1] for a, b in pairwise(shapes))


def test_a_convolution_sees_the_deconvolution_and_its_neighbour():
    torch.manual_seed(0)
    block = NbNet(6, 0.125).eval().blocks[0]  # 32 channels: four convolutions
    x = torch.randn(2, 6, 1, 1)
    d = block.deconv(x)
    one = block.neighbours[0](d)
    two = block.neighbours[1](torch.cat([d, one], 1))
    three = block.neighbours[2](torch.cat([d, two], 1))
    four = block.neighbours[3](torch.cat([d, three], 1))
    assert len(block.neighbours) == 4
    torch.testing.assert_close(block(x), torch.cat([d, one, two, three, four], 1))


@pytest.mark.parametrize("side", [32, 112, 128])
@pytest.mark.parametrize("n", [1, 16])
def test_the_form_for_inference_draws_the_same_faces(n, side):
    torch.manual_seed(0)
    small = uneven(NbNet(6, 0.01, side).requires_grad_(False))
    fast, x = small.for_inference(), torch.randn(n, 6)
    faces = small(x)
    assert faces.shape == (n, 3, side, side)
    assert faces.std() > 0.05
    torch.testing.assert_close(fast(x), faces, rtol=0, atol=1e-4)
    assert fast.image_size == (side, side)


def test_every_normalisation_is_folded_exactly():
    torch.manual_seed(2)
    decoder, x = uneven(NbNet(6, 0.125).requires_grad_(False)).double(), torch.randn(2, 6).double()
    fast = decoder.for_inference()
    kinds = [[type(layer) for layer in network.modules()] for network in (decoder, fast)]
    # 32, 16, 8, 8, 8 channels: five transposed convolutions and 4 + 2 + 1 + 1 + 1 others
    assert [found.count(torch.nn.BatchNorm2d) for found in kinds] == [14, 0]
    torch.testing.assert_close(fast(x), decoder(x), rtol=0, atol=1e-12)
    x.requires_grad_(True)
    fast(x).sum().backward()
    assert x.grad.abs().sum() > 0


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_it_survives_its_file(tmp_path, small, dtype):
    path = save(tmp_path / "d.safetensors", small, ModelCard("r", 6), dtype)
    loaded, card = load(path)
    assert (type(loaded), card.decoder) == (NbNet, "nbnet")
    assert card.decoder_parameters == {"embedding_size": 6, "width": 0.01, "output_size": 112}
    x = torch.randn(4, 6)
    tolerance = 0 if dtype == "float32" else 1 / 255  # a grey level
    torch.testing.assert_close(loaded(x), small(x), rtol=0, atol=tolerance)


def test_the_form_for_inference_goes_into_no_file(tmp_path, small):
    with pytest.raises(TypeError, match=r"`decoder` must be one of .*, got FoldedBlocks"):
        save(tmp_path / "d", small.for_inference(), ModelCard("r", 6))


@pytest.mark.parametrize("shape", [(6,), (2, 5), (2, 6, 1)])
def test_other_shapes_are_refused(small, shape):
    with pytest.raises(ValueError, match=r"`embeddings` must have shape \(n, 6\), got"):
        small(torch.zeros(shape))


# --- training


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> FaceDataset:
    return FaceDataset(prepared(tmp_path_factory.mktemp("prepared"), 40))


@pytest.mark.slow
def test_the_command_trains_it_and_tells_it_from_another(dataset, tmp_path):
    small = ["--set", "batch_size=3", "--set", "sampled=2", "--steps", "2", "--every", "2"]
    command = ["train", str(dataset.paths[0]), "-o", str(tmp_path), "--device", "cpu", *small]
    command += ["--width", "0.05"]
    done = CliRunner().invoke(recon, [*command, "--decoder", "nbnet"])
    assert done.exit_code == 0, done.output
    decoder, card = load(tmp_path / "decoder.safetensors")
    assert (type(decoder), decoder.width) == (NbNet, 0.05)
    assert card.preset.startswith("best, step 2 of 2")
    again = CliRunner().invoke(recon, command)
    assert again.exit_code == 2
    assert "decoder was 'nbnet', now 'dscasconv'" in " ".join(again.output.split())


def test_a_plan_of_another_network_is_refused():
    with pytest.raises(
        ValueError, match="`decoder` must be one of 'dscasconv', 'generator', 'nbnet', got 'x'"
    ):
        Plan("best", presets.get("best"), decoder="x")


def test_it_starts_from_its_own_kind_alone(dataset, tmp_path):
    source = NbNet(512, 0.05).eval()
    card = ModelCard(NAME, 512, dataset.about.recognizer_sha256)
    decoder = NbNet(512, 0.05).eval()
    start_from(decoder, save(tmp_path / "n", source, card, "float32"), dataset)
    x = torch.randn(2, 512)
    torch.testing.assert_close(decoder(x), source(x))
    for other in (DSCasConv(512, 0.05), LinearDecoder(512)):
        path = save(tmp_path / "d", other, card)
        with pytest.raises(
            ValueError, match=f"`start_from` must be a NbNet, got {type(other).__name__}"
        ):
            start_from(decoder, path, dataset)
