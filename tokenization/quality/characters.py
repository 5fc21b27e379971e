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

from tokenization.quality.scripts import SCRIPTS, UNSPACED_SCRIPTS

Bytes = NDArray[np.uint8]
Places = NDArray[np.int64]
Mask = NDArray[np.bool_]

SCRIPT_KINDS = {script: kind for kind, script in enumerate(SCRIPTS, start=1)}
OTHER_LETTER, NUMBER = 30, 31  # kinds as the scripts are; 0 is anything else

KIND, WHITE_SPACE, CONTINUATION = 0x1F, 0x20, 0x80  # the bits of a class
_CODE_POINTS = 0x20000  # each is looked up; the letters of the next planes are Han
_HAN_PLANES = slice(0x20000, 0x40000)


def are_letters(classes: Bytes) -> Mask:
    """Letters of any script."""
    return (classes & KIND) - np.uint8(1) < OTHER_LETTER


def are_unspaced(classes: Bytes) -> Mask:
    """Letters of scripts without spaces between words."""
    return (classes & KIND) - np.uint8(1) < len(UNSPACED_SCRIPTS)


def are_of(classes: Bytes, kinds: tuple[int, ...]) -> Mask:
    """Letters of these scripts."""
    found = np.zeros(len(classes), np.bool_)
    for kind in kinds:
        found |= classes & KIND == kind
    return found


@functools.lru_cache(maxsize=1)
def class_table() -> Bytes:
    """uint8 [0x110000]: the class of each code point."""
    table = np.zeros(0x110000, np.uint8)
    for first, last in _runs(r"[\p{L}]+"):
        table[first : last + 1] = OTHER_LETTER
    for script, kind in SCRIPT_KINDS.items():
        for first, last in _runs(rf"[\p{{{script}}}&&\p{{L}}]+"):
            table[first : last + 1] = kind
    for first, last in _runs(r"\p{N}+"):
        table[first : last + 1] = NUMBER
    for first, last in _runs(r"\p{White_Space}+"):
        table[first : last + 1] |= WHITE_SPACE
    table[_HAN_PLANES] = SCRIPT_KINDS["Han"]
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
    # A third of the time of NumPy's `take`, which makes an index of 8 bytes of each.
    classes = np.frombuffer(bytearray(data).translate(_byte_table().tobytes()), np.uint8)
    if not len(data) or int(data.max()) < 0x80:
        return classes
    leads = np.flatnonzero(classes == _UNDECIDED)
    found = class_table().take(code_points(data, leads))
    classes[leads] = found
    spaces = leads[(found & WHITE_SPACE) != 0]
    for step in (1, 2):  # white space has at most three bytes
        behind = spaces[spaces + step < len(data)] + step
        behind = behind[classes[behind] == CONTINUATION]
        classes[behind] |= WHITE_SPACE
        spaces = behind - step
    return classes


_UNDECIDED = 0xFF


@functools.lru_cache(maxsize=1)
def _byte_table() -> Bytes:
    """The class that a byte alone decides: of ASCII, and of lead bytes all of whose characters are alike."""
    table = np.full(256, _UNDECIDED, np.uint8)
    table[:0x80] = class_table()[:0x80]
    table[0x80:0xC0] = CONTINUATION
    for lead in range(0xE1, 0xF0):  # three bytes, 4096 characters each: most of Han and Hangul
        classes = np.unique(class_table()[(lead & 0x0F) << 12 : (lead & 0x0F) + 1 << 12])
        if len(classes) == 1 and not classes[0] & WHITE_SPACE:
            table[lead] = classes[0]
    return table


def code_points(data: Bytes, leads: Places) -> NDArray[np.int32]:
    """int32 [leads]: the code points of the characters that begin at these places."""
    first = data.take(leads)
    points = first.astype(np.int32)
    for num_bytes, low, high in ((2, 0xC0, 0xE0), (3, 0xE0, 0xF0), (4, 0xF0, 0xF8)):
        chosen = np.flatnonzero((first >= low) & (first < high))
        if not len(chosen):
            continue
        places = leads[chosen]
        value = first[chosen].astype(np.int32) & 0x7F >> num_bytes
        for step in range(1, num_bytes):
            value = value << 6 | data.take(places + step).astype(np.int32) & 0x3F
        points[chosen] = value
    return points
