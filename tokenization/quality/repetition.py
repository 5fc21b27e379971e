"""How much of a document repeats itself: lines, paragraphs and n-grams of words, for a column at once.

Equal things are found without sorting: keys are scattered into a table, and each reads back who was first
(`first_equals`). An n-gram is a pair of (n-1)-grams that overlap, so after the words no text is looked at;
and what occurs once can be no part of a longer repetition, so each n looks only at what is left.

Guarantees: equality of n-grams is equality of their words, up to a 64-bit hash of words longer than eight
bytes; a document's figures don't depend on its neighbours. Price: about 30 ns a word for 2-grams to
10-grams of ordinary prose.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np
import xxhash
from numpy.typing import NDArray

from tokenization.quality.characters import Bytes, Places
from tokenization.quality.structure import Structure

Keys = NDArray[np.uint64]

_ODD = np.uint64(0x9E3779B97F4A7C15)  # 2^64 over the golden ratio, the usual multiplier
_MIX = (np.uint64(0xFF51AFD7ED558CCD), np.uint64(0xC4CEB9FE1A85EC53))  # of MurmurHash3's finaliser
_LONG_WORD = 64  # bytes; longer words are hashed one by one


def first_equals(keys: Keys) -> Places:
    """int64 [keys]: index of the first key that is equal; its own where it is the first."""
    first, left = _first_in_slots(keys, int(_ODD))
    multiplier = int(_ODD)
    while len(left):
        multiplier = multiplier * int(_MIX[0]) % (1 << 64)  # odd; those that shared a slot now part
        waiting = keys.take(left)
        found, rest = _first_in_slots(waiting, multiplier)
        first[left] = left.take(found)
        left = left.take(rest)
    return first


def _first_in_slots(keys: Keys, multiplier: int) -> tuple[Places, Places]:
    """(index of the first key in each key's slot, the keys to which that one isn't equal)."""
    bits = max(len(keys).bit_length() + 1, 4)
    slots = (keys * np.uint64(multiplier) >> np.uint64(64 - bits)).view(np.int64)
    owner = np.empty(1 << bits, np.int32)
    # of several in a slot the last written stays, which is the first of them
    owner[slots[::-1]] = np.arange(len(keys) - 1, -1, -1, dtype=np.int32)
    first = owner.take(slots).astype(np.int64)
    return first, np.flatnonzero(keys.take(first) != keys)


def mixed(keys: Keys) -> Keys:
    """A bijection of 64 bits that spreads them (MurmurHash3's finaliser)."""
    for multiplier in _MIX:
        keys = (keys ^ keys >> np.uint64(33)) * multiplier
    return keys ^ keys >> np.uint64(33)


def word_hashes(data: Bytes, begins: Places, ends: Places) -> Keys:
    """uint64 [words]: equal for equal words."""
    padded = np.concatenate((data, np.zeros(8, np.uint8)))
    eights: Keys = np.ndarray((len(data) + 1,), "<u8", padded, strides=(1,))  # the 8 bytes at each place
    lengths = ends - begins
    heads = eights[begins] & _masks(lengths)
    hashes = mixed(heads | np.where(lengths < 8, lengths, 0).astype(np.uint64) << np.uint64(56))
    rest = np.flatnonzero((lengths > 8) & (lengths <= _LONG_WORD))
    for step in range(8, _LONG_WORD, 8):
        if not len(rest):
            break
        part = eights[begins[rest] + step] & _masks(lengths[rest] - step)
        hashes[rest] = mixed(hashes[rest] + (part ^ _ODD) * _MIX[1])
        rest = rest[lengths[rest] > step + 8]
    view = memoryview(padded.data)
    for place in np.flatnonzero(lengths > _LONG_WORD).tolist():
        hashes[place] = xxhash.xxh3_64_intdigest(view[begins[place] : ends[place]])
    return hashes


def _masks(lengths: Places) -> Keys:
    """The bits of the first bytes, up to eight."""
    table = np.array([(1 << 8 * count) - 1 for count in range(9)], np.uint64)
    return table.take(np.minimum(lengths, 8))


class Repetition:
    """Repeated lines, paragraphs and n-grams of a `Structure`."""

    def __init__(self, structure: Structure) -> None:
        self._structure = structure
        self._ngrams: dict[int, _NGrams] = {}

    @cached_property
    def _hashes(self) -> Keys:
        structure = self._structure
        return word_hashes(structure.data, structure.word_begins, structure.word_ends)

    # --- lines and paragraphs

    @cached_property
    def _line_repeats(self) -> NDArray[np.bool_]:
        """bool [lines]: the same words stood in a line of the document before."""
        return self._repeats(self._structure.line_first_words, self._structure.line_documents)

    @cached_property
    def _paragraph_repeats(self) -> NDArray[np.bool_]:
        """bool [paragraphs]"""
        return self._repeats(self._paragraph_first_words, self._paragraph_documents)

    @property
    def _paragraph_first_words(self) -> Places:
        return self._structure.line_first_words.take(self._structure.paragraph_first_lines)

    @property
    def _paragraph_documents(self) -> Places:
        return self._structure.line_documents.take(self._structure.paragraph_first_lines)

    def _repeats(self, first_words: Places, documents: Places) -> NDArray[np.bool_]:
        """Which runs of words, each from one first word to the next, repeat one before in the document."""
        if not len(first_words):
            return np.zeros(0, np.bool_)
        lengths = np.diff(np.append(first_words, len(self._hashes)))
        place = np.arange(len(self._hashes)) - np.repeat(first_words, lengths)
        weights = mixed(np.arange(1, int(lengths.max()) + 1, dtype=np.uint64)) | np.uint64(1)
        sums = np.add.reduceat(self._hashes * weights.take(place), first_words)
        first = first_equals(mixed(sums + documents.astype(np.uint64) * _MIX[1]))
        repeats: NDArray[np.bool_] = first != np.arange(len(first))
        return repeats

    def duplicate_lines(self) -> Places:
        """int64 [documents]: lines that repeat an earlier one"""
        return self._structure.lines_where(self._line_repeats)

    def duplicate_line_characters(self) -> Places:
        """int64 [documents]"""
        return self._structure.lines_where(self._line_repeats, self._structure.line_characters)

    def paragraphs(self) -> Places:
        """int64 [documents]"""
        return np.bincount(self._paragraph_documents, minlength=self._structure.num_documents)

    def duplicate_paragraphs(self) -> Places:
        """int64 [documents]: paragraphs that repeat an earlier one"""
        documents = self._paragraph_documents[self._paragraph_repeats]
        return np.bincount(documents, minlength=self._structure.num_documents)

    def duplicate_paragraph_characters(self) -> Places:
        """int64 [documents]: characters of their lines"""
        lines = np.diff(np.append(self._structure.paragraph_first_lines, len(self._structure.line_documents)))
        return self._structure.lines_where(
            np.repeat(self._paragraph_repeats, lines), self._structure.line_characters
        )

    # --- n-grams

    def duplicate_ngram_characters(self, n: int) -> Places:
        """int64 [documents]: characters inside n-grams that occurred before, each counted once"""
        grams = self._ngrams_of(n)
        return self._covered(grams.places[grams.first != grams.places], n)

    def top_ngram_characters(self, n: int) -> Places:
        """int64 [documents]: characters inside the most frequent n-gram, each counted once.

        Of n-grams that are as frequent the one with most characters; 0 where none occurs twice.
        """
        grams, before = self._ngrams_of(n), self._structure.characters_before_word
        firsts = grams.places[grams.first == grams.places]
        if not len(firsts):
            return np.zeros(self._structure.num_documents, np.int64)
        documents = self._structure.word_documents.take(firsts)
        score = grams.counts.take(firsts) << 32 | before.take(firsts + n) - before.take(firsts)
        best = np.zeros(self._structure.num_documents, np.int64)
        opens = np.flatnonzero(np.diff(documents, prepend=-1))
        best[documents[opens]] = np.maximum.reduceat(score, opens)
        winners = firsts[score == best.take(documents)]
        winners = winners[np.diff(self._structure.word_documents.take(winners), prepend=-1) != 0]
        wins = np.zeros(len(self._hashes), np.bool_)
        wins[winners] = True
        return self._covered(grams.places[wins.take(grams.first)], n)

    def _covered(self, places: Places, n: int) -> Places:
        """Characters inside the n-grams at these places (rising), each counted once."""
        structure = self._structure
        begins = places.copy()
        np.maximum(places[1:], places[:-1] + n, out=begins[1:])
        before = structure.characters_before_word
        characters = before.take(places + n) - before.take(begins)
        documents = structure.word_documents.take(places)
        return np.bincount(documents, characters, structure.num_documents).astype(np.int64)

    def _ngrams_of(self, n: int) -> _NGrams:
        """n-grams that occur twice in their document."""
        if n not in self._ngrams:
            self._ngrams[n] = self._counted(n) if n <= 2 else self._longer(self._ngrams_of(n - 1))
        return self._ngrams[n]

    def _counted(self, n: int) -> _NGrams:
        """Words, or pairs of words, by their hashes."""
        hashes, documents = self._hashes, self._structure.word_documents
        places = np.arange(len(hashes))
        keys = hashes
        if n == 2:
            keys = keys[:-1] * _MIX[0] + hashes[1:]
            places = places[:-1]
        keys = keys + documents[: len(keys)].astype(np.uint64) * _MIX[1]
        if n == 2 and self._structure.num_documents > 1:
            places = np.flatnonzero(documents[:-1] == documents[1:])
            keys = keys.take(places)
        return _repeated(places, places.take(first_equals(mixed(keys))), len(hashes))

    def _longer(self, grams: _NGrams) -> _NGrams:
        """n-grams that occur twice, from the (n-1)-grams that do: two that overlap are one."""
        pairs = np.flatnonzero(grams.places[1:] == grams.places[:-1] + 1)
        keys = (grams.first.take(pairs) << 32 | grams.first.take(pairs + 1)).view(np.uint64)
        places = grams.places.take(pairs)
        return _repeated(places, places.take(first_equals(keys)), len(self._hashes))


class _NGrams:
    """The n-grams that occur more than once in their document."""

    def __init__(self, places: Places, first: Places, counts: Places) -> None:
        self.places = places  # int64 [n-grams]  index of the first word, rising
        self.first = first  # int64 [n-grams]  where the same n-gram stands first
        self.counts = counts  # int64 [words]  at the first place of each: how often it occurs


def _repeated(places: Places, first: Places, num_words: int) -> _NGrams:
    counts = np.bincount(first, minlength=num_words)
    repeated = np.flatnonzero(counts.take(first) > 1)
    return _NGrams(places.take(repeated), first.take(repeated), counts)
