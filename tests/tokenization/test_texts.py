"""Columns of texts: what is searched, written and taken apart in them is what Python does text by text."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tokenization.texts import Pieces, containing, edges_of, escaped, joined

TYPES = pytest.mark.parametrize("kind", [pa.string(), pa.large_string()], ids=str)
texts_of_any_kind = st.lists(
    st.text(max_size=12)
    | st.sampled_from(['"', "\\", "\n\n", '\\"\t\r', "\x00", "\x1f\n", "a\x7f", "你\n好"]),
    max_size=8,
).map(lambda texts: [text.encode("utf-8", "replace").decode() for text in texts])


def within(texts: list[str | None], kind: pa.DataType) -> pa.Array:
    """The texts as a part of a longer array, as slices and stored batches are."""
    return pa.array(["before", *texts, "behind"], kind).slice(1, len(texts))


@TYPES
@settings(max_examples=200, deadline=None)
@given(texts=texts_of_any_kind)
def test_an_escaped_text_is_what_json_writes_between_its_quotes(kind: pa.DataType, texts: list[str]) -> None:
    written, rare = escaped(within(texts, kind))
    is_rare = [any(char < " " and char not in "\n\r\t" for char in text) for text in texts]
    assert rare.tolist() == is_rare
    for text, found, left_out in zip(texts, written.to_pylist(), is_rare, strict=True):
        assert left_out or found.decode() == json.dumps(text, ensure_ascii=False)[1:-1]


@TYPES
@given(texts=texts_of_any_kind, part=st.text(min_size=1, max_size=2))
def test_a_part_is_found_in_the_texts_that_hold_it_and_in_nulls(
    kind: pa.DataType, texts: list[str], part: str
) -> None:
    part = part.encode("utf-8", "replace").decode()
    column = within([*texts, None, f"x{part}"], kind)
    assert containing(column, part).tolist() == [*(part in text for text in texts), True, True]


@TYPES
@settings(max_examples=200, deadline=None)
@given(
    texts=texts_of_any_kind.filter(len),
    rows=st.lists(st.lists(st.integers(0, 10**6), max_size=4), max_size=6),
    nulls=st.integers(0, 63),
)
def test_texts_made_of_pieces_are_their_pieces_end_to_end(
    kind: pa.DataType, texts: list[str], rows: list[list[int]], nulls: int
) -> None:
    constants = [b"<|im_start|>", b"", "é".encode()]
    every = [*texts, *(constant.decode() for constant in constants)]
    numbers = [[number % len(every) for number in row] for row in rows]
    is_null = np.array([bool(nulls >> i & 1) for i in range(len(rows))], bool)
    made = Pieces.of(within(texts, kind), constants).written(
        np.array([number for row in numbers for number in row], np.int64),
        np.cumsum([0, *map(len, rows)]),
        is_null,
    )
    made.validate(full=True)
    assert made.to_pylist() == [
        None if null else "".join(every[number] for number in row)
        for row, null in zip(numbers, is_null.tolist(), strict=True)
    ]


@TYPES
def test_edges_are_those_of_the_slice(kind: pa.DataType) -> None:
    column = within(["ab", "", "你"], kind)
    assert np.diff(edges_of(column)).tolist() == [2, 0, 3] and edges_of(column)[0] == len("before")


def test_columns_and_constants_are_joined_row_by_row_and_a_null_makes_a_null() -> None:
    column = pa.array(["a", None], pa.large_string())
    assert joined("<", column, ">", column).to_pylist() == ["<a>a", None]
