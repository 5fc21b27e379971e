"""Sessions in columns: those that are nothing but roles and texts, which nearly all are.

    messages   [{"role":"user","content":"Hi"},{"role":"assistant","content":"Hello"}]     one JSON text a session
    columns    offsets 0 2 … | roles user assistant … | texts Hi Hello …                   one entry a message

What reads sessions writes both (`messages_json`, `turns`), so that what measures, renders and proves them parses
nothing; where only the JSON is at hand (items.parquet) it is taken apart again (`plain_sessions`). That is exact
because it is checked: a session counts as plain only where no message lacks either and its JSON is as short as JSON of
these roles and texts can be; any other field shows.

Price: about 6 µs a session of 470 bytes from JSON, 0.2 µs from turns.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tokenization.sequences import BoolArray, IntArray
from tokenization.texts import Pieces, containing, edges_of, escaped, escapes_in, joined

MESSAGE = pa.struct([("role", pa.string()), ("content", pa.string())])
TURNS = pa.list_(MESSAGE)  # a plain session's messages; null for any other session
_ROW = pa.schema([("m", TURNS)])
MOST_BYTES = 1 << 30  # of one table's JSON: Arrow's parser counts in 32 bits

_BEGINS_TEXT = np.zeros(256, bool)  # first bytes of characters that are no white space: nearly every text's
_BEGINS_TEXT[0x21:0x7F] = _BEGINS_TEXT[0xC3:0xE1] = _BEGINS_TEXT[0xE4:0xF5] = True


@dataclass(frozen=True)
class PlainSessions:
    """Plain sessions of a table, message by message."""

    rows: IntArray  # int64 [num_sessions]  rows of the table, ascending
    offsets: IntArray  # int64 [num_sessions + 1]  session i's messages are offsets[i] to offsets[i + 1]
    role: NDArray[np.uint32]  # [num_messages]  index into `roles`
    roles: tuple[str, ...]
    content: pa.StringArray  # [num_messages], none null

    def __len__(self) -> int:
        return len(self.rows)

    @cached_property
    def texts(self) -> list[str]:
        """What each message says, for libraries that take strings: [num_messages]."""
        found: list[str] = self.content.to_pylist()
        return found

    @property
    def edges(self) -> NDArray[Any]:
        """Where each message's bytes begin in the buffer of `content`, and the end: int32 [num_messages + 1]."""
        return edges_of(self.content)

    @property
    def sizes(self) -> IntArray:
        """Bytes of UTF-8 of each message, int64 [num_messages]."""
        return np.diff(self.edges).astype(np.int64)

    @cached_property
    def says_something(self) -> BoolArray:
        """Which messages hold more than white space: bool [num_messages]."""
        edges = self.edges
        said = edges[1:] > edges[:-1]
        data = _bytes_of(self.content)
        said[said] = _BEGINS_TEXT[data[edges[:-1][said]]]
        others = np.flatnonzero(~said & (edges[1:] > edges[:-1]))
        texts = self.content.take(pa.array(others)).to_pylist()
        said[others] = [not text.isspace() for text in texts]
        return said

    def containing(self, part: str) -> BoolArray:
        """Which messages hold this text: bool [num_messages]."""
        return containing(self.content, part)

    def containing_byte_from(self, least: int) -> BoolArray:
        """Which messages' UTF-8 holds a byte of this value or a higher one: bool [num_messages]."""
        found = np.zeros(len(self.content), bool)
        edges = self.edges
        data = (
            _bytes_of(self.content)[int(edges[0]) : int(edges[-1])] if len(found) else np.zeros(0, np.uint8)
        )
        at = np.flatnonzero(data >= least)
        found[np.searchsorted(edges, at + int(edges[0]), side="right") - 1] = True
        return found

    def by_roles(self) -> dict[bytes, IntArray]:
        """The sessions (int64, ascending) of each sequence of roles; the key is their uint32 numbers."""
        counts = np.diff(self.offsets)
        groups: dict[bytes, list[IntArray]] = {}
        order = np.argsort(counts, kind="stable")
        for same in np.split(order, np.flatnonzero(np.diff(counts[order])) + 1) if len(order) else []:
            count = int(counts[same[0]])
            rows = self.role[self.offsets[:-1][same][:, None] + np.arange(count)]
            ordered = (
                np.argsort(_row_keys(rows, len(self.roles)), kind="stable") if count else np.arange(len(same))
            )
            breaks = np.flatnonzero(np.any(np.diff(rows[ordered].astype(np.int64), axis=0) != 0, axis=1)) + 1
            for own in np.split(ordered, breaks):
                groups.setdefault(rows[own[0]].tobytes(), []).append(same[own])
        return {key: np.sort(np.concatenate(sessions)) for key, sessions in groups.items()}

    def roles_of(self, session: int) -> list[str]:
        """The roles of one session."""
        return [self.roles[number] for number in self.role[self._messages(session)].tolist()]

    def messages(self, session: int) -> list[dict[str, Any]]:
        """One session as its messages."""
        own = self._messages(session)
        known: list[str] | None = vars(self).get("texts")
        texts = known[own] if known else self.content.slice(own.start, own.stop - own.start).to_pylist()
        return [
            {"role": role, "content": text} for role, text in zip(self.roles_of(session), texts, strict=True)
        ]

    def _messages(self, session: int) -> slice:
        return slice(int(self.offsets[session]), int(self.offsets[session + 1]))

    def renumbered(self, rows: IntArray) -> PlainSessions:
        """The same under other numbers (ascending)."""
        made = replace(self, rows=rows)
        known = {name: value for name, value in vars(self).items() if name not in vars(made)}
        vars(made).update(known)  # what is cached is of the messages, which are the same
        return made

    def chosen(self, sessions: IntArray) -> PlainSessions:
        """These sessions (ascending)."""
        if len(sessions) == len(self):
            return self
        counts = np.diff(self.offsets)[sessions]
        offsets = np.concatenate([[0], np.cumsum(counts)])
        taken = np.repeat(self.offsets[:-1][sessions] - offsets[:-1], counts) + np.arange(offsets[-1])
        content = self.content.take(pa.array(taken))
        return PlainSessions(self.rows[sessions], offsets, self.role[taken], self.roles, content)

    def turns(self, num_rows: int) -> pa.ListArray:
        """A column of a table of this many rows: each plain session's messages, null in the other rows."""
        counts = np.zeros(num_rows, np.int64)
        counts[self.rows] = np.diff(self.offsets)
        others = np.ones(num_rows, bool)
        others[self.rows] = False
        role = pa.array(self.roles, pa.string()).take(pa.array(self.role))
        values = pa.StructArray.from_arrays([role, self.content], fields=list(MESSAGE))
        offsets = pa.array(np.concatenate([[0], np.cumsum(counts)]), pa.int32())
        return pa.ListArray.from_arrays(offsets, values, mask=pa.array(others))


def _row_keys(rows: NDArray[np.uint32], num_roles: int) -> NDArray[Any]:
    """One value a row, equal where rows are: numbers where they reach, which sort ten times as fast, else bytes."""
    count = rows.shape[1]
    if num_roles**count < 1 << 62:
        numbers: IntArray = rows.astype(np.int64) @ (num_roles ** np.arange(count, dtype=np.int64))
        return numbers
    return np.ascontiguousarray(rows).view(np.dtype((np.void, rows.itemsize * count))).ravel()


NONE = PlainSessions(
    np.zeros(0, np.int64), np.zeros(1, np.int64), np.zeros(0, np.uint32), (), pa.nulls(0, pa.string())
)  # `pa.array` would import pandas, here where every build passes


def of_turns(column: pa.ChunkedArray, eligible: BoolArray | None = None) -> PlainSessions:
    """The plain ones among the sessions of a column of turns; of the `eligible` rows (bool [num_rows]) only."""
    lists = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    wanted = pc.is_valid(lists).to_numpy(zero_copy_only=False)
    if eligible is not None:
        wanted = wanted & eligible
    rows = np.flatnonzero(wanted)
    if len(rows) < len(lists):
        lists = lists.take(pa.array(rows))
    if not len(rows):
        return NONE
    flat = lists.flatten()
    offsets = lists.offsets.to_numpy().astype(np.int64)
    return PlainSessions(rows, offsets - offsets[0], *_numbered(flat.field("role")), flat.field("content"))


def _bytes_of(texts: pa.StringArray) -> NDArray[np.uint8]:
    data = texts.buffers()[2]
    return np.zeros(0, np.uint8) if data is None else np.frombuffer(data, np.uint8)


def plain_sessions(messages: pa.ChunkedArray, eligible: BoolArray | None = None) -> PlainSessions:
    """The plain ones among sessions given as their messages' JSON; of the `eligible` rows (bool [num_rows]) only."""
    wanted = np.arange(len(messages)) if eligible is None else np.flatnonzero(eligible)
    texts = messages.combine_chunks() if isinstance(messages, pa.ChunkedArray) else messages
    if len(wanted) < len(texts):
        texts = texts.take(pa.array(wanted))
    if not len(wanted) or texts.nbytes > MOST_BYTES:
        return NONE
    lists = _parsed(texts)
    if lists is None:
        return NONE
    flat = lists.flatten()
    role, content = flat.field("role"), flat.field("content")
    lacks = pc.or_(pc.is_null(role), pc.is_null(content)).to_numpy(zero_copy_only=False)
    role, content = pc.fill_null(role, ""), pc.fill_null(content, "")
    edges = lists.offsets.to_numpy()
    sizes = pc.binary_length(texts).to_numpy(zero_copy_only=False)
    missing = np.concatenate([[0], np.cumsum(lacks)])
    same = (sizes == _written_sizes(edges, role, content)) & (missing[edges[1:]] == missing[edges[:-1]])
    whole = PlainSessions(
        wanted.astype(np.int64),
        edges.astype(np.int64),
        *_numbered(role),
        content,
    )
    return whole.chosen(np.flatnonzero(same)) if not same.all() else whole


def _numbered(role: pa.Array) -> tuple[NDArray[np.uint32], tuple[str, ...]]:
    encoded = pc.dictionary_encode(role)
    numbers = pc.fill_null(encoded.indices, 0).to_numpy(zero_copy_only=False).astype(np.uint32)
    return numbers, tuple(encoded.dictionary.to_pylist())


def _parsed(texts: pa.Array) -> pa.ListArray | None:
    """The messages of each session as Arrow reads them, other fields left out; None where it cannot."""
    import pyarrow.json

    rows = joined('{"m":', texts, "}\n")
    data = rows.buffers()[2].slice(0, int(np.frombuffer(rows.buffers()[1], np.int64)[len(rows)]))
    try:
        table = pyarrow.json.read_json(
            pa.BufferReader(data),
            read_options=pyarrow.json.ReadOptions(use_threads=False, block_size=len(data) + 1),
            parse_options=pyarrow.json.ParseOptions(explicit_schema=_ROW, unexpected_field_behavior="ignore"),
        )
    except pa.ArrowInvalid:
        return None
    lists = table.column("m").combine_chunks()
    if len(lists) != len(texts) or lists.null_count:
        return None
    return lists


def _written_sizes(offsets: NDArray[np.int32], role: pa.Array, content: pa.Array) -> IntArray:
    """Bytes of the shortest JSON of each session's roles and texts, int64 [num_sessions]; less where a text has a rare
    control character."""
    size = np.full(len(role), len('{"role":"","content":""},'), np.int64)
    for texts in (role, content):
        edges = edges_of(texts)
        size += np.diff(edges)
        data = texts.buffers()[2]
        if data is not None:
            own = np.frombuffer(data, np.uint8)[edges[0] : edges[-1]]
            size += np.diff(np.searchsorted(escapes_in(own)[0], edges - edges[0]))
    ends = np.concatenate([[0], np.cumsum(size)])
    sizes: IntArray = np.diff(ends[offsets]) + 1 + (np.diff(offsets) == 0)  # brackets, and a comma less
    return sizes


def messages_json(offsets: pa.Array, role: pa.Array, content: pa.Array) -> pa.LargeStringArray:
    """The messages' JSON of each session: large_string [num_sessions]; null where a message has a rare control
    character, or lacks a role or a content."""
    edges = offsets.to_numpy().astype(np.int64)
    number, roles = _numbered(role)
    text, is_rare = escaped(content)
    lacks = is_rare | ~(pc.is_valid(role).to_numpy(False) & pc.is_valid(content).to_numpy(False))
    names = [orjson.dumps(name) for name in roles]
    frames = [  # what stands between texts: openings of a session, of a later message, and the closing
        *(b'[{"role":%b,"content":"' % name for name in names),
        *(b'"},{"role":%b,"content":"' % name for name in names),
        b'"}]',
        b"[]",
    ]
    behind = len(content) + 2 * len(names)  # the number of the closing, among texts and frames
    size, counts = len(edges) - 1, np.diff(edges)
    places = 2 * edges + np.arange(size + 1)  # where each session's first piece stands
    taken = np.empty(int(places[-1] - places[0]), np.int64)
    places -= places[0]
    own = np.arange(edges[0], edges[-1])
    before = 2 * (own - edges[0]) + np.repeat(np.arange(size), counts)
    begins = np.zeros(len(own), bool)
    begins[(edges[:-1] - edges[0])[counts > 0]] = True
    taken[before] = len(content) + number[own] + np.where(begins, 0, len(names))
    taken[before + 1] = own
    taken[places[1:] - 1] = np.where(counts > 0, behind, behind + 1)
    lacking = np.concatenate([[0], np.cumsum(lacks)])
    return Pieces.of(text, frames).written(taken, places, lacking[edges[1:]] > lacking[edges[:-1]])
