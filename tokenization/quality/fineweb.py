"""The rules that FineWeb adds to Gopher's and C4's (Penedo et al. 2024, section 3.6).

Lines are those of `structure`: blank ones don't count, and the white space around belongs to none. Terminal
punctuation is Unicode's Sentence_Terminal (so 。and ؟ too), the ellipsis, and closing quotation marks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from tokenization.quality.expressions import measure, share
from tokenization.quality.rule import FINEWEB, Parameters, Rule

if TYPE_CHECKING:
    import polars as pl


class LinePunctuation(Parameters):
    """Lines that end as sentences do."""

    above: float = Field(0.12, ge=0, le=1, description="the share of such lines must be above this")


class ShortLines(Parameters):
    """Lines that are short."""

    below: float = Field(0.67, ge=0, le=1, description="the share of such lines must be below this")
    length: int = Field(30, ge=0, description="a line of so many characters, or fewer, is short")


class CharDuplicates(Parameters):
    """Characters in lines that occurred before."""

    below: float = Field(0.1, ge=0, le=1, description="the share of such characters must be below this")


def _punctuated() -> pl.Expr:
    return share(measure("punctuated_lines"), measure("lines"))


def _short(given: ShortLines) -> pl.Expr:
    return share(measure("short_lines", given.length), measure("lines"))


def _duplicate() -> pl.Expr:
    return share(measure("duplicate_line_characters"), measure("line_characters"))


RULES = (
    Rule(
        "fineweb_line_punctuation",
        "fineweb",
        FINEWEB,
        "Documents too few of whose lines end in a terminal punctuation mark.",
        LinePunctuation,
        lambda given: _punctuated(),
        lambda given: _punctuated() > given.above,
    ),
    Rule(
        "fineweb_short_lines",
        "fineweb",
        FINEWEB,
        "Documents too many of whose lines are short.",
        ShortLines,
        _short,
        lambda given: _short(given) < given.below,
    ),
    Rule(
        "fineweb_char_duplicates",
        "fineweb",
        FINEWEB,
        "Documents too many of whose characters stand in lines that occurred before.",
        CharDuplicates,
        lambda given: _duplicate(),
        lambda given: _duplicate() < given.below,
    ),
)
