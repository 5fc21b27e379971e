"""From blocks to sequences: many sessions of one shape, stretch by stretch, become ids, masks and spans.

    blocks ──pieces put together──► texts ──one encode_batch──► ids ──gathered in the order of sessions──► Rendered

A block holds the stretches of one sequence of a shape for all its sessions, as columns; `groups` makes them.

Guarantees: the order is that of sessions and cuts, whatever the order of the blocks.
Price: one string a stretch, made where the encoder takes it, and one copy of the ids.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tokenization.chat.assembly import Layout
from tokenization.chat.outcome import Rendered, stop_ids_of
from tokenization.plain_sessions import PlainSessions
from tokenization.sequences import BoolArray, IntArray, TokenSequences, gathered, offsets_of, storage_dtype
from tokenization.texts import Pieces
from tokenization.windows.plan import ranges

if TYPE_CHECKING:
    from tokenization.chat.rendering import Renderer


@dataclass(frozen=True)
class Column:
    """One stretch of all sessions of a shape: a text of each, and what the template writes around it."""

    before: str
    texts: IntArray | list[str]  # [m]  message numbers of the plain sessions, or the texts themselves
    after: str


@dataclass(frozen=True)
class Block:
    """One sequence of a shape, for all sessions of it."""

    sessions: IntArray  # int64 [m]  of the plain sessions
    cut: int  # -1 where a session gives one sequence
    layout: Layout
    columns: list[Column]  # one for each stretch of the sequence's own


def assembled(
    renderer: Renderer, plain: PlainSessions, blocks: Sequence[Block], constants: tuple[Any, IntArray]
) -> Rendered:
    """Every block's sequences: ids, masks and spans, in the order of sessions and cuts."""
    texts = _written(plain, [column for block in blocks for column in block.columns])
    continues = [np.repeat(np.array(block.layout.continues, bool), len(block.sessions)) for block in blocks]
    continuing = np.concatenate(continues).tolist() if any(map(np.any, continues)) else None
    dtype: Any = storage_dtype(renderer.largest_id)
    text_ids, text_offsets = (
        renderer.tokenizer.encode_batch(texts, continuing)
        if texts
        else (np.empty(0, np.uint32), np.zeros(1, np.int64))
    )
    constant_ids, constant_offsets = constants
    session = _joined_arrays([block.sessions for block in blocks])
    cut = _joined_arrays([np.full(len(block.sessions), block.cut) for block in blocks])
    order = np.lexsort((cut, session))
    parts = _parts(blocks, order, len(texts))

    every_offsets = np.concatenate([text_offsets[:-1], constant_offsets + len(text_ids)])
    length = np.diff(every_offsets)[parts.place]
    ends = offsets_of(length)
    every = np.concatenate([text_ids.astype(dtype, copy=False), constant_ids.astype(dtype, copy=False)])
    ids = gathered(every, every_offsets, parts.place)
    mask = np.repeat(parts.is_target, length)
    offsets = ends[parts.offsets]
    mask[offsets[:-1][offsets[:-1] < len(mask)]] = False  # nothing in the sequence predicts its first token
    sequences = TokenSequences(ids, mask, offsets)
    span_offsets, span_start, span_stop, message = _spans(blocks, order, parts, ends, offsets)
    return Rendered(
        sequences,
        plain.rows[session[order]],
        cut[order].astype(np.int32),
        span_offsets,
        span_start,
        span_stop,
        message,
        stop_ids_of(sequences, span_offsets, span_stop, message, renderer.stop_markers),
    )


def _written(plain: PlainSessions, columns: Sequence[Column]) -> list[str]:
    """The texts of these columns, one column behind the other."""
    made = [column.texts for column in columns if isinstance(column.texts, list)]
    around = [text.encode() for column in columns for text in (column.before, column.after)]
    behind = len(plain.content) + sum(map(len, made))  # the number of what stands around, behind the texts
    numbers = np.empty((sum(len(column.texts) for column in columns), 3), np.int64)
    row, text = 0, len(plain.content)
    for place, column in enumerate(columns):
        size = len(column.texts)
        own = numbers[row : row + size]
        own[:, 0], own[:, 2] = behind + 2 * place, behind + 2 * place + 1
        if isinstance(column.texts, list):
            own[:, 1] = np.arange(text, text + size)
            text += size
        else:
            own[:, 1] = column.texts
        row += size
    pieces = Pieces.of(plain.content, *(pa.array(texts, pa.string()) for texts in made), around)
    written: list[str] = pieces.written(numbers.ravel(), np.arange(0, 3 * row + 1, 3)).to_pylist()
    return written


@dataclass(frozen=True)
class _Parts:
    """The parts of sequences laid end to end, in the order of sessions and cuts."""

    place: IntArray  # int64 [num_parts]  which text, or behind the texts which constant
    is_target: BoolArray  # [num_parts]
    offsets: IntArray  # int64 [num_sequences + 1]


def _joined_arrays(arrays: Sequence[NDArray[Any]]) -> NDArray[Any]:
    return np.concatenate(arrays) if arrays else np.zeros(0, np.int64)


def _parts(blocks: Sequence[Block], order: IntArray, num_texts: int) -> _Parts:
    places: list[NDArray[np.int64]] = []
    targets: list[BoolArray] = []
    counts: list[NDArray[np.int64]] = []
    read = 0
    for block in blocks:
        size, source = len(block.sessions), block.layout.source
        own = np.flatnonzero(source < 0)
        place = np.broadcast_to(source + num_texts, (size, len(source))).copy()
        place[:, own] = read + np.arange(len(own)) * size + np.arange(size)[:, None]
        read += size * len(own)
        places.append(place.ravel())
        targets.append(np.broadcast_to(block.layout.is_target, place.shape).ravel())
        counts.append(np.full(size, len(source), np.int64))
    count = _joined_arrays(counts)
    taken = ranges(offsets_of(count)[:-1][order], count[order])
    is_target = np.concatenate(targets)[taken] if targets else np.zeros(0, bool)
    return _Parts(_joined_arrays(places)[taken], is_target, offsets_of(count[order]))


def _spans(
    blocks: Sequence[Block], order: IntArray, parts: _Parts, ends: IntArray, offsets: IntArray
) -> tuple[IntArray, NDArray[np.int32], NDArray[np.int32], NDArray[np.int32]]:
    """Targets in tokens, relative to their sequence: offsets, start, stop, message."""

    def tiled(name: str) -> NDArray[np.int64]:
        return _joined_arrays(
            [np.tile(getattr(block.layout, name), len(block.sessions)) for block in blocks]
        ).astype(np.int64)

    count = _joined_arrays(
        [np.full(len(block.sessions), len(block.layout.span_start), np.int64) for block in blocks]
    )
    taken = ranges(offsets_of(count)[:-1][order], count[order])
    first_part = np.repeat(parts.offsets[:-1], count[order])
    first_token = np.repeat(offsets[:-1], count[order])
    start = ends[tiled("span_start")[taken] + first_part] - first_token
    stop = ends[tiled("span_stop")[taken] + first_part] - first_token
    message = tiled("span_message")[taken]
    return (
        offsets_of(count[order]),
        start.astype(np.int32),
        stop.astype(np.int32),
        message.astype(np.int32),
    )


def merged(one: Rendered, other: Rendered) -> Rendered:
    """Both, in the order of rows and cuts; no row is in both."""
    aside = sorted([*one.set_aside, *other.set_aside], key=lambda entry: entry.row)
    if not len(one.session) or not len(other.session):
        full = one if len(one.session) else other
        return replace(full, set_aside=aside)
    session = np.concatenate([one.session, other.session])
    cut = np.concatenate([one.cut, other.cut])
    order = np.lexsort((cut, session))
    lengths = np.concatenate([one.sequences.lengths, other.sequences.lengths])
    flat = TokenSequences(
        np.concatenate([one.sequences.input_ids, other.sequences.input_ids]),
        np.concatenate([one.sequences.loss_mask, other.sequences.loss_mask]),
        offsets_of(lengths),
    )
    sequences = flat.chosen(order)
    counts = np.concatenate([np.diff(one.span_offsets), np.diff(other.span_offsets)])
    spans = ranges(offsets_of(counts)[:-1][order], counts[order])
    kept = {len(one.session) + number: places for number, places in other.kept.items()} | dict(one.kept)
    rank = {int(number): place for place, number in enumerate(order)} if kept else {}
    return Rendered(
        sequences,
        session[order],
        cut[order],
        offsets_of(counts[order]),
        np.concatenate([one.span_start, other.span_start])[spans],
        np.concatenate([one.span_stop, other.span_stop])[spans],
        np.concatenate([one.span_message, other.span_message])[spans],
        one.stop_ids | other.stop_ids,
        {},
        {},
        aside,
        {rank[number]: places for number, places in kept.items()},
    )
