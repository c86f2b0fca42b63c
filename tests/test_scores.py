"""Score files are split as Bob splits them, and every fault is named."""

from __future__ import annotations

import csv
import time
from pathlib import Path

import numpy as np
import pytest

from bob_recon_plugin.evaluation.scores import Scores, load, read

HEADER = "probe_template_id,probe_subject_id,bio_ref_template_id,bio_ref_subject_id,score"
FULL = f"{HEADER},probe_attack_type"


def write(path: Path, *lines: str) -> Path:
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "scores-dev.csv"


def test_rows_fall_into_their_classes(file: Path) -> None:
    write(
        file,
        FULL,
        "a1,A,a0,A,0.9,",
        "b1,B,a0,A,0.1,",
        "c1,C,a0,A,-0.2,",
        "a0,A,a0,A,0.7,type1",  # an attack bears the identity of its victim
        "a1,A,a0,A,0.5,type2",
        "x,X,a0,A,0.4,print",
    )
    scores = load(file)
    assert scores.genuine.tolist() == [0.9]
    assert scores.impostor.tolist() == [0.1, -0.2]
    assert {k: v.tolist() for k, v in scores.attacks.items()} == {
        "print": [0.4],
        "type1": [0.7],
        "type2": [0.5],
    }


def test_columns_are_found_by_name(file: Path) -> None:
    write(
        file,
        "score,probe_attack_type,probe_age,bio_ref_subject_id,probe_subject_id",
        "0.9,,31,A,A",
        "0.2,,31,A,B",
        '0.4,type1,"31, or 32",A,A',
    )
    scores = load(str(file))
    assert (scores.genuine, scores.impostor, scores.attacks["type1"]) == (0.9, 0.2, 0.4)


def test_licit_file_has_no_attacks(file: Path) -> None:
    write(file, HEADER, "a1,A,a0,A,0.9", "b1,B,a0,A,0.1")
    scores = load(file)
    assert scores.attacks == {}
    assert scores.not_acquired == {"genuine": 0, "impostor": 0}


def test_windows_lines_mark_and_blank_lines_are_read(file: Path) -> None:
    header = b"\xef\xbb\xbfprobe_subject_id,bio_ref_subject_id,score"
    file.write_bytes(header + b"\r\nA,A,0.9\r\n\r\n")
    assert load(file).genuine.tolist() == [0.9]


def test_nan_is_counted_apart(file: Path) -> None:
    write(
        file,
        FULL,
        "a1,A,a0,A,0.9,",
        "a2,A,a0,A,nan,",
        "b1,B,a0,A,nan,",
        "b2,B,a0,A,NaN,",
        "a0,A,a0,A,nan,type1",
    )
    scores = load(file)
    assert scores.genuine.tolist() == [0.9]
    assert scores.impostor.size == scores.attacks["type1"].size == 0
    assert scores.not_acquired == {"genuine": 1, "impostor": 2, "type1": 1}


def test_scores_from_arrays_leave_the_arrays_alone() -> None:
    genuine = np.array([0.5, np.nan])
    scores = Scores(genuine, [], {"type2": [1], "type1": []})
    assert scores.genuine.dtype == scores.impostor.dtype == np.float64
    assert list(scores.attacks) == ["type1", "type2"]
    assert genuine.size == 2


def test_attack_called_genuine_is_refused() -> None:
    with pytest.raises(ValueError, match=r"`attacks` must not use .* got 'genuine'; rename"):
        Scores([], [], {"genuine": [0.1]})


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"`scores` must be an existing file.*nowhere\.csv"):
        load(tmp_path / "nowhere.csv")


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([], "got the empty file"),
        ([FULL], "at least one row below the header"),
        (["probe_template_id,score", "a,1"], "without probe_subject_id, bio_ref_subject_id in"),
        (["A A a1 0.9", "A B b1 0.1"], "the four-column text format"),
        (["A a0 A a1 0.9"], "the five-column text format"),
        (["one two three four"], "without probe_subject_id, bio_ref_subject_id, score in"),
        ([FULL, "a,A,a,A,0.9,", "a,A,a,A,high,"], "a number, got 'high' on line 3 of"),
        ([FULL, "a,A,a,A,,"], "a number, got '' on line 2 of"),
        ([FULL, "a,A,a,A,-inf,"], "finite, .* got '-inf' on line 2 of"),
        ([FULL, "a,A,a,A,0.9,", "", "a,A,a,A"], "6 fields a row .* got 4 on line 4 of"),
        ([FULL, "a,A,a,A,0.9,,extra"], "6 fields a row .* got 7 on line 2 of"),
        ([FULL, 'a,A,a,A,0.9,"'], "valid CSV, got .* near line 2 of"),
        ([FULL, "a,A,a,A,0.9,", "a,A,a,A,0.9,None"], "got the text 'None' on line 3 of"),
    ],
)
def test_each_fault_has_its_message(file: Path, lines: list[str], message: str) -> None:
    write(file, *lines)
    with pytest.raises(ValueError, match=message) as caught:
        load(file)
    assert str(file) in str(caught.value)


def test_compressed_file_is_named(file: Path) -> None:
    file.write_bytes(b"\x1f\x8b\x08\x00\xff\xfe")
    with pytest.raises(ValueError, match="must be a text file in UTF-8"):
        load(file)


@pytest.mark.slow
def test_a_million_rows_are_read_in_seconds(file: Path) -> None:
    with file.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(FULL.split(","))
        for i in range(1_000_000):
            attack = "mask" if i % 4 == 0 else ""
            writer.writerow([f"probe{i}", f"P{i % 99}", f"ref{i}", f"P{i % 98}", i / 1e6, attack])
    start = time.perf_counter()
    scores = load(file)
    assert time.perf_counter() - start < 30
    assert scores.attacks["mask"].size == 250_000
    assert scores.genuine.size + scores.impostor.size == 750_000


def test_rows_keep_who_was_compared_with_whom(file: Path) -> None:
    write(
        file,
        FULL,
        "x,X,a0,A,0.4,print",
        "a1,A,a0,A,0.9,",
        "b1,B,a0,A,nan,",
        "a0,A,a0,A,0.7,mask",
    )
    rows = read(file)
    assert rows.kinds == ("genuine", "impostor", "mask", "print")
    assert rows.attacks == ("mask", "print")
    assert [rows.kinds[k] for k in rows.kind] == ["print", "genuine", "impostor", "mask"]
    assert [rows.subjects[i] for i in rows.probe_subject] == ["X", "A", "B", "A"]
    assert [rows.subjects[i] for i in rows.reference_subject] == ["A"] * 4
    assert [rows.templates[i] for i in rows.probe] == ["x", "a1", "b1", "a0"]
    assert [rows.templates[i] for i in rows.reference] == ["a0"] * 4
    assert rows.rows("impostor").tolist() == [2]
    both = rows.scores(), load(file)
    for one, other in zip(
        *[(s.genuine, s.impostor, *s.attacks.values()) for s in both], strict=True
    ):
        assert one.tolist() == other.tolist()
    assert both[0].not_acquired == both[1].not_acquired


def test_rows_without_template_columns_have_none(file: Path) -> None:
    write(file, "probe_subject_id,bio_ref_subject_id,score", "A,A,0.9")
    rows = read(file)
    assert (rows.probe.tolist(), rows.reference.tolist(), rows.templates) == ([-1], [-1], ())


def test_a_row_named_genuine_is_refused_with_its_identities_too(file: Path) -> None:
    write(file, FULL, "a1,A,a0,A,0.9,genuine")
    for reader in (load, read):
        with pytest.raises(ValueError, match="`attacks` must not use the name of a bona fide"):
            reader(file)
