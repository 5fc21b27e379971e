"""Best fit, longest first: each sequence goes into the window where it leaves the least space.

All sequences are packed at once, for packing a thousand at a time costs fill. Sequences of one length are
alike, and so are windows with the same history, so both are handled as groups: a step places many sequences
of one length into many windows of one free space. The windows are those that placing one sequence after
another would give. Where those are some more than their tokens need, what stands in windows that are not
full is packed again (see refit), and that stands where it needs fewer windows.

    free space   4      lengths 4, 3, 3, 2, 1, 1          window 0 │ 4
                 1,1 ◄─ two windows with 1 free,          window 1 │ 3 1
                        one group, filled in one step     window 2 │ 3 1
                                                          window 3 │ 2

Guarantees: each token is placed once; a sequence is cut only where it is longer than a window, into full
windows and a rest; segments stand in their window longest first, equal lengths in the order given; same
lengths, same plan. Windows come out longest first too: shuffle them (the mixture does).
Price: two or three steps of Python for each distinct length, then some 0.1 µs and 60 bytes a sequence;
refitting 0.1 s at most distributions.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tokenization.errors import RecipeError
from tokenization.sequences import IntArray, offsets_of
from tokenization.windows.ordering import stable_argsort
from tokenization.windows.plan import WindowPlan, checked_lengths, checked_window, ranges
from tokenization.windows.refit import MOST_LENGTHS, Pattern, refit

Overlong = Literal["error", "split"]
MAX_TABLE = 1 << 22  # lengths counted in a table of this size; longer ones by sorting
WORTH_REFITTING = 8  # windows more than the tokens need


class _Group(NamedTuple):
    """Windows with the same history, numbered one after another."""

    first: int  # number of its first window
    size: int  # how many windows
    segments: int  # how many segments each of them holds


class _Run(NamedTuple):
    """One step: sequences of one length, next in order, into windows of one group."""

    length: int  # of the sequences
    first: int  # number of the first window
    size: int  # how many windows
    segments: int  # how many segments each of them held before
    per_window: int  # how many sequences each of them gets


@dataclass
class _OpenWindows:
    """Windows that still have space, by how much."""

    spaces: list[int] = field(default_factory=list)  # ascending, each once
    groups: dict[int, list[_Group]] = field(default_factory=dict)  # space → its groups, none empty

    def add(self, space: int, group: _Group) -> None:
        if space == 0 or group.size == 0:
            return
        if space not in self.groups:
            self.spaces.insert(bisect_left(self.spaces, space), space)
            self.groups[space] = []
        self.groups[space].append(group)

    def pop_best(self, length: int) -> tuple[int, _Group] | None:
        """A group with the least space that holds `length`, and that space; None where nothing does."""
        at = bisect_left(self.spaces, length)
        if at == len(self.spaces):
            return None
        space = self.spaces[at]
        group = self.groups[space].pop()
        if not self.groups[space]:
            del self.groups[space], self.spaces[at]
        return space, group


def pack_best_fit(lengths: ArrayLike, window: int, *, overlong: Overlong) -> WindowPlan:
    """Few windows for these sequences; `overlong` refuses or splits what is longer than a window."""
    window = checked_window(window)
    whole = checked_lengths(lengths)
    longest = int(whole.max(initial=0))
    if longest <= window:
        member, offsets = _members(whole, window)
        start = np.zeros(len(member), np.int64)
        return WindowPlan(member, start, whole[member].astype(np.int32), offsets, window)
    if overlong == "error":
        raise _too_long(whole, window)
    sequence, start, length = _split(whole, window)
    member, offsets = _members(length, window)
    return WindowPlan(sequence[member], start[member], length[member].astype(np.int32), offsets, window)


def _too_long(lengths: IntArray, window: int) -> RecipeError:
    over = np.flatnonzero(lengths > window)
    others = f" (and {len(over) - 1:,} more like it)" if len(over) > 1 else ""
    return RecipeError(
        f"sequence {int(over[0])} has {int(lengths[over[0]]):,} tokens, above window={window:,}{others}; "
        f"shorten or split it before packing, or use window: {int(lengths.max())}"
    )


def _split(lengths: IntArray, window: int) -> tuple[IntArray, IntArray, IntArray]:
    """Full windows and a rest for each sequence: (sequence, start, length) of every piece, in order."""
    pieces = -(-lengths // window)
    sequence = np.repeat(np.arange(len(lengths), dtype=np.int64), pieces)
    start = ranges(np.zeros_like(pieces), pieces) * window
    return sequence, start, np.minimum(lengths[sequence] - start, window)


def _members(lengths: IntArray, window: int) -> tuple[IntArray, IntArray]:
    """Which sequences stand in which window: (members, offsets of the windows into them)."""
    distinct, count = _histogram(lengths)
    order = stable_argsort(window - lengths, window)[: count.sum()]  # longest first, without the empty ones
    placed, opened = _place(distinct, count, window)
    runs = _refitted(np.array(placed, np.int64).reshape(-1, 5), opened, window)
    _, first, size, segments, per_window = runs.T
    offsets = _offsets(first, first + size, per_window)

    windows = ranges(first, size)  # each run's windows, run after run
    begins = offsets[windows] + np.repeat(segments, size)
    member = np.empty_like(order)
    member[ranges(begins, np.repeat(per_window, size))] = order
    return member, offsets


def _offsets(first: IntArray, behind: IntArray, per_window: IntArray) -> IntArray:
    """Where each window's segments begin, given that windows first … behind - 1 got so many, run by run."""
    change = np.zeros(int(behind.max(initial=0)) + 1, np.int64)
    np.add.at(change, first, per_window)
    np.add.at(change, behind, -per_window)
    return offsets_of(np.cumsum(change[:-1]))


def _refitted(runs: IntArray, opened: _OpenWindows, window: int) -> IntArray:
    """The runs, int64 [num_runs, 5], with windows that are not full packed again where that saves some; they come
    last."""
    unfilled = [(space, group) for space, groups in opened.groups.items() for group in groups]
    if sum(space * group.size for space, group in unfilled) < (WORTH_REFITTING + 1) * window:
        return runs
    length, first, size, _, per_window = runs.T
    is_apart = np.zeros(int((first + size).max()), bool)
    for _, group in unfilled:
        is_apart[group.first : group.first + group.size] = True
    before = offsets_of(is_apart.astype(np.int64))
    distinct, of = np.unique(length, return_inverse=True)
    count = np.bincount(of, per_window * (before[first + size] - before[first])).astype(np.int64)
    if np.count_nonzero(count) > MOST_LENGTHS:
        return runs
    patterns = refit(distinct[count > 0], count[count > 0], window)
    if sum(pattern.windows for pattern in patterns) >= int(before[-1]):
        return runs
    new = _runs_of(patterns, len(is_apart) - int(before[-1]))
    together = np.concatenate([_without(runs, is_apart), new])
    return together[np.argsort(-together[:, 0], kind="stable")]  # longest first, as sequences are handed out


def _without(runs: IntArray, is_apart: NDArray[np.bool_]) -> IntArray:
    """The runs over the other windows, which close ranks: a run is cut where windows are taken out of it."""
    edges = np.flatnonzero(np.diff(is_apart, prepend=True, append=True))
    begins, ends = edges[::2], edges[1::2]  # of the windows that stay
    first, behind = runs[:, 1], runs[:, 1] + runs[:, 2]
    low = np.searchsorted(ends, first, side="right")
    count = np.maximum(np.searchsorted(begins, behind, side="left") - low, 0)
    run, part = np.repeat(np.arange(len(runs)), count), ranges(low, count)
    begin = np.maximum(first[run], begins[part])
    cut = runs[run]
    cut[:, 1] = begin - offsets_of(is_apart.astype(np.int64))[begin]
    cut[:, 2] = np.minimum(behind[run], ends[part]) - begin
    return cut


def _runs_of(patterns: list[Pattern], first: int) -> IntArray:
    """The patterns' runs, int64 [num_runs, 5], their windows numbered from `first` on."""
    runs = []
    for pattern in patterns:
        segments = 0
        for length, copies in pattern.copies.items():
            runs.append(_Run(length, first, pattern.windows, segments, copies))
            segments += copies
        first += pattern.windows
    return np.array(runs, np.int64).reshape(-1, 5)


def _histogram(lengths: IntArray) -> tuple[IntArray, IntArray]:
    """The distinct lengths from 1 on, ascending, and how many sequences have each."""
    if int(lengths.max(initial=0)) > MAX_TABLE:
        distinct, count = np.unique(lengths[lengths > 0], return_counts=True)
        return distinct, count
    table = np.bincount(lengths, minlength=1)
    table[0] = 0
    distinct = np.flatnonzero(table)
    return distinct, table[distinct]


def _place(distinct: IntArray, count: IntArray, window: int) -> tuple[list[_Run], _OpenWindows]:
    """The steps that place so many sequences of each length, longest first; and the windows that have space left."""
    runs: list[_Run] = []
    opened = _OpenWindows()
    num_windows = 0
    for length, remaining in zip(distinct[::-1].tolist(), count[::-1].tolist(), strict=True):
        while remaining:
            best = opened.pop_best(length)
            if best is None:
                group = _Group(num_windows, -(-remaining // (window // length)), 0)
                num_windows += group.size
                best = window, group
            remaining -= _fill(opened, runs, *best, length, remaining)
    return runs, opened


def _fill(
    opened: _OpenWindows, runs: list[_Run], space: int, group: _Group, length: int, remaining: int
) -> int:
    """Puts what it can of `remaining` sequences into one group, window after window; returns how many."""
    first, size, segments = group
    fits = space // length
    full = min(size, remaining // fits)
    placed = full * fits
    if full:
        runs.append(_Run(length, first, full, segments, fits))
        opened.add(space - fits * length, _Group(first, full, segments + fits))
    if full < size and placed < remaining:  # the last window takes what is left, fewer than would fit
        last = remaining - placed
        runs.append(_Run(length, first + full, 1, segments, last))
        opened.add(space - last * length, _Group(first + full, 1, segments + last))
        full, placed = full + 1, remaining
    opened.add(space, _Group(first + full, size - full, segments))
    return placed
