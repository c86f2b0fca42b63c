"""Black box: a decoder learns from another model's gradients, or from none."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from bob_recon_plugin import recognizers
from bob_recon_plugin.decoders import DSCasConv, ModelCard, read_card, save
from bob_recon_plugin.faces.dataset import FaceDataset
from bob_recon_plugin.recognizers import RecognizerTransformer
from bob_recon_plugin.training import presets
from bob_recon_plugin.training.judge import FILE_NAME, Judge
from bob_recon_plugin.training.run import Plan, train
from tests.faces import prepared

SMALL = {"batch_size": "3", "sampled": "2", "warmup_steps": "1", "pixel_share": "0.25"}


@pytest.fixture(scope="module")
def leaked(tmp_path_factory) -> recognizers.Recognizer:
    """A black box that no training could load by name: a random projection of faces to 6."""
    path = tmp_path_factory.mktemp("leaked") / "vendor.onnx"
    weight = np.random.default_rng(0).normal(0, 0.01, (3 * 112 * 112, 6)).astype(np.float32)
    nodes = [
        helper.make_node("Flatten", ["x"], ["flat"]),
        helper.make_node("MatMul", ["flat", "w"], ["e"]),
    ]
    graph = helper.make_graph(
        nodes,
        "vendor",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, 112, 112])],
        [helper.make_tensor_value_info("e", TensorProto.FLOAT, ["n", 6])],
        [numpy_helper.from_array(weight, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)])
    model.ir_version = 8
    onnx.save(model, path)
    return recognizers.from_onnx(path)


@pytest.fixture(scope="module")
def dataset(leaked, tmp_path_factory) -> FaceDataset:
    return FaceDataset(prepared(tmp_path_factory.mktemp("data"), 24, leaked))


def plan(judge: str | None, **more) -> Plan:
    settings = presets.get("best", SMALL)
    usual = {"width": 0.05, "steps": 4, "every": 2, "device": "cpu", "judge": judge}
    return Plan("best", settings=settings, **usual | more)


def test_a_proxy_trains_without_the_leaked_model(dataset, tmp_path, monkeypatch):
    loaded = []
    load = recognizers.load_module

    def noted(name, *more):
        loaded.append(name)
        return load(name, *more)

    monkeypatch.setattr(recognizers, "load_module", noted)
    # the leaked model cannot even be named to the training: its description is not registered
    assert dataset.about.recognizer not in recognizers.names()
    card = read_card(train(dataset, tmp_path, plan("arcface-mbf")))
    assert loaded == ["arcface-mbf"]
    assert card.recognizer == "vendor"
    assert card.embedding_size == 6
    judge = recognizers.get("arcface-mbf")
    assert card.judged_by() == recognizers.Identity(judge.name, judge.sha256)
    assert "'sampled': 0" in card.preset
    assert "'batch_size': 5" in card.preset
    assert "held-out faces: cosine" in card.metrics
    assert "sampled embeddings: cosine" not in card.metrics


def test_what_a_proxy_wants_are_its_own_embeddings_of_the_faces(dataset, tmp_path):
    judge = Judge.of("arcface-mbf", dataset)
    wanted = judge.wanted(dataset, tmp_path)
    faces = dataset.faces(np.arange(len(dataset)))
    embed = RecognizerTransformer("arcface-mbf").transform
    np.testing.assert_allclose(wanted[:, 0], embed(faces), atol=1e-3)
    np.testing.assert_allclose(wanted[:, 1], embed(faces[..., ::-1].copy()), atol=1e-3)
    np.save(tmp_path / FILE_NAME, wanted + 1)  # kept: a stopped training does not embed again
    np.testing.assert_array_equal(judge.wanted(dataset, tmp_path), wanted + 1)


def test_no_judge_trains_on_pixels_alone(dataset, tmp_path, monkeypatch):
    monkeypatch.setattr(recognizers, "load_module", lambda *_: pytest.fail("no model is needed"))
    card = read_card(train(dataset, tmp_path, plan("none")))
    assert card.judged_by() is None
    assert {"held-out faces: ssim", "held-out faces: mae"} <= set(card.metrics)
    assert "held-out faces: cosine" not in card.metrics
    header = (tmp_path / "log.csv").read_text().splitlines()[0]
    assert "train/mae" in header
    assert "identity" not in header


def test_the_white_box_stays_as_it_was(tmp_path):
    data = FaceDataset(prepared(tmp_path / "data", 12))
    judge = Judge.of(None, data)
    assert (judge.name, judge.proxy) == ("arcface-mbf", False)
    assert judge.wanted(data, tmp_path) is None
    preset = presets.get("best")
    assert judge.limited(preset) is preset
    assert Judge.of("arcface-mbf", data) == judge


def test_a_start_that_saw_the_leaked_model_is_refused(dataset, tmp_path):
    torch.manual_seed(0)
    path = tmp_path / "white.safetensors"
    save(path, DSCasConv(6, 0.05), ModelCard(recognizer="vendor", embedding_size=6))
    for name in ("arcface-mbf", "none"):
        with pytest.raises(ValueError, match=r"trained with those of vendor; start from another"):
            train(dataset, tmp_path / "out", plan(name, start=path))
    assert not (tmp_path / "out").exists()


def test_a_judge_of_another_crop_is_refused(dataset):
    with pytest.raises(ValueError, match=r"`judge` must take faces of .* got arcface-iresnet50"):
        Judge.of("arcface-iresnet50", dataset)


def test_an_unknown_judge_is_refused(dataset):
    with pytest.raises(ValueError, match="`recognizer` must be one of"):
        Judge.of("unknown", dataset)


def test_the_command_names_a_judge(dataset, tmp_path):
    from click.testing import CliRunner

    from bob_recon_plugin.cli import recon

    arguments = ["train", str(dataset.paths[0]), "--judge", "none", "--width", "0.05"]
    arguments += ["--steps", "2", "--every", "2", "-o", str(tmp_path / "out"), "--device", "cpu"]
    result = CliRunner().invoke(recon, [*arguments, "--set", "batch_size=3"])
    assert result.exit_code == 0, result.output
    assert read_card(tmp_path / "out" / "decoder.safetensors").judge == "none"
