"""Where the eye should stop: turns (one speaker at a time) and mask runs (trained or not).

Guarantees: turns tile the tokens and runs tile the groups, in order; no run crosses a turn, and the mask
does not change inside a run. A character whose tokens disagree about the mask counts as trained: too
much green is looked at, too little is not.
"""

from __future__ import annotations

import bisect
import re
from collections.abc import Sequence
from dataclasses import dataclass

from tokenization.preview.characters import NEWLINE, Group
from tokenization.preview.model import PreviewSequence, RoleSpan

_TYPED_SPECIAL = re.compile(r"<\|(?=[^\s|<>]{1,40}\|>)")


@dataclass(frozen=True)
class Turn:
    """The tokens [start, stop) of one message, header and stop token included."""

    start: int
    stop: int
    role: str  # "" where no role was given: a document, or glue between messages


@dataclass(frozen=True)
class Run:
    """Neighbouring groups of one turn with one mask."""

    groups: Sequence[Group]
    trained: bool

    @property
    def num_tokens(self) -> int:
        return self.groups[-1].stop - self.groups[0].start


def turns(seq: PreviewSequence) -> list[Turn]:
    """Neighbouring spans of one role are one turn, until the token that opened it comes again."""
    found: list[Turn] = []
    for span in _without_gaps(seq):
        last = found[-1] if found else None
        if last and last.role == span.role and not _opens_again(seq, last.start, span.start):
            found[-1] = Turn(last.start, span.stop, last.role)
        else:
            found.append(Turn(span.start, span.stop, span.role))
    return found


def mask_runs(seq: PreviewSequence, groups: Sequence[Group]) -> list[Run]:
    """The sequence in runs, ready to be one line each."""
    starts = [turn.start for turn in turns(seq)]
    runs: list[Run] = []
    first, key = 0, (-1, False)
    for i, group in enumerate(groups):
        here = (bisect.bisect_right(starts, group.start), bool(seq.loss_mask[group.start : group.stop].any()))
        if i and here != key:
            runs.append(Run(groups[first:i], key[1]))
            first = i
        key = here
    if groups:
        runs.append(Run(groups[first:], key[1]))
    return runs


def run_text(run: Run, newline: str = NEWLINE) -> str:
    r"""The run as text; a special token that was merely typed gets a backslash: <\|im_end|>."""
    marked = "".join(f"\0{group.text}\0" if group.special else group.text for group in run.groups)
    parts = marked.split("\0")  # `visible` left no \0 in the text: odd parts are special tokens
    shown = [part if i % 2 else _TYPED_SPECIAL.sub(r"<\\|", part) for i, part in enumerate(parts)]
    return "".join(shown).replace("\n", newline)


def _without_gaps(seq: PreviewSequence) -> list[RoleSpan]:
    spans: list[RoleSpan] = []
    at = 0
    for span in [*seq.roles, RoleSpan(len(seq), len(seq), "", False, "")]:
        if span.start > at:
            spans.append(RoleSpan(at, span.start, "", False, ""))
        if span.stop > span.start:
            spans.append(span)
        at = span.stop
    return spans


def _opens_again(seq: PreviewSequence, opened: int, start: int) -> bool:
    return bool(seq.special[start]) and int(seq.input_ids[start]) == int(seq.input_ids[opened])
