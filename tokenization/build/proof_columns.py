"""Plain sessions, many of one shape at once: the fast side of the proof for nearly every session.

What the sequences of a shape must read is its layout's constants and its sessions' texts in turn; written end to end
for all of them, that is compared with what their tokens spell, once. Where control tokens, targets, spans and masks
must stand follows from the lengths of the texts, as matrices, and is compared as arrays.

Guarantees: a session that is called proven here fulfils every law that it is held to by itself (see proof). A shape of
which any session fails is left, all of it, to be proved one by one, which says what is wrong and where.
Price: about 6 µs a session of 134 tokens, two fifths of it spelling them; 0.1 s to learn the shapes of a data set.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tokenization.build.proof_batch import ends_in_stops, taken_sequences
from tokenization.build.proof_claim import Claim
from tokenization.build.proof_layout import Layout, Position
from tokenization.build.proof_tokens import mask_of, token_ranges
from tokenization.plain_sessions import PlainSessions
from tokenization.sequences import BoolArray, IntArray, TokenSequences, offsets_of

if TYPE_CHECKING:
    from tokenization.build.proof import Prover

# One session of a shape in so many, over all chunks, is rendered by itself too and its text compared; one of all shapes
# together in so many with its targets and hand-overs.
SAMPLE = 1024


@dataclass(frozen=True)
class ClaimedSpans:
    """The recorded targets of sequences; of sequence i: offsets[i] to offsets[i + 1]."""

    offsets: IntArray  # int64 [num_sequences + 1]
    start: NDArray[np.int32]  # tokens from the sequence's first
    stop: NDArray[np.int32]
    message: NDArray[np.int32]

    def of(self, numbers: IntArray, count: int) -> NDArray[np.int64] | None:
        """Start, stop and message of these sequences' spans, int64 [m, count, 3]; None where one has another
        number of spans."""
        if (np.diff(self.offsets)[numbers] != count).any():
            return None
        own = self.offsets[:-1][numbers][:, None] + np.arange(count)
        return np.stack([self.start[own], self.stop[own], self.message[own]], axis=2).astype(np.int64)


def proven_in_groups(
    prover: Prover, plain: PlainSessions, spans: ClaimedSpans, sequences: TokenSequences
) -> BoolArray:
    """Which sequences are proven, bool [num_sequences]; `plain.rows` are the sequences that may be looked at: whole
    sessions, uncut, on which no policy acted."""
    proven = np.zeros(len(sequences), bool)
    if prover.prefix_scope != "never" or prover.demands.everything(()):
        return proven
    values = prover.shapes.are_values(plain)
    counts = np.diff(plain.offsets)
    ready = counts > 0
    if ready.any():
        ready[ready] = np.logical_and.reduceat(values, plain.offsets[:-1][ready])
    groups: list[tuple[Layout, IntArray]] = []
    with prover.lock:
        for sessions in plain.by_roles().values():
            sessions = sessions[ready[sessions]]
            layout = _layout_of(prover, plain, sessions)
            if layout is not None:
                groups.append((layout, sessions))
    pool = _Pool.of(plain, [layout for layout, _ in groups])
    for layout, sessions in groups:
        if _group_holds(prover, layout, pool, sessions, spans, sequences):
            proven[plain.rows[sessions]] = True
    prover.counts.by_shape += int(proven.sum())
    return proven


def _layout_of(prover: Prover, plain: PlainSessions, sessions: IntArray) -> Layout | None:
    """The layout of these sessions, all of one shape; None where they must be proved one by one."""
    if not len(sessions):
        return None
    claim = Claim(plain.messages(int(sessions[0])))
    layouts = prover.layouts_of(claim, again=len(sessions) > 1)
    if layouts is None or len(layouts) != 1:
        return None
    layout = layouts[0]
    before = prover.met.get(id(layout), (layout, 0))[1]
    prover.met[id(layout)] = layout, before + len(sessions)
    if layout.masked is not None or layout.hidden:
        return None
    of_shape = range((1 - before) % SAMPLE, len(sessions), SAMPLE)  # the first is the one that was learnt
    of_all = range(-prover.met_in_all % SAMPLE, len(sessions), SAMPLE)
    prover.met_in_all += len(sessions)
    for place in sorted({*of_shape, *of_all}):
        claim = Claim(plain.messages(int(sessions[place])))
        if not prover.bears_out(claim, layout, wholly=place in of_all):
            return None
    return layout


def _group_holds(
    prover: Prover,
    layout: Layout,
    pool: _Pool,
    sessions: IntArray,
    spans: ClaimedSpans,
    sequences: TokenSequences,
) -> bool:
    """Whether every sequence of these sessions is exactly what it must be."""
    table = prover.table
    numbers = pool.plain.rows[sessions]
    own = taken_sequences(sequences, numbers)
    if table.unknown(own.input_ids).any():
        return False
    due = pool.due(layout, sessions)
    spelled, places = table.spell(own.input_ids)
    begins = places[own.offsets]
    if not (np.array_equal(begins, due.begins) and spelled.equals(due.blob)):
        return False
    at = np.flatnonzero(table.is_control[own.input_ids])
    controls = [position for position, _ in layout.controls]
    ids = np.tile(np.array([token for _, token in layout.controls], np.int64), len(sessions))
    if not (np.array_equal(places[at], due.at(controls)) and np.array_equal(own.input_ids[at], ids)):
        return False
    first, last, whole = token_ranges(places, due.at(layout.starts), due.at(layout.stops))
    told = spans.of(numbers, len(layout.messages))
    if told is None or not whole.all():
        return False
    base = np.repeat(own.offsets[:-1], len(layout.messages))
    expected = np.stack([first - base, last - base, np.tile(layout.messages, len(sessions))], axis=1)
    if not np.array_equal(told.reshape(-1, 3), expected):
        return False
    if prover.stop_ids is not None:
        closes = [a != b for a, b in zip(layout.messages, (*layout.messages[1:], -1), strict=True)]
        ends = last[np.tile(np.array(closes, bool), len(sessions))]
        around = prover.demands.around_answers == "trained"
        if not ends_in_stops(table, own.input_ids, ends, prover.stop_ids, around=around):
            return False
    return np.array_equal(own.loss_mask, mask_of(len(own.loss_mask), first, last, own.offsets[:-1]))


@dataclass(frozen=True)
class _Pool:
    """All that the sequences of some groups are made of: their sessions' texts, then the constants of their layouts."""

    plain: PlainSessions
    pieces: pa.LargeBinaryArray
    constants: dict[int, int]  # by a layout's id: where its first constant stands

    @classmethod
    def of(cls, plain: PlainSessions, layouts: Sequence[Layout]) -> _Pool:
        known = {id(layout): layout for layout in layouts}
        behind = offsets_of(np.array([len(layout.constants) for layout in known.values()], np.int64))
        flat = [constant for layout in known.values() for constant in layout.constants]
        texts = plain.content.cast(pa.large_string()).cast(pa.large_binary())
        pieces = pa.concat_arrays([texts, pa.array(flat, pa.large_binary())])
        return cls(plain, pieces, dict(zip(known, (behind[:-1] + len(texts)).tolist(), strict=True)))

    def due(self, layout: Layout, sessions: IntArray) -> _Due:
        """What the sequences of these sessions, all of this layout, must spell."""
        first = self.plain.offsets[:-1][sessions]
        taken = np.empty((len(sessions), 2 * len(layout.slots) + 1), np.int64)
        taken[:, ::2] = self.constants[id(layout)] + np.arange(len(layout.constants))
        pieces = self.pieces
        for number, (message, treat) in enumerate(layout.slots):
            taken[:, 2 * number + 1] = first + message
            if treat is not None:
                texts = self.plain.content.take(pa.array(first + message)).to_pylist()
                treated = pa.array([treat(text).encode() for text in texts], pa.large_binary())
                taken[:, 2 * number + 1] = len(pieces) + np.arange(len(sessions))
                pieces = pa.concat_arrays([pieces, treated])
        whole = pieces.take(pa.array(taken.ravel()))
        ends = np.frombuffer(whole.buffers()[1], np.int64)[: taken.size + 1]
        starts = ends[:-1].reshape(taken.shape)
        blob = whole.buffers()[2].slice(0, int(ends[-1]))
        return _Due(blob, ends[:: taken.shape[1]], starts[:, ::2] - starts[:, :1])


@dataclass(frozen=True)
class _Due:
    """What the sequences of some sessions must spell, end to end, and where a layout's positions come to stand."""

    blob: pa.Buffer
    begins: IntArray  # int64 [m + 1]  bytes: where each session begins
    bases: IntArray  # int64 [m, num_constants]  bytes from the session's first: where each constant begins

    def at(self, positions: Sequence[Position]) -> IntArray:
        """Where these positions stand in the blob, session by session: int64 [m * len(positions)]."""
        constant = np.array([place for place, _ in positions], np.int64)
        offset = np.array([offset for _, offset in positions], np.int64)
        found: IntArray = (self.bases[:, constant] + offset + self.begins[:-1, None]).ravel()
        return found
