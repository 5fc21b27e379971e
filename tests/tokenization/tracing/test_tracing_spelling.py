"""Bytes and characters beside each other, for any text and any cut."""

from __future__ import annotations

import gzip
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenization.hashing import text_hash
from tokenization.ingest import text_files
from tokenization.ingest.files import resolve_files
from tokenization.ingest.set_aside import SetAsideRows
from tokenization.tracing.sources import line_begin, piece_at, text_again
from tokenization.tracing.spelling import Spelled, whole_characters, within

TEXT = st.text(alphabet=st.sampled_from(["a", "é", "好", "🦊", " ", "\n"]), max_size=12)


@given(TEXT, st.data())
def test_whole_characters_hold_the_bytes_and_nothing_that_they_do_not_touch(
    text: str, data: st.DataObject
) -> None:
    raw = text.encode()
    begin = data.draw(st.integers(0, len(raw)))
    end = data.draw(st.integers(begin, len(raw)))
    found = whole_characters(raw, begin, end)
    whole = text[found.start : found.stop].encode()
    assert len(whole) == found.num_bytes
    assert whole[found.first_byte : len(whole) - found.missing] == raw[begin:end]
    if end > begin:
        assert found.first_byte < len(text[found.start].encode())
        assert found.missing < len(text[found.stop - 1].encode())


@given(TEXT, TEXT, TEXT, st.booleans())
def test_a_text_is_placed_in_what_tokens_spell_trimmed_or_not(
    before: str, text: str, after: str, trims: bool
) -> None:
    if not text.strip():
        return
    written = text.strip() if trims else text
    whole = f"{before}[{written}]{after}".encode()
    start = len(f"{before}[".encode()) + len(written.encode()) - len(written.lstrip().encode())
    stop = start + len(text.strip().encode())
    found = within(text, whole, start, stop)
    assert found is not None
    spelled, first = found
    for place in range(start, stop):
        at = spelled.place(place - first, place + 1 - first)
        assert spelled.text[slice(*at)] == whole[place : place + 1]


def test_a_space_put_in_front_and_white_space_rewritten_are_seen_through() -> None:
    prefixed = Spelled.of("ab", b" ab")
    assert prefixed is not None and prefixed.place(0, 2) == (0, 1) and prefixed.place(2, 3) == (1, 2)
    rewritten = Spelled.of("a  b\nc", b" a b c")
    assert rewritten is not None and rewritten.place(3, 4) == (3, 4) and rewritten.place(5, 6) == (5, 6)
    assert rewritten.place(2, 3) == (1, 3)
    assert Spelled.of("ab", b"ac") is None


@given(st.lists(st.sampled_from(["", "a", "好x"]), min_size=1, max_size=9), st.booleans())
def test_a_line_begins_where_the_lines_before_it_end(lines: list[str], closed: bool) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x"
        content = "\n".join(lines).encode() + b"\n" * closed
        path.write_bytes(content)
        for number, line in enumerate(lines, 1):
            begin = line_begin(str(path), number)
            assert begin is not None or not content
            assert begin is None or content[begin:].split(b"\n")[0] == line.encode()
        assert line_begin(str(path), len(lines) + 2) is None


def test_a_row_is_found_in_every_format_and_only_its_part_is_read(tmp_path: Path) -> None:
    texts = [f"Text number {number}." for number in range(7)]
    lines = "".join(f'{{"text": "{text}"}}\n' for text in texts)
    (tmp_path / "a.jsonl").write_text(lines)
    (tmp_path / "b.jsonl.gz").write_bytes(gzip.compress(lines.encode()))
    pq.write_table(pa.table({"text": texts}), tmp_path / "c.parquet", row_group_size=2)
    (tmp_path / "d.csv").write_text("text\n" + "".join(f"{text}\n" for text in texts))
    cleaning = {"unicode": "nfc"}
    for name in ("a.jsonl", "b.jsonl.gz", "c.parquet", "d.csv"):
        recipe = {"sources": [{"name": "s", "kind": "text", "path": name}], "cleaning": cleaning}
        for number, text in enumerate(texts, 1):
            item = {"source": "s", "file": name, "place": number, "content_hash": text_hash(text).hex()}
            found = text_again(recipe, item, [tmp_path / "nowhere", tmp_path])
            assert (found.state, found.text) == ("agrees", text)
            other = text_again(recipe, {**item, "content_hash": "0" * 32}, [tmp_path])
            assert (other.state, other.text) == ("changed", None)
    (file,) = resolve_files("c.parquet", tmp_path, source="s")
    piece, place = piece_at(file, 5)
    assert piece is not None and (piece.start, piece.stop, place) == (2, 3, 5)


def test_a_part_of_a_long_text_file_is_found_by_the_line_it_begins_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(text_files, "LONGEST", 300)
    monkeypatch.setattr(text_files, "PART", 200)
    content = "".join(f"Line {number} of a long file.\n" for number in range(1, 60))
    (tmp_path / "long.txt").write_text(content)
    (file,) = resolve_files("long.txt", tmp_path, source="s")
    parts = list(text_files.iter_parts(file, SetAsideRows()))
    assert len(parts) > 5 and "".join(part.text for part in parts) == content
    recipe = {"sources": [{"name": "s", "kind": "text", "path": "long.txt"}], "cleaning": {}}
    for part in parts:
        item = {"source": "s", "file": "long.txt", "place": part.place,
                "content_hash": text_hash(part.text).hex()}  # fmt: skip
        found = text_again(recipe, item, [tmp_path])
        assert found.is_text_file and found.text == part.text
        assert content.splitlines()[part.place - 1] == part.text.splitlines()[0]
