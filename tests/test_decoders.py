"""Decoders, their cards and their files."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
from collections.abc import Iterator
from dataclasses import fields, replace
from importlib.metadata import version
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from sklearn.linear_model import Ridge

from bob_recon_plugin.cli import recon
from bob_recon_plugin.common.files import sha256
from bob_recon_plugin.decoders import (
    DECODERS,
    Decoder,
    DSCasConv,
    LinearDecoder,
    ModelCard,
    load,
    read_card,
    save,
)
from bob_recon_plugin.faces.dataset import FaceDataset
from bob_recon_plugin.inversion.reconstructor import FaceReconstructor
from bob_recon_plugin.training import presets
from bob_recon_plugin.training.adapt import linear_map
from bob_recon_plugin.training.run import Plan, train
from bob_recon_plugin.training.start import start_from
from tests.faces import prepared

#: Entries of a file's header.
CARD, VERSION = "bob_recon_plugin.card", "bob_recon_plugin.format"


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def count(decoder: torch.nn.Module) -> int:
    return sum(p.numel() for p in decoder.parameters())


@pytest.fixture
def small() -> DSCasConv:
    """A network of 8 channels a block whose batch statistics are no longer 0 and 1."""
    torch.manual_seed(0)
    decoder = DSCasConv(embedding_size=6, width=0.01)
    for _ in range(3):
        decoder(3 * torch.randn(8, 6))
    return decoder.eval()


@pytest.fixture
def card() -> ModelCard:
    return ModelCard("arcface-test", 6, metrics={"sar_1e-3": 0.5}, seed=1)


# --- DSCasConv


def test_parameters_of_the_paper():
    # a block: deconvolution k^2 i o, 2 o for its normalisation, 3 x (9 o^2 + o + 2 o)
    sides = [512, 512, 256, 128, 64, 32, 16]
    blocks = sum(16 * i * o + 2 * o + 3 * (9 * o * o + 3 * o) for i, o in pairwise(sides))
    with torch.device("meta"):
        decoder = DSCasConv()
    assert count(decoder) == blocks + 9 * 16 * 3 + 3 == 16_434_179


def test_side_after_each_block(small):
    sides = []
    for block in small.blocks:
        block.register_forward_hook(lambda _m, _i, out: sides.append(out.shape[-1]))
    assert small(torch.zeros(1, 6)).shape == (1, 3, 112, 112)
    assert sides == [4, 8, 16, 30, 58, 112]


def test_a_block_adds_its_cascade_to_its_deconvolution(small):
    block, x = small.blocks[0], torch.randn(2, 6, 1, 1)
    d = block.deconv(x)
    torch.testing.assert_close(block(x), d + block.cascade(d.clone()))
    assert (d >= 0).all()  # after the ReLU


@settings(max_examples=20)
@given(st.floats(0.01, 1.5), st.floats(0.01, 1.5))
def test_width_never_loses_parameters(a, b):
    with torch.device("meta"):
        narrow, wide = (DSCasConv(16, width) for width in sorted((a, b)))
    assert count(narrow) <= count(wide)


def test_width_counts_channels_in_eights():
    with torch.device("meta"):
        decoder = DSCasConv(width=0.4375)
    channels = [block.deconv[0].out_channels for block in decoder.blocks]
    assert channels == [224, 112, 56, 32, 16, 8]  # 28 and 14 rounded to 32 and 16, 7 to 8


def test_module_names_are_those_of_checkpoints(small):
    names = set(small.state_dict())
    assert {"blocks.0.deconv.0.weight", "blocks.5.cascade.2.0.bias", "head.weight"} <= names
    assert {name.split(".")[0] for name in names} == {"blocks", "head"}


@pytest.mark.parametrize("side", [32, 112, 128])
def test_other_output_sizes(side):
    decoder = DSCasConv(4, 0.01, output_size=side).eval()
    faces = decoder(torch.randn(2, 4))
    assert faces.shape == (2, 3, side, side)
    assert decoder.image_size == (side, side)
    assert 0 <= faces.min() < faces.max() <= 1


def test_embeddings_may_carry_two_axes_of_one(small):
    x = torch.randn(2, 6)
    assert torch.equal(small(x), small(x[:, :, None, None]))


@pytest.mark.parametrize("decoder", [DSCasConv(6, 0.01), LinearDecoder(6, (4, 4))])
@pytest.mark.parametrize("shape", [(6,), (2, 5), (3, 2), (2, 6, 1), (2, 2, 3)])
def test_other_shapes_are_refused(decoder, shape):
    with pytest.raises(ValueError, match=r"`embeddings` must have shape \(n, 6\), got"):
        decoder(torch.zeros(shape))


@pytest.mark.parametrize(
    ("parameters", "name"),
    [
        ({"embedding_size": 0}, "embedding_size"),
        ({"width": 0}, "width"),
        ({"width": float("nan")}, "width"),
        ({"width": float("inf")}, "width"),
        ({"output_size": 7}, "output_size"),
    ],
)
def test_impossible_networks_are_refused(parameters, name):
    with pytest.raises(ValueError, match=f"`{name}` must be"):
        DSCasConv(**parameters)


# --- the linear baseline


def regression(n: int = 40, d: int = 5, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    random = rng(seed)
    x = random.normal(3, 2, (n, d)).astype(np.float32)
    faces = random.integers(0, 256, (n, 3, 4, 6), dtype=np.uint8)
    return x, faces


@pytest.mark.parametrize("alpha", [0.3, 1e-3, 10.0])
def test_ridge_agrees_with_scikit_learn(alpha):
    x, faces = regression()
    decoder = LinearDecoder.fit(x, faces, alpha)
    reference = Ridge(alpha=alpha * len(x)).fit(
        x.astype(np.float64), faces.reshape(len(x), -1) / 255
    )
    new = rng(1).normal(3, 6, (20, 5)).astype(np.float32)
    expected = reference.predict(new).clip(0, 1).reshape(-1, 3, 4, 6)
    np.testing.assert_allclose(decoder(torch.from_numpy(new)).numpy(), expected, atol=2e-6)
    np.testing.assert_allclose(decoder.weight.numpy(), reference.coef_, atol=1e-6)


def test_prediction_is_clipped():
    x, faces = regression()
    pixels = LinearDecoder.fit(x, faces, 1e-3)(torch.from_numpy(40 * x))
    assert pixels.min() == 0
    assert pixels.max() == 1


def test_block_size_does_not_matter():
    x, faces = regression()
    fits = [LinearDecoder.fit(x, faces, block_size=b) for b in (1, 7, 40, 1000)]
    for other in fits[1:]:
        torch.testing.assert_close(other.weight, fits[0].weight, rtol=0, atol=1e-9)
        torch.testing.assert_close(other.bias, fits[0].bias, rtol=0, atol=1e-9)


def test_faces_may_be_a_memory_map(tmp_path):
    x, faces = regression()
    np.save(tmp_path / "faces.npy", faces)
    mapped = np.load(tmp_path / "faces.npy", mmap_mode="r")
    assert torch.equal(LinearDecoder.fit(x, mapped).weight, LinearDecoder.fit(x, faces).weight)


def test_constant_faces_are_returned_as_they_are():
    x, faces = regression()
    faces[:] = faces[0]
    decoded = LinearDecoder.fit(x, faces)(torch.zeros(1, 5))
    np.testing.assert_allclose(255 * decoded[0].numpy(), faces[0], atol=1e-4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"faces": np.zeros((40, 3, 4, 6))}, "`faces` must be a uint8 array"),
        ({"faces": np.zeros((40, 4, 6, 3), np.uint8)}, "`faces` must be a uint8 array"),
        ({"faces": [1, 2]}, "`faces` must be a uint8 array"),
        ({"faces": np.zeros((39, 3, 4, 6), np.uint8)}, "as many, two or more, got 40 and 39"),
        ({"alpha": 0}, "`alpha` must be positive"),
        ({"alpha": float("nan")}, "`alpha` must be positive"),
        ({"block_size": 0}, "`block_size` must be at least 1"),
        ({"embeddings": np.full((40, 5), np.nan)}, "NaN or infinity in 40 of 40"),
        ({"embeddings": np.zeros(40)}, "`embeddings` must have shape"),
    ],
)
def test_fit_refuses(change, message):
    x, faces = regression()
    with pytest.raises(ValueError, match=message):
        LinearDecoder.fit(**{"embeddings": x, "faces": faces, **change})


# --- the form for inference


def uneven(**parameters) -> DSCasConv:
    """A network all of whose normalisations matter, and whose faces are not flat."""
    torch.manual_seed(1)
    decoder = DSCasConv(6, 0.01, **parameters).requires_grad_(False)
    for layer in decoder.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.weight.uniform_(-2, 2)
            layer.bias.normal_()
            layer.running_mean.normal_()
            layer.running_var.uniform_(0.01, 1)
    decoder.eval()
    decoder.head.weight.div_(decoder(torch.randn(8, 6)).logit(eps=1e-6).std())
    return decoder


@pytest.mark.parametrize("side", [32, 112, 128])
@pytest.mark.parametrize("n", [1, 64])
def test_the_form_for_inference_draws_the_same_faces(n, side):
    decoder, x = uneven(output_size=side), torch.randn(n, 6)
    fast = decoder.for_inference()
    assert (fast.image_size, fast.embedding_size) == ((side, side), 6)
    faces = decoder(x)
    assert faces.std() > 0.05
    torch.testing.assert_close(fast(x), faces, rtol=0, atol=1e-4)
    torch.testing.assert_close(fast(x[:, :, None, None]), faces, rtol=0, atol=1e-4)


def test_every_normalisation_is_folded_exactly():
    decoder, x = uneven().double(), torch.randn(2, 6).double()
    fast = decoder.for_inference()
    kinds = [[type(layer) for layer in network.modules()] for network in (decoder, fast)]
    assert [found.count(torch.nn.BatchNorm2d) for found in kinds] == [24, 0]
    torch.testing.assert_close(fast(x), decoder(x), rtol=0, atol=1e-12)


def test_the_decoder_itself_stays_as_it_is():
    decoder, x = uneven().requires_grad_(True).train(), torch.randn(4, 6)
    before = {name: value.clone() for name, value in decoder.state_dict().items()}
    fast = decoder.for_inference()
    faces = fast(x.requires_grad_(True))
    assert not fast.training
    assert decoder.training
    assert all(p.requires_grad for p in decoder.parameters())
    assert not any(p.requires_grad for p in fast.parameters())
    after = decoder.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], value) for name, value in after.items())
    torch.testing.assert_close(faces, decoder.eval()(x), rtol=0, atol=1e-4)
    faces.sum().backward()
    assert x.grad.abs().sum() > 0


def test_other_decoders_have_no_other_form():
    linear, fast = LinearDecoder(6, (4, 4)), uneven().for_inference()
    assert linear.for_inference() is linear
    assert fast.for_inference() is fast


def test_the_form_for_inference_goes_into_no_file(tmp_path, card):
    with pytest.raises(TypeError, match=r"`decoder` must be one of .*, got FoldedBlocks; save"):
        save(tmp_path / "d", uneven().for_inference(), card)
    assert not list(tmp_path.iterdir())


def test_the_form_for_inference_refuses_other_shapes():
    with pytest.raises(ValueError, match=r"`embeddings` must have shape \(n, 6\), got \(2, 5\)"):
        uneven().for_inference()(torch.zeros(2, 5))


# --- card


def test_card_survives_json(card):
    again = ModelCard.from_json(card.to_json())
    assert again == card
    assert again.positions["reye"] == (51.6963, 38.2946)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"recognizer": ""}, "`recognizer` must be the name"),
        ({"embedding_size": 0}, "`embedding_size` must be a positive integer"),
        ({"embedding_size": 6.0}, "`embedding_size` must be a positive integer"),
        ({"recognizer_sha256": "abc"}, "`recognizer_sha256` must be 64 hexadecimal"),
        ({"recognizer_sha256": "A" * 64}, "in lower case"),
        ({"embedding_norm": 0}, "`embedding_norm` must be positive"),
        ({"positions": {"reye": (1, 2)}}, "`positions` must be"),
        ({"positions": {"reye": (1, 2), "leye": 3}}, "`positions` must be"),
        ({"positions": None}, "`positions` must be"),
    ],
)
def test_impossible_cards_are_refused(card, change, message):
    with pytest.raises((TypeError, ValueError), match=message):
        replace(card, **change)


@pytest.mark.parametrize("value", [float("nan"), np.zeros(2)])
def test_cards_hold_only_what_json_can(card, value):
    with pytest.raises(ValueError, match="`card` must hold only text, finite numbers"):
        replace(card, metrics={"x": value}).to_json()


# --- files


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_network_survives_its_file(tmp_path, small, card, dtype):
    path = save(tmp_path / "new" / "d.safetensors", small, card, dtype)
    loaded, found = load(path)
    x = 3 * torch.randn(16, 6)
    tolerance = 0 if dtype == "float32" else 1 / 255  # a grey level
    torch.testing.assert_close(loaded(x), small(x), rtol=0, atol=tolerance)
    assert not loaded.training
    assert {t.dtype for t in loaded.state_dict().values()} == {torch.float32, torch.int64}
    assert found.decoder == "dscasconv"
    assert found.decoder_parameters == {"embedding_size": 6, "width": 0.01, "output_size": 112}
    assert found.metrics == card.metrics
    assert found.versions["torch"] == version("torch")
    assert read_card(path) == found


def test_linear_decoder_survives_its_file(tmp_path):
    x, faces = regression()
    decoder = LinearDecoder.fit(x, faces)
    eyes = {"reye": (1, 1), "leye": (1, 4)}
    path = save(tmp_path / "l.safetensors", decoder, ModelCard("r", 5, positions=eyes), "float32")
    loaded, _ = load(path)
    assert torch.equal(loaded(torch.from_numpy(x)), decoder(torch.from_numpy(x)))
    assert loaded.image_size == (4, 6)


def test_half_precision_halves_the_file_and_spares_vectors(tmp_path, small, card):
    small.blocks[0].deconv[1].running_var.fill_(1e6)  # beyond float16
    half = save(tmp_path / "half", small, card)
    single = save(tmp_path / "single", small, card, "float32")
    assert half.stat().st_size < 0.7 * single.stat().st_size
    tensors = load_file(half)
    assert tensors["head.weight"].dtype == torch.float16
    assert tensors["head.bias"].dtype == torch.float32
    assert load(half)[0].blocks[0].deconv[1].running_var[0] == 1e6


def test_a_card_given_versions_keeps_them(tmp_path, small, card):
    path = save(tmp_path / "d", small, replace(card, versions={"torch": "0"}))
    assert read_card(path).versions == {"torch": "0"}


def test_loaded_weights_can_be_trained_and_are_no_map_of_the_file(tmp_path, small, card):
    path = save(tmp_path / "d", small, card, "float32")
    loaded, _ = load(path)
    before = loaded(torch.ones(1, 6))
    with path.open("r+b") as stream:  # in place, as a careless copy does
        stream.seek(-4096, os.SEEK_END)
        stream.write(b"\x55" * 4096)
    assert torch.equal(loaded(torch.ones(1, 6)), before)
    loaded.train()(torch.randn(4, 6)).mean().backward()
    assert loaded.head.weight.grad.abs().sum() > 0


def test_a_failed_save_leaves_the_old_file(tmp_path, small, card, monkeypatch):
    path = save(tmp_path / "d", small, card)
    before = path.read_bytes()

    def broken(file, content):
        file.write_text("half a file")
        raise OSError("disk full")

    monkeypatch.setattr("pathlib.Path.write_bytes", broken)
    with pytest.raises(OSError, match="disk full"):
        save(path, small, card)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["d"]


def test_channels_last_weights_are_saved(tmp_path, small, card):
    x = torch.randn(2, 6)
    expected = small(x)
    path = save(tmp_path / "d", small.to(memory_format=torch.channels_last), card, "float32")
    torch.testing.assert_close(load(path)[0](x), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"embedding_size": 7}, "`card.embedding_size` must be 6"),
        (
            {"positions": {"reye": (51, 38), "leye": (51, 112)}},
            r"lie in the 112 x 112 image, got leye",
        ),
    ],
)
def test_save_refuses_a_card_of_another_decoder(tmp_path, small, card, change, message):
    with pytest.raises(ValueError, match=message):
        save(tmp_path / "d", small, replace(card, **change))
    assert not list(tmp_path.iterdir())


def test_save_refuses_unknown_modules_types_and_nan(tmp_path, small, card):
    with pytest.raises(TypeError, match=r"`decoder` must be one of .*, NbNet, got DataParallel"):
        save(tmp_path / "d", torch.nn.DataParallel(small), card)
    with pytest.raises(ValueError, match="`dtype` must be one of 'float16', 'float32'"):
        save(tmp_path / "d", small, card, "int8")
    small.head.weight.data[0] = float("nan")
    with pytest.raises(ValueError, match=r"NaN or infinity in 1 of \d+ tensors \(first: head.w"):
        save(tmp_path / "d", small, card)


def test_weights_beyond_half_precision_are_refused(tmp_path, small, card):
    small.head.weight.data[0] = 1e6
    with pytest.raises(ValueError, match="save as float32"):
        save(tmp_path / "d", small, card)
    assert load(save(tmp_path / "d", small, card, "float32"))[0].head.weight.max() == 1e6


def test_every_registered_decoder_keeps_its_parameters():
    for kind in DECODERS.values():
        with torch.device("meta"):
            decoder = kind(embedding_size=7)
        assert decoder.embedding_size == 7


def rewrite(path, tensors=None, **metadata):
    """Write ``path`` again with other tensors or metadata (None removes an entry)."""
    with safe_open(path, "pt") as file:
        known = {**file.metadata(), **metadata}
    tensors = load_file(path) if tensors is None else tensors
    save_file(tensors, path, {k: v for k, v in known.items() if v is not None})


@pytest.fixture
def file(tmp_path, small, card):
    return save(tmp_path / "d.safetensors", small, card)


def refuses(path, message):
    with pytest.raises(ValueError, match=message) as caught:
        load(path)
    assert "\n" not in str(caught.value)


def test_a_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"`checkpoint` must be an existing file, got .*x;"):
        load(tmp_path / "x")


@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_is_not_opened(tmp_path, small, zipped):
    path = tmp_path / "model.pth"
    torch.save(small.state_dict(), path, _use_new_zipfile_serialization=zipped)
    refuses(path, "got the pickle .*model.pth; pickles can run code .*decoders.save")


def test_a_pickle_never_runs(tmp_path):
    class Bomb:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "boom"),)

    path = tmp_path / "bomb.safetensors"
    path.write_bytes(pickle.dumps(Bomb()))
    refuses(path, "pickle")
    assert not (tmp_path / "boom").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "which is empty"), (b"hello", "which is none"), (b"x" * 100, "which is none")],
)
def test_other_files(tmp_path, content, message):
    path = tmp_path / "f"
    path.write_bytes(content)
    refuses(path, message)


@pytest.mark.parametrize("kept", [9, 100, 0.5, -1])
def test_truncated_files(file, kept):
    content = file.read_bytes()
    kept = int(kept * len(content)) if isinstance(kept, float) else kept
    file.write_bytes(content[:kept])
    refuses(file, "which is truncated or damaged")


def test_files_without_a_card(file):
    rewrite(file, **{CARD: None})
    refuses(file, "must carry a card of its kind, got .* which has none; give")


def test_files_of_another_version(file):
    rewrite(file, **{VERSION: "99"})
    refuses(file, "must have format version 1, got 99 in")


@pytest.mark.parametrize("text", ["{", "[1]", "{}", '{"recognizer": "a"}', '{"wrong": 1}', "null"])
def test_damaged_cards(file, text):
    rewrite(file, **{CARD: text})
    refuses(file, "`checkpoint` must carry a readable card")


def changed_card(path, **changes):
    values = json.loads(read_card(path).to_json())
    rewrite(path, **{CARD: json.dumps({**values, **changes})})


def test_unknown_decoders(file):
    changed_card(file, decoder="gan")
    refuses(file, "one of the decoders dscasconv, generator, linear, nbnet, got 'gan' in")


@pytest.mark.parametrize(
    "parameters", [{"width": "wide"}, {"depth": 3}, {"width": -1}, {"__class__": 1}, [1], None]
)
def test_wrong_parameters(file, parameters):
    changed_card(file, decoder_parameters=parameters)
    refuses(file, "must hold valid parameters of dscasconv")


def test_a_huge_decoder_is_refused_before_memory_is_taken(file):
    size = {"embedding_size": 6, "width": 2000.0, "output_size": 112}
    changed_card(file, decoder_parameters=size)  # 64 terabytes
    refuses(file, r"must hold the weights that its card describes")


def test_keys_and_shapes_must_match(file):
    tensors = load_file(file)
    bias = tensors.pop("head.bias")
    rewrite(file, tensors)
    refuses(file, r"1 differ \(first: head.bias, expected \(3,\), found none\)")
    rewrite(file, {**tensors, "head.bias": bias, "extra": bias.clone()})
    refuses(file, r"first: extra, expected none, found \(3,\)")
    rewrite(file, {**tensors, "head.bias": torch.zeros(4)})
    refuses(file, r"expected \(3,\), found \(4,\)")


def test_nan_weights_in_a_file(file):
    tensors = load_file(file)
    tensors["head.bias"][1] = float("nan")
    rewrite(file, tensors)
    refuses(file, r"NaN or infinity in 1 of \d+ tensors \(first: head.bias\)")


def test_unknown_card_fields_are_not_dropped_silently(file):
    changed_card(file, novel=1)
    refuses(file, "unknown fields novel")
    assert "novel" not in {f.name for f in fields(ModelCard)}


# --- a new decoder


@pytest.fixture
def colours() -> Iterator[type[Decoder]]:
    """A decoder that this package does not know: a face of one colour."""

    class Colours(Decoder, name="colours"):
        first_weight = ("colour.weight", 1)  # of shape (3, d)
        validation_faces = 2

        def __init__(self, embedding_size: int, side: int):
            super().__init__()
            self.embedding_size, self.side, self.image_size = embedding_size, side, (side, side)
            self.colour = torch.nn.Linear(embedding_size, 3)

        @classmethod
        def for_faces(cls, embedding_size, image_size, positions, width):
            return cls(embedding_size, image_size[0])

        def forward(self, embeddings):
            colours = torch.sigmoid(self.colour(embeddings))
            return colours[:, :, None, None].expand(-1, -1, self.side, self.side)

    yield Colours
    del DECODERS["colours"]


def test_a_new_class_is_trained_saved_loaded_and_used(colours, tmp_path):
    dataset = FaceDataset(prepared(tmp_path / "data", 12))
    preset = presets.get("best", {"batch_size": "2", "sampled": "2", "pixel_share": "0"})
    plan = Plan("best", preset, decoder="colours", steps=1, every=1, device="cpu")
    path = train(dataset, tmp_path / "out", plan)
    decoder, card = load(path)
    assert type(decoder) is colours
    assert (card.decoder, card.decoder_parameters) == (
        "colours",
        {"embedding_size": 512, "side": 112},
    )
    embeddings = dataset.embeddings[:3, 0]
    faces = FaceReconstructor(path, "arcface-mbf", device="cpu").transform(embeddings)
    with torch.inference_mode():
        expected = (255 * decoder(torch.from_numpy(embeddings))).round().byte().numpy()
    np.testing.assert_array_equal(faces, expected)
    # on from there, as any other
    again = Plan("best", preset, decoder="colours", steps=1, every=1, device="cpu", start=path)
    assert ", started from" in load(train(dataset, tmp_path / "again", again))[1].preset


def test_a_new_class_starts_from_the_decoder_of_another_model(colours, tmp_path, monkeypatch):
    dataset = FaceDataset(prepared(tmp_path / "data", 12))
    rows = dataset.embeddings[~dataset.validation, 0]
    monkeypatch.setattr(
        "bob_recon_plugin.training.start.RecognizerTransformer",
        lambda name: SimpleNamespace(transform=lambda faces: rows[:, :6] * 2),
    )
    source, decoder = colours(6, 112), colours(512, 112)
    start_from(decoder, save(tmp_path / "s", source, ModelCard("other", 6), "float32"), dataset)
    mapped = torch.from_numpy(rows @ linear_map(rows, rows[:, :6] * 2))
    torch.testing.assert_close(decoder(torch.from_numpy(rows)), source(mapped))


def test_names_are_those_of_the_files_and_of_the_command():
    assert all(
        kind.__module__ == f"bob_recon_plugin.decoders.{name}" for name, kind in DECODERS.items()
    )
    options = recon.get_command(None, "train").params
    (choice,) = (option.type.choices for option in options if option.name == "decoder")
    assert list(choice) == sorted(DECODERS)


def test_a_name_belongs_to_one_class():
    with pytest.raises(ValueError, match="`name` must be the name of one decoder, got 'linear' of"):
        type("Other", (Decoder,), {}, name="linear")
    assert DECODERS["linear"] is LinearDecoder


# --- digests


def test_sha256_follows_the_file(tmp_path):
    path = tmp_path / "f"
    path.write_bytes(b"one")
    assert sha256(path) == hashlib.sha256(b"one").hexdigest() == sha256(str(path))
    path.write_bytes(b"other")
    assert sha256(path) == hashlib.sha256(b"other").hexdigest()


def test_sha256_reads_once(tmp_path, monkeypatch):
    path = tmp_path / "f"
    path.write_bytes(b"one")
    first = sha256(path)
    monkeypatch.setattr("builtins.open", None)
    assert sha256(path) == first
