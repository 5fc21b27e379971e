"""Plain sessions, many of one shape at once: what rendering costs beside encoding, for nearly every session.

    plain sessions ──by shape──► plan of the shape ──column by column──► stretches ──one encode_batch──► ids and mask

A plan (see skeleton) is made once for a shape; here it is filled for all its sessions together, a column a stretch (see
blocks). Sessions that a plan's conditions rule out, or that need more than columns
(blank texts, prompts of which some stay masked), are left to be rendered as single cases.

Guarantees: a session rendered here has the ids, mask and spans that it has as a single case; one session in
`SAMPLE_EVERY`, and the first of every shape, is rendered by the template itself and compared.
Price: about 5 µs a message beside encoding, reading its columns included.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from tokenization.chat.agreement import Agreement
from tokenization.chat.blocks import Block, Column, assembled
from tokenization.chat.cases import Case
from tokenization.chat.outcome import Rendered, SetAside
from tokenization.chat.skeleton import Plan, Stretch
from tokenization.chat.symbolic_view import message_key
from tokenization.chat.symbols import Slot
from tokenization.plain_sessions import PlainSessions
from tokenization.sequences import BoolArray, IntArray

if TYPE_CHECKING:
    from tokenization.chat.rendering import Renderer

SAMPLE_EVERY = (
    512  # one session of a shape in so many, its first included, is compared with the template itself
)
PROBATION = 32  # sessions of a shape that a plan of suppositions is tried on; where most fail, it is left


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
    rendered = assembled(renderer, plain, blocks, constants)
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
