"""Which items of a build are worth looking at: of texts the first few, of sessions what tells them apart.

One pass over items.parquet, a row group at a time; of each source only what is chosen is held. Price: what reading the
messages costs, about 3 µs a session.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tokenization.sequences import BoolArray

SESSIONS_PER_SOURCE = 14
DOCUMENTS_PER_SOURCE = 2
ROLES_LOOKED_FOR = 2000  # sessions of a source whose roles are read
FIELDS = '"reasoning_content":', '"tool_calls":'  # a session with each is shown
COLUMNS = ["source", "item", "kind", "num_tokens", "actions", "tools", "messages"]


def chosen_items(build: Path) -> set[tuple[str, str]]:
    """(source, item) of what is shown."""
    sources: dict[str, _Telling] = {}
    with pq.ParquetFile(build / "items.parquet", read_dictionary=["source"]) as file:
        counts = _counts(file)
        for group in range(file.num_row_groups):
            for name, part in _by_source(file.read_row_group(group, columns=COLUMNS)):
                sources.setdefault(name, _Telling(counts[name])).look(part)
    return {(name, item) for name, telling in sources.items() for item in telling.chosen()}


def _counts(file: pq.ParquetFile) -> Counter[str]:
    counts: Counter[str] = Counter()
    for group in range(file.num_row_groups):
        for name, part in _by_source(file.read_row_group(group, columns=["source"])):
            counts[name] += len(part)
    return counts


def _by_source(table: pa.Table) -> Iterator[tuple[str, pa.Table]]:
    """The runs of rows of one source."""
    column = table.column("source").combine_chunks()
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
    longest: tuple[int, str] = (-1, "")
    first: list[str] = field(default_factory=list)
    acted: list[str] = field(default_factory=list)  # a policy did something
    with_tools: list[str] = field(default_factory=list)
    with_field: dict[str, str] = field(default_factory=dict)
    roles: set[str] = field(default_factory=set)
    new_roles: list[str] = field(default_factory=list)
    spread: list[str] = field(default_factory=list)  # evenly over the source

    def look(self, part: pa.Table) -> None:
        """The source's next rows."""
        names = part.column("item")
        if len(self.first) < DOCUMENTS_PER_SOURCE:
            self.first += names.slice(0, DOCUMENTS_PER_SOURCE - len(self.first)).to_pylist()
        if part.column("kind")[0].as_py() != "pretrain":
            self._look_at_sessions(part, names)
        self.seen += len(part)

    def _look_at_sessions(self, part: pa.Table, names: pa.ChunkedArray) -> None:
        lengths = part.column("num_tokens").to_numpy()
        place = int(np.argmax(lengths))
        if int(lengths[place]) > self.longest[0]:
            self.longest = int(lengths[place]), names[place].as_py()
        acted = pc.fill_null(pc.greater(pc.list_value_length(part.column("actions")), 0), False)
        self.acted += _first(names, acted.to_numpy(zero_copy_only=False), 3 - len(self.acted))
        with_tools = pc.is_valid(part.column("tools")).to_numpy(zero_copy_only=False)
        self.with_tools += _first(names, with_tools, 2 - len(self.with_tools))
        messages = part.column("messages")
        for name in FIELDS:
            if name not in self.with_field:
                first = _first_with(messages, name)
                if first is not None:
                    self.with_field[name] = names[first].as_py()
        for row, text in enumerate(messages.slice(0, max(0, ROLES_LOOKED_FOR - self.seen)).to_pylist()):
            roles = {message["role"] for message in orjson.loads(text)}
            if not roles <= self.roles:
                self.roles |= roles
                self.new_roles.append(names[row].as_py())
        step = max(1, self.count // SESSIONS_PER_SOURCE)
        for row in range(-self.seen % step, len(part), step):
            self.spread.append(names[row].as_py())

    def chosen(self) -> list[str]:
        """The items, those that say most first."""
        if self.longest[0] < 0:
            return self.first
        told = [self.with_field[name] for name in FIELDS if name in self.with_field]
        items = [self.longest[1], *self.acted, *self.with_tools, *told, *self.new_roles, *self.spread]
        return list(dict.fromkeys(items))[:SESSIONS_PER_SOURCE]


def _first(names: pa.ChunkedArray, which: BoolArray, count: int) -> list[str]:
    return [names[place].as_py() for place in np.flatnonzero(which)[: max(0, count)].tolist()]


def _first_with(messages: pa.ChunkedArray, text: str) -> int | None:
    """The first row that holds this text; one search over all of them, end to end."""
    before = 0
    for chunk in messages.chunks:
        edges = np.frombuffer(chunk.buffers()[1], np.int64)[chunk.offset : chunk.offset + len(chunk) + 1]
        data = chunk.buffers()[2]
        own = b"" if data is None else data.slice(int(edges[0]), int(edges[-1] - edges[0])).to_pybytes()
        place = own.find(text.encode())
        if place >= 0:  # the text has quotes of its own, which no JSON ends in and none begins with
            return before + int(np.searchsorted(edges, place + edges[0], side="right")) - 1
        before += len(chunk)
    return None
