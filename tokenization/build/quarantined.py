"""What a build set aside, line by line of its quarantine; the row itself is read only where it is asked for.

A line says where a row came from and why it was set aside, and then gives the row, a text of any length: what only
counts reasons need not parse it. Quotes within JSON's strings are escaped, so the first `,"row` begins that member.

Guarantees: what is told is what the whole line tells; a line of another form is parsed whole. What is broken within a
row is seen by who asks for the row. Price: the reading of its bytes, half the time of parsing lines of some kilobytes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

ROW = b',"row'  # `row`, or `row_base64` where the row's bytes are no UTF-8
TOLD = {"source", "stage", "reason"}  # what every reader asks for


@dataclass(frozen=True)
class SetAsideLine:
    """One row that was set aside."""

    told: dict[str, Any]  # source, file, place, item, stage, reason, detail
    line: bytes

    @classmethod
    def of(cls, line: bytes) -> SetAsideLine:
        begin = line.find(ROW)
        if begin > 0 and line.endswith(b"}\n"):
            told = orjson.loads(line[:begin] + b"}")
            if told.keys() >= TOLD:
                return cls(told, line)
        return cls(orjson.loads(line), line)

    def whole(self) -> dict[str, Any]:
        """All of the line, the row with it."""
        value: dict[str, Any] = orjson.loads(self.line)
        return value


def set_aside_lines(build: Path, source: str | None = None) -> Iterator[SetAsideLine]:
    """What was set aside, of all sources or of one, in the order of the files."""
    for path in sorted((build / "quarantine").glob("*.jsonl")):
        if source in (None, path.stem):
            with open(path, "rb") as lines:
                yield from map(SetAsideLine.of, lines)
