"""The words that rules are written in: columns of measures, and what polars makes of them.

`measure("words")` and `measure("short_lines", 30)` are columns that `measures` computes; beside them an expression may
use `TEXT`, the texts themselves, for what a regular expression tells. Rules are read with every recipe that names one,
so nothing heavy is imported before an expression is asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import polars as pl

TEXT = "text"


def measure(name: str, argument: int | str | None = None) -> pl.Expr:
    """The column of a measure."""
    import polars as pl

    from tokenization.quality.measures import MEASURES

    if name not in MEASURES:
        raise ValueError(f"unknown measure {name!r}")
    return pl.col(name if argument is None else f"{name}:{argument}")


def share(part: pl.Expr, whole: pl.Expr) -> pl.Expr:
    """part / whole, and 0 of nothing."""
    import polars as pl

    return pl.when(whole > 0).then(part / whole).otherwise(0.0)
