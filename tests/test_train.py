"""The training: what a step sees, what a checkpoint keeps, and that stopping costs nothing."""

from __future__ import annotations

import csv
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from safetensors.torch import load_file

from bob_recon_plugin import recognizers
from bob_recon_plugin.cli import recon
from bob_recon_plugin.common.validation import InputError
from bob_recon_plugin.decoders import DSCasConv, LinearDecoder, ModelCard, load, save
from bob_recon_plugin.faces.dataset import FaceDataset
from bob_recon_plugin.inversion.damage import QuantizedLeak
from bob_recon_plugin.protection import BioHashing, InvertProtection, ProtectTemplates
from bob_recon_plugin.recognizers import RecognizerTransformer
from bob_recon_plugin.training import losses, presets, run
from bob_recon_plugin.training.adapt import linear_map
from bob_recon_plugin.training.batches import FaceBatches, generator
from bob_recon_plugin.training.leaked_templates import leaked
from bob_recon_plugin.training.lightning_module import update_average
from bob_recon_plugin.training.run import Plan, train
from bob_recon_plugin.training.sampled_embeddings import SampledEmbeddings
from bob_recon_plugin.training.start import start_from
from tests.faces import prepared

NAME = "arcface-mbf"
SMALL = {"batch_size": "3", "sampled": "2", "warmup_steps": "1", "pixel_share": "0.25"}


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """Forty prepared faces."""
    return prepared(tmp_path_factory.mktemp("prepared"), 40)


@pytest.fixture(scope="module")
def dataset(data) -> FaceDataset:
    return FaceDataset(data)


def plan(**more) -> Plan:
    usual = {"width": 0.05, "steps": 4, "every": 2, "device": "cpu"}
    return Plan("best", **{"settings": presets.get("best", SMALL)} | usual | more)


# --- presets ---


def test_published_rate_halves_every_ten_epochs():
    preset = presets.get("icip2022")
    rates = [preset.rate(step, 5000, faces=32 * 50) for step in range(5000)]  # 50 steps an epoch
    wanted = [1e-3 * 0.5 ** (step // 500) for step in range(5000)]
    np.testing.assert_allclose(rates, wanted)


def test_cosine_rate_rises_then_falls_to_a_hundredth():
    preset = replace(presets.get("best"), learning_rate=1.0, warmup_steps=9)
    rates = [preset.rate(step, 1000, faces=10) for step in range(1001)]
    assert rates[0] == pytest.approx(0.1, rel=1e-3)
    assert max(rates) == pytest.approx(1.0, abs=1e-3)
    assert rates[500] == pytest.approx(0.5)
    assert rates[1000] == 0.01
    assert all(a >= b for a, b in pairwise(rates[10:]))


def test_published_losses_are_those_of_the_papers():
    assert presets.get("icip2022").weights == {"mse": 1.0, "dssim": 0.1, "identity": 0.005}
    assert presets.get("tifs2024").weights == {
        "mae": 1.0,
        "dssim": 0.75,
        "perceptual": 0.02,
        "identity": 0.025,
    }
    assert presets.get("icip2022").batch_size == presets.get("best").samples == 32


def test_settings_change_fields_and_terms():
    preset = presets.get("best", {"sampled": "4", "mirror": "false", "mae": "0", "mse": "2"})
    assert (preset.sampled, preset.mirror) == (4, False)
    assert preset.weights == {"dssim": 0.3, "identity_cosine": 1.0, "mse": 2.0}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"none": "1"}, "`setting` must be one of 'batch_size'"),
        ({"sampled": "many"}, "`sampled` must be a int, got 'many'"),
        ({"mirror": "1"}, "`mirror` must be one of 'true', 'false', got '1'"),
        ({"batch_size": "1"}, "`batch_size` must be at least 2, got 1"),
        ({"ema": "1"}, r"`ema` must lie in \[0, 1\), got 1.0"),
        ({"learning_rate": "nan"}, "`learning_rate` must be positive and finite, got nan"),
        ({"identity_cosine": "0"}, "`sampled` must be 0 without an identity term, got 16"),
    ],
)
def test_wrong_settings_are_told(settings, message):
    with pytest.raises(ValueError, match=message):
        presets.get("best", settings)


def test_unknown_preset_is_told():
    with pytest.raises(ValueError, match="`preset` must be one of 'icip2022'"):
        presets.get("worst")


# --- what a step sees ---


def test_sampled_embeddings_lie_between_the_fitted_and_the_isotropic():
    axis = torch.zeros(16)
    axis[0] = 10.0
    real = axis + 0.1 * torch.randn(500, 16)
    drawn = SampledEmbeddings(real).draw(2000, generator(0))
    norms = drawn.norm(dim=1)
    mean = real.norm(dim=1).mean().item()
    assert 0.85 * mean <= norms.min() < norms.max() <= 1.3 * mean * 1.0001
    assert norms.mean() == pytest.approx(1.075 * mean, rel=0.02)
    cosines = drawn[:, 0] / norms
    assert 0.4 < cosines.mean() < 0.9  # neither the axis (1) nor isotropic (0)


def test_sampled_embeddings_need_no_more_faces_than_dimensions():
    drawn = SampledEmbeddings(torch.randn(5, 16)).draw(10, generator(0))
    assert torch.isfinite(drawn).all()


def test_every_epoch_sees_every_training_face_once(dataset):
    batches = FaceBatches(dataset, seed=3)
    n = len(batches.training)
    assert n + len(batches.held_out) == 40
    for epoch in range(3):
        seen = batches.rows(epoch * n, n)
        assert sorted(seen) == list(batches.training)
    assert not np.array_equal(batches.rows(0, n), batches.rows(n, n))
    # across the end of an epoch, in pieces or at once
    pieces = [batches.rows(start, 5) for start in range(n - 7, n + 8, 5)]
    np.testing.assert_array_equal(np.concatenate(pieces), batches.rows(n - 7, 15))


def test_a_mirrored_face_comes_with_its_own_embedding(dataset):
    batches = FaceBatches(dataset, seed=0)
    rows = np.array([4, 9])
    faces, embeddings = batches.take(rows, torch.tensor([False, True]))
    assert faces.max() <= 1
    transformer = RecognizerTransformer(NAME)
    found = transformer.transform((faces * 255).round().numpy())
    np.testing.assert_allclose(found, embeddings.numpy(), atol=1e-3)


def test_the_average_follows_the_decoder():
    decoder, average = torch.nn.BatchNorm1d(1), torch.nn.BatchNorm1d(1)
    decoder.weight.data.fill_(2.0)
    decoder.num_batches_tracked.fill_(7)
    update_average(average, decoder, decay=0.9, step=1000)
    assert average.weight.item() == pytest.approx(0.9 * 1 + 0.1 * 2)
    assert average.num_batches_tracked.item() == 7
    update_average(average, decoder, decay=0.9, step=0)  # keeps a tenth at the start
    assert average.weight.item() == pytest.approx(0.1 * 1.1 + 0.9 * 2)


# --- a training ---


@pytest.fixture(scope="module")
def trained(dataset, tmp_path_factory) -> Path:
    output = tmp_path_factory.mktemp("trained") / "out"
    train(dataset, output, plan())
    return output


@pytest.mark.slow
def test_a_training_leaves_a_decoder_with_its_card(trained, dataset):
    decoder, card = load(trained / run.DECODER)
    held_out = int(dataset.validation.sum())
    assert card.recognizer_sha256 == recognizers.get(NAME).sha256
    assert (
        card.training_data == f"{40 - held_out} faces, {held_out} held out; {dataset.about.about}"
    )
    assert card.preset.startswith("best, step ")
    assert (card.seed, decoder.width) == (0, 0.05)
    found = RecognizerTransformer(NAME).transform(_faces(decoder, dataset))
    wanted = dataset.embeddings[dataset.validation, 0]
    cosine = (
        (found * wanted).sum(1) / np.linalg.norm(found, axis=1) / np.linalg.norm(wanted, axis=1)
    )
    # the file is in half precision, the card was measured before
    assert card.metrics["held-out faces: cosine"] == pytest.approx(cosine.mean(), abs=2e-3)


def _faces(decoder, dataset):
    with torch.no_grad():
        decoded = decoder(torch.from_numpy(dataset.embeddings[dataset.validation, 0]))
    return (255 * decoded).round().numpy()


@pytest.mark.slow
def test_a_training_leaves_its_log_and_pictures(trained, dataset):
    with (trained / run.LOG).open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["step"] for row in rows] == ["2", "4"]
    # step 0 sees pixels alone: identity is a mean over the steps that had it
    assert 0 < float(rows[1]["train/identity_cosine"]) < 1.2
    assert float(rows[0]["images_per_second"]) > 0
    picture = Image.open(trained / "samples" / "step-000004.png")
    assert picture.size == (112 * min(12, int(dataset.validation.sum())), 224)
    assert list((trained / "tensorboard").iterdir())


@pytest.mark.slow
def test_a_checkpoint_holds_what_learns_and_no_recogniser(trained):
    state = torch.load(trained / run.STATE, weights_only=False)["state_dict"]
    assert {name.split(".")[0] for name in state} == {"decoder", "average"}


@pytest.mark.slow
def test_another_training_is_refused_and_force_forgets(trained, dataset, tmp_path):
    with pytest.raises(ValueError, match=r"seed was 0, now 5; .*--force"):
        train(dataset, trained, plan(seed=5))
    shutil.copytree(trained, tmp_path / "copy")
    train(dataset, tmp_path / "copy", plan(seed=5, steps=2), force=True)
    assert _step(tmp_path / "copy") == 2
    assert load(tmp_path / "copy" / run.DECODER)[1].seed == 5


@pytest.mark.slow
def test_a_finished_training_is_not_trained_again(trained, dataset):
    before = (trained / run.DECODER).read_bytes()
    train(dataset, trained, plan())
    assert (trained / run.DECODER).read_bytes() == before


COMMAND = [sys.executable, "-c", "from bob_recon_plugin.cli import recon; recon()", "train"]


def _options(data: Path, output: Path) -> list[str]:
    settings = [part for name, value in SMALL.items() for part in ("--set", f"{name}={value}")]
    run_options = ["--width", "0.05", "--steps", "6", "--every", "2", "--device", "cpu"]
    return [str(data), "-o", str(output), *settings, *run_options]


def test_a_state_that_asks_for_code_is_not_opened(dataset, tmp_path):
    train(dataset, tmp_path, plan())
    torch.save({"state_dict": {}, "optimizer_states": [tmp_path]}, tmp_path / run.STATE)
    with pytest.raises(ValueError, match=r"`last\.ckpt` must be .* asks for the code of pathlib"):
        train(dataset, tmp_path, plan())


@pytest.mark.slow
def test_killed_and_resumed_equals_never_stopped_to_the_bit(data, tmp_path):
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    subprocess.run([*COMMAND, *_options(data, whole)], check=True, env=environment)
    process = subprocess.Popen([*COMMAND, *_options(data, broken)], env=environment)
    while not (broken / run.STATE).is_file():
        assert process.poll() is None, "the training ended before it could be killed"
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert _step(broken) < 6
    subprocess.run([*COMMAND, *_options(data, broken)], check=True, env=environment)
    one, other = (torch.load(x / run.STATE, weights_only=False) for x in (whole, broken))
    assert one["global_step"] == other["global_step"] == 6
    for name, weight in one["state_dict"].items():
        assert torch.equal(other["state_dict"][name], weight), name
    assert load_file(whole / run.DECODER).keys() == load_file(broken / run.DECODER).keys()
    for name, weight in load_file(whole / run.DECODER).items():
        assert torch.equal(load_file(broken / run.DECODER)[name], weight), name
    with (broken / run.LOG).open(newline="") as stream:
        assert [row["step"] for row in csv.DictReader(stream)] == ["2", "4", "6"]


OFTEN = "from bob_recon_plugin.training.callbacks import KeepState; KeepState.seconds = 0; "
# a fast machine would be through all twenty steps before it looks up
SHORT = "from bob_recon_plugin.training.lightning_module import Inversion as I; I.STRETCH = 0.05; "


@pytest.fixture(scope="module")
def whole(data, tmp_path_factory) -> Path:
    """Twenty steps with one validation, at their end."""
    output = tmp_path_factory.mktemp("whole") / "out"
    command = [*COMMAND, *_options(data, output), "--steps", "20", "--every", "20"]
    subprocess.run(command, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    return output


@pytest.mark.slow
@pytest.mark.parametrize(
    ("how", "status", "first"),
    [(signal.SIGINT, 130, SHORT), (signal.SIGTERM, 143, SHORT), (signal.SIGKILL, -9, OFTEN)],
    ids=["Ctrl-C", "time limit", "kill -9"],
)
def test_stopped_between_validations_and_resumed_equals_never_stopped_to_the_bit(
    data, whole, tmp_path, how, status, first
):
    output = tmp_path / "out"
    command = [*COMMAND, *_options(data, output), "--steps", "20", "--every", "20"]
    begin = [*command[:2], first + command[2], *command[3:]]
    options = {"env": {**os.environ, "OMP_NUM_THREADS": "1"}, "text": True}
    with subprocess.Popen(
        begin, stderr=subprocess.PIPE, preexec_fn=_heed_interrupts, **options
    ) as process:
        said = ""
        while not re.search(r"[2-5]/20", said):
            said += process.stderr.read(1)
        process.send_signal(how)
        said += process.communicate(timeout=120)[1]
    assert process.returncode == status
    if how != signal.SIGKILL:
        assert f"Stopped. What was learned is kept in {output}: the same command goes on" in said
    assert "Traceback" not in said
    assert 1 <= _step(output) < 20
    subprocess.run(command, check=True, **options)
    states = [torch.load(x / run.STATE, weights_only=True)["state_dict"] for x in (whole, output)]
    for name, weight in states[0].items():
        assert torch.equal(states[1][name], weight), name
    one, other = (_rows(x / run.LOG) for x in (whole, output))
    assert len(one) == len(other) == 1
    for name in one[0].keys() - {"minutes", "images_per_second"}:
        assert float(one[0][name]) == pytest.approx(float(other[0][name]), abs=1e-7), name
    assert float(other[0]["minutes"]) > 0


def _heed_interrupts() -> None:
    """A shell's background jobs ignore Ctrl-C, and so would what they start."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def _step(output: Path) -> int:
    return torch.load(output / run.STATE, weights_only=False)["global_step"]


@pytest.mark.slow
def test_a_loss_that_diverges_ends_with_a_sentence(dataset, tmp_path):
    settings = presets.get("best", {**SMALL, "learning_rate": "1e30", "warmup_steps": "0"})
    with pytest.raises(ValueError, match=r"the loss must stay finite, got .*--set learning_rate"):
        train(dataset, tmp_path, plan(settings=settings, steps=8))


def plan_of(preset: str, **more) -> Plan:
    settings = presets.get(preset, {"batch_size": "3"})
    return Plan(preset, settings, width=0.05, steps=2, every=2, device="cpu", **more)


@pytest.mark.slow
@pytest.mark.parametrize("preset", ["icip2022", "tifs2024"])
def test_published_presets_train(preset, dataset, tmp_path):
    random = losses.Perceptual(weights=None, layers=("relu5_3",)).features.state_dict()
    torch.save({f"features.{name}": x for name, x in random.items()}, tmp_path / "vgg.pth")
    more = {"vgg16": tmp_path / "vgg.pth", "vgg16_layers": ("relu1_2",)}
    path = train(dataset, tmp_path / "out", plan_of(preset, **more))
    with (tmp_path / "out" / run.LOG).open(newline="") as stream:
        (row,) = csv.DictReader(stream)
    terms = presets.get(preset).weights
    total = sum(weight * float(row[f"train/{term}"]) for term, weight in terms.items())
    assert float(row["train/total"]) == pytest.approx(total, rel=1e-4)
    assert load(path)[1].preset.startswith(f"{preset}, step 2 of 2")


# --- start from another decoder ---


def test_linear_map_finds_the_map_there_is():
    rng = np.random.default_rng(0)
    here, matrix = rng.normal(size=(500, 8)), rng.normal(size=(8, 5))
    found = linear_map(here, here @ matrix, alpha=1e-9)
    np.testing.assert_allclose(found, matrix, atol=1e-5)


def test_starting_from_a_decoder_of_the_same_model_gives_its_weights(dataset, tmp_path):
    source = DSCasConv(512, 0.05).eval()
    card = ModelCard(NAME, 512, recognizers.get(NAME).sha256)
    path = save(tmp_path / "d.safetensors", source, card, dtype="float32")
    decoder = DSCasConv(512, 0.05).eval()
    start_from(decoder, path, dataset)
    inputs = torch.randn(2, 512)
    torch.testing.assert_close(decoder(inputs), source(inputs))


def test_starting_from_another_model_maps_its_embeddings(dataset, tmp_path, monkeypatch):
    matrix = np.linalg.qr(np.random.default_rng(0).normal(size=(512, 512)))[0].astype(np.float32)
    rows = dataset.embeddings[~dataset.validation, 0]

    class Other:
        def __init__(self, name):
            assert name == "edgeface-s"

        def transform(self, faces):
            return rows @ matrix

    monkeypatch.setattr("bob_recon_plugin.training.start.RecognizerTransformer", Other)
    source = DSCasConv(512, 0.05).eval()
    card = ModelCard("edgeface-s", 512, "0" * 64)
    path = save(tmp_path / "d.safetensors", source, card, dtype="float32")
    decoder = DSCasConv(512, 0.05).eval()
    start_from(decoder, path, dataset)
    # a penalty shrinks the embeddings; their direction stays
    mapped = torch.from_numpy(rows @ linear_map(rows, rows @ matrix))
    torch.testing.assert_close(decoder(torch.from_numpy(rows)), source(mapped))
    cosine = torch.nn.functional.cosine_similarity(mapped, torch.from_numpy(rows @ matrix))
    assert cosine.min() > 0.9


@pytest.mark.parametrize(
    ("source", "card", "message"),
    [
        (LinearDecoder(512), {}, "`start_from` must be a DSCasConv, got LinearDecoder"),
        (DSCasConv(512, 0.1), {}, r"must have width 0\.05, got width 0\.1 in"),
        (
            DSCasConv(512, 0.05),
            {"positions": {"reye": (40, 40), "leye": (40, 70)}},
            "`start_from` must draw the eyes at",
        ),
    ],
)
def test_a_start_that_does_not_fit_is_told(source, card, message, dataset, tmp_path):
    path = save(tmp_path / "d.safetensors", source, ModelCard(NAME, 512, **card))
    with pytest.raises(ValueError, match=message):
        start_from(DSCasConv(512, 0.05), path, dataset)


# --- the command ---


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--decoder", "linear", "--judge", "none"], "`--judge` must be left out for"),
        (["--decoder", "linear", "--steps", "3"], "which is solved in closed form, got 3"),
        (
            ["--alpha", "0.3"],
            "`--alpha` must be left out for --decoder dscasconv, which is trained",
        ),
    ],
)
def test_options_without_effect_are_refused(data, tmp_path, options, sentence):
    done = CliRunner().invoke(recon, ["train", str(data), *options, "-o", str(tmp_path / "out")])
    assert done.exit_code == 2
    assert sentence in " ".join(done.output.split())
    assert not (tmp_path / "out").exists()


def test_command_fits_the_linear_baseline(data, dataset, tmp_path):
    output = tmp_path / "linear"
    done = CliRunner().invoke(recon, ["train", str(data), "--decoder", "linear", "-o", str(output)])
    assert done.exit_code == 0, done.output
    decoder, card = load(output / run.DECODER)
    rows = np.flatnonzero(~dataset.validation)
    wanted = LinearDecoder.fit(dataset.embeddings[rows, 0], dataset.faces(rows), alpha=0.3)
    torch.testing.assert_close(decoder.weight, wanted.weight, atol=1e-4, rtol=2e-3)
    assert card.preset == "ridge, alpha 0.3"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["nowhere"], "`dataset` must be an existing directory, got"),
        (["DATA", "--set", "sampled"], "must be NAME=VALUE, got 'sampled'"),
        (["DATA", "--set", "x=1"], "`setting` must be one of"),
        (["DATA", "--preset", "best", "--start-from", "none"], "`start_from` must be an existing"),
        (["DATA", "--preset", "tifs2024", "--vgg16", "none"], "`vgg16` must be an existing file"),
    ],
)
def test_command_tells_what_is_wrong_before_it_works(options, message, data, tmp_path):
    options = [str(data) if option == "DATA" else option for option in options]
    output = tmp_path / "out"
    done = CliRunner().invoke(recon, ["train", *options, "-o", str(output), "--device", "cpu"])
    assert done.exit_code == 2
    assert message in " ".join(done.output.split())
    assert not output.exists() or not list(output.glob("*.safetensors"))


# --- what leaked ---


def a_leak() -> list:
    scheme = BioHashing()
    return [ProtectTemplates(scheme), InvertProtection(scheme, "stolen", embedding_norm=20.0)]


def test_the_decoder_sees_what_leaked_and_the_judge_the_embedding(dataset, tmp_path):
    steps = a_leak()
    found = leaked(dataset, steps, tmp_path)
    by_hand = steps[1].transform(
        steps[0].transform(dataset.embeddings[:, 1], dataset.keys), dataset.keys
    )
    np.testing.assert_allclose(found[:, 1], by_hand, atol=1e-4)
    batches = FaceBatches(dataset, 0, dataset.embeddings, found)
    rows, side = np.array([3, 9]), torch.tensor([True, False])
    _, seen = batches.take(rows, side)
    np.testing.assert_array_equal(seen, found[rows, [1, 0]])
    wanted = batches.wanted(rows, seen, side)
    np.testing.assert_array_equal(wanted, dataset.embeddings[rows, [1, 0]])
    assert not np.allclose(seen, wanted, atol=0.1)


def test_a_training_behind_a_leak_is_one_of_its_own(dataset, tmp_path):
    whole = train(dataset, tmp_path / "whole", plan(leak=tuple(a_leak())))
    _, card = load(whole)
    assert "behind [ProtectTemplates(scheme=BioHashing(bits=512))" in card.preset
    assert "sampled': 0" in card.preset
    assert card.embedding_norm == pytest.approx(20, rel=1e-5)  # of what the decoder saw
    plain = train(dataset, tmp_path / "plain", plan())
    assert "behind" not in load(plain)[1].preset
    of_faces = np.linalg.norm(dataset.embeddings[:, 0], axis=1).mean()
    assert load(plain)[1].embedding_norm == pytest.approx(of_faces)
    assert abs(of_faces - 20) > 0.1
    # what was kept is read, not made again
    kept = np.load(tmp_path / "whole" / "leaked.npy")
    np.save(tmp_path / "whole" / "leaked.npy", np.zeros_like(kept))
    assert not leaked(dataset, a_leak(), tmp_path / "whole").any()
    with pytest.raises(InputError, match="leak"):  # another leak is another training
        train(dataset, tmp_path / "whole", plan(leak=(QuantizedLeak(bits=2),)))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "`leak` must be an existing file"),
        ("other = 1", "`leak` must be defined in"),
        ("leak = 3", "`leak` must be a list of template steps, got 3"),
    ],
)
def test_a_file_without_a_leak_is_told(text, message, data, tmp_path):
    path = tmp_path / "leak.py"
    if text:
        path.write_text(text)
    options = ["train", str(data), "--leak", str(path), "-o", str(tmp_path / "out")]
    done = CliRunner().invoke(recon, options)
    assert done.exit_code == 2
    assert message in " ".join(done.output.split())


def test_a_leak_that_ends_elsewhere_is_told(dataset, tmp_path):
    with pytest.raises(ValueError, match="`leak` must end at embeddings of 512 dimensions, got 64"):
        leaked(dataset, [ProtectTemplates(BioHashing(bits=64))], tmp_path)
