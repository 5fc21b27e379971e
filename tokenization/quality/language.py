"""Which scripts and which languages documents are in.

`script` counts letters by Unicode's Script property, column-wise: enough to keep Chinese, or English and
Chinese where nothing else is written in Latin letters. `language` asks the library py3langid, document by
document, where languages share a script.
"""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from tokenization.errors import RecipeError
from tokenization.quality.detection import languages
from tokenization.quality.expressions import measure, share
from tokenization.quality.rule import OURS, Parameters, Rule
from tokenization.quality.scripts import SCRIPTS

if TYPE_CHECKING:
    import polars as pl


class Scripts(Parameters):
    """Scripts that are wanted."""

    keep: tuple[Literal[SCRIPTS], ...] = Field(  # type: ignore[valid-type]
        strict=False, min_length=1, description="scripts, by their names in Unicode, such as Latin and Han"
    )
    min_share: float = Field(0.5, ge=0, le=1, description="the smallest share of letters in these scripts")


class Languages(Parameters):
    """Languages that are wanted."""

    keep: tuple[Annotated[str, Field(min_length=1)], ...] = Field(
        strict=False, min_length=1, description="ISO 639 codes, such as en and zh"
    )
    min_confidence: float = Field(0, ge=0, le=1, description="how sure the model must be, from 0 to 1")

    def prepared(self, base: Path) -> Languages:
        """The codes must be the model's."""
        known = languages()
        for code in self.keep:
            if code not in known:
                near = difflib.get_close_matches(code.lower().split("-")[0], known, 1)
                way = f"did you mean {near[0]!r}?" if near else "it must be an ISO 639 code"
                raise RecipeError(
                    f"language.keep has {code!r}, which isn't one of the {len(known)} codes that py3langid "
                    f"knows; {way}"
                )
        return self


def _in_scripts(given: Scripts) -> pl.Expr:
    return share(measure("script_letters", "+".join(sorted(set(given.keep)))), measure("letters"))


def _is_wanted(given: Languages) -> pl.Expr:
    known = languages()
    wanted = [known.index(code) for code in given.keep]
    return measure("language").is_in(wanted) & (measure("language_confidence") >= given.min_confidence)


RULES = (
    Rule(
        "script",
        "language",
        f"{OURS}; Unicode Standard Annex 24",
        "Documents too few of whose letters are of the scripts to keep.",
        Scripts,
        _in_scripts,
        lambda given: _in_scripts(given) >= given.min_share,
    ),
    Rule(
        "language",
        "language",
        "Lui and Baldwin 2012, langid.py: An Off-the-shelf Language Identification Tool, ACL; py3langid",
        "Documents in another language than those to keep.",
        Languages,
        lambda given: measure("language_confidence"),
        _is_wanted,
    ),
)
