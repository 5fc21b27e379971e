"""Jobs for the engine's test on Ray; in a module of their own, so that its workers can import them."""

from __future__ import annotations

from tokenization.errors import RecipeError


def double(job: int) -> int:
    return 2 * job


def fail_on(job: tuple[int, type[Exception]]) -> int:
    """The second job fails: with an error of ours, or with one of somebody else's."""
    number, error = job
    if number == 1:
        raise RecipeError("mend the recipe") if error is RecipeError else ValueError("bad block")
    return number
