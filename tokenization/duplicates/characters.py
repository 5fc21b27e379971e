"""What each code point is to a word, and its lower case: two tables, one look-up a character.

A *word* is a run of letters, marks and digits in scripts that put spaces between words, and a single character in
those that don't (Han, kana, Thai, Lao, Khmer, Burmese): five words of Chinese are five characters. Anything else
(spaces, punctuation, symbols, emoji, private use) separates.

Guarantees: the tables follow from Python's Unicode data, whose version is `unicodedata.unidata_version`; for ASCII
they say what `ascii_kinds` and `bytes.lower` say. Price: 0.1 s once, and only where a text is not plain ASCII.
"""

from __future__ import annotations

import unicodedata
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

SEPARATOR, SPACED, UNSPACED = 0, 1, 2  # an UNSPACED character is a word of its own
KIND_SHIFT = 24
LAST = 0x32400  # above it are unassigned planes, tags, variation selectors and private use: all separators

# https://www.unicode.org/charts/: blocks of scripts that do not put spaces between words
UNSPACED_BLOCKS = (
    (0x0E00, 0x0EFF),  # Thai, Lao
    (0x1000, 0x109F),  # Myanmar
    (0x1780, 0x17FF),  # Khmer
    (0x2E80, 0x2FDF),  # Han radicals
    (0x3005, 0x3007),  # Han iteration mark and zero
    (0x3021, 0x3029),  # Hangzhou numerals
    (0x3041, 0x312F),  # Hiragana, Katakana, Bopomofo
    (0x31A0, 0x31FF),  # Bopomofo and Katakana extensions
    (0x3400, 0x4DBF),  # Han extension A
    (0x4E00, 0x9FFF),  # Han
    (0xAA60, 0xAA7F),  # Myanmar extension
    (0xF900, 0xFAFF),  # Han compatibility
    (0xFF66, 0xFF9F),  # halfwidth Katakana
    (0x1B000, 0x1B16F),  # kana supplements
    (0x20000, 0x323AF),  # Han extensions B to H
)


@lru_cache(1)
def character_kinds() -> NDArray[np.uint8]:
    """SEPARATOR, SPACED or UNSPACED for each code point, uint8 [LAST + 1]."""
    letters = [unicodedata.category(chr(code))[0] in "LMN" for code in range(LAST)]
    kinds = np.zeros(LAST + 1, np.uint8)
    kinds[:LAST] = np.array(letters, np.uint8) * SPACED
    for first, last in UNSPACED_BLOCKS:
        block = kinds[first : last + 1]
        block[block == SPACED] = UNSPACED
    return kinds


@lru_cache(1)
def lower_cases() -> NDArray[np.uint32]:
    """The code point of each one's lower case (itself where that is longer than one), uint32 [LAST + 1]."""
    lowered = (chr(code).lower() for code in range(LAST))
    codes = [ord(low) if len(low) == 1 else code for code, low in enumerate(lowered)]
    return np.array([*codes, LAST], np.uint32)


@lru_cache(1)
def kinds_and_lower_cases() -> NDArray[np.uint32]:
    """Both in one look-up: the kind above KIND_SHIFT, the lower case below it, uint32 [LAST + 1]."""
    return lower_cases() | character_kinds().astype(np.uint32) << np.uint32(KIND_SHIFT)


@lru_cache(1)
def ascii_kinds() -> bytes:
    """The kind of each byte below 128, for `bytes.translate`; without building the large tables."""
    return bytes(SPACED if byte < 128 and chr(byte).isalnum() else SEPARATOR for byte in range(256))
