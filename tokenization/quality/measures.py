"""What the rules look at, one column a measure: a table of numbers for a column of texts.

A measure is named in a rule's expression (`measure("words")`, `measure("short_lines", 30)`), so a rule says
by its expression what it needs, and what no rule needs isn't computed. See expressions for the words.

Guarantees: texts are taken in blocks of about `BLOCK_BYTES`, so memory doesn't grow with the column; of a
text beyond `LOOK_BYTES` only its beginning is measured, but for its `characters`. Price: all measures about
25 ns a byte of English and 40 of Chinese on one core; NumPy releases the GIL, so threads over parts of a
column add up. Memory: 25 MB for a block, 130 MB for a text of `LOOK_BYTES`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tokenization.ingest.cleaning import text_bytes
from tokenization.quality.characters import SCRIPT_KINDS, Bytes, Places, code_points_of
from tokenization.quality.detection import detect_languages
from tokenization.quality.repetition import Repetition
from tokenization.quality.structure import Structure

BLOCK_BYTES = 512 << 10  # the arrays of a block stay near the processor's cache
LOOK_BYTES = 2 << 20  # so much of a text is measured

CLOSING_QUOTES = "\"'”’»›」』"  # an end quotation mark ends a line as a full stop does
BULLETS = "•‣◦∙·●○■□▪▫▶–-*"


def letters_in(words: int) -> int:
    """How many letters of an unspaced script say as much: a Chinese word has one and a half on average."""
    return (3 * words + 1) // 2


class Measured:
    """A block of texts, with everything that is computed from its structure."""

    def __init__(self, data: Bytes, offsets: Places) -> None:
        self._data, self._offsets = data, offsets
        self.structure = Structure(data, offsets)
        self.repetition = Repetition(self.structure)

    def bullet_lines(self) -> Places:
        """Lines that begin with a bullet point."""
        bullets = np.array([ord(each) for each in BULLETS], np.int32)
        return self.structure.lines_where(np.isin(self.structure.first_characters, bullets))

    def ellipsis_lines(self) -> Places:
        """Lines that end in an ellipsis."""
        return self.structure.lines_where(self.structure.ends_in_dots)

    @cached_property
    def _ends_in_punctuation(self) -> NDArray[np.bool_]:
        return terminal_table().take(self.structure.last_characters)

    def punctuated_lines(self) -> Places:
        """Lines that end in a terminal punctuation mark."""
        return self.structure.lines_where(self._ends_in_punctuation)

    def short_lines(self, characters: int) -> Places:
        """Lines of at most so many characters."""
        return self.structure.lines_where(self.structure.line_characters <= characters)

    def full_lines(self, words: int) -> Places:
        """Lines of at least so many words that end in a terminal punctuation mark and not in an ellipsis."""
        structure = self.structure
        enough = structure.line_behind_words - structure.line_first_words >= words
        return structure.lines_where(enough & self._ends_in_punctuation & ~structure.ends_in_dots)

    def script_letters(self, scripts: str) -> Places:
        """Letters of these scripts, joined by +."""
        return self.structure.letters_of(tuple(SCRIPT_KINDS[script] for script in scripts.split("+")))

    def by_words(self, characters_of: Callable[[int], Places], n: int) -> Places:
        """What is measured of n-grams; in unspaced documents of as many letters as n words have."""
        unspaced = self.structure.unspaced
        if not unspaced.any():
            return characters_of(n)
        if unspaced.all():
            return characters_of(letters_in(n))
        return np.where(unspaced, characters_of(letters_in(n)), characters_of(n))

    @cached_property
    def languages(self) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Index in `detection.languages()`, and how sure."""
        return detect_languages(self._data, self._offsets)


@functools.lru_cache(maxsize=1)
def terminal_table() -> NDArray[np.bool_]:
    """bool [0x110000]: Unicode's Sentence_Terminal, the ellipsis, and quotation marks that close."""
    table = np.zeros(0x110000, np.bool_)
    table[[ord(each) for each in terminal_characters()]] = True
    return table


def terminal_characters() -> frozenset[str]:
    """The characters that end a line as a sentence."""
    return code_points_of(r"\p{Sentence_Terminal}") | frozenset("…" + CLOSING_QUOTES)


MEASURES: dict[str, Callable[..., Any]] = {
    "characters": lambda block: block.structure.characters(),
    "letters": lambda block: block.structure.letters(),
    "script_letters": Measured.script_letters,
    "unspaced": lambda block: block.structure.unspaced,
    "words": lambda block: block.structure.words(),
    "spaced_words": lambda block: block.structure.spaced_words(),
    "spaced_word_characters": lambda block: block.structure.spaced_word_characters(),
    "word_characters": lambda block: block.structure.word_characters(),
    "words_with_letters": lambda block: block.structure.words_with_letters(),
    "lines": lambda block: block.structure.lines_where(),
    "line_characters": lambda block: block.structure.lines_where(weights=block.structure.line_characters),
    "bullet_lines": Measured.bullet_lines,
    "ellipsis_lines": Measured.ellipsis_lines,
    "punctuated_lines": Measured.punctuated_lines,
    "short_lines": Measured.short_lines,
    "full_lines": Measured.full_lines,
    "paragraphs": lambda block: block.repetition.paragraphs(),
    "duplicate_lines": lambda block: block.repetition.duplicate_lines(),
    "duplicate_line_characters": lambda block: block.repetition.duplicate_line_characters(),
    "duplicate_paragraphs": lambda block: block.repetition.duplicate_paragraphs(),
    "duplicate_paragraph_characters": lambda block: block.repetition.duplicate_paragraph_characters(),
    "top_ngram_characters": lambda block, n: block.by_words(block.repetition.top_ngram_characters, n),
    "language": lambda block: block.languages[0],
    "language_confidence": lambda block: block.languages[1],
    "duplicate_ngram_characters": lambda block, n: block.by_words(
        block.repetition.duplicate_ngram_characters, n
    ),
}


def measure_texts(texts: pa.LargeStringArray, names: Iterable[str]) -> dict[str, NDArray[Any]]:
    """The columns of these measures, in the order of the texts."""
    wanted = sorted(names)
    if not wanted:
        return {}
    _keep_freed_memory()
    blocks = [
        {name: _compute(block, name) for name in wanted}
        for block in map(_measured, slices(texts, BLOCK_BYTES))
    ] or [{name: np.zeros(0, np.int64) for name in wanted}]
    return {name: np.concatenate([block[name] for block in blocks]) for name in wanted}


@functools.lru_cache(maxsize=1)
def _keep_freed_memory() -> None:
    """Makes glibc keep freed arrays for the next block, which is then half as long again as fast.

    glibc gives arrays back to the system and takes them anew, page by page, until it has seen one of that
    size freed; so one of the largest size that it learns from is freed, without a page of it being touched.
    """
    np.empty((32 << 20) - (64 << 10), np.uint8)


def _compute(block: Measured, name: str) -> NDArray[Any]:
    word, _, argument = name.partition(":")
    arguments = [int(argument) if argument.isdecimal() else argument] if argument else []
    found: NDArray[Any] = MEASURES[word](block, *arguments)
    return found


def _measured(texts: pa.LargeStringArray) -> Measured:
    data, offsets = text_bytes(texts)
    return Measured(data[offsets[0] : offsets[-1]], offsets - offsets[0])


def slices(texts: pa.LargeStringArray, num_bytes: int) -> Iterator[pa.LargeStringArray]:
    """The column in slices of at most so many bytes, or of one text that is longer."""
    _, offsets = text_bytes(texts)
    begin = 0
    while begin < len(texts):
        end = int(np.searchsorted(offsets, offsets[begin] + num_bytes, side="right")) - 1
        end = min(max(end, begin + 1), len(texts))
        yield texts.slice(begin, end - begin)
        begin = end


def beginnings(texts: pa.LargeStringArray) -> pa.LargeStringArray:
    """The texts; of those beyond `LOOK_BYTES` so much as is looked at, cut between characters."""
    data, offsets = text_bytes(texts)
    long = np.flatnonzero(np.diff(offsets) > LOOK_BYTES)
    if not len(long):
        return texts
    pieces, begin = [], 0
    for row in long.tolist():
        end = int(offsets[row]) + LOOK_BYTES
        while data[end] & 0xC0 == 0x80:
            end -= 1
        head = bytes(data[offsets[row] : end]).decode()
        pieces += [texts.slice(begin, row - begin), pa.array([head], pa.large_string())]
        begin = row + 1
    return pa.concat_arrays([*pieces, texts.slice(begin)])
