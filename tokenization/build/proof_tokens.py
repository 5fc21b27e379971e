"""Tokens against bytes: what ids spell, which of them are control tokens, and where a range of bytes is in tokens.

Guarantees: `spell` gives the bytes of a run of ids exactly; ranges that begin or end within a token are found out.
Price: about 20 ns a token, in Arrow's gather, which other threads need not wait for.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tokenization.build.proof_layout import Filled
from tokenization.sequences import IntArray, offsets_of


class Spelling(Protocol):
    """What the proof asks of a tokenizer."""

    @property
    def added_tokens(self) -> Mapping[str, int]:
        """Added tokens and their ids."""
        ...

    def token_bytes(self, token_id: int) -> bytes:
        """The bytes a token stands for; a control token's are its text."""
        ...


@dataclass(frozen=True)
class TokenTable:
    """The bytes of every id, laid end to end."""

    flat: NDArray[np.uint8]
    start: IntArray  # int64 [num_ids]  id i is flat[start[i]:start[i] + length[i]]
    length: IntArray
    is_control: NDArray[np.bool_]  # [num_ids]
    is_silent: NDArray[np.bool_]  # [num_ids]  ids that stand for nothing
    spelled: pa.LargeBinaryArray  # [num_ids]  the same bytes, for Arrow

    @classmethod
    def of(cls, tokenizer: Spelling, control: Iterable[int], num_ids: int) -> TokenTable:
        """The table of ids below `num_ids`."""
        is_control = np.zeros(num_ids, bool)
        is_control[[token for token in control if token < num_ids]] = True
        whole = getattr(tokenizer, "byte_table", None)
        if whole is not None and len(whole[1]) == num_ids + 1:
            flat, offsets = whole
        else:
            spelled = [tokenizer.token_bytes(token) for token in range(num_ids)]
            offsets = offsets_of(np.array([len(text) for text in spelled], np.int64))
            flat = np.frombuffer(b"".join(spelled), np.uint8)
        length = np.diff(offsets)
        buffers = [None, pa.py_buffer(np.ascontiguousarray(offsets, np.int64)), pa.py_buffer(flat)]
        spelled = pa.LargeBinaryArray.from_buffers(pa.large_binary(), num_ids, buffers)
        return cls(flat, offsets[:-1], length, is_control, length == 0, spelled)

    def bytes_of(self, token: int) -> bytes:
        """What this id spells."""
        return self.flat[self.start[token] : self.start[token] + self.length[token]].tobytes()

    def unknown(self, ids: NDArray[np.integer]) -> NDArray[np.bool_]:
        """Which ids stand for nothing: above the table, negative, or without bytes."""
        if len(ids) and int(ids.min()) >= 0 and int(ids.max()) < len(self.length):
            silent: NDArray[np.bool_] = self.is_silent[ids]
            return silent
        inside = (ids >= 0) & (ids < len(self.length))
        unknown: NDArray[np.bool_] = ~inside | self.is_silent[np.where(inside, ids, 0)]
        return unknown

    def spell(self, ids: NDArray[np.integer]) -> tuple[pa.Buffer, IntArray]:
        """The bytes of these ids, none of which is unknown, and where each one's begin, int64 [num_ids + 1]."""
        taken = self.spelled.take(pa.array(ids))
        offsets = np.frombuffer(taken.buffers()[1], np.int64)[: len(ids) + 1]
        return taken.buffers()[2].slice(0, int(offsets[-1])), offsets


def token_ranges(
    offsets: IntArray, starts: Sequence[int] | IntArray, stops: Sequence[int] | IntArray
) -> tuple[IntArray, IntArray, NDArray[np.bool_]]:
    """The tokens of ranges of bytes, and which ranges are whole tokens; `offsets` are where tokens begin."""
    first, last = np.asarray(starts, np.int64), np.asarray(stops, np.int64)
    begin, end = np.searchsorted(offsets, first), np.searchsorted(offsets, last)
    whole = (offsets[np.minimum(begin, len(offsets) - 1)] == first) & (
        offsets[np.minimum(end, len(offsets) - 1)] == last
    )
    return begin, end, whole


def mask_of(
    length: int,
    begin: IntArray,
    end: IntArray,
    firsts: IntArray,
    hidden: tuple[IntArray, IntArray] | None = None,
) -> NDArray[np.bool_]:
    """1 in the ranges of tokens, 0 in those that are hidden and on the first token of each sequence."""
    edges = np.concatenate([[0], np.stack([begin, end], axis=1).ravel(), [length]])
    if (np.diff(edges) >= 0).all():  # one range behind the other, as nearly always: a tenth of the time
        mask = np.repeat(np.arange(len(edges) - 1) % 2 == 1, np.diff(edges))
    else:
        steps = np.zeros(length + 1, np.int32)
        np.add.at(steps, begin, 1)
        np.add.at(steps, end, -1)
        mask = np.cumsum(steps[:-1]) > 0
    mask[firsts] = False
    if hidden is not None and len(hidden[0]):
        mask &= ~mask_of(length, *hidden, np.empty(0, np.int64))
    return mask


def touched_tokens(offsets: IntArray, extents: Sequence[tuple[int, int]]) -> tuple[IntArray, IntArray]:
    """For each range of bytes that is not empty: its first token, and behind the last that holds some of it."""
    edges = np.array([pair for pair in extents if pair[0] < pair[1]], np.int64).reshape(-1, 2)
    return np.searchsorted(offsets, edges[:, 0], side="right") - 1, np.searchsorted(offsets, edges[:, 1])


def with_prefix_spaces(filled: Filled, scope: str, lengths: Mapping[int, int]) -> Filled:
    """The same with the space that SentencePiece puts before text: at the start, or behind control tokens too."""
    ends = {place + lengths[token] for place, token in filled.controls}
    begins = {place for place, _ in filled.controls} | {len(filled.blob)}
    spaces = sorted(({0} | (ends if scope == "always" else set())) - begins)
    if not spaces:
        return filled
    places = np.array(spaces)

    def moved(place: int) -> int:
        return place + int(np.searchsorted(places, place))

    cuts = [0, *spaces, len(filled.blob)]
    blob = b" ".join(filled.blob[a:b] for a, b in pairwise(cuts))
    return Filled(
        blob,
        [moved(place) for place in filled.starts],
        [moved(place) for place in filled.stops],
        filled.messages,
        [(moved(a), moved(b)) for a, b in filled.trained],
        [(moved(place), token) for place, token in filled.controls],
        [(moved(a), moved(b)) for a, b in filled.hidden],
    )
