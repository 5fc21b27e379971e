"""Documents come out of every format alike, and what can't be read is set aside with its place."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import orjson
import pyarrow as pa
import pyarrow.csv
import pyarrow.feather
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ingest_sources import lines, list_files, read_text, without, write

from tokenization.errors import BuildError, RecipeError
from tokenization.hashing import text_hash
from tokenization.ingest.chunks import plan_chunks
from tokenization.ingest.cleaning import CleaningOptions
from tokenization.ingest.corpus import TextOptions, check_text_fields, read_documents, refuse_unreadable

ROWS = [
    {"id": "a", "text": "Plain words.", "lang": "en"},
    {"id": "b", "text": 'A "quoted", line\nand [brackets} \\ and a slash\\', "lang": "en"},
    {"id": "c", "text": "红楼梦：满纸荒唐言，一把辛酸泪。", "lang": "zh"},
    {"id": "d", "text": "😀 tabs\tand more", "lang": "x"},
]
TEXTS = [row["text"] for row in ROWS]
TABLE = pa.Table.from_pylist(ROWS)


def _arrow_stream(path: Path) -> None:
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, TABLE.schema) as writer:
        writer.write_table(TABLE, max_chunksize=3)


def _arrow_file(path: Path) -> None:
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, TABLE.schema) as writer:
        writer.write_table(TABLE, max_chunksize=3)


def _csv(delimiter: str) -> Callable[[Path], None]:
    options = pa.csv.WriteOptions(delimiter=delimiter)
    return lambda path: pa.csv.write_csv(TABLE, path, options)


WRITERS: dict[str, Callable[[Path], object]] = {
    "rows.jsonl": lambda path: write(path, lines(*ROWS)),
    "crlf.jsonl": lambda path: write(path, lines(*ROWS).replace(b"\n", b"\r\n")),
    "no-last-newline.jsonl": lambda path: write(path, lines(*ROWS).rstrip()),
    "marked.jsonl": lambda path: write(path, b"\xef\xbb\xbf" + lines(*ROWS)),
    "rows.ndjson": lambda path: write(path, lines(*ROWS)),
    "rows.jsonl.gz": lambda path: write(path, lines(*ROWS)),
    "rows.jsonl.zst": lambda path: write(path, lines(*ROWS)),
    "array.json": lambda path: write(path, json.dumps(ROWS)),
    "pretty.json": lambda path: write(path, json.dumps(ROWS, indent=2, ensure_ascii=False)),
    "array.json.gz": lambda path: write(path, json.dumps(ROWS, indent=2)),
    "array.jsonl": lambda path: write(path, json.dumps(ROWS, indent=2)),
    "one-line-array.jsonl": lambda path: write(path, json.dumps(ROWS)),
    "lines.json": lambda path: write(path, lines(*ROWS)),
    "values.json": lambda path: write(path, "\n".join(json.dumps(row, indent=1) for row in ROWS)),
    "rows.parquet": lambda path: pq.write_table(TABLE, path, row_group_size=3),
    "rows.feather": lambda path: pyarrow.feather.write_feather(TABLE, str(path), compression="lz4"),
    "file.arrow": _arrow_file,
    "stream.arrow": _arrow_stream,
    "rows.csv": _csv(","),
    "rows.tsv": _csv("\t"),
}


@pytest.mark.parametrize("name", WRITERS)
def test_each_format_gives_the_same_documents(name: str, tmp_path: Path) -> None:
    WRITERS[name](tmp_path / name)
    read = read_text(tmp_path / name)
    assert read.texts == TEXTS
    assert [row["own_id"] for row in read.rows] == ["a", "b", "c", "d"]
    assert [row["place"] for row in read.rows] == [1, 2, 3, 4]
    assert {row["file"] for row in read.rows} == {name}
    assert [row["hash"] for row in read.rows] == [text_hash(text) for text in TEXTS]
    assert not read.set_aside


@pytest.mark.parametrize(
    "name", ["note.txt", "note.md", "note.rst", "code.py", "note.txt.gz", "note.unknown"]
)
def test_a_text_file_is_one_document(name: str, tmp_path: Path) -> None:
    read = read_text(write(tmp_path / name, "First line\r\nsecond\n"))
    assert read.texts == ["First line\nsecond\n"]
    assert (read.rows[0]["place"], read.rows[0]["own_id"], read.rows[0]["file"]) == (0, None, name)


_texts = st.text(st.sampled_from('ab\n\r"\\{}[], 红é\u0301\x00\ufeff'), max_size=40)
_values = st.one_of(
    st.builds(lambda text: orjson.dumps({"text": text}), _texts),
    st.sampled_from(
        [b"", b"  ", b"{broken", b'{"other": 1}', b'{"text": null}', b"[1]", b'"x"', b'{"text": 5}']
    ),
)


@settings(max_examples=60, deadline=None)
@given(values=st.lists(_values, min_size=1, max_size=30), chunk_bytes=st.integers(1, 200))
def test_chunks_of_any_size_give_the_same_documents_and_places(
    tmp_path_factory: pytest.TempPathFactory, values: list[bytes], chunk_bytes: int
) -> None:
    rows = [orjson.dumps({"text": "first"}), *values]
    path = write(tmp_path_factory.mktemp("rows") / "rows.jsonl", lines(*rows))
    whole = read_text(path)
    cut = read_text(path, chunk_bytes=chunk_bytes, group_bytes=0)
    assert cut.rows == whole.rows
    assert sorted(map(str, cut.set_aside)) == sorted(map(str, whole.set_aside))
    assert cut.rows_read == whole.rows_read == sum(1 for row in rows if row.strip())
    for row in [*whole.rows, *whole.set_aside]:
        assert row.get("row", rows[row["place"] - 1]) == rows[row["place"] - 1], "the place leads to the row"


@pytest.mark.parametrize("newline", [b"\n", b"\r\n"])
def test_a_cut_at_each_byte_of_a_file_loses_no_line(tmp_path: Path, newline: bytes) -> None:
    data = lines({"text": "a"}, b"", {"text": "bb"}, {"text": "红"}, {"text": "d"}).replace(b"\n", newline)
    path = write(tmp_path / "rows.jsonl", data)
    for chunk_bytes in range(1, len(data) + 2):
        read = read_text(path, chunk_bytes=chunk_bytes, group_bytes=0)
        assert [(row["place"], row["text"]) for row in read.rows] == [
            (1, "a"),
            (3, "bb"),
            (4, "红"),
            (5, "d"),
        ]


@pytest.mark.parametrize("name", ["rows.parquet", "file.arrow", "stream.arrow"])
def test_tables_cut_into_chunks_keep_their_rows_and_places(name: str, tmp_path: Path) -> None:
    WRITERS[name](tmp_path / name)
    cut = read_text(tmp_path / name, chunk_bytes=1, group_bytes=0)
    assert len(cut.chunks) == 2
    assert cut.rows == read_text(tmp_path / name).rows


def test_what_cannot_be_read_is_set_aside_with_file_place_and_reason(tmp_path: Path) -> None:
    bad = {
        2: (b'{"text": "open', "invalid_json"),
        3: (b'{"id": 7, "body": "elsewhere"}', "missing_field"),
        4: (b'{"id": "n", "text": null}', "empty"),
        5: (b'{"text": ["a", "list"]}', "wrong_type"),
        6: (b'{"text": "  \\n "}', "empty"),
        7: (b'{"text": "caf\xe9"}', "undecodable"),
        8: (b'{"text": NaN}', "invalid_json"),
        9: (b"[1, 2]", "wrong_type"),
        10: (b'{"text": "short"}', "too_short"),
    }
    path = write(
        tmp_path / "rows.jsonl", lines({"text": "long enough"}, *(row for row, _ in bad.values()), b"")
    )
    read = read_text(path, cleaning=CleaningOptions(min_characters=6))
    assert read.texts == ["long enough"]
    assert read.reasons == [(place, reason) for place, (_, reason) in bad.items()]
    by_place = {row["place"]: row for row in read.set_aside}
    assert all(by_place[place]["row"] == row for place, (row, _) in bad.items())
    assert {row["file"] for row in read.set_aside} == {"rows.jsonl"}
    assert by_place[3]["own_id"] == "7" and "id, body" in by_place[3]["detail"]
    assert "min_characters=6" in by_place[10]["detail"]


def test_lone_surrogates_in_json_are_replaced_and_counted(tmp_path: Path) -> None:
    read = read_text(write(tmp_path / "rows.jsonl", b'{"text": "a\\ud800b \\ud83d\\ude00"}\n'))
    assert read.texts == ["a\ufffdb 😀"]
    assert read.changes == {"surrogates_replaced": 1}


def test_a_broken_element_of_an_array_is_set_aside_and_its_neighbours_are_kept(tmp_path: Path) -> None:
    read = read_text(write(tmp_path / "rows.json", b'[{"text": "a"}, {"text": tru}, {"text": "c"}]'))
    assert read.texts == ["a", "c"]
    assert read.reasons == [(2, "invalid_json")]
    assert read.set_aside[0]["row"] == b'{"text": tru}'


def test_an_array_that_ends_too_early_keeps_what_came_before(tmp_path: Path) -> None:
    read = read_text(write(tmp_path / "rows.json", b'[{"text": "a"}, {"text": "b"}, {"text": "c'))
    assert read.texts == ["a", "b"]
    assert read.reasons == [(3, "invalid_json")]


def test_a_csv_row_with_other_cells_than_the_header_is_set_aside(tmp_path: Path) -> None:
    read = read_text(
        write(tmp_path / "rows.csv", 'id,text\n1,one\n2,two,too much\n3,"three\nlines, quoted"\n')
    )
    assert read.texts == ["one", "three\nlines, quoted"]
    assert read.reasons == [(2, "invalid_row")]
    assert [row["own_id"] for row in read.rows] == ["1", "3"]


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("bad.parquet", b"PAR1 and then nothing"),
        ("bad.arrow", b"no arrow at all"),
        ("bad.feather", b""),
        ("bad.jsonl.zst", None),
        ("bad.txt.gz", None),
    ],
)
def test_a_broken_file_among_others_is_set_aside_and_alone_is_an_error(
    name: str, data: bytes | None, tmp_path: Path
) -> None:
    path = tmp_path / name
    path.write_bytes(b"not compressed" if data is None else data)
    alone = read_text(path)
    assert alone.reasons == [(0, "unreadable_file")] and not alone.rows
    table = next(read_documents(alone.chunks[0], TextOptions(), CleaningOptions())).set_aside
    with pytest.raises(RecipeError, match=f"source 'docs': no file can be read; {name} "):
        refuse_unreadable(list_files(path), table, source="docs")
    write(tmp_path / "good.jsonl", lines({"text": "still here"}))
    assert read_text(tmp_path).texts == ["still here"]
    refuse_unreadable(list_files(tmp_path), table, source="docs")


def test_a_truncated_gzip_keeps_the_batches_before_the_break(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.jsonl.gz", lines(*({"text": f"row {n} " * 500} for n in range(5000))))
    path.write_bytes(path.read_bytes()[:-2000])
    read = read_text(path)
    assert read.reasons == [(0, "unreadable_file")]
    assert 1000 < len(read.rows) < 5000


def test_a_file_that_is_no_text_is_set_aside_as_undecodable(tmp_path: Path) -> None:
    write(tmp_path / "photo.txt", bytes(range(256)) * 40)
    write(tmp_path / "note.txt", "words")
    read = read_text(tmp_path)
    assert read.texts == ["words"]
    assert read.set_aside[0]["file"] == "photo.txt" and read.set_aside[0]["reason"] == "undecodable"


def test_an_empty_file_is_set_aside_as_empty(tmp_path: Path) -> None:
    assert read_text(write(tmp_path / "nothing.txt", "")).reasons == [(0, "empty")]
    assert read_text(write(tmp_path / "nothing.jsonl", "")).rows_read == 0


@pytest.mark.parametrize("field", ["content", "body", "document"])
def test_the_usual_names_are_tried_where_no_row_has_text(field: str, tmp_path: Path) -> None:
    path = write(tmp_path / "rows.jsonl", lines({field: "words"}, {"other": 1}))
    read = read_text(path)
    assert read.texts == ["words"] and read.reasons == [(2, "missing_field")]
    assert without(read_text(path, TextOptions(field)).rows) == read.rows


def test_no_text_field_in_any_file_is_an_error_that_names_the_columns(tmp_path: Path) -> None:
    write(tmp_path / "rows.jsonl", lines({"id": 1, "story": "words"}))
    pq.write_table(pa.table({"prose": ["words"]}), tmp_path / "rows.parquet")
    files = list_files(tmp_path)
    with pytest.raises(RecipeError, match=r"the rows have id, story, prose\. .* text_field:"):
        check_text_fields(files, TextOptions(), source="docs")
    check_text_fields(files, TextOptions("prose"), source="docs")
    with pytest.raises(RecipeError, match="no row has the field 'porse'"):
        check_text_fields(files, TextOptions("porse"), source="docs")


def test_a_file_that_changed_after_it_was_listed_breaks_the_run(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.jsonl", lines({"text": "before"}))
    files = list_files(path)
    write(path, lines({"text": "after that"}))
    with pytest.raises(BuildError, match="changed after it was listed"):
        list(read_documents(plan_chunks(files, ["x"])[0], TextOptions("text"), CleaningOptions()))


def test_batches_stay_bounded_however_large_the_chunk(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.jsonl.gz", lines(*({"text": "x" * 1_000_000} for _ in range(40))))
    chunk = plan_chunks(list_files(path), ["x"])[0]
    sizes = [batch.documents.nbytes for batch in read_documents(chunk, TextOptions(), CleaningOptions())]
    assert len(sizes) > 3 and max(sizes) < 20 << 20
