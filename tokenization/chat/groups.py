"""Plain sessions, many of one shape at once: what rendering costs beside encoding, for nearly every session.

    plain sessions ──by shape──► plan of the shape ──column by column──► stretches ──one encode_batch──► ids and mask

A plan (see skeleton) is made once for a shape; here it is filled for all its sessions together: a list of strings a
stretch, one matrix of parts a shape. Sessions that a plan's conditions rule out, or that need more than columns
(blank texts, prompts of which some stay masked), are left to be rendered as single cases.

Guarantees: a session rendered here has the ids, mask and spans that it has as a single case; one session in
`SAMPLE_EVERY`, and the first of every shape, is rendered by the template itself and compared.
Price: about 5 µs a message beside encoding, reading its columns included.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tokenization.chat.agreement import Agreement
from tokenization.chat.assembly import Layout
from tokenization.chat.cases import Case
from tokenization.chat.outcome import Rendered, SetAside, stop_ids_of
from tokenization.chat.skeleton import Plan, Stretch
from tokenization.chat.symbolic_view import message_key
from tokenization.chat.symbols import Slot
from tokenization.plain_sessions import PlainSessions
from tokenization.sequences import BoolArray, IntArray, TokenSequences, gathered, offsets_of, storage_dtype
from tokenization.texts import Pieces
from tokenization.windows.plan import ranges

if TYPE_CHECKING:
    from tokenization.chat.rendering import Renderer

SAMPLE_EVERY = (
    512  # one session of a shape in so many, its first included, is compared with the template itself
)
PROBATION = 32  # sessions of a shape that a plan of suppositions is tried on; where most fail, it is left


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


@dataclass(frozen=True)
class Grouped:
    """What could be rendered in groups."""

    rendered: Rendered
    done: IntArray  # int64  the rows that it is about, ascending

    def left(self, num_rows: int) -> list[int]:
        """The other rows of the table, which are single cases."""
        left: list[int] = np.flatnonzero(~_flags(num_rows, self.done)).tolist()
        return left


def render_groups(renderer: Renderer, plain: PlainSessions, prompted: Collection[int]) -> Grouped:
    """Every plain session that a plan serves; `prompted` are the rows whose prompts are trained too."""
    everything = isinstance(prompted, range) and len(prompted) > 0
    ready = _ready(plain, () if everything else prompted)
    blocks: list[Block] = []
    aside: list[SetAside] = []
    left = [~ready]
    agreement = Agreement(renderer, plain)
    with renderer.lock:
        for sessions in plain.by_roles().values():
            sessions = sessions[ready[sessions]]
            if len(sessions):
                made, refused, missed = _group(agreement, sessions, everything)
                blocks += made
                aside += refused
                left.append(_flags(len(plain), missed))
        constants = renderer.pool.flat
    rendered = _assembled(renderer, plain, blocks, constants)
    aside.sort(key=lambda entry: entry.row)
    done = plain.rows[~np.logical_or.reduce(left)]
    return Grouped(replace(rendered, set_aside=aside), done)


def _ready(plain: PlainSessions, prompted: Collection[int]) -> BoolArray:
    """Sessions whose every text says something, and whose prompts are not trained: bool [num_sessions]."""
    counts = np.diff(plain.offsets)
    ready = counts > 0
    if ready.any():
        ready[ready] = np.logical_and.reduceat(plain.says_something, plain.offsets[:-1][ready])
    if prompted:
        ready &= ~np.isin(plain.rows, np.fromiter(prompted, np.int64))
    return ready


def _flags(count: int, places: IntArray) -> BoolArray:
    flags = np.zeros(count, bool)
    flags[places] = True
    return flags


def _group(
    agreement: Agreement, sessions: IntArray, everything: bool
) -> tuple[list[Block], list[SetAside], IntArray]:
    """The blocks of sessions with the same roles; what is refused; the sessions left to single cases."""
    renderer, plain = agreement.renderer, agreement.plain
    messages = plain.messages(int(sessions[0]))
    keys = tuple(message_key(message) for message in messages)
    verdict = renderer.verdict(messages)
    if verdict.reason:
        refused = [SetAside(row, verdict.reason, verdict.detail) for row in plain.rows[sessions].tolist()]
        return [], refused, sessions[:0]
    shape = keys, None, verdict.targets, verdict.untrained if everything else (), everything
    plan = renderer.planner.plan(shape, messages, None)
    if plan is None or renderer.is_broken(plan) or not _is_columnar(plan):
        return [], [], sessions
    holds = _holds(plan, plain, sessions)
    sessions, missed = sessions[holds], sessions[~holds]
    if plan.refusal:
        refused = [
            SetAside(row, plan.refusal.reason, plan.refusal.detail) for row in plain.rows[sessions].tolist()
        ]
        return [], refused, missed

    def case_of(session: int) -> Case:
        own = plain.messages(session)
        return Case(int(plain.rows[session]), own, None, keys, verdict.targets, shape[3], everything)

    if plan.is_supposed:
        tried = _agreeing(agreement, plan, sessions[:PROBATION], case_of)
        if 2 * tried.sum() < len(tried):
            return [], [], np.sort(np.concatenate([sessions, missed]))
        holds = np.concatenate([tried, _agreeing(agreement, plan, sessions[PROBATION:], case_of)])
        sessions, missed = sessions[holds], np.sort(np.concatenate([missed, sessions[~holds]]))
    elif not all(renderer.bears_out(plan, case_of(own)) for own in sessions[::SAMPLE_EVERY].tolist()):
        return [], [], np.concatenate([sessions, missed])
    blocks = [
        Block(
            sessions,
            number if len(plan.sequences) > 1 else -1,
            sequence.layout,
            [_stretch(stretch, plan, plain, sessions) for stretch in sequence.stretches],
        )
        for number, sequence in enumerate(plan.sequences)
        if len(sessions)
    ]
    return blocks, [], missed


def _agreeing(ask: Agreement, plan: Plan, sessions: IntArray, case_of: Callable[[int], Case]) -> BoolArray:
    """Which of these sessions are rendered as a plan of suppositions says: bool [m]."""
    values = [_column(slot, ask.plain, sessions) for slot in plan.slots]
    return ask.of(plan, sessions, case_of, [_filled(sequence.whole, values) for sequence in plan.sequences])


def _is_columnar(plan: Plan) -> bool:
    slots = [*plan.slots, *(condition[1] for condition in plan.conditions)]
    slots += [other for _, _, other in plan.conditions if other is not None]
    return all(slot.path == ("content",) and slot.message >= 0 for slot in slots) and not any(
        sequence.hidden for sequence in plan.sequences
    )


def _column(slot: Slot, plain: PlainSessions, sessions: IntArray) -> list[str]:
    """What fills this slot in each session."""
    texts = plain.texts
    own = [texts[place] for place in (plain.offsets[:-1][sessions] + slot.message).tolist()]
    return [slot.fill(text) for text in own] if slot.steps else own


def _holds(plan: Plan, plain: PlainSessions, sessions: IntArray) -> BoolArray:
    """Which sessions meet the plan's conditions: bool [m]."""
    holds = np.ones(len(sessions), bool)
    columns: dict[Slot, list[str]] = {}
    for condition, slot, other in plan.conditions:
        for each in (slot, other):
            if each is not None and each not in columns:
                columns[each] = _column(each, plain, sessions)
        if other is None:
            meets = condition.hold_in(columns[slot])
        else:
            meets = [condition.holds(a, b) for a, b in zip(columns[slot], columns[other], strict=True)]
        holds &= np.array(meets, bool)
    return holds


def _stretch(stretch: Stretch, plan: Plan, plain: PlainSessions, sessions: IntArray) -> Column:
    """One stretch of every session; of a single text as it is, which is nearly all, no string is made here."""
    if len(stretch) == 3:
        before, number, after = stretch
        slot = plan.slots[number]  # type: ignore[index]
        own = plain.offsets[:-1][sessions] + slot.message
        return Column(before, _column(slot, plain, sessions) if slot.steps else own, after)  # type: ignore[arg-type]
    return Column("", _filled(stretch, [_column(slot, plain, sessions) for slot in plan.slots]), "")


def _filled(stretch: Stretch, values: Sequence[list[str]]) -> list[str]:
    """One stretch of every session, as strings."""
    size = len(values[0])
    columns = [values[piece] if isinstance(piece, int) else [piece] * size for piece in stretch]
    return list(map("".join, zip(*columns, strict=True)))


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


# -- from blocks to sequences -----------------------------------------------------------------------------


@dataclass(frozen=True)
class _Parts:
    """The parts of sequences laid end to end, in the order of sessions and cuts."""

    place: IntArray  # int64 [num_parts]  which text, or behind the texts which constant
    is_target: BoolArray  # [num_parts]
    offsets: IntArray  # int64 [num_sequences + 1]


def _assembled(
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


# -- single cases beside groups ---------------------------------------------------------------------------


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
