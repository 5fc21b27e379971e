"""The keys, groups and kinds of a recipe's assets: one prefix a recipe, one group a stage."""

from __future__ import annotations

import dagster as dg

from tokenization.recipe.model import Recipe

OWNER = "team:data"
CORES, GPU = "cores", "gpu"  # pools: what fills the machine's cores, and the one accelerator
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


def slice_key(recipe: Recipe, stage: str, source: str) -> dg.AssetKey:
    """A source's part of a decision that crosses sources: `selection/SOURCE`, `draw/SOURCE`."""
    return dg.AssetKey([recipe.dagster_name, stage, dagster_word(source)])


def model_files_key(recipe: Recipe) -> dg.AssetKey:
    """The tokenizer's and the template's own files, where the recipe names some."""
    return dg.AssetKey([recipe.dagster_name, "model_files"])


def key(recipe: Recipe, stage: str) -> dg.AssetKey:
    """An asset that a recipe has one of."""
    return dg.AssetKey([recipe.dagster_name, stage])


def node_key(recipe: Recipe, stage: str, name: str) -> dg.AssetKey:
    """The asset of a node of the workspace's graph."""
    if stage == "documents":
        return items_key(recipe, name)
    return tokens_key(recipe, name) if stage == "tokens" else key(recipe, stage)


def tags(recipe: Recipe, **more: str) -> dict[str, str]:
    """What the page can be searched by; 63 characters is Dagster's limit."""
    return {name: value[:63] for name, value in {"recipe": recipe.dagster_name, **more}.items()}


def made_by(recipe: Recipe, stage: str, name: str) -> list[dg.AssetKey]:
    """Every asset that the node's one step makes."""
    sources = {"selection": recipe.sources, "draw": recipe.text_sources}.get(stage, ())
    return [node_key(recipe, stage, name), *(slice_key(recipe, stage, source.name) for source in sources)]


def dagster_word(name: str) -> str:
    return name.replace("-", "_")
