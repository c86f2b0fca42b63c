"""Files come from strangers: nothing in them runs, and a bad one is told in a sentence."""

from __future__ import annotations

import hashlib
import io
import json
import os
import pickle
import tarfile
import zipfile
from collections import OrderedDict
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import onnx
import pytest
import torch
from bob.bio.face.embeddings.pytorch import PyTorchModel
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from safetensors.numpy import save_file
from torch import nn

from bob_recon_plugin import decoders, recognizers
from bob_recon_plugin.attack.checkpoints import Checkpoints
from bob_recon_plugin.attack.effort import Clock
from bob_recon_plugin.common import record as run_record
from bob_recon_plugin.common.validation import InputError
from bob_recon_plugin.decoders import MobileStyleGAN, shared_generator
from bob_recon_plugin.evaluation.run_folder import open_run
from bob_recon_plugin.faces.dataset import FaceDataset, read_card, write_card, write_shard
from bob_recon_plugin.faces.generator import Generator
from bob_recon_plugin.faces.sources import open_source
from bob_recon_plugin.images.reading import load_image, load_member
from bob_recon_plugin.inversion import adapter as adapters
from bob_recon_plugin.recognizers import RecognizerTransformer, identify
from bob_recon_plugin.report.build import Options, write_report
from bob_recon_plugin.training.callbacks import TensorsAlone
from bob_recon_plugin.training.losses import Perceptual

SIDE = 8


# -- ONNX: names -----------------------------------------------------------------------------


def model(**names: str) -> onnx.ModelProto:
    """(n, 3, 8, 8) through a convolution, a PReLU and a linear layer to (n, 4)."""
    rng = np.random.default_rng(0)
    called = {"node": "conv", "inside": "inside", "input": "images", "output": "embeddings"}
    called |= {"constant": "weight", "attribute": "NOTSET", "side": "n"} | names
    constants = {
        called["constant"]: rng.normal(size=(4, 3, 8, 8)) / 50,
        "slopes": np.full((4, 1, 1), 0.25),
        "matrix": rng.normal(size=(4, 4)),
    }
    given = [called["input"], called["constant"]]
    how = {"auto_pad": called["attribute"]}
    nodes = [
        helper.make_node("Conv", given, [called["inside"]], name=called["node"], **how),
        helper.make_node("PRelu", [called["inside"], "slopes"], ["bent"], name=called["node"]),
        helper.make_node("Flatten", ["bent"], ["flat"], name=called["node"] + "1"),
        helper.make_node("MatMul", ["flat", "matrix"], [called["output"]], name="last"),
    ]
    values = [
        helper.make_tensor_value_info(called["input"], 1, [called["side"], 3, SIDE, SIDE]),
        helper.make_tensor_value_info(called["output"], 1, [called["side"], 4]),
    ]
    tensors = [numpy_helper.from_array(v.astype(np.float32), k) for k, v in constants.items()]
    graph = helper.make_graph(nodes, "graph", values[:1], values[1:], tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def written(made: onnx.ModelProto, folder: Path) -> Path:
    path = folder / "model.onnx"
    path.write_bytes(made.SerializeToString())
    return path


def embed(path: Path) -> np.ndarray:
    module = recognizers.load_module(recognizers.from_onnx(path))
    images = torch.linspace(0, 255, 2 * 3 * SIDE * SIDE).reshape(2, 3, SIDE, SIDE)
    return module(images).numpy()


def attacks(marker: Path) -> list[str]:
    """Names that run as Python where they are written into source between double quotes."""
    call = f"open('{marker}', 'w')"
    return [
        f'x", {call}) or getattr(self, "x',
        f'x", None)\n    {call}\n    getattr(self, "x',
        f'x", None)\n{call}\n#"',
        f'x")(1)\n{call}\ndef forward(self, input_1):\n    return getattr(self, "x',
        f"x'+{call}+'",
        f"{{{call}}}",
        f"x\n{call}\n",
        f"x\\\r{call}#",
        f"__import__('os').mkdir('{marker}')",
    ]


@pytest.fixture
def marker(tmp_path) -> Path:
    path = tmp_path.resolve() / "ran"
    assert "." not in str(path)  # or onnx2torch would spoil the attack
    return path


@pytest.mark.parametrize("which", range(9))
@pytest.mark.parametrize("place", ["node", "inside", "input", "output", "constant", "side"])
def test_a_name_in_a_model_file_is_never_code(tmp_path, marker, place, which):
    expected = embed(written(model(), tmp_path))
    found = embed(written(model(**{place: attacks(marker)[which]}), tmp_path))
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert not marker.exists()


@pytest.mark.parametrize("which", range(9))
@pytest.mark.parametrize("place", ["notes", "operator", "domain", "function", "attribute"])
def test_other_texts_of_a_model_file_are_never_code(tmp_path, marker, place, which):
    text = attacks(marker)[which]
    made = model(attribute=text) if place == "attribute" else model()
    if place == "notes":
        made.doc_string = made.producer_name = made.graph.name = made.graph.doc_string = text
        made.graph.node[0].doc_string = made.graph.initializer[0].doc_string = text
        helper.set_model_props(made, {text: text})
    if place == "operator":
        made.graph.node[0].op_type = text
    if place in ("domain", "function"):
        made.graph.node[0].domain = text
        made.opset_import.append(helper.make_opsetid(text, 1))
    if place == "function":
        made.functions.append(
            helper.make_function(text, "Conv", ["a", "b"], ["c"], list(made.graph.node[:1]), [])
        )
    path = written(made, tmp_path)
    if place == "notes":
        assert embed(path).shape == (2, 4)
    else:
        with pytest.raises(InputError, match=r"must be a network that onnx2torch converts"):
            embed(path)
    assert not marker.exists()


def test_an_operator_that_holds_a_graph_is_told(tmp_path):
    made = model()
    branch = helper.make_graph([], "branch", [], [])
    either = helper.make_node("If", ["flat"], ["no"], then_branch=branch, else_branch=branch)
    made.graph.node.insert(3, either)
    made.graph.node[4].input[0] = "no"
    with pytest.raises(InputError, match="'If' contains a graph"):
        embed(written(made, tmp_path))


def test_the_domain_of_onnx_may_be_written_out(tmp_path):
    expected = embed(written(model(), tmp_path))
    made = model()
    for node in made.graph.node:
        node.domain = "ai.onnx"
    made.opset_import[0].domain = "ai.onnx"
    np.testing.assert_allclose(embed(written(made, tmp_path)), expected, rtol=1e-6)


def test_an_image_that_a_model_file_declares_has_a_limit(tmp_path):
    made = model()
    for side in made.graph.input[0].type.tensor_type.shape.dim[2:]:
        side.dim_value = 10**6
    with pytest.raises(InputError, match="images of at most 4096 pixels a side"):
        recognizers.from_onnx(written(made, tmp_path))


# -- ONNX: data beside the file --------------------------------------------------------------


def external(folder: Path, **told: str) -> Path:
    """The model with its first tensor in ``data.bin``, or where ``told`` says it is."""
    made = model()
    tensor = made.graph.initializer[0]
    (folder / "data.bin").write_bytes(tensor.raw_data)
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in {"location": "data.bin", **told}.items():
        tensor.external_data.add(key=key, value=value)
    return written(made, folder)


@pytest.fixture
def folder(tmp_path) -> Path:
    """Folder of a model; a secret lies beside it."""
    (tmp_path / "secret.bin").write_bytes(bytes(4 * 4 * 3 * 8 * 8))
    made = tmp_path / "model"
    made.mkdir()
    (made / "link.bin").symlink_to(tmp_path / "secret.bin")
    (made / "up").symlink_to(tmp_path)
    (made / "loop").symlink_to(made / "loop")
    return made


def test_data_beside_a_model_file_is_read(tmp_path, folder):
    expected = embed(written(model(), tmp_path))
    np.testing.assert_allclose(embed(external(folder)), expected, rtol=1e-6)
    told = external(folder, offset="0", length=str(4 * 4 * 3 * 8 * 8), checksum="unused")
    np.testing.assert_allclose(embed(told), expected, rtol=1e-6)


@pytest.mark.parametrize(
    "location",
    ["../secret.bin", "x/../../secret.bin", "link.bin", "up/secret.bin", "loop", "", "a\0b", "{}"],
)
def test_data_outside_the_folder_of_a_model_file_is_not_read(folder, location, monkeypatch):
    path = external(folder, location=location.format(folder.parent / "secret.bin"))
    read, once = [], Path.open
    monkeypatch.setattr(
        Path, "open", lambda self, *a, **k: (read.append(self), once(self, *a, **k))[1]
    )
    with pytest.raises(InputError, match="which leads outside"):
        recognizers.from_onnx(path)
    assert read == [path.resolve()]


@pytest.mark.parametrize(
    ("told", "message"),
    [
        ({"location": "gone.bin"}, "must have their external data in their folder, got no /"),
        ({"offset": "8"}, "must hold 3072 bytes for the tensor 'weight', got 3064"),
        ({"length": "12"}, "must hold 3072 bytes for the tensor 'weight', got 12"),
        ({"offset": "-4"}, "the offset of external data as a whole number, got '-4'"),
        ({"length": "1e9"}, "the length of external data as a whole number, got '1e9'"),
    ],
)
def test_data_that_does_not_fit_its_tensor_is_told(folder, told, message):
    with pytest.raises(InputError, match=message):
        recognizers.from_onnx(external(folder, **told))


def test_a_tensor_larger_than_its_data_takes_no_memory(folder):
    path = external(folder)
    made = onnx.load(path, load_external_data=False)
    made.graph.initializer[0].dims[0] = 2**40
    with pytest.raises(InputError, match="for the tensor 'weight', got 3072"):
        recognizers.from_onnx(written(made, folder))


def changed(path: Path) -> None:
    """Another tensor in ``data.bin``, of the same size; the model's file stays."""
    data = path.with_name("data.bin")
    data.write_bytes(np.frombuffer(data.read_bytes(), np.float32)[::-1].tobytes())


def test_data_beside_a_model_file_belongs_to_the_identity_of_the_model(folder):
    path = external(folder)
    described = recognizers.from_onnx(path)
    faces = np.random.default_rng(1).integers(0, 256, (2, 3, SIDE, SIDE), dtype=np.uint8)
    before = RecognizerTransformer(described)
    identity, said, embeddings = identify(before), before.describe(), before.transform(faces)
    assert identity.sha256 == described.sha256 == said["sha256"]

    changed(path)
    after = RecognizerTransformer(recognizers.from_onnx(path))
    assert not identify(after).same_as(identity)
    assert after.describe() != said
    assert np.abs(after.transform(faces) - embeddings).max() > 0.1
    with pytest.raises(InputError, match="must have SHA-256"):
        before.transform(faces)


def test_data_that_changes_is_loaded_again_where_no_hash_is_asked_for(folder):
    path = external(folder)
    model = RecognizerTransformer(replace(recognizers.from_onnx(path), sha256=None))
    faces = np.random.default_rng(1).integers(0, 256, (2, 3, SIDE, SIDE), dtype=np.uint8)
    embeddings = model.transform(faces)
    changed(path)
    assert np.abs(model.transform(faces) - embeddings).max() > 0.1


def test_a_model_in_one_file_has_the_hash_of_the_file(tmp_path):
    path = written(model(), tmp_path)
    assert recognizers.from_onnx(path).sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_data_that_is_missing_leaves_the_model_unknown(folder):
    described = recognizers.from_onnx(external(folder))
    (folder / "data.bin").unlink()
    model = RecognizerTransformer(replace(described, sha256=None))
    assert identify(model).sha256 is None
    assert model.describe()["sha256"] is None


# -- torch: weights --------------------------------------------------------------------------


class Program(nn.Module):
    """Writes a file when it is opened as TorchScript."""

    def __init__(self, victim: str):
        super().__init__()
        self.victim = victim
        self.weight = nn.Parameter(torch.zeros(2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x

    @torch.jit.export
    def __getstate__(self):
        return (self.victim, self.training)

    @torch.jit.export
    def __setstate__(self, state: tuple[str, bool]):
        self.victim = state[0]
        self.training = state[1]
        self.weight = torch.zeros(2)
        torch.save(torch.zeros(2), self.victim)


class Mkdir:
    """Makes a folder when it is unpickled."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


class Call:
    """Calls whatever it is given when it is unpickled."""

    def __init__(self, *call):
        self.call = call

    def __reduce__(self):
        return self.call


def script(path: Path, marker: Path) -> None:
    torch.jit.save(torch.jit.script(Program(str(marker))), path)
    marker.unlink(missing_ok=True)


def script_behind_a_name(path: Path, marker: Path) -> None:
    """The same archive, in which another tool has moved the records to another folder."""
    script(path, marker)
    with zipfile.ZipFile(path) as old:
        records = {name: old.read(name) for name in old.namelist()}
    with zipfile.ZipFile(path, "w") as new:
        for name, content in records.items():
            new.writestr(f"archive/{name.partition('/')[2]}", content)


def pickled(path: Path, marker: Path) -> None:
    torch.save({"features.0.weight": Mkdir(marker)}, path)


def pickled_the_old_way(path: Path, marker: Path) -> None:
    torch.save({"w": Mkdir(marker)}, path, _use_new_zipfile_serialization=False)


def bare_pickle(path: Path, marker: Path) -> None:
    path.write_bytes(pickle.dumps(Mkdir(marker)))


def tar(path: Path, marker: Path) -> None:
    """The format of torch before 0.2, in which `torch.load` unpickles several files."""
    content = pickle.dumps(Mkdir(marker))
    with tarfile.open(path, "w") as archive:
        for name in ("sys_info", "pickle", "storages", "tensors"):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


def changes_its_reader(path: Path, marker: Path) -> None:
    """Has torch write "a patch": its name and text are set on a function that may be called."""

    def op(text: str) -> bytes:
        return b"X" + len(text).to_bytes(4, "little") + text.encode()

    function = b"ctorch._utils\n_rebuild_tensor_v2\n"
    slots = op("__name__") + op(str(marker)) + op("dump_patches") + b"\x88"
    evil = b"\x80\x02" + function + b"N}(" + slots + b"u\x86b"
    # a container, with a source that differs: ("module", class, file, source)
    evil += b"0(" + op("module") + function + op("file") + op("print('mine')\n") + b"tQ."
    buffer = io.BytesIO()
    torch.save({}, buffer, _use_new_zipfile_serialization=False)
    content = buffer.getvalue()
    path.write_bytes(content.replace(pickle.dumps({}, protocol=2), evil, 1))


def zip_bomb(path: Path, marker: Path) -> None:
    torch.save({"w": torch.zeros(2**20)}, path)
    with zipfile.ZipFile(path) as old:
        records = {name: old.read(name) for name in old.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as new:
        for name, content in records.items():
            new.writestr(name, content)


def module_in_itself(path: Path, marker: Path) -> None:
    """Modules of two names each, forty deep: 2 ** 40 tensors."""
    inner: nn.Module = nn.Linear(1, 1)
    for _ in range(40):
        inner = nn.Sequential(inner, inner)
    torch.save(inner, path)


def empty(path: Path, marker: Path) -> None:
    path.touch()


HOSTILE = [
    script,
    script_behind_a_name,
    pickled,
    pickled_the_old_way,
    bare_pickle,
    tar,
    changes_its_reader,
    zip_bomb,
    module_in_itself,
    empty,
]
OPENERS = {
    "weights": lambda path: recognizers.load_module("arcface-iresnet34", weights=path),
    "vgg16": lambda path: Perceptual(path),
    "last.ckpt": lambda path: TensorsAlone().load_checkpoint(path),
}


@pytest.mark.parametrize("hostile", HOSTILE, ids=lambda make: make.__name__)
@pytest.mark.parametrize("name", OPENERS)
def test_weights_are_tensors_alone(tmp_path, marker, monkeypatch, name, hostile):
    # whoever gets that far would run it
    monkeypatch.setattr(torch.jit, "load", lambda *_, **__: pytest.fail("torch.jit.load"))
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "weights.pth"
    hostile(path, marker)
    before = set(tmp_path.iterdir())
    with pytest.raises(InputError, match=f"`{name}` must be a file of torch.save .* only tens"):
        OPENERS[name](path)
    assert set(tmp_path.iterdir()) == before


@pytest.mark.parametrize("make", [script, script_behind_a_name])
def test_the_torchscript_archive_of_these_tests_is_one(tmp_path, marker, make):
    make(tmp_path / "m.pt", marker)
    torch.jit.load(tmp_path / "m.pt")
    assert marker.exists()


def test_a_cached_copy_of_torchvisions_weights_goes_the_same_way(tmp_path, marker, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    (tmp_path / "checkpoints").mkdir()
    script(tmp_path / "checkpoints" / "vgg16-397923af.pth", marker)
    with pytest.raises(InputError, match="which is a TorchScript archive"):
        Perceptual()
    assert not marker.exists()


def test_tensors_of_another_network_are_told(tmp_path):
    torch.save({"features.0.weight": torch.zeros(1)}, tmp_path / "w.pth")
    with pytest.raises(InputError, match="`vgg16` must be the state dict of torchvision's VGG-16"):
        Perceptual(tmp_path / "w.pth")
    torch.save(OrderedDict(w=torch.zeros(1)), tmp_path / "last.ckpt")
    with pytest.raises(InputError, match=r"`last\.ckpt` must be the state of a training"):
        TensorsAlone().load_checkpoint(tmp_path / "last.ckpt")


@pytest.mark.parametrize("content", [{1: torch.zeros(1)}, {"state_dict": 5}, [1], {"w": "text"}])
def test_a_state_dict_of_something_else_is_told(tmp_path, content):
    torch.save(content, tmp_path / "w.pth")
    with pytest.raises(InputError, match=r"`weights` must (hold|be) a state dict"):
        recognizers.load_module("arcface-iresnet34", weights=tmp_path / "w.pth")


def test_a_bob_model_that_runs_a_file_is_refused_until_its_user_loads_it(tmp_path, marker):
    class FromTarball(PyTorchModel):
        def _load_model(self):
            exec(Path(self.config).read_text())
            self.model = nn.Flatten()

    config = tmp_path / "AFFFE.py"
    config.write_text(f"open({str(marker)!r}, 'w')")
    bob = FromTarball(str(tmp_path / "AFFFE.pth"), str(config))
    with pytest.raises(InputError, match=r"without executing a file, got FromTarball.*AFFFE\.py"):
        recognizers.from_bob(bob)
    assert not marker.exists()
    bob._load_model()
    assert recognizers.from_bob(bob)(torch.zeros(1, 3, 1, 1)).shape == (1, 3)


# -- cards, records, tables ------------------------------------------------------------------

DEEP = "[" * 100_000 + "]" * 100_000
CARD = {"recognizer": "a", "embedding_size": 4}


def decoder_card(folder: Path, text: str) -> None:
    keys = {"bob_recon_plugin.format": "1", "bob_recon_plugin.card": text}
    save_file({"w": np.zeros(1, np.float32)}, folder / "f", keys)
    decoders.read_card(folder / "f")


def adapter_card(folder: Path, text: str) -> None:
    keys = {"bob_recon_plugin.adapter.format": "1", "bob_recon_plugin.adapter.card": text}
    save_file({"w": np.zeros(1, np.float32)}, folder / "f", keys)
    adapters.read_card(folder / "f")


def dataset_card(folder: Path, text: str) -> None:
    (folder / "dataset.json").write_text(text)
    read_card(folder)


def earlier_run(folder: Path, text: str) -> None:
    (folder / "scores-dev.csv").touch()
    (folder / "recon-run.json").write_text(text)
    run_record.claim(folder, {}, [], force=False)


def reported_run(folder: Path, text: str) -> None:
    columns = "probe_subject_id,probe_template_id,bio_ref_subject_id,bio_ref_template_id,score"
    rows = ["a,a/1,a,a/0,0.9,", "b,b/1,a,a/0,0.1,", "a,type1/a/1,a,a/0,0.8,type1"]
    table = "\n".join([columns + ",probe_attack_type", *rows]) + "\n"
    (folder / "scores-dev.csv").write_text(table)
    (folder / "recon-run.json").write_text(text)
    open_run(folder)


@pytest.mark.parametrize(
    "text",
    [
        DEEP,
        json.dumps({**CARD, "metrics": {"x": float("nan")}}),
        json.dumps({**CARD, "embedding_norm": 0}).replace("0", "1e999"),
        json.dumps([CARD]),
        "null",
        "1" * 10_000,
        '{"identity": [1]}',
        '{"identity": 5}',
        json.dumps({**CARD, "preset": 5}),
        json.dumps({**CARD, "positions": {"reye": [1, 1e400], "leye": [1, 2]}}),
    ],
    ids=["deep", "nan", "infinite", "list", "null", "long", "listed", "number", "kind", "eyes"],
)
@pytest.mark.parametrize(
    "read", [decoder_card, adapter_card, dataset_card, earlier_run, reported_run]
)
def test_json_of_strangers_is_told_in_a_sentence(tmp_path, read, text):
    with pytest.raises(InputError) as caught:
        read(tmp_path, text)
    assert " must " in str(caught.value)


@pytest.mark.parametrize("part", ["card", "threat", "versions", "database", "decoder"])
def test_parts_of_a_record_are_objects(tmp_path, part):
    outer = {"identity": {part: [1]}} if part in ("database", "decoder") else {part: [1]}
    with pytest.raises(InputError, match=f"{part} holds list, not an object"):
        reported_run(tmp_path, json.dumps({"identity": {}, **outer}))


@pytest.mark.parametrize("name", ["../../x", "type1/../../x", "/etc/x", "a\0b"])
def test_an_identifier_of_a_score_file_stays_among_the_faces(tmp_path, name):
    reported_run(tmp_path, '{"identity": {}}')
    run = open_run(tmp_path)
    assert run.face("type1/a/1") == tmp_path / "faces" / "type1" / "a" / "1.png"
    with pytest.raises(InputError, match=r"names of images must not lead out of .*faces"):
        run.face(name)


@pytest.mark.parametrize(
    "content", ["a" * 200_000, "\0,1", b"\xff\xfe"], ids=["long", "null", "binary"]
)
def test_a_table_of_eyes_that_is_no_table_is_told(tmp_path, content):
    header = b"path,reye_y,reye_x,leye_y,leye_x\n"
    content = content if isinstance(content, bytes) else content.encode()
    (tmp_path / "eyes.csv").write_bytes(header + content)
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    with pytest.raises(InputError, match=r"`annotations` must be a CSV file|line 2 of"):
        open_source(tmp_path, tmp_path / "eyes.csv")


def test_names_of_files_are_no_formulas(tmp_path):
    people = [f"P{i}" for i in range(12)]
    columns = "probe_subject_id,probe_template_id,bio_ref_subject_id,bio_ref_template_id,score"
    rows = [f"{a},{a}/1,{b},{b}/0,{0.9 if a == b else 0.1}," for a in people for b in people]
    rows += ["P0,t/P0,P0,P0/0,0.5,$\\frac{$"]
    path = tmp_path / "s.csv"
    path.write_text("\n".join([columns + ",probe_attack_type", *rows]) + "\n")
    options = Options(fmrs=(0.1,), replicates=20, quality=0, pdf=True, png=True)
    assert all(each.stat().st_size for each in write_report([path], tmp_path / "r.html", options))


# -- the generator ---------------------------------------------------------------------------


@pytest.mark.parametrize("make", [MobileStyleGAN, Generator])
def test_the_generators_files_are_known_before_they_are_opened(tmp_path, monkeypatch, make):
    laughs = "".join(f"<!ENTITY a{i} '{f'&a{i - 1};' * 10 if i else 'ha'}'>" for i in range(10))
    data = tmp_path / "random_face" / "data"
    data.mkdir(parents=True)
    (data.parent / "__init__.py").touch()
    for name in ("MappingNetwork", "SynthesisNetwork"):
        (data / f"{name}.xml").write_text(f"<!DOCTYPE net [{laughs}]><net>&a9;</net>")
        (data / f"{name}.bin").touch()
    monkeypatch.syspath_prepend(tmp_path)
    shared_generator.cache_clear()
    with pytest.raises(InputError, match=r"must be the one of random-face 2021\.7\.21\.1, got"):
        make()


# -- checkpoints -----------------------------------------------------------------------------


def checkpoint(folder: Path) -> tuple[Checkpoints, Path]:
    kept = Checkpoints(folder / "kept")
    kept.save("probes", ["a", "b"], [np.zeros(3), np.ones(3)], Clock())
    return kept, kept.path("probes", ["a", "b"])


def test_a_checkpoint_holds_no_pickle(tmp_path, caplog):
    kept = Checkpoints(tmp_path)
    kept.save("probes", ["a", "b"], [{"any": "object"}, np.ones(3)], Clock())
    assert "features must be arrays of numbers, got object" in caplog.text
    kept.save("ragged", ["a", "b"], [np.zeros((0, 2)), np.ones((2, 1, 3))], Clock())
    found = kept.load("ragged", ["a", "b"])[0]
    assert [each.shape for each in found] == [(0, 2), (2, 1, 3)]
    for file in tmp_path.rglob("*.h5"):
        assert b"numpy" not in file.read_bytes()


def test_a_pickle_in_a_checkpoint_is_not_opened(tmp_path, marker):
    kept, path = checkpoint(tmp_path)
    with h5py.File(path, "a") as file:
        del file["embeddings"]
        content = np.frombuffer(pickle.dumps([Mkdir(marker)] * 2), np.uint8)
        file.create_dataset("pickled", data=content)
        file.attrs["format"] = 1
    assert kept.load("probes", ["a", "b"]) is None
    assert not marker.exists()


@pytest.mark.parametrize("kind", ["huge", "external link", "external bytes", "virtual", "text"])
def test_a_checkpoint_takes_no_more_than_it_has(tmp_path, kind, caplog):
    kept, path = checkpoint(tmp_path)
    other = tmp_path / "other.h5"
    with h5py.File(other, "w") as file:
        file["secret"] = np.zeros((2, 3))
    with h5py.File(path, "a") as file:
        del file["embeddings"]
        if kind == "huge":
            file.create_dataset("embeddings", (2**40, 3), chunks=(1, 3))
        if kind == "external link":
            file["embeddings"] = h5py.ExternalLink(str(other), "secret")
        if kind == "external bytes":
            where = [(str(other), 0, 48)]
            file.create_dataset("embeddings", (2, 3), dtype="f8", external=where)
        if kind == "virtual":
            layout = h5py.VirtualLayout((2, 3), dtype="f8")
            layout[:] = h5py.VirtualSource(str(other), "secret", (2, 3))
            file.create_virtual_dataset("embeddings", layout)
        if kind == "text":
            file["embeddings"] = ["a", "b"]
    assert kept.load("probes", ["a", "b"]) is None
    assert "is damaged" in caplog.text


# -- images and prepared faces ---------------------------------------------------------------


@pytest.mark.parametrize("name", ["face.png", "face.jpg", "face.eps"])
def test_postscript_is_no_image_whatever_its_name(tmp_path, monkeypatch, name):
    from PIL import EpsImagePlugin

    never = lambda *_, **__: pytest.fail("Ghostscript was called")  # noqa: E731
    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", never)
    Image.new("RGB", (8, 8)).save(tmp_path / name, format="EPS")
    with pytest.raises(InputError, match="`image` must be a readable image file"):
        load_image(tmp_path / name)


def test_a_picture_of_too_many_pixels_is_told(tmp_path):
    header = b"P5 100000 100000 255\n"
    (tmp_path / "bomb.pgm").write_bytes(header)
    with pytest.raises(InputError, match="could be decompression bomb"):
        load_image(tmp_path / "bomb.pgm")


def bomb(path: Path, size: int) -> None:
    """An image member that says to be larger than it is."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/1.png", b"x" * 100)
    content = bytearray(path.read_bytes())
    at = content.rfind(b"PK\x01\x02")
    content[at + 24 : at + 28] = size.to_bytes(4, "little")
    path.write_bytes(content)


def test_an_image_in_an_archive_has_a_limit(tmp_path):
    path = tmp_path / "faces.zip"
    bomb(path, 2**31)
    with pytest.raises(InputError, match=r"at most 256 MiB, got a/1\.png in .* of 2048"):
        load_member(str(path), "a/1.png")
    with pytest.raises(InputError, match="images of at most 256 MiB"):
        open_source(path).sample("a/1.png").data  # noqa: B018
    bomb(path, 200)
    with pytest.raises(InputError, match=r"must (hold whole images|be a readable image)"):
        load_member(str(path), "a/1.png")


def test_links_and_devices_of_a_tar_are_no_images(tmp_path):
    path = tmp_path / "faces.tar"
    with tarfile.open(path, "w") as archive:
        for name, kind in (("l.png", tarfile.SYMTYPE), ("d.png", tarfile.CHRTYPE)):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, "/etc/passwd"
            archive.addfile(member)
    with pytest.raises(InputError, match="`source` must hold images"):
        open_source(path)


def prepared(folder: Path) -> Path:
    rng = np.random.default_rng(0)
    faces = rng.integers(0, 256, (3, 3, 8, 8), dtype=np.uint8)
    write_shard(folder, 0, ["a", "b", "c"], faces, rng.normal(size=(3, 2, 4)))
    about = {"recognizer": "x", "recognizer_sha256": None, "embedding_size": 4}
    eyes = {"reye": (2.0, 2.0), "leye": (2.0, 6.0)}
    write_card(folder, **about, image_size=(8, 8), positions=eyes, crop="aligned", source="s")
    return folder


@pytest.mark.parametrize("kind", ["pickle", "archive", "huge"])
@pytest.mark.parametrize("which", ["faces", "embeddings"])
def test_prepared_faces_are_numbers_alone(tmp_path, marker, which, kind):
    path = prepared(tmp_path) / f"shard-00000.{which}.npy"
    if kind == "pickle":
        np.save(path, np.array([Mkdir(marker)], dtype=object), allow_pickle=True)
    if kind == "archive":
        with path.open("wb") as stream:
            np.savez(stream, np.zeros(3))
    if kind == "huge":
        content = path.read_bytes()
        path.write_bytes(
            content.replace(b"(3, ", b"(9" + b"9" * 10 + b", ").replace(b" " * 10, b"", 1)
        )
    with pytest.raises(InputError, match=r"must (have complete shards|hold one array)"):
        FaceDataset(tmp_path)
    assert not marker.exists()


def test_keys_of_prepared_faces_are_texts(tmp_path):
    prepared(tmp_path)
    (tmp_path / "shard-00000.json").write_text('{"keys": [1, 2, 3], "bad": []}')
    with pytest.raises(InputError, match=r"`shard` must be readable.*a key is not text"):
        FaceDataset(tmp_path)
