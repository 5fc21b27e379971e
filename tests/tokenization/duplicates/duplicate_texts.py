"""Texts at a known distance, and the plain truth to compare with."""

from __future__ import annotations

import random
import unicodedata

import pyarrow as pa

from tokenization.duplicates.characters import LAST, UNSPACED_BLOCKS


def column(texts: list[str] | list[str | None]) -> pa.Array:
    return pa.array(texts, pa.large_string())


def plain_words(text: str) -> list[str]:
    """The words of a text, one character after another."""
    found: list[str] = []
    joined = False  # the last character belongs to a spaced word
    for character in text:
        if unicodedata.category(character)[0] not in "LMN" or ord(character) >= LAST:
            joined = False
            continue
        lower = character.lower() if len(character.lower()) == 1 else character
        if any(first <= ord(character) <= last for first, last in UNSPACED_BLOCKS):
            found.append(lower)
            joined = False
        elif joined:
            found[-1] += lower
        else:
            found.append(lower)
            joined = True
    return found


def plain_ngrams(text: str, n: int) -> list[tuple[str, ...]]:
    words = plain_words(text)
    return [tuple(words[at : at + n]) for at in range(len(words) - n + 1)]


def jaccard(one: str, other: str, n: int = 5) -> float:
    """The exact similarity of two texts' sets of word n-grams."""
    left, right = set(plain_ngrams(one, n)), set(plain_ngrams(other, n))
    return len(left & right) / len(left | right) if left | right else float(one == other)


def prose(rng: random.Random, words: int) -> str:
    """Words that no two calls share by chance."""
    return " ".join(f"{rng.getrandbits(40):x}" for _ in range(words))


def near_copy(rng: random.Random, text: str, similarity: float, n: int = 5) -> str:
    """The text with another ending, such that the Jaccard similarity of the n-grams is about as asked."""
    words = text.split()
    grams = len(words) - n + 1
    shared = round(2 * grams * similarity / (1 + similarity))  # J = s / (2g - s)
    kept = shared + n - 1
    return " ".join([*words[:kept], prose(rng, len(words) - kept)]).strip()
