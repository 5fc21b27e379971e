"""A text file is one document; a long one is cut at blank lines into parts that are the file again."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenization.ingest import text_files
from tokenization.ingest.chunks import plan_chunks
from tokenization.ingest.cleaning import CleaningOptions
from tokenization.ingest.corpus import TextOptions, read_documents
from tokenization.ingest.files import resolve_files
from tokenization.ingest.set_aside import SetAsideRows


@pytest.fixture(autouse=True)
def small_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_files, "LONGEST", 200)
    monkeypatch.setattr(text_files, "PART", 64)


def parts_of(
    folder: Path, data: bytes, name: str = "book.txt"
) -> tuple[list[text_files.TextPart], SetAsideRows]:
    (folder / name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    (file,) = resolve_files(str(folder / name), folder, source="s")
    set_aside = SetAsideRows()
    return list(text_files.iter_parts(file, set_aside)), set_aside


def test_a_file_up_to_the_limit_is_one_document(tmp_path: Path) -> None:
    parts, _ = parts_of(tmp_path, b"line\n\n" * 33)
    assert [(part.place, part.text) for part in parts] == [(0, "line\n\n" * 33)]


@pytest.mark.parametrize("name", ["book.txt", "book.txt.gz"])
def test_a_long_file_is_cut_at_blank_lines_and_each_part_knows_its_line(tmp_path: Path, name: str) -> None:
    paragraphs = [f"paragraph {number}\nhas two lines\n\n" for number in range(20)]
    parts, set_aside = parts_of(tmp_path, "".join(paragraphs).encode(), name)
    assert "".join(part.text for part in parts) == "".join(paragraphs)
    assert len(parts) == 10 and all(part.text.endswith("\n\n") for part in parts)
    assert [part.place for part in parts] == [1 + 6 * number for number in range(10)]
    assert not len(set_aside)


@pytest.mark.parametrize(
    "text",
    [
        "no line end " * 40,
        "nospace" * 60,
        "漢字" * 120,
        "line\r\n\r\n" * 60,
        "line\n" * 90,
        "é" * 200 + "\n\n" + "x" * 90,
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-8-sig"])
def test_parts_are_the_file_whatever_its_lines_and_encoding(tmp_path: Path, text: str, encoding: str) -> None:
    parts, set_aside = parts_of(tmp_path, text.encode(encoding))
    assert "".join(part.text for part in parts).replace("\ufeff", "") == text.replace("\r\n", "\n")
    assert len(parts) > 2 and not len(set_aside)
    assert all(len(part.raw) <= 64 for part in parts)


def test_an_encoding_told_by_the_beginning_is_that_of_every_part(tmp_path: Path) -> None:
    text = "红楼梦里的人物和故事，第一回。\n\n" * 40
    parts, _ = parts_of(tmp_path, text.encode("gb18030"))
    assert "".join(part.text for part in parts) == text and {part.encoding for part in parts} == {"gb18030"}


def test_a_part_that_is_no_text_is_set_aside_and_the_others_stay(tmp_path: Path) -> None:
    noise = bytes(range(128, 256)).replace(b"\n", b"")
    data = b"a line of text\n\n" * 20 + noise[:62] + b"\n\n" + b"another line\n\n" * 20
    parts, set_aside = parts_of(tmp_path, data)
    assert sum(part.sound for part in parts) == len(parts) - 1 and len(set_aside) == 1
    kept = "".join(part.text for part in parts)
    assert kept.count("a line of text") == 20 and kept.count("another line") == 20
    assert set_aside.take().column("reason").to_pylist() == ["undecodable"]


@given(st.text(st.sampled_from("ab \n\ré漢"), min_size=120, max_size=600))
def test_every_character_of_a_long_file_is_in_one_part(text: str) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        parts, _ = parts_of(Path(folder), text.encode())
    assert "".join(part.raw.decode() for part in parts) == text
    assert all(part.place == 1 + text.encode()[:at].count(b"\n") for part, at in begins(parts) if part.place)


def begins(parts: list[text_files.TextPart]) -> list[tuple[text_files.TextPart, int]]:
    """Each part and the byte of the file that it begins with."""
    at, found = 0, []
    for part in parts:
        found.append((part, at))
        at += len(part.raw)
    return found


def test_parts_are_documents_with_ids_of_their_own_and_are_counted(tmp_path: Path) -> None:
    (tmp_path / "book.txt").write_bytes(b"one line\n\n" * 50)
    files = resolve_files(str(tmp_path / "book.txt"), tmp_path, source="s")
    (batch,) = [
        batch
        for chunk in plan_chunks(files, ["0"])
        for batch in read_documents(chunk, TextOptions(), CleaningOptions())
    ]
    assert batch.documents.column("place").to_pylist()[:3] == [1, 13, 25]
    assert batch.rows_read == len(batch.documents) == batch.changes["long_text_parts"] == 9
