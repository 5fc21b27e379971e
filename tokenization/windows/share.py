"""A share of text among chats, in exact numbers: how much it asks for, and how near an amount comes.

A share is the decimal that people wrote (0.15 is 3/20, not the nearest binary fraction), amounts are whole
tokens, and comparisons are of fractions: what is nearest does not depend on the machine.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from math import ceil, floor
from typing import Literal

from tokenization.errors import RecipeError

Unit = Literal["total_tokens", "target_tokens"]


@dataclass(frozen=True)
class Share:
    """The part of all tokens (or targets) that shall be pretraining text."""

    asked: Fraction  # of all, from 0 to below 1
    unit: Unit  # what is counted; padding is neither
    sft_total: int  # tokens or targets of all SFT windows

    @classmethod
    def of(cls, asked: float, unit: Unit, sft_total: int) -> Share:
        """The share as a recipe gives it, refused where it cannot be met by any text."""
        if not 0 <= asked < 1:
            raise RecipeError(f"mixture.pretrain_share is {asked:g}; it is a fraction, from 0 to below 1")
        if asked and not sft_total:
            raise RecipeError(
                f"mixture.pretrain_share {asked:g} of {unit} has nothing to be a share of: the SFT windows "
                f"hold no {_words(unit)}; leave mixture out, or add chats"
            )
        return cls(Fraction(str(asked)), unit, sft_total)

    @property
    def needed(self) -> Fraction:
        """The amount of text that gives exactly the share."""
        return self.asked * self.sft_total / (1 - self.asked)

    def given_by(self, amount: int) -> Fraction:
        """The share that this amount of text gives."""
        both = self.sft_total + amount
        return Fraction(amount, both) if both else Fraction(0)

    def miss(self, amount: int) -> Fraction:
        """How far this amount of text is from the share."""
        return abs(self.given_by(amount) - self.asked)

    def too_little_text(
        self, have: int, num_windows: int, max_repetition: float, times: Fraction | None = None
    ) -> RecipeError:
        """The error where text would be seen too often; `times` where a draw found how often."""
        fact = (
            f"mixture.pretrain_share {float(self.asked):g} of {self.unit} needs {ceil(self.needed):,} "
            f"{_words(self.unit)} of text beside {self.sft_total:,} of chats, and there are {have:,} in "
            f"{num_windows:,} pretraining windows"
        )
        if not have:
            return RecipeError(f"{fact}: add pretraining text, or leave mixture out")
        times = times or self.needed / have
        reachable = floor(self.given_by(floor(have * _whole_rounds(max_repetition))) * 1000) / 1000
        lower = f"lower mixture.pretrain_share to {reachable:g}, " if reachable else ""
        return RecipeError(
            f"{fact}: each would be seen {ceil(times * 100) / 100:.2f} times, above mixture.max_repetition "
            f"{max_repetition:g}; add pretraining text, {lower}or set mixture.max_repetition: {ceil(times)}"
        )


def _whole_rounds(max_repetition: float) -> Fraction:
    """Rounds of all the text that are surely allowed; part of a round may hold more or less than its part."""
    exact = Fraction(str(max_repetition))
    return Fraction(floor(exact)) if exact >= 1 else exact


def _words(unit: Unit) -> str:
    return unit.replace("_", " ")
