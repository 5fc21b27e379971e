"""The shortest and the longest document, in characters or words; the limits are the recipe's own.

A word is what `structure` says: in Chinese, Japanese and Thai a letter. Characters are code points.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from tokenization.quality.expressions import measure
from tokenization.quality.rule import OURS, Parameters, Rule

Unit = Literal["characters", "words"]


class MinLength(Parameters):
    """The shortest document that stays."""

    min: int = Field(ge=0, description="characters or words at least")
    unit: Unit = Field("characters", description="characters or words")


class MaxLength(Parameters):
    """The longest document that stays."""

    max: int = Field(ge=1, description="characters or words at most")
    unit: Unit = Field("characters", description="characters or words")


RULES = (
    Rule(
        "min_length",
        "length",
        OURS,
        "Documents that are too short.",
        MinLength,
        lambda given: measure(given.unit),
        lambda given: measure(given.unit) >= given.min,
    ),
    Rule(
        "max_length",
        "length",
        OURS,
        "Documents that are too long.",
        MaxLength,
        lambda given: measure(given.unit),
        lambda given: measure(given.unit) <= given.max,
    ),
)
