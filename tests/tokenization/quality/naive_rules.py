"""The quality rules once more, text by text in plain Python as the papers tell them: an oracle for tests."""

from __future__ import annotations

import functools
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import regex

SPACE = frozenset("\t\n\x0b\x0c\r \x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000") | {
    chr(point) for point in range(0x2000, 0x200B)
}
_UNSPACED = regex.compile(
    r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Bopomofo}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}\p{Tibetan}]"
)
_TERMINAL = regex.compile(r"[\p{Sentence_Terminal}…\"'”’»›」』]\Z")
_BULLETS = tuple("•‣◦∙·●○■□▪▫▶–-*")
_SENTENCE_END = re.compile(rf"""[.!?…]+["'”’)\]]*(?:[{"".join(SPACE)}]|\Z)|[。！？]+""")
_POLICY = (
    *("terms of use", "privacy policy", "cookie policy", "uses cookies", "use of cookies", "use cookies"),
)
_STOP_WORDS = ("the", "be", "to", "of", "and", "that", "have", "with")


@functools.lru_cache(maxsize=10_000)
def is_letter(character: str) -> bool:
    return unicodedata.category(character).startswith("L")


@functools.lru_cache(maxsize=10_000)
def is_unspaced(character: str) -> bool:
    return is_letter(character) and bool(_UNSPACED.match(character))


def strip(text: str) -> str:
    return text.strip("".join(SPACE))


@functools.lru_cache(maxsize=2000)
def words_of(text: str) -> list[str]:
    words, word, last = [], "", ""
    for character in text + " ":
        if character in SPACE:
            words += [word] if word else []
            word = last = ""
            continue
        kind = ""
        if is_letter(character) or unicodedata.category(character).startswith("N"):
            kind = "unspaced" if is_unspaced(character) else "spaced"
        if word and (kind == "unspaced" or (kind == "spaced" and last == "unspaced")):
            words.append(word)
            word = ""
        word += character
        last = kind or last
    return words


def lines_of(text: str) -> list[str]:
    return [line for line in map(strip, text.split("\n")) if line]


def paragraphs_of(text: str) -> list[list[str]]:
    paragraphs: list[list[str]] = [[]]
    for line in map(strip, text.split("\n")):
        if line:
            paragraphs[-1].append(line)
        elif paragraphs[-1]:
            paragraphs.append([])
    return [paragraph for paragraph in paragraphs if paragraph]


def share(part: float, whole: float) -> float:
    return part / whole if whole else 0.0


def repeats(items: Sequence[list[str]]) -> list[int]:
    """Places of items that occurred before."""
    seen: set[tuple[str, ...]] = set()
    places = []
    for place, item in enumerate(map(tuple, items)):
        places += [place] if item in seen else []
        seen.add(item)
    return places


def is_unspaced_document(text: str) -> bool:
    words = words_of(text)
    return 2 * sum(is_unspaced(word[0]) for word in words) > len(words)


def _ngrams(text: str, n: int) -> tuple[list[str], list[tuple[str, ...]], int]:
    words = words_of(text)
    n = (3 * n + 1) // 2 if is_unspaced_document(text) else n
    return words, [tuple(words[i : i + n]) for i in range(len(words) - n + 1)], n


def _inside(words: list[str], places: list[int], n: int) -> int:
    covered = {i for place in places for i in range(place, place + n)}
    return sum(len(words[i]) for i in covered)


def duplicate_ngram_share(text: str, n: int) -> float:
    words, grams, n = _ngrams(text, n)
    seen: set[tuple[str, ...]] = set()
    places = []
    for place, gram in enumerate(grams):
        if gram in seen:
            places.append(place)
        seen.add(gram)
    return share(_inside(words, places, n), sum(map(len, words)))


def top_ngram_share(text: str, n: int) -> float:
    words, grams, n = _ngrams(text, n)
    counts = Counter(grams)  # keeps the order of first occurrence
    if not counts or max(counts.values()) < 2:
        return 0.0
    top = max(counts, key=lambda gram: (counts[gram], sum(map(len, gram))))
    return share(
        _inside(words, [place for place, gram in enumerate(grams) if gram == top], n), sum(map(len, words))
    )


Verdict = tuple[float, bool]  # (figure, kept)


def _lines_share(text: str, test: Callable[[str], bool]) -> float:
    lines = lines_of(text)
    return share(sum(map(test, lines)), len(lines))


def _duplicates(parts: list[Any], characters: list[int], given: Any) -> Verdict:
    again = repeats(parts)
    by_parts = share(len(again), len(parts))
    by_characters = share(sum(characters[place] for place in again), sum(characters))
    kept = by_parts <= given.max and by_characters <= given.max_characters
    return (by_parts if by_parts > given.max else by_characters), kept


def duplicate_lines(text: str, given: Any) -> Verdict:
    lines = lines_of(text)
    return _duplicates([words_of(line) for line in lines], [len(line) for line in lines], given)


def duplicate_paragraphs(text: str, given: Any) -> Verdict:
    found = paragraphs_of(text)
    words = [[word for line in paragraph for word in words_of(line)] for paragraph in found]
    return _duplicates(words, [sum(map(len, paragraph)) for paragraph in found], given)


def _ngram_rule(of: Callable[[str, int], float]) -> Callable[[str, Any], Verdict]:
    def judge(text: str, given: Any) -> Verdict:
        shares = {n: of(text, n) for n in sorted(given.max)}
        beyond = [value for n, value in shares.items() if value > given.max[n]]
        return (beyond[0] if beyond else max(shares.values())), not beyond

    return judge


def stop_words(text: str, given: Any) -> Verdict:
    found = sum(bool(re.search(rf"\b{word}\b", text, re.I | re.A)) for word in _STOP_WORDS)
    letters = [character for character in text if is_letter(character)]
    latin = sum(bool(regex.match(r"\p{Latin}", letter)) for letter in letters)
    applies = 2 * latin >= len(letters) and not is_unspaced_document(text)
    return found, not applies or found >= given.min


def mean_word_length(text: str, given: Any) -> Verdict:
    spaced = [word for word in words_of(text) if not is_unspaced(word[0])]
    mean = share(sum(map(len, spaced)), len(spaced))
    return mean, is_unspaced_document(text) or given.min <= mean <= given.max


def symbol_ratio(text: str, given: Any) -> Verdict:
    symbols = max(text.count("#"), text.count("...") + text.count("…"))
    ratio = share(symbols, len(words_of(text)))
    return ratio, ratio <= given.max


def full_lines(text: str, given: Any) -> Verdict:
    found = sum(
        bool(_TERMINAL.search(line))
        and not line.endswith(("...", "…"))
        and len(words_of(line)) >= given.min_words
        for line in lines_of(text)
    )
    return found, found >= given.min


def mentions(text: str, phrases: tuple[str, ...]) -> float:
    raw = [line for line in text.split("\n") if any(phrase in line.lower() for phrase in phrases)]
    return share(len(raw), len(lines_of(text)))


def script(text: str, given: Any) -> Verdict:
    letters = [character for character in text if is_letter(character)]
    wanted = "".join(rf"\p{{{name}}}" for name in given.keep)
    value = share(sum(bool(regex.match(f"[{wanted}]", letter)) for letter in letters), len(letters))
    return value, value >= given.min_share


def _at_most(figure: Callable[[str], float]) -> Callable[[str, Any], Verdict]:
    return lambda text, given: ((value := figure(text)), value <= given.max)


def _duplicate_line_share(text: str) -> float:
    lines = lines_of(text)
    again = repeats([words_of(line) for line in lines])
    return share(sum(len(lines[place]) for place in again), sum(map(len, lines)))


def _alpha(text: str) -> float:
    words = words_of(text)
    return share(sum(any(map(is_letter, word)) for word in words), len(words))


def _length(text: str, unit: str) -> int:
    return len(text) if unit == "characters" else len(words_of(text))


def _short(text: str, given: Any) -> float:
    return _lines_share(text, lambda line: len(line) <= given.length)


def _punctuated(text: str) -> float:
    return _lines_share(text, lambda line: bool(_TERMINAL.search(line)))


def _sentences(text: str) -> int:
    return len(_SENTENCE_END.findall(text))


JUDGES: dict[str, Callable[[str, Any], Verdict]] = {
    "min_length": lambda text, given: ((n := _length(text, given.unit)), n >= given.min),
    "max_length": lambda text, given: ((n := _length(text, given.unit)), n <= given.max),
    "script": script,
    "gopher_word_count": lambda text, given: ((n := len(words_of(text))), given.min <= n <= given.max),
    "gopher_mean_word_length": mean_word_length,
    "gopher_symbol_ratio": symbol_ratio,
    "gopher_bullet_lines": _at_most(lambda text: _lines_share(text, lambda line: line.startswith(_BULLETS))),
    "gopher_ellipsis_lines": _at_most(
        lambda text: _lines_share(text, lambda line: line.endswith(("...", "…")))
    ),
    "gopher_alpha_words": lambda text, given: ((value := _alpha(text)), value >= given.min),
    "gopher_stop_words": stop_words,
    "gopher_duplicate_lines": duplicate_lines,
    "gopher_duplicate_paragraphs": duplicate_paragraphs,
    "gopher_top_ngrams": _ngram_rule(top_ngram_share),
    "gopher_duplicate_ngrams": _ngram_rule(duplicate_ngram_share),
    "c4_terminal_punctuation": full_lines,
    "c4_min_sentences": lambda text, given: ((n := _sentences(text)), n >= given.min),
    "c4_curly_bracket": lambda text, given: (float("{" in text), "{" not in text),
    "c4_lorem_ipsum": lambda text, given: (
        (found := float("lorem ipsum" in text.lower())),
        not found,
    ),
    "c4_javascript": _at_most(lambda text: mentions(text, ("javascript",))),
    "c4_policy": _at_most(lambda text: mentions(text, _POLICY)),
    "fineweb_line_punctuation": lambda text, given: ((value := _punctuated(text)), value > given.above),
    "fineweb_short_lines": lambda text, given: ((value := _short(text, given)), value < given.below),
    "fineweb_char_duplicates": lambda text, given: (
        (value := _duplicate_line_share(text)),
        value < given.below,
    ),
}
