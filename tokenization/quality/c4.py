"""The rules of the C4 corpus (Raffel et al. 2020), as rules for documents: no text is changed.

C4 drops lines as well as pages. A line rule here asks what C4's filter would leave of a document:
`c4_terminal_punctuation` rejects documents of which it would leave no line; `c4_javascript` and `c4_policy`
reject where the lines that C4 drops are too large a share, a threshold that is ours. The published code
counts sentences with a trained splitter; here a sentence ends at `SENTENCE_END`.

`c4_bad_words` needs a list (`path`, one word or phrase a line), such as the one C4 used, and isn't part of
the group `c4`.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from tokenization.errors import RecipeError
from tokenization.quality.expressions import TEXT, measure, share
from tokenization.quality.rule import C4, Parameters, Rule
from tokenization.quality.scripts import UNSPACED_SCRIPTS, script_of

if TYPE_CHECKING:
    import polars as pl

SENTENCE_END = r"""[.!?…]+["'”’)\]]*(?:\s|\z)|[。！？]+"""
POLICY_PHRASES = (
    *("terms of use", "privacy policy", "cookie policy", "uses cookies", "use of cookies", "use cookies"),
)


class FullLines(Parameters):
    """Lines that C4 would keep."""

    min: int = Field(1, ge=0, description="how many such lines at least")
    min_words: int = Field(5, ge=1, description="words in such a line at least")


class MinSentences(Parameters):
    """How many sentences a document must have."""

    min: int = Field(3, ge=0, description="sentences at least")


class Nothing(Parameters):
    """No parameters."""


class MaxLines(Parameters):
    """How many lines may mention it."""

    max: float = Field(0.1, ge=0, le=1, description="the largest share of lines that stays (ours)")


class BadWords(Parameters):
    """Words that a document must not have."""

    path: str | None = Field(None, min_length=1, description="a file with one word or phrase a line")
    words: tuple[Annotated[str, Field(min_length=1)], ...] = Field(
        (), strict=False, description="words or phrases, beside those of the file"
    )

    def prepared(self, base: Path) -> BadWords:
        """With the words of the file; the path itself then matters no more."""
        words = [*self.words, *(self._words_of(base / self.path) if self.path else ())]
        words = sorted({word.strip().lower() for word in words} - {""})
        if not words:
            raise RecipeError(
                "c4_bad_words has no words; say where they are, as {c4_bad_words: {path: bad_words.txt}}, "
                "one word or phrase a line"
            )
        return BadWords(path=None, words=tuple(words))

    def _words_of(self, path: Path) -> list[str]:
        try:
            return path.read_text(encoding="utf-8-sig").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise RecipeError(
                f"c4_bad_words.path: {self.path} can't be read as UTF-8 text: {error}"
            ) from None

    def pattern(self) -> str:
        """Finds any of the words: between word boundaries where their script has such."""
        free = [re.escape(word) for word in self.words if script_of(word) in UNSPACED_SCRIPTS]
        bounded = [re.escape(word) for word in self.words if script_of(word) not in UNSPACED_SCRIPTS]
        parts = [rf"(?:^|\W)(?:{'|'.join(bounded)})(?:\W|$)"] if bounded else []
        return f"(?i){'|'.join(parts + free)}"


def _lines_with(phrases: tuple[str, ...]) -> pl.Expr:
    """The share of lines in which one of the phrases stands."""
    import polars as pl

    mention = rf"(?i)(?:{'|'.join(map(re.escape, phrases))})[^\n]*"  # to its line's end: counts lines
    return share(pl.col(TEXT).str.count_matches(mention), measure("lines"))


def _sentences() -> pl.Expr:
    import polars as pl

    return pl.col(TEXT).str.count_matches(SENTENCE_END)


def _has(pattern: str) -> pl.Expr:
    import polars as pl

    return pl.col(TEXT).str.contains(pattern)


RULES = (
    Rule(
        "c4_terminal_punctuation",
        "c4",
        C4,
        "Documents with too few lines that have enough words and end in a terminal punctuation mark.",
        FullLines,
        lambda given: measure("full_lines", given.min_words),
        lambda given: measure("full_lines", given.min_words) >= given.min,
    ),
    Rule(
        "c4_min_sentences",
        "c4",
        C4,
        "Documents of too few sentences.",
        MinSentences,
        lambda given: _sentences(),
        lambda given: _sentences() >= given.min,
    ),
    Rule(
        "c4_curly_bracket",
        "c4",
        C4,
        "Documents with a curly bracket, which is rare outside of code; it rejects nearly all code.",
        Nothing,
        lambda given: _has(r"\{"),
        lambda given: ~_has(r"\{"),
    ),
    Rule(
        "c4_lorem_ipsum",
        "c4",
        C4,
        "Documents with the placeholder lorem ipsum.",
        Nothing,
        lambda given: _has("(?i)lorem ipsum"),
        lambda given: ~_has("(?i)lorem ipsum"),
    ),
    Rule(
        "c4_javascript",
        "c4",
        C4,
        "Documents too many of whose lines mention JavaScript, as requests to switch it on do.",
        MaxLines,
        lambda given: _lines_with(("javascript",)),
        lambda given: _lines_with(("javascript",)) <= given.max,
    ),
    Rule(
        "c4_policy",
        "c4",
        f"{C4}, and the code published with it",
        "Documents too many of whose lines are about cookies, privacy or terms of use.",
        MaxLines,
        lambda given: _lines_with(POLICY_PHRASES),
        lambda given: _lines_with(POLICY_PHRASES) <= given.max,
    ),
    Rule(
        "c4_bad_words",
        "c4",
        C4,
        "Documents with a word of the list that the recipe names.",
        BadWords,
        lambda given: _has(given.pattern()),
        lambda given: ~_has(given.pattern()),
    ),
)
