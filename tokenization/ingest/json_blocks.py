"""A block of JSON Lines straight into columns, where every line is an ordinary row; None where one isn't.

Arrow's reader is strict and makes no Python object a row, so it reads what nearly all files hold: one object a line,
text in its field, ids of one type. What it would take otherwise than `orjson` does (NaN, two objects on a line, bytes
that are no UTF-8, nesting or numbers without end) is looked for first. So a row comes out the same whether its block
went this way or, because of a neighbour, row by row (see rows).

Price: about 5 ms a megabyte, most of it Arrow's parser, without the GIL.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.json as pj
from numpy.typing import NDArray

from tokenization.scanning import places_where

DEEP = 1000  # openings on one line below which no reader's limit on nesting is near
_BEFORE_A_VALUE = (b":", b",", b"[", b"")  # nothing: more blanks than were looked at
_NEAR = 32
_STRIDE = 64  # four of these in a row are digits in every number of 309 digits or more, which is no double


def parse_block(
    block: bytes, text_field: str, id_field: str
) -> tuple[pa.LargeStringArray, pa.StringArray] | None:
    """(texts, ids as text or null) of lines that each are an object with a text; None where any line is else."""
    edges = line_edges(block)
    if edges is None or text_field == id_field or not _is_utf8(block):
        return None
    starts, ends = edges
    suspects = _suspects(block, starts)
    if not all(_is_object(block[starts[line] : ends[line]]) for line in suspects):
        return None
    id_type = _type_of_id(block[: ends[0]], id_field)
    if id_type is None:
        return None
    try:
        table = pj.read_json(
            pa.BufferReader(block),
            read_options=pj.ReadOptions(use_threads=False, block_size=len(block) + 1),
            parse_options=pj.ParseOptions(
                explicit_schema=pa.schema([(text_field, pa.large_string()), (id_field, id_type)]),
                unexpected_field_behavior="ignore",
            ),
        )
    except pa.ArrowInvalid:
        return None
    texts = table.column(text_field)
    if len(table) != len(starts) or texts.null_count:
        return None
    return texts.combine_chunks(), ids_as_text(table.column(id_field).combine_chunks())


def ids_as_text(ids: pa.Array) -> pa.StringArray:
    """Own ids as text, null where a row has none: whole numbers and strings name a row, nothing else does."""
    import pyarrow.compute as pc

    if pa.types.is_integer(ids.type):
        return ids.cast(pa.string())
    if not (pa.types.is_string(ids.type) or pa.types.is_large_string(ids.type)):
        return pa.nulls(len(ids), pa.string())
    ids = ids.cast(pa.string())
    return pc.if_else(pc.equal(ids, ""), pa.scalar(None, pa.string()), ids)


def line_edges(block: bytes) -> tuple[NDArray[np.int64], NDArray[np.int64]] | None:
    """Where each line begins and ends, where each begins with `{` and ends with `}`: then no object spans two."""
    data = np.frombuffer(block, np.uint8)
    ends = places_where(data, lambda piece: piece == ord("\n"))
    if not block.endswith(b"\n"):
        ends = np.append(ends, len(block))
    starts = np.concatenate([[0], ends[:-1] + 1])
    if not len(ends) or bool((ends - starts < 3).any()) or bool((data[starts] != ord("{")).any()):
        return None
    last = data[ends - 1]
    last = np.where(last == ord("\r"), data[ends - 2], last)
    return None if bool((last != ord("}")).any()) else (starts, ends)


def _is_utf8(block: bytes) -> bool:
    try:
        _as_text(block).validate(full=True)
    except pa.ArrowInvalid:
        return False
    return True


def _as_text(block: bytes) -> pa.LargeStringArray:
    """A column of one text, the block as it stands."""
    offsets = pa.py_buffer(np.array([0, len(block)], np.int64))
    return pa.LargeStringArray.from_buffers(1, offsets, pa.py_buffer(block))


def _suspects(block: bytes, starts: NDArray[np.int64]) -> list[int]:
    """Lines that the two readers might take differently."""
    data = np.frombuffer(block, np.uint8)
    places = [
        at
        for at in _odd_numbers(data)
        if block[max(0, at - _NEAR) : at].rstrip(b"- \t\r")[-1:] in _BEFORE_A_VALUE
    ]
    digit = (data[::_STRIDE] ^ 0x30) < 10
    runs = digit[3:] & digit[2:-1] & digit[1:-2] & digit[:-3] if len(digit) > 3 else digit[:0]
    places += (np.flatnonzero(runs) * _STRIDE).tolist()
    lines = set((np.searchsorted(starts, places, side="right") - 1).tolist())
    openings = places_where(data, lambda piece: (piece | 0x20) == ord("{"))  # [ and {
    if len(openings) > DEEP:
        edges = np.searchsorted(openings, np.append(starts, len(block)))
        lines.update(np.flatnonzero(np.diff(edges) > DEEP).tolist())
    return sorted(lines)


def _odd_numbers(data: NDArray[np.uint8]) -> list[int]:
    """Where NaN or Inf stands, in text or not."""
    at = places_where(data, lambda piece: (piece == ord("N")) | (piece == ord("I")))
    at = at[at < len(data) - 2]
    words = np.stack([data[at], data[at + 1], data[at + 2]], axis=1)
    found = [(words == np.frombuffer(word, np.uint8)).all(axis=1) for word in (b"NaN", b"Inf")]
    places: list[int] = at[found[0] | found[1]].tolist()
    return places


def _is_object(line: bytes) -> bool:
    try:
        return isinstance(orjson.loads(line), dict)
    except orjson.JSONDecodeError:
        return False


def _type_of_id(line: bytes, id_field: str) -> pa.DataType | None:
    """What the first row's id is; Arrow refuses another type further down. None where it is no id at all."""
    try:
        row: Any = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    value = row.get(id_field)
    if type(value) is int:
        return pa.int64()
    return pa.string() if value is None or type(value) is str else None
