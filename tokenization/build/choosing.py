"""Which items of a build are worth looking at: of texts the first few, of sessions what tells them apart.

One pass over the items, as they are written or a row group of items.parquet at a time; of each source only what is
chosen is held, whole. Price: about 1 µs a session, and what reading the file costs where it is read.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tokenization.sequences import BoolArray
from tokenization.texts import containing

SESSIONS_PER_SOURCE = 14
DOCUMENTS_PER_SOURCE = 2
ROLES_LOOKED_FOR = 2000  # sessions of a source whose roles are read
FIELDS = '"reasoning_content":', '"tool_calls":'  # a session with each is shown

Item = dict[str, Any]  # a row of items.parquet
Chosen = Mapping[tuple[str, str], Item]  # by (source, item)


class Choosing:
    """The choice among items that come in the order of items.parquet; `counts` says how many each source has."""

    def __init__(self, counts: Mapping[str, int]) -> None:
        self._sources = {name: _Telling(count) for name, count in counts.items()}

    def look(self, items: pa.Table) -> None:
        """The next rows, with all their columns."""
        for name, part in _by_source(items):
            self._sources[name].look(part)

    def chosen(self) -> Chosen:
        """What is shown."""
        return {
            (name, row["item"]): row for name, telling in self._sources.items() for row in telling.chosen()
        }


def chosen_items(build: Path) -> Chosen:
    """The same choice made from a build."""
    with pq.ParquetFile(build / "items.parquet") as file:
        counts: Counter[str] = Counter()
        for group in range(file.num_row_groups):
            for name, part in _by_source(file.read_row_group(group, columns=["source"])):
                counts[name] += len(part)
        choosing = Choosing(counts)
        for group in range(file.num_row_groups):
            choosing.look(file.read_row_group(group))
    return choosing.chosen()


def _by_source(table: pa.Table) -> Iterator[tuple[str, pa.Table]]:
    """The runs of rows of one source."""
    column = table.column("source").combine_chunks().dictionary_encode()
    if not len(column):
        return
    number = column.indices.to_numpy()
    borders = [0, *(np.flatnonzero(np.diff(number)) + 1).tolist(), len(number)]
    for first, last in pairwise(borders):
        yield column.dictionary[int(number[first])].as_py(), table.slice(first, last - first)


@dataclass
class _Telling:
    """What of one source is worth looking at, as far as it has been read."""

    count: int  # rows of the source
    seen: int = 0
    most_tokens: int = -1
    longest: list[Item] = field(default_factory=list)
    first: list[Item] = field(default_factory=list)
    acted: list[Item] = field(default_factory=list)  # a policy did something
    with_tools: list[Item] = field(default_factory=list)
    with_field: dict[str, Item] = field(default_factory=dict)
    roles: set[str] = field(default_factory=set)
    new_roles: list[Item] = field(default_factory=list)
    spread: list[Item] = field(default_factory=list)  # evenly over the source

    def look(self, part: pa.Table) -> None:
        """The source's next rows."""
        if len(self.first) < DOCUMENTS_PER_SOURCE:
            self.first += part.slice(0, DOCUMENTS_PER_SOURCE - len(self.first)).to_pylist()
        if part.column("kind")[0].as_py() != "pretrain":
            self._look_at_sessions(part)
        self.seen += len(part)

    def _look_at_sessions(self, part: pa.Table) -> None:
        lengths = part.column("num_tokens").to_numpy()
        place = int(np.argmax(lengths))
        if int(lengths[place]) > self.most_tokens:
            self.most_tokens, self.longest = int(lengths[place]), [_row(part, place)]
        acted = pc.fill_null(pc.greater(pc.list_value_length(part.column("actions")), 0), False)
        self.acted += _first(part, acted.to_numpy(zero_copy_only=False), 3 - len(self.acted))
        with_tools = pc.is_valid(part.column("tools")).to_numpy(zero_copy_only=False)
        self.with_tools += _first(part, with_tools, 2 - len(self.with_tools))
        messages = part.column("messages")
        for name in FIELDS:
            if name not in self.with_field:
                first = _first_with(messages, name)
                if first is not None:
                    self.with_field[name] = _row(part, first)
        for row, text in enumerate(messages.slice(0, max(0, ROLES_LOOKED_FOR - self.seen)).to_pylist()):
            roles = {message["role"] for message in orjson.loads(text)}
            if not roles <= self.roles:
                self.roles |= roles
                self.new_roles.append(_row(part, row))
        step = max(1, self.count // SESSIONS_PER_SOURCE)
        self.spread += [_row(part, row) for row in range(-self.seen % step, len(part), step)]

    def chosen(self) -> list[Item]:
        """The items, those that say most first."""
        if not self.longest:
            return self.first
        told = [self.with_field[name] for name in FIELDS if name in self.with_field]
        items = [*self.longest, *self.acted, *self.with_tools, *told, *self.new_roles, *self.spread]
        return list({row["item"]: row for row in items}.values())[:SESSIONS_PER_SOURCE]


def _row(part: pa.Table, place: int) -> Item:
    row: Item = part.slice(place, 1).to_pylist()[0]
    return row


def _first(part: pa.Table, which: BoolArray, count: int) -> list[Item]:
    return [_row(part, place) for place in np.flatnonzero(which)[: max(0, count)].tolist()]


def _first_with(messages: pa.ChunkedArray, text: str) -> int | None:
    """The first row whose JSON holds this text; its quotes are not escaped, so that no string within can say it."""
    before = 0
    for chunk in messages.chunks:
        found = np.flatnonzero(containing(chunk, text))
        if len(found):
            return before + int(found[0])
        before += len(chunk)
    return None
