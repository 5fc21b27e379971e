"""A block of lines gives the same texts and ids in one go as row by row, or it isn't taken in one go."""

from __future__ import annotations

import json
from pathlib import Path

import orjson
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenization.ingest.chunks import plan_chunks
from tokenization.ingest.cleaning import CleaningOptions
from tokenization.ingest.corpus import TextOptions, read_documents
from tokenization.ingest.files import resolve_files
from tokenization.ingest.json_blocks import parse_block
from tokenization.ingest.text_fields import own_id_text

ORDINARY = '{"id": 1, "text": "plain"}'
ODD = {
    "a number for a text": '{"id": 2, "text": 5}',
    "no text": '{"id": 2}',
    "a null text": '{"id": 2, "text": null}',
    "an object for a text": '{"text": {"a": 1}}',
    "a broken line": '{"text": "a"',
    "two objects on a line": '{"text": "a"}{"text": "b"}',
    "an object over two lines": '{"text": "a", "x":\n{}}',
    "something behind the object": '{"text": "a"} x',
    "a blank line": "",
    "a list": '["text"]',
    "a key twice": '{"text": "a", "text": "b"}',
    "a lone surrogate": '{"text": "\\ud800"}',
    "a lone surrogate elsewhere": '{"text": "a", "x": "\\ud800"}',
    "no number": '{"text": "a", "x": NaN}',
    "an endless number": '{"text": "a", "x": [-Infinity]}',
    "a number without end": '{"text": "a", "x": ' + "9" * 400 + "}",
    "a nest without end": '{"text": "a", "x": ' + "[" * 3000 + "]" * 3000 + "}",
    "another type of id": '{"id": "two", "text": "a"}',
    "an id that is no id": '{"id": 1.5, "text": "a"}',
    "a yes for an id": '{"id": true, "text": "a"}',
    "a huge id": '{"id": 123456789012345678901234567890, "text": "a"}',
    "a control character": '{"text": "a\x01"}',
    "a comma too many": '{"text": "a",}',
}


def by_rows(block: bytes) -> tuple[list[str], list[str | None]] | None:
    """What an ordinary block holds, from each line by itself."""
    try:
        rows = [orjson.loads(line) for line in block.splitlines()]
    except orjson.JSONDecodeError:
        return None
    if not all(isinstance(row, dict) and isinstance(row.get("text"), str) for row in rows):
        return None
    return [row["text"] for row in rows], [own_id_text(row.get("id")) for row in rows]


def in_one_go(block: bytes) -> tuple[list[str], list[str | None]] | None:
    columns = parse_block(block, "text", "id")
    return None if columns is None else (columns[0].to_pylist(), columns[1].to_pylist())


@pytest.mark.parametrize("odd", ODD.values(), ids=ODD.keys())
@pytest.mark.parametrize("place", [0, 1])
def test_a_row_that_is_not_ordinary_sends_its_block_the_slow_way(odd: str, place: int) -> None:
    lines = [ORDINARY, ORDINARY]
    lines.insert(place, odd)
    assert in_one_go(("\n".join(lines) + "\n").encode()) is None
    assert in_one_go(f"{ORDINARY}\n{ORDINARY}\n".encode()) == (["plain"] * 2, ["1"] * 2)


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_ordinary_lines_are_taken_in_one_go_also_with_words_that_look_odd(ending: str) -> None:
    rows = [
        {"id": "a", "text": 'x: NaN, [-Infinity] {"k": NaN} ' + "7" * 500},
        {"id": "", "text": "[" * 2000, "x": [1, {"text": "inner"}]},
        {"text": "漢字 \U0001f600 \x00", "more": {"deep": [[[]]], "n": -0.5e-7}},
        {"id": None, "text": ""},
    ]
    block = ending.join(json.dumps(row) for row in rows).encode()
    expected = [row["text"] for row in rows], ["a", None, None, None]
    assert in_one_go(block) == in_one_go(block + ending.encode()) == expected


_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=2), inner, max_size=2),
    max_leaves=4,
)
_rows = st.fixed_dictionaries(
    {"text": st.text(max_size=8)},
    optional={"id": st.integers() | st.text(max_size=3) | st.none(), "x": _values, "é": _values},
)


@given(st.lists(_rows, min_size=1, max_size=4), st.booleans())
def test_what_comes_in_one_go_is_what_comes_row_by_row(rows: list[dict[str, object]], escaped: bool) -> None:
    block = "\n".join(json.dumps(row, ensure_ascii=escaped) for row in rows).encode("utf-8", "surrogatepass")
    found = in_one_go(block)
    assert found is None or found == by_rows(block)


@given(st.binary(max_size=12), st.sampled_from([b'{"text": "a', b'{"text": ', b'{"text": "a", "x": ']))
def test_garbage_is_never_taken_for_a_row(garbage: bytes, head: bytes) -> None:
    for block in (head + garbage + b'"}', head + garbage + b"}", garbage):
        found = in_one_go(block)
        assert found is None or found == by_rows(block)


@pytest.mark.parametrize("odd", ODD.values(), ids=ODD.keys())
def test_a_document_is_the_same_whatever_stands_beside_it(tmp_path: Path, odd: str) -> None:
    def read(lines: list[str], name: str) -> list[dict[str, object]]:
        path = tmp_path / name
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        files = resolve_files(str(path), tmp_path, source="s")
        batches = [
            batch
            for chunk in plan_chunks(files, ["0"])
            for batch in read_documents(chunk, TextOptions("text"), CleaningOptions())
        ]
        return pa.concat_tables([batch.documents for batch in batches]).select(["own_id", "text"]).to_pylist()

    ordinary = [ORDINARY, '{"id": 7, "text": "e\\u0301"}']
    alone, beside = read(ordinary, "alone.jsonl"), read([*ordinary, odd], "beside.jsonl")
    assert beside[:2] == alone == [{"own_id": "1", "text": "plain"}, {"own_id": "7", "text": "é"}]
