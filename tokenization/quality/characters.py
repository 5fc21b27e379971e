"""What each character is: white space, a number, or a letter of a script; looked up for whole columns.

`character_classes` gives one byte for each byte of UTF-8: the class of a character stands at its first byte.
The classes are Unicode's own, asked once (about 40 ms) from polars' regular expressions.

Guarantees: white space is Unicode's White_Space property, scripts are the Script property of letters
(category L). Price: about 1 ns a byte of ASCII, 10 ns a character beyond it.
"""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]
Places = NDArray[np.int64]

SCRIPTS = (
    *("Latin", "Han", "Hiragana", "Katakana", "Bopomofo", "Hangul", "Cyrillic", "Greek", "Arabic", "Hebrew"),
    *("Devanagari", "Bengali", "Gujarati", "Gurmukhi", "Kannada", "Malayalam", "Sinhala", "Tamil", "Telugu"),
    *("Thai", "Lao", "Khmer", "Myanmar", "Tibetan", "Armenian", "Georgian", "Ethiopic", "Mongolian"),
)
UNSPACED_SCRIPTS = ("Han", "Hiragana", "Katakana", "Bopomofo", "Thai", "Lao", "Khmer", "Myanmar", "Tibetan")
"""Scripts written without spaces between words: their letters are counted as words."""

SCRIPT_IDS = {script: place for place, script in enumerate(SCRIPTS, start=1)}
OTHER_LETTER, NUMBER = 30, 31  # in the low five bits, as the scripts are; 0 is anything else
KIND, WHITE_SPACE, CONTINUATION = 0x1F, 0x20, 0x80  # the class byte's bits
_CODE_POINTS = 0x20000  # of which each is looked up; all letters above are Han (planes 2 and 3)
_HAN_PLANES = range(0x20000, 0x40000)


def kinds_table(kinds: tuple[int, ...]) -> NDArray[np.bool_]:
    """bool [256]: whether a class byte is of one of these kinds."""
    table = np.zeros(256, np.bool_)
    for kind in kinds:
        table[[kind, kind | WHITE_SPACE]] = True
    return table


LETTERS = kinds_table(tuple(range(1, NUMBER)))
UNSPACED_LETTERS = kinds_table(tuple(SCRIPT_IDS[script] for script in UNSPACED_SCRIPTS))
LETTERS_AND_NUMBERS = kinds_table(tuple(range(1, NUMBER + 1)))


@functools.lru_cache(maxsize=1)
def class_table() -> Bytes:
    """uint8 [0x110000]: the class of each code point."""
    table = np.zeros(0x110000, np.uint8)
    for first, last in _runs(r"[\p{L}]+"):
        table[first : last + 1] = OTHER_LETTER
    for script, number in SCRIPT_IDS.items():
        for first, last in _runs(rf"[\p{{{script}}}&&\p{{L}}]+"):
            table[first : last + 1] = number
    for first, last in _runs(r"\p{N}+"):
        table[first : last + 1] = NUMBER
    for first, last in _runs(r"\p{White_Space}+"):
        table[first : last + 1] |= WHITE_SPACE
    table[_HAN_PLANES.start : _HAN_PLANES.stop] = SCRIPT_IDS["Han"]
    table.flags.writeable = False
    return table


def code_points_of(pattern: str) -> frozenset[str]:
    """The characters that a class of polars' regular expressions holds, planes 0 and 1."""
    return frozenset(
        chr(point)
        for first, last in _runs(f"{pattern}+")
        for point in range(first, last + 1)
        if not 0xD800 <= point < 0xE000
    )


def _runs(pattern: str) -> list[tuple[int, int]]:
    """(first, last) code point of each run of characters that match."""
    import polars as pl

    found = pl.Series([_all_characters()]).str.extract_all(pattern)[0].to_list()
    return [(ord(run[0]), ord(run[-1])) for run in found]


@functools.lru_cache(maxsize=1)
def _all_characters() -> str:
    return "".join(map(chr, (*range(0xD800), *range(0xE000, _CODE_POINTS))))


def character_classes(data: Bytes) -> Bytes:
    """uint8 [bytes]: each character's class at its first byte, `CONTINUATION` on its other bytes.

    All bytes of a white-space character have `WHITE_SPACE`.
    """
    classes = _byte_table().take(data)
    leads = np.flatnonzero(data >= 0xC0)
    if not len(leads):
        return classes
    found = class_table().take(code_points(data, leads))
    classes[leads] = found
    spaces = leads[(found & WHITE_SPACE) != 0]
    for step in (1, 2):  # white space has at most three bytes
        behind = spaces[spaces + step < len(data)] + step
        behind = behind[classes[behind] == CONTINUATION]
        classes[behind] |= WHITE_SPACE
        spaces = behind - step
    return classes


@functools.lru_cache(maxsize=1)
def _byte_table() -> Bytes:
    table = np.zeros(256, np.uint8)
    table[:128] = class_table()[:128]
    table[0x80:0xC0] = CONTINUATION
    return table


def code_points(data: Bytes, leads: Places) -> NDArray[np.int32]:
    """The code points of the characters that begin at these places; white space for none else."""
    first = data.take(leads).astype(np.int32)
    last = len(data) - 1
    points = first.copy()
    two = np.flatnonzero(first >= 0xC0)
    if not len(two):
        return points
    follow = [data.take(np.minimum(leads[two] + step, last)).astype(np.int32) & 0x3F for step in (1, 2, 3)]
    lead = first[two]
    double = (lead & 0x1F) << 6 | follow[0]
    triple = (lead & 0x0F) << 12 | follow[0] << 6 | follow[1]
    fourfold = (lead & 0x07) << 18 | follow[0] << 12 | follow[1] << 6 | follow[2]
    points[two] = np.where(lead < 0xE0, double, np.where(lead < 0xF0, triple, fourfold))
    return points


def script_of(text: str) -> str | None:
    """The script that most letters of a text are of; None where that is none of `SCRIPTS`."""
    counts = np.bincount(class_table().take([ord(each) for each in text]) & KIND, minlength=32)
    kind = int(counts[1:NUMBER].argmax()) + 1
    return SCRIPTS[kind - 1] if counts[kind] and kind <= len(SCRIPTS) else None
