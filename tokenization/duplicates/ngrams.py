"""Runs of n words as one integer each: what near duplicates and overlap are measured in.

The hash of a run is Σ word[i+k]·Cⁿ⁻¹⁻ᵏ modulo 2⁶⁴, mixed; order matters, case, spaces and punctuation don't. Runs
of n are built from runs of 1, 2, 4, … so that 13 words cost five multiplications and not twelve.

Guarantees: an n-gram never crosses from one text into the next; a text of w words has max(0, w - n + 1) of them, in
order. Price: about 15 ns a word, 8 bytes an n-gram.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tokenization.duplicates.words import Hashes, Places, Words, mixed

SLICE = 16 << 10  # words: temporary arrays stay in the caches
FACTOR = 0x9FB21C651E98DF25  # odd


def ngrams(words: Words, n: int) -> tuple[Hashes, Places]:
    """The hashes of all n-grams and where each text's begin, uint64 [num_ngrams] and int64 [num_texts + 1]."""
    hashes, whole = ngrams_at_words(words, n)
    counts = np.maximum(np.diff(words.offsets) - (n - 1), 0)
    return hashes[whole], np.concatenate([[0], np.cumsum(counts)])


def ngrams_at_words(words: Words, n: int) -> tuple[Hashes, NDArray[np.bool_]]:
    """The n-gram that begins at each word, and whether it ends in the same text; uint64, bool [num_words]."""
    if n < 1:
        raise ValueError(f"n={n}: an n-gram has at least one word")
    num_words = len(words.hashes)
    whole = np.ones(num_words, bool)
    # the n - 1 words before each end; where a text is shorter they are also the last of those before it
    last = (words.offsets[1:, None] - np.arange(1, n)).ravel()
    whole[last[last >= 0]] = False
    hashes = np.zeros(num_words, np.uint64)
    for first in range(0, num_words - n + 1, SLICE):
        runs = mixed(_runs_of(words.hashes[first : first + SLICE + n - 1], n))
        hashes[first : first + len(runs)] = runs
    return hashes, whole


def _runs_of(values: Hashes, n: int) -> Hashes:
    """Σ values[i+k]·FACTORⁿ⁻¹⁻ᵏ for each i, uint64 [len(values) - n + 1]."""
    power, length = values, 1  # runs of `length` words, a power of two
    result, done = np.zeros(len(values) + 1, np.uint64), 0  # runs of `done` words
    while True:
        if n & length:
            kept = len(values) - done - length + 1
            result = power[:kept] * _factor(done) + result[length:]
            done += length
        if done == n:
            return result
        kept = len(power) - length
        power = power[:kept] * _factor(length) + power[length:]
        length *= 2


def _factor(exponent: int) -> np.uint64:
    return np.uint64(pow(FACTOR, exponent, 2**64))
