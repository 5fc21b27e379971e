"""Loss masks in a terminal: a session as text, a window as one line.

With colour, trained text stands on green and bold, masked text is dim, special tokens are underlined.
Without, each mask run has a line of its own and "+" marks the trained ones, so that it reads in a pager, a
log and for eyes that do not tell green from grey.

Guarantees: the only escape sequences are ours; a session's own are spelled out. Price: 14 µs a token.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

import numpy as np

from tokenization.preview.characters import NEWLINE, character_groups, one_line
from tokenization.preview.model import PreviewSequence, PreviewWindow
from tokenization.preview.runs import Run, Turn, mask_runs, run_text, turns
from tokenization.preview.strip import column_edges

RULE = 72  # columns

_RESET, _BOLD, _DIM, _UNDERLINE = "\x1b[0m", "\x1b[1m", "\x1b[2m", "\x1b[4m"
_TRAINED = "\x1b[30;48;5;157m"  # black on pale green: readable on dark and light terminals
_NO_ROLE = "text"


def terminal_preview(seq: PreviewSequence, colour: bool) -> str:
    """The whole sequence, a rule before each turn; ends with a line break."""
    lines = _heading(seq, colour)
    runs = mask_runs(seq, character_groups(seq))
    for turn in turns(seq):
        lines.append(_rule(seq, turn, colour))
        inside = [run for run in runs if turn.start <= run.groups[0].start < turn.stop]
        lines.extend([_coloured(inside)] if colour else map(_plain, inside))
    return "\n".join(lines) + "\n"


def terminal_window(window: PreviewWindow, colour: bool, width: int = RULE) -> str:
    """The window as one line of blocks (█ trained, ▒ partly, ░ masked, · padding, │ a segment begins)."""
    tokens = len(window.loss_mask)
    first, last = column_edges(tokens, min(width, max(tokens, 1)))
    padded = np.repeat(np.asarray(window.is_padding, bool), window.seq_lens)
    begins = {int(at) * len(first) // max(tokens, 1) for at in np.cumsum(window.seq_lens)[:-1]}
    blocks = [
        _block(window.loss_mask[start:stop].mean() if tokens else 0.0, bool(tokens and padded[start]))
        for start, stop in zip(first, last, strict=True)
    ]
    line = "".join("│" if at in begins else block for at, block in enumerate(blocks))
    segments = len(window.segments) - sum(window.is_padding)
    facts = f"row {window.row} · {window.kind} · {segments} segments · "
    facts += f"{int(np.count_nonzero(window.loss_mask)):,} of {tokens:,} tokens trained"
    facts += f" · {int(np.count_nonzero(padded)):,} padding" if padded.any() else ""
    return f"{_styled(facts, _BOLD, colour)}\n{line}\n"


def _block(trained: float, padding: bool) -> str:
    if padding:
        return "·"
    return "█" if trained > 0.75 else "▒" if trained > 0 else "░"


def _heading(seq: PreviewSequence, colour: bool) -> list[str]:
    share = f" ({seq.num_trained / len(seq):.0%})" if len(seq) else ""
    name = one_line(f"{seq.source} · {seq.item}")
    lines = [f"{_styled(name, _BOLD, colour)}  {seq.num_trained:,} of {len(seq):,} tokens trained{share}"]
    if seq.title and seq.title != seq.item:
        lines.append(one_line(seq.title))
    if seq.note:
        lines.append(f"note: {one_line(seq.note)}")
    return lines


def _rule(seq: PreviewSequence, turn: Turn, colour: bool) -> str:
    trained = int(np.count_nonzero(seq.loss_mask[turn.start : turn.stop]))
    words = f"── {one_line(turn.role) or _NO_ROLE} · {trained:,}/{turn.stop - turn.start:,} trained "
    return _styled(words + "─" * max(0, RULE - len(words)), _DIM, colour)


def _plain(run: Run) -> str:
    """One run behind its mark; its own line breaks keep the mark, so that no line passes for another."""
    mark = "+ " if run.trained else "  "
    return mark + run_text(run, f"{NEWLINE}\n{mark}").removesuffix(f"\n{mark}")


def _coloured(runs: Sequence[Run]) -> str:
    pieces: list[str] = []
    for run in runs:
        for special, groups in groupby(run.groups, key=lambda group: group.special):
            style = (_BOLD + _TRAINED if run.trained else _DIM) + (_UNDERLINE if special else "")
            pieces.append(_painted("".join(group.text for group in groups), style))
    return "".join(pieces).removesuffix("\n")


def _painted(text: str, style: str) -> str:
    """Colour ends before a line break and starts anew behind it: no terminal paints to the edge."""
    lines = text.split("\n")
    pieces = [(line + NEWLINE, "\n") for line in lines[:-1]] + [(lines[-1], "")]
    return "".join(f"{style}{piece}{_RESET}{end}" if piece else end for piece, end in pieces)


def _styled(text: str, style: str, colour: bool) -> str:
    return f"{style}{text}{_RESET}" if colour else text
