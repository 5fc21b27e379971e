"""Quality rules on a batch of documents: what a rule rejects is set aside under the rule's name, with its figure.

Rules run after cleaning, on each chunk by itself, so a rebuild judges only what changed; `dry` counts and removes
nothing. Price: see tokenization.quality.apply.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
import orjson
import pyarrow as pa

from tokenization.ingest.set_aside import SET_ASIDE_SCHEMA
from tokenization.quality.apply import apply_rules
from tokenization.quality.rules import ConfiguredRule, parse_rules
from tokenization.stages.workspace import Workspace


@dataclass(frozen=True)
class Screen:
    """The recipe's rules, ready to run."""

    rules: tuple[ConfiguredRule, ...] = ()
    dry: bool = False

    def key(self) -> list[object]:
        """JSON-able: what the outcome depends on."""
        return [[rule.key() for rule in self.rules], self.dry] if self.rules else []


@dataclass(frozen=True)
class Screened:
    """What the rules left of a batch."""

    documents: pa.Table
    set_aside: pa.Table  # SET_ASIDE_SCHEMA
    would_remove: Counter[str]  # rule -> documents that it alone would remove


def screen_of(workspace: Workspace) -> Screen:
    """The recipe's rules; a RecipeError says what is wrong with one."""
    cleaning = workspace.recipe.cleaning
    return Screen(parse_rules(cleaning.rules, workspace.recipe.directory), cleaning.dry)


def screened(documents: pa.Table, screen: Screen) -> Screened:
    """The documents that every rule keeps, and the others with the first rule that rejects each."""
    if not screen.rules or not len(documents):
        return Screened(documents, SET_ASIDE_SCHEMA.empty_table(), Counter())
    texts = documents.column("text").combine_chunks()
    outcome = apply_rules(texts, screen.rules, dry=screen.dry)
    would_remove = Counter({rule: counts.alone for rule, counts in outcome.counts.items() if counts.alone})
    if screen.dry:
        return Screened(documents, SET_ASIDE_SCHEMA.empty_table(), would_remove)
    rejected = documents.take(pa.array(np.flatnonzero(~outcome.kept)))
    told = [(rule, f"{rule} rejects it: {figure:.4g}") for _, rule, figure in outcome.rejections()]
    rows = [
        orjson.dumps(
            {"text": row["text"]} if row["own_id"] is None else {"id": row["own_id"], "text": row["text"]}
        )
        for row in rejected.select(["own_id", "text"]).to_pylist()
    ]
    columns = {
        **{name: rejected.column(name) for name in ("file", "place", "own_id")},
        "reason": pa.array([rule for rule, _ in told], pa.string()),
        "detail": pa.array([detail for _, detail in told], pa.string()),
        "row": pa.array(rows, pa.large_binary()),
    }
    set_aside = pa.table({name: columns[name] for name in SET_ASIDE_SCHEMA.names}).cast(SET_ASIDE_SCHEMA)
    return Screened(documents.take(pa.array(np.flatnonzero(outcome.kept))), set_aside, would_remove)
