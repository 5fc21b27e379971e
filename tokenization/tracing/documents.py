"""A text's token: its characters in the document, and the line they stand on.

Counted in the source's text, encoded again with the build's tokenizer, where that text is still there and gives the
tokens of the dataset; else in what the document's own tokens spell, where the build shows it from its beginning.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc

from tokenization import shards
from tokenization.tracing.spelling import Characters, Spelled, count_characters, whole_characters

SPACE = b" "


@dataclass(frozen=True)
class InDocument:
    """Where a token stands in its document's text; line and column count from 1."""

    characters: Characters
    line: int
    column: int
    counted_in: str  # "source" | "tokens"
    exact: bool  # False: the tokenizer rewrites text, so these are characters of what its tokens spell


def in_source(
    text: str, ids: Sequence[int], token_bytes: Sequence[bytes], segment: tuple[int, list[int]], token: int
) -> InDocument | None:
    """In the source's text; `ids` are those of the whole text with the document end, `token_bytes` what they spell,
    `segment` its first token and its ids in the dataset. None where the dataset has other tokens, or the tokens spell
    another text."""
    start, shown = segment
    if list(ids[start : start + len(shown)]) != shown:
        return None
    spelled = Spelled.of(text, b"".join(token_bytes[:-1]))
    if spelled is None:
        return None
    begin = sum(map(len, token_bytes[:token]))
    ends_here = token == len(ids) - 1  # the document end stands behind the last character
    end = begin if ends_here else begin + len(token_bytes[token])
    return _told(spelled.text, *spelled.place(begin, end), "source", True)


def in_tokens(token_bytes: Sequence[bytes], token: int, *, prefixed: bool, exact: bool) -> InDocument:
    """In what the document's first tokens spell, the token and what is known behind it among them, the document end
    as nothing; `prefixed`: the tokenizer puts a space in front."""
    raw = b"".join(token_bytes)
    begin = sum(map(len, token_bytes[:token]))
    end = begin + len(token_bytes[token])
    if prefixed and raw.startswith(SPACE):
        raw, begin, end = raw[1:], max(0, begin - 1), max(0, end - 1)
    return _told(raw, begin, end, "tokens", exact)


def _told(raw: bytes, begin: int, end: int, counted_in: str, exact: bool) -> InDocument:
    found = whole_characters(raw, begin, end)
    before = raw[: begin - found.first_byte]
    column = count_characters(before[before.rfind(b"\n") + 1 :]) + 1
    return InDocument(found, before.count(b"\n") + 1, column, counted_in, exact)


def ids_before(build: Path, split: str, source: str, item: str, start: int) -> list[int] | None:
    """The ids of an item's tokens before token `start`, from the split's segments; None where some are not there."""
    pieces: dict[int, list[int]] = {}
    for batch in shards.read_split(build / "dataset" / split):
        segments = batch.column("segments")
        fields = segments.flatten()
        hit = pc.and_(pc.equal(fields.field("item"), item), pc.equal(fields.field("source"), source))
        if not pc.any(hit).as_py():
            continue
        offsets = segments.offsets.to_numpy() - segments.offsets[0].as_py()
        rows = np.searchsorted(offsets, np.flatnonzero(hit.to_numpy(zero_copy_only=False)), side="right") - 1
        for row in np.unique(rows).tolist():
            values = batch.slice(row, 1).select(["input_ids", "segments"]).to_pylist()[0]
            pieces |= _pieces(values, source, item)
    ids: list[int] = []
    while len(ids) < start:
        piece = pieces.get(len(ids))
        if piece is None:
            return None
        ids += piece
    return ids[:start]


def _pieces(row: dict[str, Any], source: str, item: str) -> dict[int, list[int]]:
    found = {}
    begin = 0
    for segment in row["segments"]:
        end = begin + segment["length"]
        if (segment["source"], segment["item"]) == (source, item):
            found[segment["start"]] = row["input_ids"][begin:end]
        begin = end
    return found
