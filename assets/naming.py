"""The keys, groups and kinds of a recipe's assets: one prefix a recipe, one group a stage."""

from __future__ import annotations

import dagster as dg

from tokenization.recipe.model import Recipe

OWNER = "team:data"
ITEMS = {"text": "documents", "chat": "sessions"}


def raw_key(recipe: Recipe, source: str) -> dg.AssetKey:
    """The files as people keep them; tokenmill never writes them."""
    return dg.AssetKey([recipe.dagster_name, "raw", dagster_word(source)])


def items_key(recipe: Recipe, source: str) -> dg.AssetKey:
    """`documents/SOURCE` for texts, `sessions/SOURCE` for chats."""
    kind = next(spec.kind for spec in recipe.sources if spec.name == source)
    return dg.AssetKey([recipe.dagster_name, ITEMS[kind], dagster_word(source)])


def tokens_key(recipe: Recipe, source: str) -> dg.AssetKey:
    return dg.AssetKey([recipe.dagster_name, "tokens", dagster_word(source)])


def key(recipe: Recipe, stage: str) -> dg.AssetKey:
    """An asset that a recipe has one of."""
    return dg.AssetKey([recipe.dagster_name, stage])


def node_key(recipe: Recipe, stage: str, name: str) -> dg.AssetKey:
    """The asset of a node of the workspace's graph."""
    if stage == "documents":
        return items_key(recipe, name)
    return tokens_key(recipe, name) if stage == "tokens" else key(recipe, stage)


def dagster_word(name: str) -> str:
    return name.replace("-", "_")
