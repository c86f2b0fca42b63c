"""Every kind of ONNX file that people export opens, and embeds as in onnxruntime."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from bob_recon_plugin import recognizers
from bob_recon_plugin.common.validation import InputError
from bob_recon_plugin.recognizers import RecognizerTransformer

onnxruntime = pytest.importorskip("onnxruntime", reason="compares with onnxruntime")

FILES = Path(__file__).resolve().parents[3] / "shared" / "cases" / "models"
KINDS = (
    "plain",
    "opset-9",
    "uint8-input",
    "half-precision",
    "channels-last",
    "batch-of-4",
    "two-outputs",
    "normalised-inside",
)
SIDE = 16
TYPES = {
    "float32": TensorProto.FLOAT,
    "uint8": TensorProto.UINT8,
    "float16": TensorProto.FLOAT16,
    "double": TensorProto.DOUBLE,
    "int8": TensorProto.INT8,
}


def save(
    path: Path,
    *,
    before: str = "",
    flat: str = "Flatten r > f\n",
    after: str = "",
    out: str = "y",
    kind: str = "float32",
    shape: tuple[int | str, ...] = ("n", 3, SIDE, SIDE),
    opset: int = 13,
    **constants: object,
) -> Path:
    """Save convolution, ReLU and a matrix product to 5 numbers, ``e``, of the images in ``t``.

    ``before`` makes ``t`` of the input ``x``, ``flat`` the vectors ``f`` of the features ``r``, and
    ``after`` the outputs of ``e``: lines of "Operator inputs > output attribute=value". The file
    has no shape of an output.
    """
    rng = np.random.default_rng(0)
    inside = "float16" if kind == "float16" else "float32"
    weights = {"w1": rng.normal(size=(4, 3, 4, 4)) / 7, "w2": rng.normal(size=(64, 5)) / 8}
    tensors = [numpy_helper.from_array(v.astype(inside), k) for k, v in weights.items()]
    tensors += [numpy_helper.from_array(np.asarray(v), k) for k, v in constants.items()]
    first = f"Conv {'t' if before else 'x'} w1 > c strides=[4,4]\nRelu c > r\n"
    last = f"MatMul f w2 > {'e' if after else 'y'}\n"
    graph = helper.make_graph(
        [_node(line) for line in (before + first + flat + last + after).splitlines()],
        "small",
        [helper.make_tensor_value_info("x", TYPES[kind], shape)],
        [helper.make_tensor_value_info(name, TYPES[inside], None) for name in out.split()],
        tensors,
    )
    imports = [helper.make_opsetid("", opset)]
    onnx.save(helper.make_model(graph, opset_imports=imports, ir_version=8), path)
    return path


def _node(line: str) -> onnx.NodeProto:
    given, made = line.split(" > ")
    operator, *inputs = given.split()
    output, *about = made.split()
    values = dict(each.split("=") for each in about)
    how = {key: [int(n) for n in v[1:-1].split(",")] if "[" in v else int(v)
           for key, v in values.items()}  # fmt: skip
    return helper.make_node(operator, inputs, [output], **how)


NORMALISED = "Cast x > s to=1\nSub s mu > u\nDiv u sd > t\n"
SMALL = {
    "plain": {},
    "opset-9": {"opset": 9},
    "uint8-input": {
        "kind": "uint8", "before": NORMALISED, "mu": np.float32(127.5), "sd": np.float32(128),
    },
    "half-precision": {"kind": "float16"},
    "double-input": {"kind": "double", "before": "Cast x > t to=1\n"},
    "half-precision-inside": {
        "before": "Cast x > h to=10\nAdd h one > a\nCast a > t to=1\n", "one": np.float16(1),
    },
    "channels-last": {
        "before": "Transpose x > t perm=[0,3,1,2]\n", "shape": ("n", SIDE, SIDE, 3),
    },
    "channels-last-uint8": {
        "kind": "uint8", "shape": ("n", SIDE, SIDE, 3),
        "before": "Transpose x > p perm=[0,3,1,2]\nCast p > s to=1\nDiv s sd > t\n",
        "sd": np.float32(255),
    },
    "batch-of-4": {"shape": (4, 3, SIDE, SIDE)},
    "batch-of-4-in-constants": {
        "shape": (4, 3, SIDE, SIDE), "flat": "Reshape r four > f\n",
        "four": np.array([4, 64]),
    },
    "channels-last-batch-of-4": {
        "shape": (4, SIDE, SIDE, 3), "before": "Transpose x > t perm=[0,3,1,2]\n",
        "flat": "Reshape r four > f\n", "four": np.array([4, 64]),
    },
    "batch-of-4-in-a-token": {
        "shape": (4, 3, SIDE, SIDE),
        "after": "Concat e token > j axis=1\nReshape j eight > k\nReshape k four > y\n",
        "token": np.full((4, 3), 0.25, np.float32),
        "eight": np.array([1, 4, 8]), "four": np.array([4, 8]),
    },
    "two-outputs": {
        "after": "Identity e > y\nReduceL2 e > length axes=[1] keepdims=1\n", "out": "length y",
    },
    "normalised-inside": {"after": "LpNormalization e > y axis=1 p=2\n"},
    "normalised-by-sums": {"after": "LpNormalization e > y p=1\n"},
}  # fmt: skip


def expected(path: Path, faces: np.ndarray, mean: float = 127.5, scale: float = 127.5):
    """Embeddings ``y`` of faces (4, 3, H, W) as onnxruntime makes them, in the file's own form."""
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (given,) = session.get_inputs()
    kinds = {"tensor(uint8)": np.uint8, "tensor(float16)": np.float16, "tensor(double)": np.float64}
    x = faces.astype(np.float32)
    if given.type != "tensor(uint8)":
        x = (x - mean) / scale
    if given.shape[-1] == 3:
        x = x.transpose(0, 2, 3, 1)
    return session.run(["y"], {"x": x.astype(kinds.get(given.type, np.float32))})[0]


def check(path: Path, about: recognizers.Recognizer) -> None:
    """Embeddings are onnxruntime's for any batch, and gradients reach every image."""
    faces = np.random.default_rng(1).integers(0, 256, (4, 3, *about.image_size), dtype=np.uint8)
    wanted = expected(path, faces)
    # a network in half precision rounds its results to 11 bits
    near = 5e-3 if path.stem.startswith("half") else 1e-4
    assert wanted.shape == (4, about.embedding_size)

    module = recognizers.load_module(about)
    images = torch.tensor(faces, dtype=torch.float32, requires_grad=True)
    embeddings = module(images)
    assert embeddings.dtype == torch.float32
    np.testing.assert_allclose(embeddings.detach(), wanted, rtol=near, atol=near)
    for n in (1, 3):
        got = RecognizerTransformer(about, batch_size=n).transform(faces)
        np.testing.assert_allclose(got, wanted, rtol=near, atol=near)

    (embeddings * torch.linspace(1, 2, about.embedding_size)).sum().backward()
    assert (images.grad.abs().sum(dim=(1, 2, 3)) > 0).all()
    copied = pickle.loads(pickle.dumps(about))
    assert copied == about
    assert hash(copied) == hash(about)


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_from_the_field_opens(kind):
    path = FILES / f"{kind}.onnx"
    if not path.is_file():
        pytest.skip(f"needs {path}, which is not part of the project")
    about = recognizers.from_onnx(path)
    assert (about.embedding_size, about.image_size) == (128, (112, 112))
    check(path, about)


@pytest.mark.parametrize("kind", SMALL)
def test_a_small_file_of_the_same_kind_opens(tmp_path, kind):
    path = save(tmp_path / f"{kind}.onnx", **SMALL[kind])
    about = recognizers.from_onnx(path)
    assert about.embedding_size == (8 if kind.endswith("token") else 5)
    assert about.image_size == (SIDE, SIDE)
    assert about.layout == ("nhwc" if kind.startswith("channels-last") else "nchw")
    check(path, about)


# -- several outputs ---------------------------------------------------------------------------

TWO = {"after": "Identity e > y\nNeg e > z\n", "out": "y z"}


def test_an_output_is_chosen_by_its_name(tmp_path):
    path = save(tmp_path / "two.onnx", **TWO)
    y, z = (recognizers.from_onnx(path, output=name) for name in ("y", "z"))
    check(path, y)
    faces = np.random.default_rng(1).integers(0, 256, (2, 3, SIDE, SIDE), dtype=np.uint8)
    first, second = RecognizerTransformer(y), RecognizerTransformer(z)
    np.testing.assert_allclose(first.transform(faces), -second.transform(faces), rtol=1e-6)
    assert first.describe() != second.describe()


def test_two_vectors_are_no_choice(tmp_path):
    path = save(tmp_path / "two.onnx", **TWO)
    message = (
        r"`output` must be one of 'y' \(1, 5\), 'z' \(1, 5\), got none.*two\.onnx; pass output="
    )
    with pytest.raises(InputError, match=message):
        recognizers.from_onnx(path)
    with pytest.raises(InputError, match=message):
        recognizers.load_module(replace(recognizers.from_onnx(path, output="y"), output=None))


def test_an_unknown_output_is_refused(tmp_path):
    path = save(tmp_path / "two.onnx", **TWO)
    with pytest.raises(InputError, match=r"`output` must be one of 'y', 'z', got 'e' .*two\.onnx"):
        recognizers.from_onnx(path, output="e")
    known = recognizers.from_onnx(path, output="y")
    with pytest.raises(InputError, match=r"`output` must be one of 'y', 'z', got 'e' .*two\.onnx"):
        recognizers.load_module(replace(known, output="e"))


def test_an_output_that_cannot_be_converted_is_left_out_by_name(tmp_path):
    more = {"after": "Identity e > y\nSinh e > z\n", "out": "y z"}
    path = save(tmp_path / "two.onnx", **more)
    check(path, recognizers.from_onnx(path, output="y"))
    with pytest.raises(InputError, match=r"that onnx2torch converts, got .*Sinh"):
        recognizers.from_onnx(path)


# -- what does not fit -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("form", "message"),
    [
        ({"shape": ("n", 3, SIDE)}, r"`path` must take images of shape \(n, 3, H, W\) or"),
        ({"shape": ("n", 1, SIDE, SIDE)}, r"`path` must take images of shape \(n, 3, H, W\) or"),
        ({"kind": "int8"}, r"`path` must take images as floats or as whole .* got int8"),
        ({"kind": "uint8", "before": "Cast x > i to=6\nCast i > t to=1\n"},
         r"converts, got .*operator 'Cast' computes with the whole numbers of the input"),
        ({"kind": "uint8", "before": "Div x two > h\nCast h > t to=1\n", "two": np.uint8(2)},
         r"converts, got .*operator 'Div' computes with the whole numbers of the input"),
        ({"shape": ("n", 3, 12, 12)}, r"`weights` must embed images of shape \(n, 3, 12, 12\)"),
        ({"shape": (10**6, 3, SIDE, SIDE)}, r"`path` must take batches of at most 16777216 pix"),
        ({"after": "Reshape e s > y\n", "s": np.array([-1, 5, 1])},
         r"`path` must give embeddings of shape \(n, d\), got \[1, 5, 1\]"),
    ],
)  # fmt: skip
def test_a_file_that_does_not_fit_is_refused(tmp_path, form, message):
    with pytest.raises(InputError, match=message):
        recognizers.from_onnx(save(tmp_path / "small.onnx", **form))


def test_pixels_of_a_file_of_whole_numbers_are_not_normalised_twice(tmp_path):
    path = save(tmp_path / "small.onnx", **SMALL["uint8-input"])
    about = recognizers.from_onnx(path)
    assert (about.mean, about.scale) == (0.0, 1.0)
    message = (
        r"`mean` and `scale` must be 0 and 1 for a file that takes uint8, got 127\.5 and 127\.5"
    )
    with pytest.raises(InputError, match=message):
        recognizers.from_onnx(path, mean=127.5, scale=127.5)
    with pytest.raises(InputError, match=message):
        recognizers.load_module(replace(about, mean=127.5, scale=127.5))


def test_a_constant_that_differs_over_a_fixed_batch_is_refused(tmp_path):
    form = SMALL["batch-of-4-in-a-token"] | {"token": np.arange(12, dtype=np.float32).reshape(4, 3)}
    about = recognizers.from_onnx(save(tmp_path / "small.onnx", **form))
    with pytest.raises(InputError, match="whose graph fixes a batch of 4"):
        recognizers.load_module(about)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"image_size": 112}, r"`image_size` must be \(height, width\) in pixels, got 112"),
        ({"image_size": (112, 0)}, "`image_size` must be a whole number of at least 1, got 0"),
        ({"layout": "hwc"}, "`layout` must be one of 'nchw', 'nhwc', got 'hwc'"),
        ({"output": "y"}, "`output` and `layout` must be left out for a network that is not in an"),
        ({"layout": "nhwc"}, "`output` and `layout` must be left out for a network that is not in"),
    ],
)
def test_a_description_that_makes_no_sense_is_refused(fields, message):
    with pytest.raises(InputError, match=message):
        replace(recognizers.get("facexzoo-mbf"), **fields)


def test_fields_are_checked_before_the_network_runs(tmp_path):
    path = save(tmp_path / "small.onnx")
    with pytest.raises(
        InputError, match=r"`image_size` must be \(height, width\) in pixels, got 16"
    ):
        recognizers.from_onnx(path, image_size=SIDE)
    with pytest.raises(InputError, match="`layout` must be one of 'nchw', 'nhwc', got 'hwc'"):
        recognizers.from_onnx(path, layout="hwc")


def test_sides_that_a_file_leaves_open_are_given(tmp_path):
    path = save(tmp_path / "open.onnx", shape=("n", "c", "h", "w"))
    about = recognizers.from_onnx(path, image_size=(SIDE, SIDE))
    assert about.embedding_size == 5
    check(path, about)
    last = {"before": SMALL["channels-last"]["before"], "shape": ("n", "h", "w", "c")}
    path = save(tmp_path / "last.onnx", **last)
    about = recognizers.from_onnx(path, image_size=(SIDE, SIDE), layout="nhwc")
    assert about.embedding_size == 5
    faces = np.random.default_rng(1).integers(0, 256, (4, 3, SIDE, SIDE), dtype=np.uint8)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    x = (faces.transpose(0, 2, 3, 1).astype(np.float32) - 127.5) / 127.5
    got = RecognizerTransformer(about).transform(faces)
    np.testing.assert_allclose(got, session.run(None, {"x": x})[0], rtol=1e-4, atol=1e-4)
