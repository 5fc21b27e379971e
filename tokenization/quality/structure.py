"""A column of texts as flat arrays: where its words, lines and paragraphs begin and end.

Everything is computed when first asked for, for all texts at once, from the column's UTF-8.

- A *word* is a run of characters other than white space. Letters of scripts without spaces between words
  (Chinese, Japanese, Thai, …) are words of their own: one begins at each of them, and at the letter or digit
  of another script that follows. Punctuation belongs to the word before.
- A document is *unspaced* where more than half of its words are such letters.
- A *line* is what stands between line feeds, without white space around it; blank lines are none.
- A *paragraph* is a run of lines without a blank line between.

Guarantees: the same for a text whatever stands beside it in the column. Price: about 5 ns a byte for words
and lines; 10 to 20 bytes of memory a byte of text while the arrays live.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from tokenization.quality.characters import (
    KIND,
    WHITE_SPACE,
    Bytes,
    Mask,
    Places,
    are_letters,
    are_of,
    are_unspaced,
    character_classes,
    code_points,
)


class Structure:
    """Words, lines and paragraphs of `data[offsets[i]:offsets[i + 1]]`, for every document i."""

    def __init__(self, data: Bytes, offsets: Places) -> None:
        """`data` begins at `offsets[0] == 0` and ends at `offsets[-1]`."""
        self.data = data
        self.offsets = offsets
        self.num_documents = len(offsets) - 1
        self._begins = offsets[:-1][offsets[:-1] < offsets[1:]]  # of documents that aren't empty
        self.has_only_ascii = not len(data) or int(data.max()) < 0x80

    # --- characters

    @cached_property
    def classes(self) -> Bytes:
        """uint8 [bytes]: see `character_classes`."""
        return character_classes(self.data)

    @cached_property
    def _characters_before(self) -> NDArray[np.int32] | None:
        """int32 [bytes + 1]: characters that begin before a byte; None where each byte is one."""
        if self.has_only_ascii:
            return None
        return _running_count((self.data & 0xC0) != 0x80)

    def characters_between(self, begins: Places, ends: Places) -> Places:
        """How many characters each span has."""
        before = self._characters_before
        if before is None:
            return ends - begins
        return (before.take(ends) - before.take(begins)).astype(np.int64)

    def characters(self) -> Places:
        """int64 [documents]"""
        return self.characters_between(self.offsets[:-1], self.offsets[1:])

    def letters(self) -> Places:
        """int64 [documents]"""
        return self._per_document(are_letters(self.classes))

    def letters_of(self, kinds: tuple[int, ...]) -> Places:
        """int64 [documents]: letters of these scripts, given by `SCRIPT_IDS`."""
        return self._per_document(are_of(self.classes, kinds))

    def _per_document(self, mask: Mask) -> Places:
        """How many are true in each document."""
        counts = np.zeros(self.num_documents, np.int64)
        if len(self._begins):
            filled = self.offsets[:-1] < self.offsets[1:]
            counts[filled] = np.add.reduceat(mask, self._begins, dtype=np.int32)
        return counts

    # --- words

    @cached_property
    def _word_spans(self) -> tuple[Places, Places]:
        filled = (self.classes & WHITE_SPACE) == 0
        if not len(filled):
            return np.zeros(0, np.int64), np.zeros(0, np.int64)
        breaks = np.empty(len(filled), np.bool_)  # a word or a run of white space begins
        np.not_equal(filled[1:], filled[:-1], out=breaks[1:])
        breaks[self._begins] = True
        if not self.has_only_ascii:
            breaks[self._unspaced_breaks(breaks)] = True
        begins = np.flatnonzero(breaks & filled)
        breaks[1:] &= filled[:-1]  # behind a word, which ends at the break
        ends = np.flatnonzero(breaks[1:]) + 1
        return begins, np.append(ends, len(filled)) if filled[-1] else ends

    def _unspaced_breaks(self, breaks: Mask) -> Places:
        """Where letters of scripts without spaces make words begin inside runs of other than white space."""
        if not are_unspaced(self.classes).any():
            return np.zeros(0, np.int64)
        places = np.flatnonzero(
            (self.classes & KIND) != 0
        )  # letters and numbers; bytes not compared take five times as long
        unspaced = are_unspaced(self.classes.take(places))
        follow = np.flatnonzero(unspaced[:-1] & ~unspaced[1:]) + 1  # another script behind such a letter
        run = np.flatnonzero(breaks)
        runs = [np.searchsorted(run, places[follow - back], side="right") for back in (0, 1)]
        return np.concatenate((places[unspaced], places[follow[runs[0] == runs[1]]]))

    @property
    def word_begins(self) -> Places:
        """int64 [words]: first byte"""
        return self._word_spans[0]

    @property
    def word_ends(self) -> Places:
        """int64 [words]: the byte behind the last"""
        return self._word_spans[1]

    @cached_property
    def word_bounds(self) -> Places:
        """int64 [documents + 1]: document i has words `word_bounds[i]` to `word_bounds[i + 1]`."""
        return np.searchsorted(self.word_begins, self.offsets)

    @cached_property
    def word_documents(self) -> Places:
        """int64 [words]: the document each word is in"""
        return np.repeat(np.arange(self.num_documents), np.diff(self.word_bounds))

    @cached_property
    def characters_before_word(self) -> Places:
        """int64 [words + 1]: characters in the words before, white space not counted"""
        return _before(self.characters_between(self.word_begins, self.word_ends))

    @cached_property
    def _are_unspaced(self) -> Mask | None:
        """bool [words]: letters of scripts without spaces; None where there are none."""
        if self.has_only_ascii:
            return None
        return are_unspaced(self.classes.take(self.word_begins))

    @cached_property
    def unspaced_words(self) -> Places:
        """int64 [documents]: words that are a letter of a script without spaces"""
        if self._are_unspaced is None:
            return np.zeros(self.num_documents, np.int64)
        return np.diff(_before(self._are_unspaced).take(self.word_bounds))

    @property
    def unspaced(self) -> Mask:
        """bool [documents]: more than half of the words are such letters."""
        return 2 * self.unspaced_words > self.words()

    def words(self) -> Places:
        """int64 [documents]"""
        return np.diff(self.word_bounds)

    def word_characters(self) -> Places:
        """int64 [documents]: characters that aren't white space"""
        return np.diff(self.characters_before_word.take(self.word_bounds))

    def spaced_words(self) -> Places:
        """int64 [documents]: the other words"""
        return self.words() - self.unspaced_words

    def spaced_word_characters(self) -> Places:
        """int64 [documents]: characters in them"""
        if self._are_unspaced is None:
            return self.word_characters()
        characters = np.diff(self.characters_before_word) * ~self._are_unspaced
        return np.diff(_before(characters).take(self.word_bounds))

    def words_with_letters(self) -> Places:
        """int64 [documents]"""
        letters = are_letters(self.classes)
        with_letters = letters.take(self.word_begins)
        others = np.flatnonzero(~with_letters)  # of these the rest is looked at too
        if len(others):
            spans = np.stack((self.word_begins[others], self.word_ends[others]), axis=1).ravel()
            within = np.add.reduceat(np.append(letters, False), spans, dtype=np.int32)[::2]
            with_letters[others] = within > 0
        return np.diff(_before(with_letters).take(self.word_bounds))

    # --- lines and paragraphs

    @cached_property
    def _lines(self) -> tuple[Places, Places, Places]:
        """First word, word behind the last, and first line of each paragraph, of lines that aren't blank."""
        opens = np.zeros(len(self.data), np.bool_)
        np.equal(self.data[:-1], 10, out=opens[1:])
        opens[self._begins] = True
        begins = np.flatnonzero(opens)
        first = np.searchsorted(self.word_begins, begins)
        behind = np.append(first[1:], len(self.word_begins))
        filled = behind > first
        opens = np.ones(len(begins), np.bool_)  # a document begins here, or the line before is blank
        opens[1:] = ~filled[:-1]
        opens[np.searchsorted(begins, self._begins)] = True
        return first[filled], behind[filled], np.flatnonzero(opens[filled])

    @property
    def line_first_words(self) -> Places:
        """int64 [lines]: index of the first word"""
        return self._lines[0]

    @property
    def line_behind_words(self) -> Places:
        """int64 [lines]: index behind the last word"""
        return self._lines[1]

    @property
    def paragraph_first_lines(self) -> Places:
        """int64 [paragraphs]: index of the first line"""
        return self._lines[2]

    @cached_property
    def line_begins(self) -> Places:
        """int64 [lines]: first byte that isn't white space"""
        return self.word_begins.take(self.line_first_words)

    @cached_property
    def line_ends(self) -> Places:
        """int64 [lines]: the byte behind the last that isn't white space"""
        return self.word_ends.take(self.line_behind_words - 1)

    @cached_property
    def line_characters(self) -> Places:
        """int64 [lines]: without white space around"""
        return self.characters_between(self.line_begins, self.line_ends)

    @cached_property
    def line_documents(self) -> Places:
        """int64 [lines]"""
        return self.word_documents.take(self.line_first_words)

    def lines_where(self, mask: Mask | None = None, weights: Places | None = None) -> Places:
        """int64 [documents]: how many lines are so, or the sum of their weights."""
        documents = self.line_documents if mask is None else self.line_documents[mask]
        if weights is not None and mask is not None:
            weights = weights[mask]
        return np.bincount(documents, weights, self.num_documents).astype(np.int64)

    @cached_property
    def first_characters(self) -> NDArray[np.int32]:
        """int32 [lines]: code point of each line's first character"""
        return code_points(self.data, self.line_begins)

    @cached_property
    def last_characters(self) -> NDArray[np.int32]:
        """int32 [lines]: code point of each line's last character"""
        places = self.line_ends - 1
        for _ in range(3):
            places = places - ((self.data.take(places) & 0xC0) == 0x80)
        return code_points(self.data, places)

    @cached_property
    def ends_in_dots(self) -> Mask:
        """bool [lines]: ends in an ellipsis, one character or three dots"""
        dots = np.ones(len(self.line_ends), np.bool_)
        for step in (1, 2, 3):
            dots &= self.data.take(np.maximum(self.line_ends - step, 0)) == 0x2E
        dots &= self.line_ends - self.line_begins >= 3
        dots |= self.last_characters == 0x2026
        return dots


def _running_count(mask: Mask) -> NDArray[np.int32]:
    """int32 [len + 1]: how many are true before each place."""
    before = np.zeros(len(mask) + 1, np.int32)
    np.cumsum(mask, dtype=np.int32, out=before[1:])
    return before


def _before(values: NDArray[np.int64] | Mask) -> Places:
    """int64 [len + 1]: sum of the values before each place."""
    before = np.zeros(len(values) + 1, np.int64)
    np.cumsum(values, out=before[1:])
    return before
