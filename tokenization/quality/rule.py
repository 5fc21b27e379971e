"""What a quality rule is: a name, a source, parameters with limits, and two expressions.

`figure` is the number that a rule looks at, `keep` the condition on it that a document must fulfil. Both are
polars expressions over the columns of `measures`, so all rules of a recipe run in one select.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tokenization.recipe.section import Section

if TYPE_CHECKING:
    import polars as pl

GOPHER = "Rae et al. 2021, Scaling Language Models (Gopher), arXiv:2112.11446, appendix A1"
C4 = "Raffel et al. 2020, Exploring the Limits of Transfer Learning (T5), JMLR 21(140), section 2.2"
FINEWEB = "Penedo et al. 2024, The FineWeb Datasets, arXiv:2406.17557, section 3.6"
OURS = "tokenmill"


class Parameters(Section):
    """A rule's thresholds; the defaults are the published ones."""

    def prepared(self, base: Path) -> Parameters:
        """With what lies in files read in; relative paths are relative to `base`."""
        return self


@dataclass(frozen=True)
class Rule:
    """A named reason to reject a document."""

    name: str
    family: str  # gopher, c4, fineweb, length or language
    source: str  # where it was published
    rejects: str  # a sentence
    parameters: type[Parameters]
    figure: Callable[[Any], pl.Expr]  # parameters -> the number that is looked at
    keep: Callable[[Any], pl.Expr]  # parameters -> true where the document stays

    @property
    def defaults(self) -> dict[str, Any]:
        """The parameters that have a default, with it."""
        fields = self.parameters.model_fields.items()
        return {name: field.get_default() for name, field in fields if not field.is_required()}
