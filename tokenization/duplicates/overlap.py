"""Which texts repeat other texts word for word: n-grams of an evaluation set found in what is trained on.

`NgramIndex.build` hashes the n-grams of the texts to guard (an evaluation set, the answers, the validation split):
put the smaller side there. `contaminated` streams the other side past it. 13 words are the usual length (Brown et al.
2020, arXiv:2005.14165, appendix C, which also goes down to 8 for short items): a guarded text of `shortest` to n-1
words counts as one n-gram of its own length; shorter ones cannot be told from common phrases and are counted in
`too_short`.

Guarantees: every n-gram in common is found, wherever it begins; case, spaces and punctuation don't matter; the chance
of a false one is below 2⁻³⁰ a million n-grams on either side. Price: about 40 ns a word looked up; the index takes 8
bytes a different n-gram and up to 64 MiB.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tokenization.duplicates.ngrams import ngrams, ngrams_at_words
from tokenization.duplicates.words import Hashes, Places, Words, words_of

NGRAM = 13
SHORTEST = 8
MOST_SLOTS_BITS = 26


@dataclass(frozen=True)
class HashSet:
    """Different hashes in order, and which of their leading bits occur: most look-ups end at the bits."""

    hashes: Hashes  # uint64 [num_hashes], ascending
    leading: NDArray[np.bool_]  # bool [2**k]
    shift: np.uint64

    @classmethod
    def of(cls, hashes: Hashes) -> HashSet:
        hashes = np.unique(hashes)
        bits = min(max(4, len(hashes).bit_length() + 4), MOST_SLOTS_BITS)  # one slot in 16 is taken
        shift = np.uint64(64 - bits)
        leading = np.zeros(1 << bits, bool)
        leading[hashes >> shift] = True
        return cls(hashes, leading, shift)

    def contains(self, hashes: Hashes) -> NDArray[np.bool_]:
        """Whether each one is in the set, bool [len(hashes)]."""
        found: NDArray[np.bool_] = self.leading[hashes >> self.shift]
        maybe = np.flatnonzero(found)
        at = np.searchsorted(self.hashes, hashes[maybe])
        at[at == len(self.hashes)] = 0
        found[maybe] = self.hashes[at] == hashes[maybe] if len(self.hashes) else False
        return found


@dataclass(frozen=True)
class Overlap:
    """What texts have in common with the guarded ones."""

    share: NDArray[np.float64]  # [num_texts]  of the text's n-grams, 0 where it has none
    first: list[
        str | None
    ]  # [num_texts]  the first n-gram in common, as it stands in the text; None at share 0

    def above(self, threshold: float) -> NDArray[np.bool_]:
        """Texts with something in common, and at least this share, bool [num_texts]."""
        return (self.share > 0) & (self.share >= threshold)


@dataclass(frozen=True)
class NgramIndex:
    """The n-grams of the guarded texts, by length."""

    n: int
    sets: dict[int, HashSet]  # words an n-gram → hashes; n, and the lengths of shorter texts
    num_texts: int
    too_short: int

    @classmethod
    def build(
        cls, texts: Iterable[pa.Array | pa.ChunkedArray], n: int = NGRAM, shortest: int = SHORTEST
    ) -> NgramIndex:
        """Index texts that come in columns."""
        if n < 1 or shortest < 1:
            raise ValueError(f"n={n}, shortest={shortest}: an n-gram has at least one word")
        shortest = min(shortest, n)
        found: dict[int, list[Hashes]] = {n: []}
        num_texts = too_short = 0
        for column in texts:
            words = words_of(column)
            counts = np.diff(words.offsets)
            num_texts += len(counts)
            too_short += int((counts < shortest).sum())
            found[n].append(np.unique(ngrams(words, n)[0]))
            for length in np.unique(counts[(counts >= shortest) & (counts < n)]).tolist():
                at = words.offsets[:-1][counts == length]
                found.setdefault(length, []).append(ngrams_at_words(words, length)[0][at])
        sets = {
            length: HashSet.of(np.concatenate([np.zeros(0, np.uint64), *hashes]))
            for length, hashes in sorted(found.items())
        }
        return cls(n, sets, num_texts, too_short)

    def contaminated(self, texts: pa.Array | pa.ChunkedArray) -> Overlap:
        """How much of each text the guarded ones have too; null has nothing."""
        words = words_of(texts)
        longest = np.zeros(
            len(words.hashes), np.int64
        )  # the words of the longest n-gram found from each word on
        for length, members in self.sets.items():  # ascending
            hashes, whole = ngrams_at_words(words, length)
            longest[np.flatnonzero(whole)[members.contains(hashes[whole])]] = length
        hit = np.flatnonzero(longest)
        text = np.searchsorted(words.offsets, hit, "right") - 1
        counts = np.diff(words.offsets)
        hits = np.bincount(text, minlength=len(counts))
        share = np.minimum(hits / np.maximum(counts - (self.n - 1), 1), 1.0)
        first: list[str | None] = [None] * len(counts)
        for at, phrase in _phrases(texts, words, text, hit, longest[hit]):
            first[at] = phrase
        return Overlap(share, first)


def _phrases(
    texts: pa.Array | pa.ChunkedArray, words: Words, text: Places, hit: Places, lengths: Places
) -> Iterator[tuple[int, str]]:
    """Each text with a hit, and its first n-gram in common as it is written there."""
    firsts = np.flatnonzero(np.concatenate([[True], text[1:] != text[:-1]])) if len(text) else text
    begins = words.begins[hit[firsts]]
    ends = words.ends[hit[firsts] + lengths[firsts] - 1]
    for at, begin, end in zip(text[firsts].tolist(), begins.tolist(), ends.tolist(), strict=True):
        yield at, str(texts[at])[begin:end]
