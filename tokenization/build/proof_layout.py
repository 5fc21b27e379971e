"""From what a session must read to bytes: one session by itself, or a shape once and its sessions by filling in.

A *shape* is everything about a session but its strings. It is rendered with markers in their places; what stands
between two markers is the same in every session of the shape. A second rendering, with markers that carry white
space and characters that JSON escapes, shows what the template does to a string (trimmed? inside JSON?).

    text      <|im_start|>user\\n Qm0mQ <|im_end|>\\n<|im_start|>assistant\\n Qm1mQ <|im_end|>\\n
    constants <------------------>     <------------------------------------>     <------------>

Guarantees: positions are bytes, exactly; a shape that two renderings do not explain is not used.
Price: filling in costs about 1 µs a message.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

from tokenization.build.proof_view import ControlText, ExpectedText

Treatment = Callable[[str], str]
Position = tuple[int, int]  # a constant, and bytes in it

MARKER = re.compile(r"Qm(\d+)mQ")
_LEFT, _RIGHT = "\n\t", '"中\\z\t\n'  # around a marker: what stripping and JSON would change


@dataclass(frozen=True)
class Filled:
    """One sequence in bytes, and what must be true of it."""

    blob: bytes
    starts: list[int]  # of the targets, bytes
    stops: list[int]
    messages: list[int]  # of the session
    trained: list[tuple[int, int]]  # bytes that must be trained; the targets, or everything but …
    controls: list[tuple[int, int]]  # (byte, id) of each control token, in order
    hidden: list[tuple[int, int]] = field(default_factory=list)  # bytes that no trained token may touch


@dataclass(frozen=True)
class Layout:
    """A sequence of a shape: constants, and the values between them."""

    constants: tuple[bytes, ...]  # one more than slots
    slots: tuple[tuple[int, Treatment | None], ...]  # which of the session's values, and what becomes of it
    starts: tuple[Position, ...]
    stops: tuple[Position, ...]
    messages: tuple[int, ...]
    masked: tuple[tuple[Position, Position], ...] | None  # None: only the targets are trained
    controls: tuple[tuple[Position, int], ...]
    hidden: tuple[tuple[Position, Position], ...] = ()

    def only(self, message: int) -> Layout:
        """The same with this message's targets only."""
        kept = [number for number, own in enumerate(self.messages) if own == message]
        return replace(
            self,
            starts=tuple(self.starts[number] for number in kept),
            stops=tuple(self.stops[number] for number in kept),
            messages=tuple(message for _ in kept),
        )

    def fill(self, values: Sequence[str]) -> Filled:
        """The sequence of the session with these values."""
        parts = [self.constants[0]]
        size = len(parts[0])
        bases = [0]
        for (index, treat), constant in zip(self.slots, self.constants[1:], strict=True):
            written = (values[index] if treat is None else treat(values[index])).encode()
            size += len(written)
            bases.append(size)
            size += len(constant)
            parts += (written, constant)
        starts = [bases[place] + offset for place, offset in self.starts]
        stops = [bases[place] + offset for place, offset in self.stops]
        trained = (
            list(zip(starts, stops, strict=True))
            if self.masked is None
            else _all_but([(bases[a] + b, bases[c] + d) for (a, b), (c, d) in self.masked], size)
        )
        hidden = [(bases[a] + b, bases[c] + d) for (a, b), (c, d) in self.hidden]
        controls = [(bases[place] + offset, token) for (place, offset), token in self.controls]
        return Filled(b"".join(parts), starts, stops, list(self.messages), trained, controls, hidden)


def fill_text(
    expected: ExpectedText, control: ControlText, stand_ins: dict[str, str], everything: bool
) -> Filled:
    """A sequence rendered by itself; `stand_ins` are the characters that hide what was typed."""
    text = expected.text
    controls = [(match.start(), control.ids[match[0]]) for match in control.find(text)]
    edges = (
        {edge for a, b, _ in expected.spans for edge in (a, b)} | {p for p, _ in controls} | {0, len(text)}
    )
    edges |= {edge for pair in (*expected.masked, *expected.hidden) for edge in pair}
    places = sorted(edges)
    blob = bytearray()
    at = {0: 0}
    table = str.maketrans(stand_ins)
    for start, stop in pairwise(places):
        blob += text[start:stop].translate(table).encode()
        at[stop] = len(blob)
    starts, stops = [at[a] for a, _, _ in expected.spans], [at[b] for _, b, _ in expected.spans]
    trained = list(zip(starts, stops, strict=True))
    if everything:
        trained = _all_but([(at[a], at[b]) for a, b in expected.masked], len(blob))
    found = [(at[place], token) for place, token in controls]
    hidden = [(at[a], at[b]) for a, b in expected.hidden]
    return Filled(bytes(blob), starts, stops, [m for _, _, m in expected.spans], trained, found, hidden)


def _all_but(masked: list[tuple[int, int]], size: int) -> list[tuple[int, int]]:
    ranges, read = [], 0
    for start, stop in sorted(masked):
        ranges.append((read, start))
        read = max(read, stop)
    return [(a, b) for a, b in [*ranges, (read, size)] if a < b]


# -- learning a shape -------------------------------------------------------------------------------------


def marker(number: int) -> str:
    return f"Qm{number}mQ"


def padded_marker(number: int) -> str:
    return f"{_LEFT}Qm{number}mQ{_RIGHT}"


def learn_layout(
    bare: ExpectedText, padded: ExpectedText, control: ControlText, everything: bool
) -> Layout | None:
    """The layout that both renderings show; None where they do not fit together."""
    text = bare.text
    found = list(MARKER.finditer(text))
    borders = [0, *(edge for match in found for edge in match.span()), len(text)]
    pieces = [(borders[i], borders[i + 1]) for i in range(0, len(borders), 2)]
    constants = [text[a:b] for a, b in pieces]
    numbers = [int(match[1]) for match in found]
    treatments = _treatments(constants, numbers, padded.text)
    if treatments is None:
        return None

    def position(place: int) -> Position:
        for number, (a, b) in enumerate(pieces):
            if a <= place <= b:
                return number, len(text[a:place].encode())
        raise ValueError("a target's edge stands within a string")

    try:
        return Layout(
            tuple(constant.encode() for constant in constants),
            tuple(zip(numbers, treatments, strict=True)),
            tuple(position(a) for a, _, _ in bare.spans),
            tuple(position(b) for _, b, _ in bare.spans),
            tuple(message for _, _, message in bare.spans),
            tuple((position(a), position(b)) for a, b in bare.masked) if everything else None,
            tuple((position(match.start()), control.ids[match[0]]) for match in control.find(text)),
            tuple((position(a), position(b)) for a, b in bare.hidden),
        )
    except ValueError:
        return None


def _treatments(constants: list[str], numbers: list[int], padded: str) -> list[Treatment | None] | None:
    """What becomes of each value, read off the padded rendering; None where no known treatment explains it."""
    if not padded.startswith(constants[0]):
        return None
    read = len(constants[0])
    found: list[Treatment | None] = []
    for number, constant in zip(numbers, constants[1:], strict=True):
        value = padded_marker(number)
        for treat in TREATMENTS:
            written = treat(value) if treat else value
            if padded.startswith(written + constant, read):
                found.append(treat)
                read += len(written) + len(constant)
                break
        else:
            return None
    return found if read == len(padded) else None


def _treatment(left: str | None, right: str | None, escape: bool | None) -> Treatment | None:
    """Stripped of these characters (None: nothing, "": white space) on each side, then escaped for JSON."""
    if left is None and right is None and escape is None:
        return None

    def treat(value: str) -> str:
        if left is not None:
            value = value.lstrip(left or None)
        if right is not None:
            value = value.rstrip(right or None)
        return value if escape is None else json.dumps(value, ensure_ascii=escape)[1:-1]

    return treat


# What keeps most comes first: a shorter reading may be the beginning of a longer one.
TREATMENTS: tuple[Treatment | None, ...] = tuple(
    _treatment(left, right, escape)
    for escape in (None, False, True)
    for left in (None, "\n", "")
    for right in (None, "\n", "")
)


# -- strings of a session ---------------------------------------------------------------------------------


def rewritten(value: Any, change: Callable[[str], str]) -> Any:
    """A JSON value with every string that is more than white space changed, in order; keys stay."""
    if isinstance(value, str):
        return change(value) if value and not value.isspace() else value
    if isinstance(value, dict):
        return {key: rewritten(item, change) for key, item in value.items()}
    if isinstance(value, list):
        return [rewritten(item, change) for item in value]
    return value


def said(value: Any) -> list[str]:
    """The strings of a JSON value that are more than white space."""
    found: list[str] = []

    def note(text: str) -> str:
        found.append(text)
        return text

    rewritten(value, note)
    return found


def is_written(text: str, inside: str) -> bool:
    """Whether a string stands in a text, as it is or inside JSON, white space at its ends aside."""
    wanted = text.strip()
    return wanted in inside or any(
        json.dumps(wanted, ensure_ascii=escape)[1:-1] in inside for escape in (False, True)
    )
