"""Bytes that tokens spell beside the text that they spell, and whole characters out of both.

A token may be a part of a character and may end in the middle of the next one, so places are counted in bytes first
and widened to whole characters last. Texts are compared with what tokens spell as they are, else behind one space
that the tokenizer put in front, else without white space (templates trim).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

SPACES = b" \t\n\r\x0b\x0c"
_IS_SPACE = np.isin(np.arange(256), np.frombuffer(SPACES, np.uint8))


@dataclass(frozen=True)
class Characters:
    """Whole characters [start, stop) that a range of bytes touches, and which of their bytes it is."""

    start: int
    stop: int
    first_byte: int  # of these characters' bytes, the range's first
    num_bytes: int  # of these characters
    missing: int  # of their bytes behind the range


def whole_characters(raw: bytes, begin: int, end: int) -> Characters:
    """The characters of UTF-8 bytes that [begin, end) touches; none where it is empty."""
    first, last = begin, end
    while end > begin and first > 0 and is_inside(raw, first):
        first -= 1
    while end > begin and last < len(raw) and is_inside(raw, last):
        last += 1
    start = count_characters(raw[:first])
    count = count_characters(raw[first:last])
    return Characters(start, start + count, begin - first, last - first, last - end)


def is_inside(raw: bytes, place: int) -> bool:
    """Whether the byte goes on with a character that an earlier one began."""
    return raw[place] & 0xC0 == 0x80


def count_characters(raw: bytes) -> int:
    """How many characters begin in these bytes."""
    values = np.frombuffer(raw, np.uint8)
    return int(np.count_nonzero((values & 0xC0) != 0x80))


@dataclass(frozen=True)
class Spelled:
    """A text, and the bytes in which tokens spell it."""

    text: bytes  # as it is
    spelled: bytes
    shift: int | None  # spelled[b] is text[b - shift]; None: they agree white space aside

    @classmethod
    def of(cls, text: str, spelled: bytes) -> Spelled | None:
        """None where the bytes are not this text's."""
        raw = text.encode("utf-8", "surrogatepass")
        if raw == spelled:
            return cls(raw, spelled, 0)
        if spelled == b" " + raw:
            return cls(raw, spelled, 1)
        if raw.translate(None, SPACES) == spelled.translate(None, SPACES):
            return cls(raw, spelled, None)
        return None

    def place(self, begin: int, end: int) -> tuple[int, int]:
        """The bytes of the text that these bytes of `spelled` stand for."""
        if self.shift is not None:
            most = len(self.text)
            return min(max(begin - self.shift, 0), most), min(max(end - self.shift, 0), most)
        of_text, of_spelled = self._loud
        first, last = np.searchsorted(of_spelled, [begin, end]).tolist()
        if last > first:
            return int(of_text[first]), int(of_text[last - 1]) + 1
        before = int(of_text[first - 1]) + 1 if first else 0
        return before, int(of_text[first]) if first < len(of_text) else len(self.text)

    @cached_property
    def _loud(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        return loud(self.text), loud(self.spelled)


def loud(raw: bytes) -> NDArray[Any]:
    """Where the bytes stand that are no white space."""
    return np.flatnonzero(~_IS_SPACE[np.frombuffer(raw, np.uint8)])


def within(text: str, whole: bytes, start: int, stop: int) -> tuple[Spelled, int] | None:
    """The text whose first and last visible bytes are whole[start] and whole[stop - 1], and where in `whole` its
    spelling begins: with its own white space around it where that is there too."""
    raw = text.encode("utf-8", "surrogatepass")
    before = len(raw) - len(raw.lstrip(SPACES))
    after = len(raw) - len(raw.rstrip(SPACES))
    for lead, tail in ((before, after), (before, 0), (0, after)):
        first, last = start - lead, stop + tail
        if first >= 0 and whole[first:last] == raw[before - lead : len(raw) - after + tail]:
            return Spelled(raw, whole[first:last], lead - before), first
    stripped = raw[before : len(raw) - after]
    if whole[start:stop] == stripped:
        return Spelled(raw, stripped, -before), start
    if whole[start:stop].translate(None, SPACES) == raw.translate(None, SPACES):
        return Spelled(raw, whole[start:stop], None), start
    return None
