"""A quarantine read without its rows tells what it tells when read whole."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tokenization.build.quarantined import SetAsideLine, set_aside_lines

TEXT = st.text(st.one_of(st.characters(codec="utf-8"), st.sampled_from(',"row{}:\\')), max_size=12)
LINES = st.fixed_dictionaries(
    {
        "source": TEXT,
        "file": TEXT,
        "place": st.integers(0, 9) | st.none(),
        "item": TEXT | st.none(),
        "stage": TEXT,
        "reason": TEXT,
        "detail": TEXT,
    }
)


@given(
    told=LINES,
    row=TEXT,
    name=st.sampled_from(["row", "row_base64"]),
    more=st.sampled_from([{}, {"overlap": {"row": 1}}]),
)
@example(
    told=dict.fromkeys(["source", "stage", "reason"], ',"row":"'), row=',"row":"x"}', name="row", more={}
)
def test_what_a_line_tells_is_all_that_stands_before_its_row(
    told: dict[str, Any], row: str, name: str, more: dict[str, Any]
) -> None:
    line = SetAsideLine.of(orjson.dumps({**told, name: row, **more}) + b"\n")
    assert line.told == told, "the row itself is not parsed"
    assert line.whole() == {**told, name: row, **more}


@pytest.mark.parametrize(
    "line",
    [
        '{"row": "first", "source": "s", "stage": "ingest", "reason": "r"}\n',  # members in another order
        '{"source":"s","row":"x","stage":"ingest","reason":"r"}\n',  # the row before the reason
        '{"source": "s", "stage": "ingest", "reason": "r", "row": "x"}\n',  # blanks between
        '{"source":"s","stage":"ingest","reason":"r"}\n',  # no row
        '{"source":"s","stage":"ingest","reason":"r","row":"x"}',  # no line end
    ],
)
def test_a_line_of_another_form_is_read_whole(line: str) -> None:
    read = SetAsideLine.of(line.encode())
    assert read.told == read.whole() == json.loads(line)


def test_a_broken_line_is_not_passed_over() -> None:
    with pytest.raises(orjson.JSONDecodeError):
        SetAsideLine.of(b'{"source":"s","stage":"ingest","reason":"r","row":"x\n')


def test_lines_come_by_file_and_of_one_source_where_one_is_named(tmp_path: Path) -> None:
    (tmp_path / "quarantine").mkdir()
    for source in ("b", "a"):
        lines = [
            orjson.dumps({"source": source, "stage": "ingest", "reason": f"r{number}", "row": "x"}) + b"\n"
            for number in range(2)
        ]
        (tmp_path / "quarantine" / f"{source}.jsonl").write_bytes(b"".join(lines))
    told = [(line.told["source"], line.told["reason"]) for line in set_aside_lines(tmp_path)]
    assert told == [("a", "r0"), ("a", "r1"), ("b", "r0"), ("b", "r1")]
    assert [line.told["source"] for line in set_aside_lines(tmp_path, "b")] == ["b", "b"]
