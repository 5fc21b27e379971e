"""What rendering gives: sequences with their targets, and the sessions that gave none."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from tokenization.plain_sessions import NONE, PlainSessions
from tokenization.sequences import IntArray, TokenSequences


@dataclass(frozen=True)
class SetAside:
    """A session that gave no sequence."""

    row: int  # of the table
    reason: str  # snake_case, counted
    detail: str


@dataclass(frozen=True)
class Rendered:
    """Sequences of a table of sessions, in the table's order, cuts of a session in turn."""

    sequences: TokenSequences
    session: IntArray  # int64 [num_sequences]  the row in the table
    cut: NDArray[np.int32]  # int32 [num_sequences]  -1 where the session is not cut
    span_offsets: IntArray  # int64 [num_sequences + 1]
    span_start: NDArray[np.int32]  # tokens from the sequence's first, the stop token included
    span_stop: NDArray[np.int32]
    span_message: NDArray[np.int32]  # the message of the session that the target belongs to
    stop_ids: frozenset[int] = frozenset()
    actions: Mapping[int, list[str]] = field(default_factory=dict)  # row -> what a policy did to the session
    cut_actions: Mapping[int, list[str]] = field(
        default_factory=dict
    )  # sequence -> what it did to this cut alone
    set_aside: Sequence[SetAside] = ()
    # sequence -> the messages it holds, where some are left out
    kept: Mapping[int, list[int]] = field(default_factory=dict)
    prompted: Collection[int] = ()  # rows whose prompts are trained too
    plain: PlainSessions = NONE  # those of the table's sessions that were read as columns

    def actions_of(self, sequence: int) -> list[str]:
        """What policies did to this sequence: to its session, and to it alone."""
        return [*self.actions.get(int(self.session[sequence]), []), *self.cut_actions.get(sequence, [])]

    @property
    def num_cuts(self) -> IntArray:
        """For each sequence, into how many its session was cut."""
        counts = np.bincount(self.session, minlength=1)
        return counts[self.session].astype(np.int64)


def stop_ids_of(
    sequences: TokenSequences,
    offsets: IntArray,
    stop: NDArray[np.int32],
    message: NDArray[np.int32],
    control: Collection[int] | None = None,
) -> frozenset[int]:
    """The ids that end the targets: the last token of each message's last span, or the last of these
    `control` tokens where     what follows a stop on its line is a target too."""
    sequence = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    is_last = np.ones(len(sequence), bool)
    is_last[:-1] = (np.diff(sequence) != 0) | (np.diff(message) != 0)
    last = sequences.offsets[sequence[is_last]] + stop[is_last] - 1
    if control is not None and len(last):
        controls = np.flatnonzero(np.isin(sequences.input_ids, list(control)))
        last = controls[np.searchsorted(controls, last, side="right") - 1]
    return frozenset(np.unique(sequences.input_ids[last]).tolist())
