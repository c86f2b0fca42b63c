"""The programs that measure: their numbers are Bob's, their clocks see what they should."""

from __future__ import annotations

import csv
import json
import re
import zipfile
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import click
import numpy as np
import pytest
from bob.bio.base.pipelines import execute_pipeline_simple
from click.testing import CliRunner
from PIL import Image

from bob_recon_plugin import recognizers
from bob_recon_plugin.attack.chain import shipped_decoder
from bob_recon_plugin.attack.pipeline import AttackPipeline
from bob_recon_plugin.database import DemoDatabase, FolderDatabase, LFWDatabase
from bob_recon_plugin.decoders import LinearDecoder, ModelCard, read_card, save
from bob_recon_plugin.evaluation.metrics import Rate
from bob_recon_plugin.images import BOB_EYES, INSIGHTFACE_EYES
from bob_recon_plugin.inversion.reconstructor import FaceReconstructor
from bob_recon_plugin.recognizers import RecognizerTransformer, bob_pipeline
from bob_recon_plugin.training import presets
from tests.benchmarks import (
    ablation,
    attackers,
    fast_attack,
    refinement,
    results,
    scale,
    scale_jobs,
    sheet,
    training,
    training_facts,
)
from tests.benchmarks.scale_jobs import Some
from tests.benchmarks.training_workers import Job, Lap, working
from tests.faces import DEMO, demo_faces, prepared

NAME = "arcface-mbf"


# --- the table's numbers are those of Bob's command ---


@pytest.fixture(scope="module")
def people(tmp_path_factory) -> FolderDatabase:
    """Four people of the demo, three pictures each; everyone is compared with everyone."""
    folder = tmp_path_factory.mktemp("people")
    with zipfile.ZipFile(DEMO) as archive:
        for name in archive.namelist()[:16]:
            if not name.endswith("3.webp"):
                archive.extract(name, folder)
    return FolderDatabase(folder, fixed_positions=INSIGHTFACE_EYES)


@pytest.fixture(scope="module")
def lfw(tmp_path_factory) -> LFWDatabase:
    """LFW's layout and list: an image is reference and probe, a probe has two references."""
    folder = tmp_path_factory.mktemp("lfw")
    for place, face in enumerate(demo_faces(8)):
        person = "AB"[place // 4]
        path = folder / "all_images" / person / f"{person}_{place % 4 + 1:04d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(face.transpose(1, 2, 0)).save(path)
    (folder / "view2").mkdir()
    pairs = ["1\t3", "A\t1\t2", "A\t2\t3", "B\t1\t2", "A\t1\tB\t2", "A\t3\tB\t1", "A\t4\tB\t2"]
    (folder / "view2" / "pairs.txt").write_text("\n".join(pairs) + "\n")
    return LFWDatabase(
        original_directory=folder, extension=".png", fixed_positions=INSIGHTFACE_EYES
    )


def of_bob(database, recognizer, decoder: Path) -> dict[tuple[str, str, str], float]:
    """Scores of the pipeline by (kind, reference, probe), as Bob computes them."""
    system = bob_pipeline(recognizer, database.annotation_type, database.fixed_positions)
    pipeline = AttackPipeline(system, FaceReconstructor(decoder))
    found = {}
    with TemporaryDirectory() as output:
        execute_pipeline_simple(
            pipeline=pipeline, database=database, output=output, dask_client=None, groups=["dev"],
            write_metadata_scores=True, checkpoint=False, dask_n_partitions=None,
            dask_partition_size=None, dask_n_workers=None,
        )  # fmt: skip
        with open(Path(output, "scores-dev.csv"), newline="") as handle:
            for row in csv.DictReader(handle):
                mated = row["probe_subject_id"] == row["bio_ref_subject_id"]
                kind = row["probe_attack_type"] or ("genuine" if mated else "impostor")
                image = row["probe_template_id"].removeprefix(f"{kind}/")
                name = (kind, row["bio_ref_template_id"], image)
                assert name not in found
                found[name] = float(row["score"])
    return found


def of_ours(database, recognizer, decoder: Path) -> dict[tuple[str, str, str], float]:
    """The same of the benchmark."""
    protocol = fast_attack.read_protocol(database)
    system = fast_attack.System(recognizer, protocol)
    done = fast_attack.attack(decoder, system, system.enrolled())
    keys = [sample.key for sample in protocol.samples]
    return {
        (kind, keys[reference], keys[probe]): value - 1
        for kind, pairs in protocol.pairs.items()
        for (reference, probe), value in zip(pairs, done.cosines[kind], strict=True)
    }


def assert_equal_rows(database, recognizer, decoder: Path, counts: dict[str, int]) -> None:
    bob, ours = (of(database, recognizer, decoder) for of in (of_bob, of_ours))
    assert ours.keys() == bob.keys()
    kinds = [kind for kind, _, _ in ours]
    assert {kind: kinds.count(kind) for kind in counts} == counts
    np.testing.assert_allclose([ours[row] for row in bob], list(bob.values()), atol=1e-4)


def test_every_row_is_bobs_where_all_are_compared(people):
    counts = {"genuine": 8, "impostor": 24, "type1": 4, "type2": 8}
    assert_equal_rows(people, NAME, shipped_decoder(), counts)


def test_every_row_is_bobs_on_a_list_as_of_lfw(lfw):
    counts = {"genuine": 3, "impostor": 3, "type1": 5, "type2": 3}
    assert_equal_rows(lfw, NAME, shipped_decoder(), counts)


def test_every_row_is_bobs_where_the_system_crops_otherwise(lfw):
    other = replace(recognizers.get(NAME), cropped_positions=dict(BOB_EYES))
    assert_equal_rows(lfw, other, shipped_decoder(), {"type1": 5})


def test_a_crop_to_equal_positions_changes_no_pixel():
    steps = bob_pipeline(NAME, "eyes-center", INSIGHTFACE_EYES).transformer.steps
    cropper = steps[0][1].estimator
    faces = demo_faces(3)
    for positions in (None, read_card(shipped_decoder()).positions):
        cropper.fixed_positions = positions or INSIGHTFACE_EYES
        np.testing.assert_array_equal(np.stack(cropper.transform(list(faces))), faces)


def test_embeddings_are_kept_for_the_same_images_alone(lfw, tmp_path, monkeypatch):
    protocol = fast_attack.read_protocol(lfw)
    first = fast_attack.System(NAME, protocol).enrolled(tmp_path)

    def never(*_):
        raise AssertionError("embedded again")

    with monkeypatch.context() as patched:
        patched.setattr(fast_attack.System, "_embed", never)
        again = fast_attack.System(NAME, protocol).enrolled(tmp_path)
        np.testing.assert_array_equal(again, first)
    protocol.samples[0].data[:, 50, 50] ^= 255
    changed = replace(protocol, digest=fast_attack._digest(protocol.samples))
    fast_attack.System(NAME, changed).enrolled(tmp_path)
    other = replace(recognizers.get(NAME), cropped_positions=dict(BOB_EYES))
    fast_attack.System(other, protocol).enrolled(tmp_path)
    assert len(list(tmp_path.iterdir())) == 3


def test_ssim_is_against_the_image_behind_the_template(lfw):
    from skimage.metrics import structural_similarity

    protocol = fast_attack.read_protocol(lfw)
    system = fast_attack.System(NAME, protocol)
    leaked = protocol.leaked
    done = fast_attack.attack(shipped_decoder(), system, system.enrolled(), keep=leaked)
    values = [
        structural_similarity(
            protocol.samples[place].data / 255,
            done.faces[place] / 255,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
            data_range=1,
            channel_axis=0,
        )
        for place in leaked
    ]
    assert done.ssim == pytest.approx(np.mean(values), abs=1e-5)


def test_a_database_of_several_images_a_template_is_refused(lfw, monkeypatch):
    double = lfw.references()
    monkeypatch.setattr(double[0], "samples", double[0].samples * 2)
    with pytest.raises(ValueError, match="must have one group and one image a template"):
        fast_attack.read_protocol(lfw)


# --- what is known of a training ---


def a_card(preset: str, **more) -> ModelCard:
    data = "3331 faces, 175 held out; faces of nobody"
    return ModelCard(NAME, 512, preset=preset, training_data=data, **more)


def described(name: str, **settings: str) -> str:
    return str(presets.get(name, settings).describe())


def test_a_training_is_read_from_card_and_log(tmp_path):
    preset = f"best, step 300 of 1000: {described('best', nobody='24', mae='2')}"
    log = "step,images_per_second\n100,40\n300,20\n500,20\n"
    (tmp_path / "log.csv").write_text(log)
    found = training_facts.read_training(tmp_path / "decoder.safetensors", a_card(preset))
    assert found.preset == "best (nobody=24, mae=2)"
    assert (found.data, found.faces) == ("faces of nobody", 3331)
    assert (found.step, found.steps, found.images) == (300, 1000, 300 * 40)
    # the first 100 steps, on pixels alone, show 16 + 24 faces, the others 16
    assert found.epochs == pytest.approx((100 * 40 + 200 * 16) / 3331)
    # 100 steps of 40 images at 40 a second, 200 at 20
    assert found.minutes == pytest.approx((100 + 400) / 60)
    assert found.minutes_of == "log"
    cell = results.training_cell(found)
    assert cell == (
        "3,331 faces x 2.2 epochs (step 300 of 1,000, 12,000 images); device not recorded; "
        "about 8 min"
    )


def test_the_cards_own_minutes_and_device_count(tmp_path):
    card = a_card(
        f"icip2022, step 10 of 20, started from 0123abcd: {described('icip2022')}",
        metrics={training_facts.MINUTES: 61.6},
        versions={training_facts.DEVICE: "one GPU"},
    )
    found = training_facts.read_training(tmp_path / "d.safetensors", card)
    assert found.preset == "icip2022 (started from 0123abcd)"
    assert (found.minutes, found.minutes_of, found.device) == (61.6, "card", "one GPU")
    assert results.training_cell(found).endswith("; one GPU; 62 min")


def test_a_training_without_steps_is_told_as_far_as_known(tmp_path):
    found = training_facts.read_training(tmp_path / "d", a_card("ridge, alpha 0.3"))
    assert (found.preset, found.step, found.minutes) == ("ridge, alpha 0.3", None, None)
    cell = results.training_cell(found)
    assert cell == "3,331 faces; device not recorded; minutes not recorded"


# --- table and sheet ---


def test_the_interval_of_a_rate_is_shown():
    assert results.rate_cell(Rate.of(2269, 2269)) == "100 % (2269/2269, 99.8-100)"
    assert results.rate_cell(Rate.of(0, 10)) == "0 % (0/10, 0-30.8)"


@pytest.fixture(scope="module")
def command(lfw, tmp_path_factory) -> tuple[str, Path]:
    """Output of the command on two decoders of one recogniser, and the folder it wrote to."""
    folder = tmp_path_factory.mktemp("table")
    linear = LinearDecoder(512)
    linear.bias.fill_(0.5)  # grey faces
    second = save(folder / "grey.safetensors", linear, a_card("ridge, alpha 0.3"))
    chain = [str(shipped_decoder()), str(second), "--lfw", lfw.original_directory]
    options = ["--label", "a|b", "--label", "grey", "--cache", str(folder / "cache")]
    writes = ["--json", str(folder / "table.json"), "--sheet", str(folder / "sheet.png")]
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(results, "_database", lambda *_: lfw)
        done = CliRunner().invoke(results.results, [*chain, *options, *writes])
    assert done.exit_code == 0, done.output
    return done.stdout, folder


def test_the_table_holds_what_the_attack_found(command, lfw):
    lines = [line for line in command[0].splitlines() if line.startswith("|")]
    header, _, first, grey = ([c.strip() for c in line[2:-2].split(" | ")] for line in lines)
    assert len(header) == len(first) == len(grey) == 14
    ours = of_ours(lfw, NAME, shipped_decoder())
    cosines = {k: [v + 1 for (kind, *_), v in ours.items() if kind == k] for k in fast_attack.KINDS}
    threshold = np.nextafter(max(cosines["impostor"]), 2)  # of three impostors none may pass
    row = dict(zip(header, first, strict=True))
    for name, kind in (("TMR", "genuine"), ("Type-I", "type1"), ("Type-II", "type2")):
        k = int(np.sum(np.array(cosines[kind]) >= threshold))
        assert row[f"{name}, FMR 1e-3"] == results.rate_cell(Rate.of(k, len(cosines[kind])))
    means = [f"{np.mean(cosines[kind]):.3f}" for kind in ("type1", "type2")]
    assert row["mean cosine I / II"] == " / ".join(means)
    assert row["decoder"] == "a\\|b"
    assert row["parameters"] == "4.2 M"
    assert dict(zip(header, grey, strict=True))["parameters"] == "19.3 M"
    assert "None" not in command[0]


def test_the_json_holds_every_digit(command):
    content = json.loads((command[1] / "table.json").read_text())
    assert content["database"]["type1"] == 5
    first, grey = content["rows"]
    assert first["label"] == "a|b"
    assert first["operating_points"][1]["sar"]["type1"]["n"] == 5
    assert first["mean_cosine"]["type1"] > 0.7 > grey["mean_cosine"]["type1"]
    assert grey["training"]["preset"] == "ridge, alpha 0.3"


def test_embeddings_of_one_recogniser_are_shared(command):
    assert len(list((command[1] / "cache").iterdir())) == 1


def test_the_sheet_shows_each_persons_face_and_its_reconstructions(command, lfw):
    picture = np.asarray(Image.open(command[1] / "sheet.png")).transpose(2, 0, 1)
    protocol = fast_attack.read_protocol(lfw)
    chosen = results.people(protocol)
    assert [protocol.samples[place].key for place in chosen] == ["A/A_0001", "B/B_0001"]
    system = fast_attack.System(NAME, protocol)
    embeddings = system.enrolled()
    faces = FaceReconstructor(shipped_decoder()).transform(embeddings[chosen])
    for column, place in enumerate(chosen):
        left = sheet._left(column)
        top = sheet._GAP
        wanted = protocol.samples[place].data
        np.testing.assert_array_equal(picture[:, top : top + 112, left : left + 112], wanted)
        top += 112 + sheet._GAP
        shown = picture[:, top : top + 112, left : left + 112]
        # another batch may round a pixel otherwise
        assert np.abs(shown.astype(int) - faces[column]).max() <= 1


def test_only_rejected_faces_say_so():
    faces = np.zeros((2, 3, 112, 112), np.uint8)
    drawn = [
        sheet.draw(faces, [sheet.Row("x", faces, np.array(cosines), 0.3)], ["caption"])
        for cosines in ([0.3, 0.9], [0.2999, 0.9])
    ]
    colours = [{c for _, c in image.getcolors(1 << 20)} for image in drawn]
    assert sheet._REJECTED not in colours[0]
    assert {sheet._REJECTED, sheet._ACCEPTED} <= colours[1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "`--lfw` must be a folder, got none"),
        (["--lfw", "nowhere"], "`original_directory` must be an existing directory"),
        (["--database", "demo", "--label", "a", "--label", "b"], "must be one for each of 1"),
    ],
)
def test_wrong_options_are_told(options, message):
    done = CliRunner().invoke(results.results, [str(shipped_decoder()), *options])
    assert done.exit_code == 2
    assert message in " ".join(done.output.split())


@pytest.mark.slow
@pytest.mark.realfaces
def test_the_table_of_readme(shared_data, tmp_path):
    faces = shared_data / "lfw-folds-1-5"
    if not faces.is_dir():
        pytest.skip(f"needs LFW view 2, folds 1-5, aligned, in {faces}")
    protocol = fast_attack.read_protocol(
        LFWDatabase(original_directory=faces, fixed_positions=INSIGHTFACE_EYES)
    )
    (entry,) = results.measure(protocol, [shipped_decoder()], cache=tmp_path)
    done = entry.attacked
    page = Path(__file__).parents[1] / "bob_recon_plugin" / "guide" / "results.md"
    lines = page.read_text(encoding="utf-8").splitlines()
    (row,) = [line for line in lines if line.startswith("|") and "(shipped)" in line]
    told = [(int(k), int(n)) for k, n in re.findall(r"\((\d+)/(\d+)", row)]
    found = [point.sar[kind] for point in done.points for kind in ("type1", "type2")]
    assert [n for _, n in told] == [rate.n for rate in found] == [2269, 1500, 2269, 1500]
    # kernels of other processors round differently: within three comparisons of the table
    assert [rate.k for rate in found] == pytest.approx([k for k, _ in told], abs=3)
    means = [float(value) for value in re.search(r"(0\.\d+) / (0\.\d+)", row).groups()]
    measured = [done.cosines[kind].mean() for kind in ("type1", "type2")]
    assert measured == pytest.approx(means, abs=1e-3)


# --- what refinement gains ---


def test_the_table_of_refinement_holds_what_the_attack_finds(lfw, monkeypatch):
    monkeypatch.setattr(refinement, "_database", lambda *_: lfw)
    options = ["--lfw", "x", "-n", "2", "--steps", "1,3", "--judge", NAME, "--device", "cpu"]
    done = CliRunner().invoke(refinement.refinement, options)
    assert done.exit_code == 0, done.output
    lines = [line for line in done.stdout.splitlines() if line.startswith("|")]
    header, _, *rows = ([c.strip() for c in line[2:-2].split(" | ")] for line in lines)
    kinds = ["none"] + [f"{o}, {n} steps" for o in ("embedding", "pixels") for n in (1, 3)]
    assert [row[1] for row in rows] == kinds
    assert {len(row) for row in rows} == {len(header)}
    assert all(row[2:5] == row[5:8] for row in rows)  # here the judge is the inverted model
    ours = of_ours(lfw, NAME, shipped_decoder())
    means = [
        np.mean([v + 1 for (kind, *_), v in ours.items() if kind == wanted][:2])
        for wanted in ("type1", "type2")
    ]
    assert rows[0][4] == " / ".join(f"{mean:.3f}" for mean in means)
    assert "/2, " in rows[0][2]
    reached = [float(row[4].split(" / ")[0]) for row in rows]
    assert reached[0] < reached[1] < reached[2]
    assert reached[0] < reached[3] < reached[4]
    changes = [float(row[8]) for row in rows]
    assert changes[0] == 0 < min(changes[1:])


def test_refinements_of_decoders_for_other_models_are_not_mixed(tmp_path):
    other = save(tmp_path / "o.safetensors", LinearDecoder(512), ModelCard("other", 512))
    decoders = [str(shipped_decoder()), str(other)]
    done = CliRunner().invoke(refinement.refinement, [*decoders, "--database", "demo"])
    assert done.exit_code == 2
    assert "must be made for one recogniser, got arcface-mbf, other" in " ".join(
        done.output.split()
    )


# --- several attackers, several systems ---


def test_the_table_of_attackers_holds_what_the_attack_finds(lfw, tmp_path, monkeypatch):
    monkeypatch.setattr(attackers, "_database", lambda *_: lfw)
    linear = LinearDecoder(512)
    linear.bias.fill_(0.5)  # grey faces
    card = replace(a_card("ridge, alpha 0.3"), judge="none")
    grey = save(tmp_path / "grey.safetensors", linear, card)
    options = ["--lfw", "x", "-n", "2", "--attacked", NAME, "--device", "cpu"]
    labels = ["--label", "ours", "--label", "grey"]
    writes = ["--sheet", str(tmp_path / "sheet.png")]
    done = CliRunner().invoke(
        attackers.attackers, [str(shipped_decoder()), str(grey), *options, *labels, *writes]
    )
    assert done.exit_code == 0, done.output
    lines = [line for line in done.stdout.splitlines() if line.startswith("|")]
    header, _, first, second = ([c.strip() for c in line[2:-2].split(" | ")] for line in lines)
    assert len(header) == len(first) == len(second) == 11
    assert first[:3] == ["ours", NAME, "1"]
    assert second[:3] == ["grey", "none", "3"]
    assert first[2:6] == first[6:10]  # here the other system is the same
    ours = of_ours(lfw, NAME, shipped_decoder())
    means = [
        np.mean([v + 1 for (kind, *_), v in ours.items() if kind == wanted][:2])
        for wanted in ("type1", "type2")
    ]
    assert first[5] == " / ".join(f"{mean:.3f}" for mean in means)
    assert second[3].startswith("0 % (0/2")
    with Image.open(tmp_path / "sheet.png") as picture:
        side = attackers._SIDE
        assert picture.size[1] > 3 * side
        face = np.asarray(picture)[8 + side // 2, sheet._LABEL + side // 2]
    assert face.std() > 0


def test_labels_are_one_a_decoder():
    done = CliRunner().invoke(attackers.attackers, ["--label", "a", "--label", "b"])
    assert done.exit_code == 2
    assert "`--label` must be there once for each of 1 decoders, got 2" in " ".join(
        done.output.split()
    )


# --- the clocks ---


def laps(*seconds: float) -> list[Lap]:
    return [Lap(wall, 2 * wall) for wall in seconds]


def test_ratio_and_shares_are_worked_out_by_hand():
    measured = training.Measured(
        samples=32,
        ours=laps(1.0, 2.0, 1.0),
        plain=laps(2.0, 3.0, 4.0),
        parts={"decoder": laps(0.25, 0.25, 0.25), "recogniser": laps(0.5, 0.5, 9.0)},
        about={"device": "x86 CPU, 1 thread"},
    )
    assert measured.ratios("wall") == [2.0, 1.5, 4.0]
    text = training.report(measured)
    assert "Ours is 2.00 times as fast by the clock (1.50 to 4.00 in 3 rounds)." in text
    assert "| ours | 32.0 | 1000 | 2000 |" in text
    assert "| straightforward loop | 10.7 | 3000 | 6000 |" in text
    # of the processor's clock, on a CPU: 0.5 and 1 of 2 seconds
    assert "| recogniser | 1000.0 | 50.0 % |" in text
    assert "| rest | 500.0 | 25.0 % |" in text
    assert "Parts sum to 75 % of the step." in text
    assert "decoder 64.0, recogniser 32.0" in text
    assert training.as_plain(measured)["ratio"] == {"wall": 2.0, "cpu": 2.0}


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """Twelve prepared faces."""
    return prepared(tmp_path_factory.mktemp("prepared"), 12)


def test_the_plain_recogniser_is_the_same_model():
    import torch

    from tests.benchmarks.training_plain import PlainRecognizer

    faces = demo_faces(2)
    with torch.no_grad():
        found = PlainRecognizer(NAME)(torch.from_numpy(faces).float()).numpy()
    np.testing.assert_allclose(found, RecognizerTransformer(NAME).transform(faces), atol=1e-3)


def test_the_plain_loop_learns(data, tmp_path):
    import torch

    from tests.benchmarks.training_plain import steps

    torch.manual_seed(0)
    images = training.write_pictures(str(data), tmp_path / "pictures")
    assert len(list(images.iterdir())) == 12
    settings = {"batch_size": "4", "nobody": "0", "mirror": "false", "ema": "0"}
    loop = steps(Job(str(data), "best", settings, 0.05, "cpu", 0, str(images)))
    losses = [float(next(loop)) for _ in range(8)]
    assert np.mean(losses[-3:]) < np.mean(losses[:3]) - 0.01


@pytest.mark.slow
def test_both_train_in_turns_and_parts_are_timed(data, tmp_path):
    turns = ["--width", "0.05", "--repeat", "1", "--steps", "2", "--device", "cpu"]
    batch = ["--set", "batch_size=3", "--set", "nobody=1"]
    writes = ["--json", str(tmp_path / "laps.json")]
    done = CliRunner().invoke(training.training, [str(data), *turns, *batch, *writes])
    assert done.exit_code == 0, f"{done.output}\n{done.exception!r}"
    content = json.loads((tmp_path / "laps.json").read_text())
    assert content["samples"] == 4
    parts = {"data", "decoder", "recogniser", "pixel losses", "optimiser, average"}
    assert set(content["parts"]) == parts
    step = content["ours"][0]["cpu"]
    assert 0 < content["parts"]["decoder"][0]["cpu"] < step
    assert "times as fast by the clock" in done.output


@pytest.mark.slow
def test_a_training_that_fails_is_told(tmp_path):
    job = Job(str(tmp_path / "nowhere"), "best", {}, 0.05, "cpu", 0, str(tmp_path))
    with (
        pytest.raises(RuntimeError, match=r"the ours training failed:\n(?s:.)*`dataset` must be"),
        working(job) as (one, _),
    ):
        one.steps(1)


# --- the decoder's speed ---


def test_the_table_of_forms_is_worked_out_by_hand():
    from tests.benchmarks.decoder_speed import Laps, Measured, report

    # a face is 2 GFLOP; three rounds, the last of them disturbed
    def of(name: str, *seconds: float, **facts) -> Laps:
        return Laps(name, seconds, 2e9, **facts)

    product = Laps("product, float32", (0.1, 0.1, 0.2), 1e10)  # 100, 100, 50 GFLOP/s
    half = Laps("product, bfloat16", (0.01, 0.01, 0.02), 1e10, "bfloat16")
    plain = of("plain eager", 0.1, 0.1, 0.4, difference=0.0)  # 20, 20, 5 GFLOP/s
    fast = of("fast", 0.04, 0.05, 0.1, difference=3.2e-7, default=True)  # 50, 40, 20
    alone = [of("decoder", 0.04, 0.04, 0.08, batch=8)]
    behind = [Laps("decoder and recogniser", (0.25, 0.2, 0.4), 1e10, batch=8)]
    measured = Measured([plain, fast], alone, behind, {"float32": product}, {"torch": "2.4"})
    assert measured.shares(fast) == pytest.approx([0.5, 0.4, 0.4])
    lines = report(measured).splitlines()
    assert "torch: 2.4  " in lines
    assert "product, float32: 100 GFLOP/s (50-100)  " in lines
    assert "a face: 2 GFLOP, two a multiply-add, zero padding included  " in lines
    assert "| plain eager | 100 | 10 | 1.00 (1.00-1.00) | 20.0 | 20 % (10-20) | 0 |" in lines
    cells = "50 | 20 | 2.50 (2.00-4.00) | 40.0 | 40 % (40-50) | 3e-07"
    assert f"| **fast** (default) | {cells} |" in lines
    assert lines[-1] == "| 8 | 40 | 25 | 50 % (50-50) | 250 | 4 | 50 % (40-50) |"
    # each against the product of its own arithmetic
    mixed = of("mixed", 0.01, 0.01, 0.01, difference=4e-3, against="bfloat16")
    products = {"float32": product, "bfloat16": half}
    text = report(Measured([plain, mixed], alone, behind, products, {}))
    assert "| 200.0 | 20 % (20-40) of bfloat16 | 4e-03 |" in text


def test_operations_are_those_of_the_layers():
    import torch

    from bob_recon_plugin.decoders import DSCasConv
    from tests.benchmarks.decoder_speed import counted_flops

    # a transposed convolution puts k^2 products of i o into the image for each of its pixels, a
    # convolution takes 9 o^2 for each of its own; all blocks have 8 channels
    inputs, outputs = [1, 4, 8, 16, 30, 58], [4, 8, 16, 30, 58, 112]
    expected = 3 * 9 * 8 * 112**2 + sum(3 * 9 * 8 * 8 * side**2 for side in outputs)
    expected += sum(
        16 * (6 if block == 0 else 8) * 8 * side**2 for block, side in enumerate(inputs)
    )
    assert counted_flops(DSCasConv(6, 0.01).eval(), torch.zeros(1, 6)) == 2 * expected


def test_all_take_as_many_turns():
    from tests.benchmarks.decoder_speed import Lane, Laps, take_turns

    called: list[str] = []
    lanes = [
        Lane(Laps(name, [], 1.0, batch=n), lambda name=name: called.append(name))
        for name, n in (("a", 1), ("b", 4))
    ]
    take_turns(lanes, repeat=3, turn=0.0, device="cpu")
    assert called.count("a") == called.count("b") == 3 + 3  # two to warm up, one to count calls
    assert [len(lane.done().seconds) for lane in lanes] == [3, 3]


@pytest.mark.slow
def test_the_forms_of_a_decoder_are_compared(tmp_path):
    from tests.benchmarks.decoder_speed import DEFAULT, decoder_speed

    small = ["--width", "0.01", "--batch", "2", "--batches", "1,3", "--side", "32", "--turn", "0"]
    options = [*small, "--repeat", "2", "--device", "cpu", "--no-compile", "--clock", "cpu"]
    done = CliRunner().invoke(decoder_speed, [*options, "--json", str(tmp_path / "laps.json")])
    assert done.exit_code == 0, f"{done.output}\n{done.exception!r}"
    content = json.loads((tmp_path / "laps.json").read_text())
    forms = {form["name"]: form for form in content["forms"] if "bfloat16" not in form["name"]}
    assert len(forms) == 5
    assert [name for name, form in forms.items() if form["default"]] == [DEFAULT]
    assert all(form["difference"] < 1e-3 for form in forms.values())
    assert all(len(form["seconds"]) == 2 and min(form["seconds"]) > 0 for form in forms.values())
    assert [laps["batch"] for laps in content["decoded"]] == [1, 3]
    assert content["embedded"][0]["flops"] > content["decoded"][0]["flops"] > 1e7
    assert f"| **{DEFAULT}** (default) |" in done.output
    wrong = CliRunner().invoke(decoder_speed, ["--batches", "16,x"])
    assert wrong.exit_code == 2
    assert "`--batches` must be positive integers, got '16,x'" in wrong.output


# --- what an attack costs ---


def test_ratios_of_an_attack_are_worked_out_by_hand():
    seconds = iter([10.0, 20.0, 10.0, 8.0, 5.0, 20.0, 8.0, 4.0])

    def run(job, threads, **arguments):
        assert threads == 2
        return {"images": arguments["n"], "seconds": next(seconds)}

    figures = scale.attack(run, None, 2, 100, 2)
    assert [figure.rounds for figure in figures] == [[2.0, 4.0], [1.0, 1.6], [4.0, 4.0]]
    text = scale.table(figures)
    assert (
        "| **3.00** (2.00-4.00, 2 rounds) | ours 15.0, bare 5.0, tuned 11.2, stock 3.8 faces/s |"
        in text
    )

    laps = iter([30.0, 40.0, 45.0, 50.0])
    (whole,) = scale.command(lambda job, threads, **more: {"seconds": next(laps)}, None, 2, 2)
    assert whole.rounds == [0.75, 0.9]
    assert "ours 38 s, stock 45 s" in whole.told

    peaks = iter([100, 110, 200, 250])
    lap = {"seconds": 1.0, "graph_mb": 3.25}
    here, dask = scale.memory(lambda *_, **more: {**lap, "peak_mb": next(peaks)}, 10, 100)
    assert (here.rounds, dask.rounds) == ([1.1], [1.25])
    assert "graph 3.2 MB" in dask.told


def test_a_database_is_repeated_under_new_names():
    some = Some(DemoDatabase(), 50, 130)
    references, probes = some.references(), some.probes()
    assert len({r.template_id for r in references}) == len(references) == 50
    assert len({p.samples[0].key for p in probes}) == len(probes) == 130
    owners = {r.template_id: r.subject_id for r in references}
    for probe in probes:
        own, another = (owners[name] for name in probe.references)
        assert own == probe.subject_id != another


@pytest.mark.slow
def test_every_job_of_the_scale_runs(tmp_path):
    decoder = str(scale_jobs.write_decoder(tmp_path / "small.safetensors", 0.05))
    assert scale.run("ours", 1, decoder=decoder, n=6, lfw=None)["images"] == 6
    assert scale.run("bare", 1, decoder=decoder, n=6, tuned=True)["images"] == 6
    assert scale.run("stock", 1, decoder=decoder, n=6, lfw=None)["images"] == 4
    found = scale.run("memory", 1, probes=2000, dask=True)
    assert found["rows"] == 2 * 2000 + 1000 + 2000
    assert 0 < found["graph_mb"] < 1
    assert found["peak_mb"] > 100
    with pytest.raises(click.ClickException, match=r"stock failed:\n(?s:.)*nowhere"):
        scale.run("stock", 1, decoder="nowhere", n=6, lfw=None)


def test_the_ablation_keeps_the_reconstructions_of_a_step_and_reads_back_what_it_trained(
    data, tmp_path, monkeypatch, capsys
):
    for preset, changes in ablation.ROWS.values():
        row = presets.get(preset, ablation.settings(preset, changes, 16))
        assert row.samples == 16
    rows = {name: row for name, row in ablation.ROWS.items() if name.startswith("`")}
    monkeypatch.setattr(ablation, "ROWS", rows)
    arguments = [str(data), "-o", str(tmp_path), "--judge", str(data), "--steps", "2"]
    arguments += ["--batch", "4", "--width", "0.02", "--device", "cpu"]
    for _ in range(2):  # the second time, nothing is trained
        ablation.main(arguments)
        printed = capsys.readouterr().out
        assert (
            "| preset | cosine, held-out faces | cosine, nobody | cosine, held-out faces of the"
            in printed
        )
        table = [line.split(" | ") for line in printed.splitlines() if line.startswith("| `")]
        assert len(table) == 2
        for _, held_out, _, judged, _ in table:
            # the same decoder on the same held-out faces
            assert float(held_out) == pytest.approx(float(judged), abs=2e-3)
        monkeypatch.setattr(ablation, "train", None)
