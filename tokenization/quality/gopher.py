"""The quality and repetition rules of Gopher's corpus (Rae et al. 2021, appendix A1, table A1).

Words, lines and paragraphs are those of `structure`. Where the paper leaves room:
- a duplicate is whatever occurred before in the document, so of three equal lines two are duplicates;
- shares of characters count those of lines (or words, for n-grams) without the white space around;
- the most frequent n-gram counts only where it occurs twice, and each character inside is counted once;
- blank lines are no lines.

Chinese, Japanese, Thai and other text without spaces between words: a letter counts as a word, so numbers of
words are numbers of letters. The mean word length is that of the other words, and isn't applied to documents
that are mostly of such letters; nor are stop words, which are looked for only in documents mostly in their
own script; and an n-gram has one and a half times as many letters there.
"""

from __future__ import annotations

import functools
import re
from typing import TYPE_CHECKING, Annotated, Self

from pydantic import Field, model_validator

from tokenization.quality.expressions import TEXT, measure, share
from tokenization.quality.rule import GOPHER, Parameters, Rule
from tokenization.quality.scripts import SCRIPTS, UNSPACED_SCRIPTS, script_of
from tokenization.recipe.section import Problem, refuse

if TYPE_CHECKING:
    import polars as pl

Share = Annotated[float, Field(ge=0, le=1)]
Limits = Annotated[dict[Annotated[int, Field(strict=False)], Share], Field(min_length=1)]
MOST_WORDS = 100  # in an n-gram
STOP_WORDS = ("the", "be", "to", "of", "and", "that", "have", "with")


class Between(Parameters):
    """Two limits."""

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        low, high = (getattr(self, name) for name in ("min", "max"))
        if low > high:
            refuse([Problem(("min",), f"is {low:g}, above max, which is {high:g}; it must be at most that")])
        return self


class WordCount(Between):
    """How many words a document may have."""

    min: int = Field(50, ge=0, description="words at least")
    max: int = Field(100_000, ge=1, description="words at most")


class MeanWordLength(Between):
    """How long words are on average."""

    min: float = Field(3, ge=0, description="characters at least")
    max: float = Field(10, ge=0, description="characters at most")


class SymbolRatio(Parameters):
    """How many symbols there may be for each word."""

    max: float = Field(0.1, ge=0, description="number signs, or ellipses, for each word")


class BulletLines(Parameters):
    """Lines that begin with a bullet point."""

    max: Share = Field(0.9, description="share of lines that begin with a bullet point")


class EllipsisLines(Parameters):
    """Lines that end in an ellipsis."""

    max: Share = Field(0.3, description="share of lines that end in an ellipsis")


class AlphaWords(Parameters):
    """Words with letters."""

    min: Share = Field(0.8, description="share of words with at least one letter")


class StopWords(Parameters):
    """Words that any text of the language has."""

    min: int = Field(2, ge=0, description="how many different ones of the words must occur")
    words: tuple[Annotated[str, Field(min_length=1)], ...] = Field(
        STOP_WORDS, strict=False, min_length=1, description="the stop words, all of one script"
    )


class DuplicateParts(Parameters):
    """How many lines or paragraphs may be repetitions."""

    max: Share = Field(0.3, description="share of them that repeat an earlier one")
    max_characters: Share = Field(0.2, description="share of characters in those")


class Ngrams(Parameters):
    """Limits for several n."""

    max: Limits

    @model_validator(mode="after")
    def _are_ngrams(self) -> Self:
        refuse(
            [
                Problem(("max",), f"has the n-gram size {n}; it must be between 1 and {MOST_WORDS} words")
                for n in self.max
                if not 1 <= n <= MOST_WORDS
            ]
        )
        return self


class TopNgrams(Ngrams):
    """How much of a document its most frequent n-gram may be."""

    max: Limits = Field({2: 0.2, 3: 0.18, 4: 0.16}, description="for each n the share of characters")


class DuplicateNgrams(Ngrams):
    """How much of a document may be n-grams that occurred before."""

    max: Limits = Field(
        {5: 0.15, 6: 0.14, 7: 0.13, 8: 0.12, 9: 0.11, 10: 0.10},
        description="for each n the share of characters",
    )


def _mean_word_length() -> pl.Expr:
    return share(measure("spaced_word_characters"), measure("spaced_words"))


def _symbols() -> tuple[pl.Expr, pl.Expr]:
    import polars as pl

    text = pl.col(TEXT).str
    ellipses = text.count_matches("...", literal=True) + text.count_matches("…", literal=True)
    return text.count_matches("#", literal=True), ellipses


def _symbol_ratio(_: SymbolRatio) -> pl.Expr:
    import polars as pl

    return share(pl.max_horizontal(*_symbols()), measure("words"))


def _lines(name: str) -> pl.Expr:
    return share(measure(name), measure("lines"))


def _words_with_letters() -> pl.Expr:
    return share(measure("words_with_letters"), measure("words"))


@functools.lru_cache(maxsize=16)
def _script_of_words(words: tuple[str, ...]) -> str | None:
    return script_of("".join(words))


def stop_word_pattern(word: str, script: str | None) -> str:
    """The regular expression that finds a stop word; case doesn't matter."""
    if script in UNSPACED_SCRIPTS:
        return re.escape(word)
    if word.isascii():
        return rf"(?i)(?-u:\b){re.escape(word)}(?-u:\b)"
    return rf"(?i)\b{re.escape(word)}\b"


def _stop_words(given: StopWords) -> pl.Expr:
    import polars as pl

    script = _script_of_words(given.words)
    patterns = [stop_word_pattern(word, script) for word in dict.fromkeys(given.words)]
    return pl.sum_horizontal(pl.col(TEXT).str.contains(pattern).cast(pl.Int64) for pattern in patterns)


def _has_stop_words(given: StopWords) -> pl.Expr:
    script = _script_of_words(given.words)
    if script not in SCRIPTS:
        return _stop_words(given) >= given.min
    is_other = 2 * measure("script_letters", script) < measure("letters")
    if script not in UNSPACED_SCRIPTS:
        is_other |= measure("unspaced")
    return is_other | (_stop_words(given) >= given.min)


def _duplicates(part: str) -> tuple[pl.Expr, pl.Expr]:
    return (
        share(measure(f"duplicate_{part}s"), measure(f"{part}s")),
        share(measure(f"duplicate_{part}_characters"), measure("line_characters")),
    )


def _duplicates_figure(part: str, given: DuplicateParts) -> pl.Expr:
    import polars as pl

    parts, characters = _duplicates(part)
    return pl.when(parts > given.max).then(parts).otherwise(characters)


def _few_duplicates(part: str, given: DuplicateParts) -> pl.Expr:
    parts, characters = _duplicates(part)
    return (parts <= given.max) & (characters <= given.max_characters)


def _ngram_shares(name: str, limits: Limits) -> list[tuple[pl.Expr, float]]:
    whole = measure("word_characters")
    return [(share(measure(name, n), whole), limit) for n, limit in sorted(limits.items())]


def _ngrams_figure(name: str, given: Ngrams) -> pl.Expr:
    """The first share beyond its limit, else the largest."""
    import polars as pl

    shares = _ngram_shares(name, given.max)
    beyond = [pl.when(part > limit).then(part) for part, limit in shares]
    return pl.coalesce(*beyond, pl.max_horizontal(part for part, _ in shares))


def _few_ngrams(name: str, given: Ngrams) -> pl.Expr:
    import polars as pl

    return pl.all_horizontal(part <= limit for part, limit in _ngram_shares(name, given.max))


def _duplicate_rule(part: str) -> Rule:
    return Rule(
        f"gopher_duplicate_{part}s",
        "gopher",
        GOPHER,
        f"Documents too many of whose {part}s, or of whose characters, stand in {part}s that occurred before.",
        DuplicateParts,
        lambda given: _duplicates_figure(part, given),
        lambda given: _few_duplicates(part, given),
    )


RULES = (
    Rule(
        "gopher_word_count",
        "gopher",
        GOPHER,
        "Documents of too few or too many words.",
        WordCount,
        lambda given: measure("words"),
        lambda given: measure("words").is_between(given.min, given.max),
    ),
    Rule(
        "gopher_mean_word_length",
        "gopher",
        GOPHER,
        "Documents whose words are too short or too long on average; not applied to scripts without spaces.",
        MeanWordLength,
        lambda given: _mean_word_length(),
        lambda given: measure("unspaced") | _mean_word_length().is_between(given.min, given.max),
    ),
    Rule(
        "gopher_symbol_ratio",
        "gopher",
        GOPHER,
        "Documents with too many number signs (#) or ellipses for their words.",
        SymbolRatio,
        _symbol_ratio,
        lambda given: _symbol_ratio(given) <= given.max,
    ),
    Rule(
        "gopher_bullet_lines",
        "gopher",
        GOPHER,
        "Documents too many of whose lines begin with a bullet point.",
        BulletLines,
        lambda given: _lines("bullet_lines"),
        lambda given: _lines("bullet_lines") <= given.max,
    ),
    Rule(
        "gopher_ellipsis_lines",
        "gopher",
        GOPHER,
        "Documents too many of whose lines end in an ellipsis.",
        EllipsisLines,
        lambda given: _lines("ellipsis_lines"),
        lambda given: _lines("ellipsis_lines") <= given.max,
    ),
    Rule(
        "gopher_alpha_words",
        "gopher",
        GOPHER,
        "Documents too few of whose words have a letter.",
        AlphaWords,
        lambda given: _words_with_letters(),
        lambda given: _words_with_letters() >= given.min,
    ),
    Rule(
        "gopher_stop_words",
        "gopher",
        GOPHER,
        "Documents, mostly in the script of the stop words, with too few different ones of them.",
        StopWords,
        _stop_words,
        _has_stop_words,
    ),
    _duplicate_rule("line"),
    _duplicate_rule("paragraph"),
    Rule(
        "gopher_top_ngrams",
        "gopher",
        GOPHER,
        "Documents too much of which is their most frequent 2-, 3- or 4-gram.",
        TopNgrams,
        lambda given: _ngrams_figure("top_ngram_characters", given),
        lambda given: _few_ngrams("top_ngram_characters", given),
    ),
    Rule(
        "gopher_duplicate_ngrams",
        "gopher",
        GOPHER,
        "Documents too much of which is n-grams, of 5 to 10 words, that occurred before.",
        DuplicateNgrams,
        lambda given: _ngrams_figure("duplicate_ngram_characters", given),
        lambda given: _few_ngrams("duplicate_ngram_characters", given),
    ),
)
