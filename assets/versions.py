"""Code versions: what of the code and of the recipe decides each asset, in one short word.

A code version is the stage's own (`catalogue.CODES`) and a hash of the recipe's keys that the stage reads. Where it
moves, the page shows the asset as out of date and the automation makes it again. Keys that only look as if they
mattered are taken in too: what was made again needlessly is found in the store, and what was not made again would be
wrong. A test changes each key of a recipe and holds that no stage's result moves without its code version.
"""

from __future__ import annotations

from typing import Any

from tokenization.hashing import key_of
from tokenization.recipe.model import Recipe, SourceSpec

NOT_READ = {"licence", "weight", "max_unreadable"}  # of a source, by the stage that reads it
ACROSS = {"exact_dedup", "near_dedup"}  # of cleaning, by the selection


def code_version(code: str, *parts: Any) -> str:
    """The stage's own version and what it reads of the recipe."""
    return f"{code}-{key_of(*parts)[:8]}"


def of_items(recipe: Recipe, source: SourceSpec, code: str) -> str:
    """Documents and sessions: how the source is read and cleaned."""
    cleaning = {name: value for name, value in dumped(recipe.cleaning).items() if name not in ACROSS}
    read = {name: value for name, value in source.resolved().items() if name not in NOT_READ}
    return code_version(code, read, cleaning, dumped(recipe.chat) if source.kind == "chat" else None)


def of_tokens(recipe: Recipe, source: SourceSpec, code: str) -> str:
    """Token sequences: texts depend on tokenizer and selection alone, sessions on the whole chat section."""
    if source.kind == "text":
        return code_version(code)
    return code_version(code, dumped(recipe.chat), recipe.window, dumped(recipe.sft))


def of_stage(recipe: Recipe, stage: str, code: str) -> str:
    """The stages that a recipe has one of."""
    sources = [[source.name, source.kind, source.weight] for source in recipe.sources]
    chat = dumped(recipe.chat) if recipe.chat_sources else None
    parts: dict[str, list[Any]] = {
        "selection": [sources, dumped(recipe.cleaning), recipe.validation, recipe.seed, chat],
        "leaks": [sources, dumped(recipe.cleaning), chat],
        "draw": [
            *(sources, recipe.window, recipe.seed),
            [recipe.mixture.pretrain_share, recipe.mixture.unit] if recipe.mixture else None,
        ],
        "tokenizer": [dumped(recipe.tokenizer), recipe.seed],
        "windows": [
            *(sources, recipe.window, recipe.seed, dumped(recipe.pretrain), dumped(recipe.sft)),
            dumped(recipe.mixture) if recipe.mixture else None,
        ],
        "candidate": [recipe.fingerprint, recipe.name],
        "preview": [recipe.name],
    }
    return code_version(code, *parts[stage])


def dumped(section: Any) -> dict[str, Any]:
    """A section of the recipe as JSON-able values."""
    values: dict[str, Any] = section.model_dump(mode="json")
    return values
