"""Sessions longer than the window: drop the earliest turns, split at turns, or set aside.

A *turn* is what one side brings and the answers to it: it begins with the first message that is neither an
answer nor a tool's result. Leading system messages belong to no turn and are always kept. What a policy
leaves of a session is rendered anew, as serving would render it.

Guarantees: no sequence above the window; no answer is cut, no stop made up; every sequence that is left has
a target; what a policy did is in `actions`, what it could not do in `set_aside`.
Price: a few renderings of the long sessions only (a bisection over their turns).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from tokenization.chat.cases import Case
from tokenization.chat.outcome import Rendered, SetAside
from tokenization.chat.roles import SYSTEM, TOOL
from tokenization.chat.templates import Message
from tokenization.sequences import TokenSequences, offsets_of

if TYPE_CHECKING:
    from tokenization.chat.rendering import Renderer


@dataclass
class _Outcome:
    """What became of the overlong sequences: (row, cut) -> cases in their place; what was done to whole sessions, by
    row, and to single cuts."""

    cases: dict[tuple[int, int], list[Case]] = field(default_factory=dict)
    actions: dict[int, list[str]] = field(default_factory=dict)
    cut_actions: dict[tuple[int, int], list[str]] = field(default_factory=dict)
    refused: dict[int, SetAside] = field(default_factory=dict)


def fit_window(renderer: Renderer, sessions: pa.Table, rendered: Rendered, window: int) -> Rendered:
    """The same sessions with every sequence at most `window` tokens long."""
    lengths = rendered.sequences.lengths
    overlong = np.flatnonzero(lengths > window)
    if not len(overlong):
        return rendered
    longest = {int(rendered.session[i]): int(lengths[i]) for i in overlong}
    outcome = _Outcome()
    if renderer.options.overlong == "set_aside":
        for row, length in longest.items():
            outcome.refused[row] = _too_long(row, length, window)
    else:
        _shorten(renderer, sessions, rendered, overlong, window, outcome)
    return _replaced(renderer, rendered, overlong, window, outcome)


def _too_long(row: int, length: int, window: int) -> SetAside:
    return SetAside(
        row,
        "overlong",
        f"renders to {length:,} tokens, above window={window}, and the overlong policy leaves nothing of it that "
        "fits with an answer; use a longer window",
    )


def _shorten(
    renderer: Renderer,
    sessions: pa.Table,
    rendered: Rendered,
    overlong: np.ndarray,
    window: int,
    outcome: _Outcome,
) -> None:
    rows = sorted({int(rendered.session[i]) for i in overlong})
    whole = {case.row: case for case in renderer.cases(sessions, rows, rendered.prompted)[0]}
    for i in overlong:
        row, cut = int(rendered.session[i]), int(rendered.cut[i])
        own = rendered.span_message[rendered.span_offsets[i] : rendered.span_offsets[i + 1]]
        # A whole session is asked for all its targets again: what is left of one of which `history: last` kept the
        # last answer may be no longer rewritten.
        targets = sorted({int(t) for t in own}) if cut >= 0 else list(whole[row].targets)
        case = _as_rendered(whole[row], targets, cut)
        measure = _Measure(renderer, case)
        if renderer.options.overlong == "split" and cut < 0:
            left = _split(measure, window)
        else:
            left = _without_earliest(measure, window)
        if left is None and cut >= 0:
            left = _Left([], [f"drop_cut:{cut}"])  # the other cuts of the session stay
        if left is None:
            outcome.refused[row] = _too_long(row, int(rendered.sequences.lengths[i]), window)
            continue
        outcome.cases[row, cut] = left.cases
        if cut >= 0 and left.cases:
            outcome.cut_actions[row, cut] = left.actions
        else:
            outcome.actions.setdefault(row, []).extend(left.actions)


def _as_rendered(case: Case, targets: list[int], cut: int) -> Case:
    """The messages that this sequence holds: all, or those up to its answer."""
    stop = targets[-1] + 1 if cut >= 0 else len(case.messages)
    return replace(
        case,
        messages=case.messages[:stop],
        keys=case.keys[:stop],
        targets=tuple(targets),
        untrained=tuple(i for i in case.untrained if i < stop),
    )


@dataclass(frozen=True)
class _Left:
    cases: list[Case]
    actions: list[str]


class _Measure:
    """One overlong case: its turns, and the length of any run of them."""

    def __init__(self, renderer: Renderer, case: Case) -> None:
        self.renderer, self.case = renderer, case
        messages = case.messages
        self.kept = next((i for i, m in enumerate(messages) if m["role"] != SYSTEM), len(messages))
        self.starts = turn_starts(messages, self.kept, self._continues)
        self.stops = [*self.starts[1:], len(messages)]
        self._lengths: dict[tuple[int, int], int | None] = {}

    def _continues(self, role: str) -> bool:
        return role == TOOL or self.renderer.policy[role].trained

    def turns(self, first: int, stop: int) -> Case:
        """The system messages and turns first .. stop - 1."""
        case = self.case
        origin = [*range(self.kept), *range(self.starts[first], self.stops[stop - 1])]
        place = {message: number for number, message in enumerate(origin)}
        return replace(
            case,
            messages=[case.messages[i] for i in origin],
            keys=tuple(case.keys[i] for i in origin),
            targets=tuple(place[i] for i in case.targets if i in place),
            untrained=tuple(place[i] for i in case.untrained if i in place),
            origin=origin,
        )

    def length(self, first: int, stop: int) -> int | None:
        """Tokens of these turns; None where they have no target or cannot be rendered."""
        key = (first, stop)
        if key not in self._lengths:
            case = self.turns(first, stop)
            made = self.renderer.render_cases([case]) if case.targets else None
            self._lengths[key] = int(made.sequences.lengths.max()) if made and len(made.sequences) else None
        return self._lengths[key]


def turn_starts(messages: Sequence[Message], first: int, continues: Callable[[str], bool]) -> list[int]:
    """Where turns begin: at each message that is no answer, behind one that is."""
    answers = [continues(message["role"]) for message in messages]
    behind = [p for p in range(first + 1, len(messages)) if answers[p - 1] and not answers[p]]
    return [first, *behind] if first < len(messages) else []


def _without_earliest(measure: _Measure, window: int) -> _Left | None:
    """The longest run of last turns that fits; None where not even the last turn with a target does."""
    count = len(measure.starts)
    low, high = 1, count  # the fewest turns to drop lies in [low, high]; count = nothing fits
    while low < high:
        middle = (low + high) // 2
        length = measure.length(middle, count)
        if length is not None and length > window:
            low = middle + 1
        else:
            high = middle
    length = measure.length(low, count) if low < count else None
    if length is None or length > window:
        return None
    return _Left([measure.turns(low, count)], [f"drop_turns:{low}"])


def _split(measure: _Measure, window: int) -> _Left | None:
    """Runs of turns, each as long as fits; None where one turn alone does not fit."""
    count = len(measure.starts)
    cases: list[Case] = []
    first = masked = 0
    while first < count:
        stop = _longest_run(measure, first, window)
        case = measure.turns(first, stop)
        length = measure.length(first, stop)
        if case.targets:
            if length is None or length > window:
                return None
            cases.append(case)
        else:
            masked += stop - first
        first = stop
    actions = [f"split:{len(cases)}"] + ([f"split_left_out_turns_without_target:{masked}"] if masked else [])
    return _Left(cases, actions) if cases else None


def _longest_run(measure: _Measure, first: int, window: int) -> int:
    """The largest stop whose turns first .. stop - 1 fit; at least one turn."""
    low, high = first + 1, len(measure.starts)
    while low < high:
        middle = (low + high + 1) // 2
        length = measure.length(first, middle)
        if length is None or length <= window:
            low = middle
        else:
            high = middle - 1
    return low


# -- putting it together ------------------------------------------------------------------------------------


def _replaced(
    renderer: Renderer, rendered: Rendered, overlong: np.ndarray, window: int, outcome: _Outcome
) -> Rendered:
    """The sequences that fit and those made anew, in the order of rows and cuts."""
    refused = dict(outcome.refused)
    made, number = _made(renderer, outcome, window, refused)
    fits = np.ones(len(rendered.sequences), bool)
    fits[overlong] = False
    left = {*rendered.session[fits].tolist(), *made.session.tolist()}
    for i in overlong:
        row = int(rendered.session[i])
        if row not in left:
            refused.setdefault(row, _too_long(row, int(rendered.sequences.lengths[i]), window))
    fits &= ~np.isin(rendered.session, list(refused))
    chosen = [(int(rendered.session[i]), int(rendered.cut[i]), 0, int(i)) for i in np.flatnonzero(fits)]
    chosen += [
        (row, cut, 1 + place, len(rendered.sequences) + place) for place, (row, cut) in enumerate(number)
    ]
    chosen.sort()
    actions = {**rendered.actions}
    for row, done in outcome.actions.items():
        if row not in refused:
            actions[row] = [*actions.get(row, []), *done]
    aside = sorted([*rendered.set_aside, *refused.values()], key=lambda entry: entry.row)
    cut_actions = {
        place: outcome.cut_actions[row, cut]
        for place, (row, cut, is_new, _) in enumerate(chosen)
        if is_new and (row, cut) in outcome.cut_actions
    }
    return _taken(rendered, made, chosen, actions, cut_actions, aside)


def _made(
    renderer: Renderer, outcome: _Outcome, window: int, refused: dict[int, SetAside]
) -> tuple[Rendered, list[tuple[int, int]]]:
    """What is left of the overlong sequences, rendered, and whose place each one takes."""
    while True:
        keys = [key for key in outcome.cases if key[0] not in refused]
        made = renderer.render_cases([case for key in keys for case in outcome.cases[key]])
        number = [key for key in keys for _ in outcome.cases[key]]
        before = len(refused)
        for entry in made.set_aside:
            refused.setdefault(entry.row, entry)
        for i in np.flatnonzero(made.sequences.lengths > window):
            row = int(made.session[i])
            refused.setdefault(row, _too_long(row, int(made.sequences.lengths[i]), window))
        expected = Counter(row for row, _ in number)
        for row, count in Counter(made.session.tolist()).items():
            if count != expected[row]:
                refused.setdefault(
                    row, SetAside(row, "overlong", "without its first turns it renders to cuts")
                )
        if len(refused) == before:
            return made, number


def _taken(
    rendered: Rendered,
    made: Rendered,
    chosen: Sequence[tuple[int, int, int, int]],
    actions: Mapping[int, list[str]],
    cut_actions: Mapping[int, list[str]],
    aside: Sequence[SetAside],
) -> Rendered:
    """The chosen sequences of the two, sessions' cuts numbered anew."""
    order = np.array([entry[3] for entry in chosen], np.int64)
    rows = np.array([entry[0] for entry in chosen], np.int64)
    counts = np.bincount(rows, minlength=1) if len(rows) else np.zeros(1, np.int64)
    number = np.arange(len(rows)) - np.concatenate([[0], np.cumsum(counts)])[rows] if len(rows) else rows
    cut = np.where(counts[rows] > 1, number, -1).astype(np.int32) if len(rows) else np.empty(0, np.int32)

    offsets = np.concatenate(
        [rendered.sequences.offsets, made.sequences.offsets[1:] + len(rendered.sequences.input_ids)]
    )
    tokens, lengths = _gather(offsets, order)
    ids = np.concatenate([rendered.sequences.input_ids, made.sequences.input_ids])[tokens]
    mask = np.concatenate([rendered.sequences.loss_mask, made.sequences.loss_mask])[tokens]

    span_offsets = np.concatenate([rendered.span_offsets, made.span_offsets[1:] + len(rendered.span_start)])
    spans, span_counts = _gather(span_offsets, order)
    return Rendered(
        TokenSequences(ids, mask, offsets_of(lengths)),
        rows,
        cut,
        offsets_of(span_counts),
        np.concatenate([rendered.span_start, made.span_start])[spans],
        np.concatenate([rendered.span_stop, made.span_stop])[spans],
        np.concatenate([rendered.span_message, made.span_message])[spans],
        rendered.stop_ids | made.stop_ids,
        dict(actions),
        cut_actions,
        tuple(aside),
        _kept(rendered, made, order),
        rendered.prompted,
    )


def _kept(rendered: Rendered, made: Rendered, order: np.ndarray) -> dict[int, list[int]]:
    """Which messages each chosen sequence holds, where some are left out."""
    before = len(rendered.sequences)
    kept = {**rendered.kept, **{before + place: origin for place, origin in made.kept.items()}}
    return {place: kept[int(i)] for place, i in enumerate(order) if int(i) in kept}


def _gather(offsets: np.ndarray, order: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Indices of the elements of these runs, one behind the other, and the runs' lengths."""
    lengths = np.diff(offsets)[order]
    starts = offsets[:-1][order]
    ends = offsets_of(lengths)
    return np.arange(int(ends[-1])) + np.repeat(starts - ends[:-1], lengths), lengths
