"""Loss masks as Markdown for the Dagster page, which renders no colour but two: diff fences and pictures.

`mask_diff` is the text in a fence, a line a mask run: "+" (green) is trained, unmarked is context. It stays
below the 1,000 characters up to which the page shows Markdown inline. `markdown_preview` adds pictures
with a box a token and stays below a budget, because sixty materialisations of large metadata make an asset's
page slow.

Guarantees: no content closes the fence, breaks the heading or reaches the reader's terminal raw; what is
left out is said and counted; both limits hold for any input. Price: about 15 µs a token.
"""

from __future__ import annotations

import base64
import re
import unicodedata
from collections.abc import Sequence

from tokenization.preview.characters import character_groups, one_line
from tokenization.preview.model import PreviewSequence
from tokenization.preview.runs import Run, mask_runs, run_text
from tokenization.preview.svg import token_svg

SHORTEST_LINE = 28  # characters; below this a line says nothing and whole runs are left out instead
SMALLEST_PICTURE = 2_000  # bytes of SVG: about 20 boxes
PICTURES = 3

_CLOSING = 60  # bytes kept for the sentence that counts what is left out
_JOINER = "\u200d"
_BACKTICKS = re.compile("`+")
_MARKDOWN = re.compile(r"([\\`*_{}\[\]()#+!|<>~&$-])")


def mask_diff(seq: PreviewSequence, max_chars: int = 1000) -> str:
    """The sequence as a diff fence of at most `max_chars` characters, as a browser counts them."""
    runs = mask_runs(seq, character_groups(seq))
    texts = [run_text(run) for run in runs]
    longest = max(map(len, texts), default=0)
    best, low, high = "", SHORTEST_LINE, max(min(longest, max_chars), SHORTEST_LINE)
    while low <= high:  # the longest line that still fits
        limit = (low + high) // 2
        attempt = _fence([_line(run, text, limit) for run, text in zip(runs, texts, strict=True)])
        if _browser_length(attempt) <= max_chars:
            best, low = attempt, limit + 1
        else:
            high = limit - 1
    return best or _fewer_runs(runs, texts, max_chars)


def markdown_preview(sequences: Sequence[PreviewSequence], budget: int = 20_000) -> str:
    """The first sequences as token boxes, those behind as diffs; at most `budget` bytes of UTF-8."""
    pictured, listed = sequences[:PICTURES], sequences[PICTURES:]
    left = budget - _CLOSING
    for_pictures = left - min(left * 2 // 5, 1_300 * len(listed))
    parts: list[str] = []
    for i, seq in enumerate(sequences):
        share = for_pictures // (len(pictured) - i) if i < len(pictured) else left
        part = _pictured(seq, share) if i < len(pictured) else ""
        part = part or f"{heading(seq)}\n\n{mask_diff(seq, 800)}"
        size = len(part.encode()) + 2
        if size > left:
            break
        parts.append(part)
        left -= size
        for_pictures -= size
    missing = len(sequences) - len(parts)
    if missing:
        parts.append(f"*{missing:,} of {len(sequences):,} not shown here.*")
    return "\n\n".join(parts)


def _pictured(seq: PreviewSequence, max_bytes: int) -> str:
    """A heading and token boxes, or nothing where too few boxes would fit."""
    name = heading(seq)
    picture_bytes = (max_bytes - len(name.encode()) - 64) * 3 // 4  # base64 takes a third more
    if picture_bytes < SMALLEST_PICTURE:
        return ""
    svg = base64.b64encode(token_svg(seq, picture_bytes).encode()).decode()
    return f"{name}\n\n![token boxes](data:image/svg+xml;base64,{svg})"


def heading(seq: PreviewSequence) -> str:
    """What is shown, its counts and what a policy did, in two lines."""
    name = escaped(shortened(one_line(seq.title or seq.item), 80))
    place = escaped(shortened(one_line(f"{seq.source} · {seq.item}"), 120))
    note = f" · *{escaped(shortened(one_line(seq.note), 160))}*" if seq.note else ""
    return f"**{name}** {place}  \n**{seq.num_trained:,}** trained / {len(seq):,} tokens{note}"


def plain_heading(seq: PreviewSequence) -> str:
    """The same in one line, where nothing is markup."""
    name = shortened(one_line(f"{seq.title or seq.item} · {seq.source}"), 56)
    note = f" · {shortened(one_line(seq.note), 24)}" if seq.note else ""
    return f"{name} · {seq.num_trained:,} trained / {len(seq):,} tokens{note}"


def shortened(text: str, limit: int) -> str:
    """At most `limit` characters: the beginning and, because it holds the stop token, the end."""
    if len(text) <= limit:
        return text
    tail = min(limit // 2, 14)
    head = text[: limit - tail - 1].rstrip(_JOINER)
    end = text[len(text) - tail :]
    while end and (end[0] == _JOINER or unicodedata.category(end[0]).startswith("M")):
        end = end[1:]  # an accent without its letter
    return f"{head}…{end}"


def _line(run: Run, text: str, limit: int) -> str:
    return ("+ " if run.trained else "  ") + shortened(text, limit)


def _fence(lines: Sequence[str]) -> str:
    """A fence one backtick longer than any inside, so that no line can close it."""
    body = "\n".join(lines)
    ticks = "`" * max(3, 1 + max((len(run) for run in _BACKTICKS.findall(body)), default=0))
    return f"{ticks}diff\n{body}\n{ticks}"


def _fewer_runs(runs: Sequence[Run], texts: Sequence[str], max_chars: int) -> str:
    """As many short lines from both ends as fit, and the sum of those between."""
    best = _fence([_gap(runs)])
    lines = [_line(run, text, SHORTEST_LINE) for run, text in zip(runs, texts, strict=True)]
    for kept in range(1, len(runs)):
        head, tail = (kept + 1) // 2, kept // 2
        until = len(runs) - tail
        attempt = _fence([*lines[:head], _gap(runs[head:until]), *lines[until:]])
        if _browser_length(attempt) > max_chars:
            break
        best = attempt
    return best


def _gap(runs: Sequence[Run]) -> str:
    tokens = sum(run.num_tokens for run in runs)
    trained = sum(run.num_tokens for run in runs if run.trained)
    return f"  … {len(runs):,} more runs: {tokens:,} tokens, {trained:,} trained"


def _browser_length(text: str) -> int:
    """UTF-16 units: what JavaScript calls a string's length (an emoji counts two)."""
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def escaped(text: str) -> str:
    return _MARKDOWN.sub(r"\\\1", text)
