"""Cleans text, and says what it changed and what it leaves out.

`clean_text` is the rule, for one text; `clean_column` applies it to a column: it looks for what needs work
in the column's bytes at once, and touches only those rows. Both give the same (a test holds it).

Guarantees: line ends are LF; NUL and the other C0 controls but tab, line feed and form feed are gone; a
leading U+FEFF is gone; lone surrogates, which no tokenizer takes, are U+FFFD; text is NFC where asked,
never NFKC, which would rewrite Chinese punctuation. Cleaning twice is cleaning once. Price: about 3 ms
a megabyte, without the GIL.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tokenization.errors import RecipeError
from tokenization.ingest.amounts import READ, Amounts, Moved, sizes_of
from tokenization.ingest.decoding import normalise_newlines

_SURROGATES = re.compile("[\ud800-\udfff]")
_CONTROLS = bytes(byte for byte in range(32) if byte not in b"\t\n\f\r")


@dataclass(frozen=True)
class CleaningOptions:
    """What cleaning does; the defaults are the recipe's."""

    unicode: Literal["nfc", "none"] = "nfc"
    min_characters: int = 1  # characters (code points) after cleaning

    def __post_init__(self) -> None:
        if self.unicode not in ("nfc", "none"):
            raise RecipeError(f"cleaning.unicode is {self.unicode!r}; it can be nfc or none")
        if self.min_characters < 0:
            raise RecipeError(f"cleaning.min_characters is {self.min_characters}; it cannot be negative")


@dataclass(frozen=True)
class CleanTexts:
    """A column cleaned; `left_out` rows are in `texts` too and are the caller's to set aside."""

    texts: pa.LargeStringArray  # [num_rows]
    left_out: dict[int, tuple[str, str]]  # row -> (reason, detail)
    changes: Counter[str]  # what was done -> number of texts it was done to
    amounts: Amounts  # what was read, what each step added, what is left out


def clean_text(
    text: str, options: CleaningOptions, changes: Counter[str] | None = None, moved: Moved | None = None
) -> str:
    """One text, cleaned; `changes` counts what was done, `moved` how much it added."""
    counted = Counter[str]() if changes is None else changes
    steps = (
        ("surrogates_replaced", replace_surrogates),
        ("controls_removed", _without_controls),  # before line ends: one may stand inside CRLF
        ("newlines_normalised", normalise_newlines),
        ("byte_order_mark_removed", lambda each: each.lstrip("\ufeff")),
        ("unicode_normalised", _nfc if options.unicode == "nfc" else str),
    )
    for name, step in steps:
        cleaned = step(text)
        if cleaned != text:
            counted[name] += 1
            if moved is not None:
                moved.add(name, len(cleaned) - len(text), _size(cleaned) - _size(text))
        text = cleaned
    return text


def _size(text: str) -> int:
    """Bytes of UTF-8, a lone surrogate's three included."""
    return len(text.encode("utf-8", "surrogatepass"))


def replace_surrogates(text: str) -> str:
    """Surrogates that belong to no pair, as U+FFFD."""
    try:
        text.encode()  # ten times as fast as looking for them
    except UnicodeEncodeError:
        return _SURROGATES.sub("\ufffd", text)
    return text


def _without_controls(text: str) -> str:
    """Without C0 controls, which in UTF-8 are bytes of their own; tab, line ends and form feed stay."""
    data = text.encode()
    kept = data.translate(None, _CONTROLS)
    return text if len(kept) == len(data) else kept.decode()


def _nfc(text: str) -> str:
    if text.isascii() or unicodedata.is_normalized("NFC", text):
        return text
    return unicodedata.normalize("NFC", text)


def clean_texts(texts: list[str], options: CleaningOptions) -> CleanTexts:
    """`clean_column` of Python strings, which may hold lone surrogates."""
    changes: dict[str, int] = {}
    cleaned = clean_column(text_column(texts, changes), options)
    return replace(cleaned, changes=cleaned.changes + Counter(changes))


def text_column(texts: list[str], changes: dict[str, int]) -> pa.LargeStringArray:
    """As an Arrow column; lone surrogates, which it cannot hold, are replaced and counted."""
    try:
        return pa.array(texts, pa.large_string())
    except UnicodeEncodeError:
        sound = [replace_surrogates(text) for text in texts]
        changes["surrogates_replaced"] = sum(map(str.__ne__, sound, texts))
        return pa.array(sound, pa.large_string())


def clean_column(texts: pa.LargeStringArray, options: CleaningOptions) -> CleanTexts:
    """A column of texts without nulls, cleaned."""
    changes: Counter[str] = Counter()
    moved = Moved()
    characters, sizes = sizes_of(texts)
    moved.add(READ, int(characters.sum()), int(sizes.sum()))
    rows = _rows_to_clean(texts, options)
    if len(rows):
        cleaned = [
            clean_text(text, options, changes, moved) for text in texts.take(pa.array(rows)).to_pylist()
        ]
        mask = np.zeros(len(texts), np.bool_)
        mask[rows] = True
        texts = pc.replace_with_mask(texts, pa.array(mask), pa.array(cleaned, pa.large_string()))
    left_out = _left_out(texts, options)
    for row, (reason, _) in left_out.items():
        moved.take(reason, texts[row].as_py())
    return CleanTexts(texts, left_out, +changes, moved.amounts())


def _rows_to_clean(texts: pa.LargeStringArray, options: CleaningOptions) -> NDArray[np.int64]:
    """Rows that one pass of a regular expression over the column's bytes cannot clear, int64, ascending."""
    import polars as pl

    column = pl.Series(pl.from_arrow(texts), dtype=pl.String)
    found = column.str.contains(_needs_a_look(options.unicode)) | column.str.starts_with("\ufeff")
    return found.arg_true().to_numpy().astype(np.int64)


@lru_cache(maxsize=2)
def _needs_a_look(unicode: str) -> str:
    """Matches texts that cleaning may change: C0 controls, and for NFC every character that is not in NFC by itself or
    may combine with the one before it."""
    characters = [*range(9), 11, *range(13, 32)]
    if unicode == "nfc":
        characters += not_surely_nfc()
    return "[" + "".join(f"\\x{{{first:x}}}-\\x{{{last:x}}}" for first, last in _runs(characters)) + "]"


def not_surely_nfc(stop: int = 0x20000) -> list[int]:
    """Code points that the quick check of Unicode Annex 15 doesn't answer with yes, and all combining marks.

    Beyond `stop` there are the compatibility ideographs only (a test holds it): the whole range would take 0.5 s.
    """
    combine = {
        int(parts[1], 16)
        for point in range(0x80, stop)
        if len(parts := unicodedata.decomposition(chr(point)).split()) == 2 and parts[0][0] != "<"
    }
    combine.update(range(0x1161, 0x1176), range(0x11A8, 0x11C3))  # vowels and final consonants of Hangul
    return sorted(
        point
        for point in (*range(0x80, 0xD800), *range(0xE000, stop), *range(0x2F800, 0x2FA20))
        if point in combine
        or unicodedata.combining(chr(point))
        or not unicodedata.is_normalized("NFC", chr(point))
    )


def _runs(points: list[int]) -> Iterator[tuple[int, int]]:
    """Runs of neighbours among ascending numbers: (first, last)."""
    numbers = np.array(points)
    breaks = np.flatnonzero(np.diff(numbers) > 1)
    firsts, lasts = numbers[np.append(0, breaks + 1)], numbers[np.append(breaks, len(numbers) - 1)]
    return zip(firsts.tolist(), lasts.tolist(), strict=True)


def text_bytes(column: pa.LargeStringArray) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """(UTF-8 of all texts, offsets): text i is `data[offsets[i]:offsets[i + 1]]`, without a copy."""
    _, offsets, data = column.buffers()
    count = len(column)
    if count == 0 or data is None:
        return np.empty(0, np.uint8), np.zeros(count + 1, np.int64)
    starts = np.frombuffer(offsets, np.int64, count + 1, column.offset * 8)
    return np.frombuffer(data, np.uint8), starts


def _left_out(texts: pa.LargeStringArray, options: CleaningOptions) -> dict[int, tuple[str, str]]:
    import polars as pl

    least = max(1, options.min_characters)
    column = pl.Series(pl.from_arrow(texts), dtype=pl.String)
    short = (column.str.len_chars() < least) | ~column.str.contains(r"\S")
    rows = short.arg_true().to_list()
    return {row: _why_left_out(text, least) for row, text in zip(rows, column.gather(rows), strict=True)}


def _why_left_out(text: str, least: int) -> tuple[str, str]:
    if not text or text.isspace():
        return "empty", "the text is only white space" if text else "the text is empty"
    return "too_short", f"{len(text)} characters, below cleaning.min_characters={least}"
