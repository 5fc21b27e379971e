"""Rows that could not become items: where each stood, why it was set aside, and the row itself.

One schema for documents and sessions, one list of reasons. A row set aside is neither dropped nor repaired
in silence: it is counted, kept as it came, and can be tried again after a fix.

Guarantees: every reason is one of `REASONS`; `place` is 0 where the whole file is meant. `row` is the row's
own bytes (the line, the array element, or the table row as JSON); of a whole file it is the first 64 KiB.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pyarrow as pa

SET_ASIDE_SCHEMA = pa.schema(
    [
        pa.field("file", pa.string(), nullable=False),  # relative path
        pa.field("place", pa.int64(), nullable=False),  # 1-based line or row, 0 = the whole file
        pa.field("own_id", pa.string()),
        pa.field("reason", pa.string(), nullable=False),  # a key of REASONS
        pa.field("detail", pa.string(), nullable=False),
        pa.field("row", pa.large_binary(), nullable=False),
    ]
)

REASONS: dict[str, str] = {
    "invalid_json": "the line or element is not valid JSON",
    "invalid_row": "a CSV row has more or fewer cells than the header",
    "undecodable": "the bytes are text in no encoding that could be told",
    "unreadable_file": "the file, or what is left of it, cannot be opened as its format",
    "missing_field": "the row has no field of that name",
    "wrong_type": "the field is there and is not what it must be",
    "empty": "no text, or no messages",
    "too_short": "fewer characters than cleaning.min_characters",
    "unknown_role": "a message has a role that the recipe does not declare",
    "no_target": "no message that could be trained",
    "not_a_session": "the row is in no chat format that is known",
    "unsupported_content": "a message holds an image, a sound or another part that is not text",
    "invalid_tools": "tools or tool calls cannot be read",
}

WHOLE_FILE_BYTES = 64 << 10  # of a whole file only so much is kept with the reason


class SetAsideRows:
    """Collects rows set aside and gives them as one table of `SET_ASIDE_SCHEMA`."""

    def __init__(self) -> None:
        self._columns: dict[str, list[Any]] = {name: [] for name in SET_ASIDE_SCHEMA.names}

    def __len__(self) -> int:
        return len(self._columns["file"])

    def add(
        self, file: str, place: int, reason: str, detail: str, row: bytes, own_id: str | None = None
    ) -> None:
        """One row more; a reason that `REASONS` doesn't list is a mistake in the code."""
        if reason not in REASONS:
            raise ValueError(f"unknown reason {reason!r}")
        detail = detail.encode("utf-8", "replace").decode()  # it may quote a lone surrogate
        values = (file, place, own_id, reason, detail, row[:WHOLE_FILE_BYTES] if place == 0 else row)
        for column, value in zip(self._columns.values(), values, strict=True):
            column.append(value)

    def take(self) -> pa.Table:
        """The rows so far, in order; the collection is empty afterwards."""
        table = pa.table(self._columns, schema=SET_ASIDE_SCHEMA)
        for column in self._columns.values():
            column.clear()
        return table


def reason_counts(tables: Iterable[pa.Table]) -> dict[str, int]:
    """How many rows each reason set aside, by falling count."""
    counts: dict[str, int] = {}
    for table in tables:
        for reason in table.column("reason").to_pylist():
            counts[reason] = counts.get(reason, 0) + 1
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))
