"""What is known of the stages without their code: the module of each, its version, and which stages a recipe has.

Dagster's definitions and the walk over what is stale read this alone; the modules, with pyarrow, NumPy and all that a
stage works with, are imported when a stage is looked up or run.
"""

from __future__ import annotations

from tokenization.recipe.model import Recipe

# stage -> the module that has its parts and run
MODULES = {
    "documents": "tokenization.stages.documents",
    "selection": "tokenization.stages.selection",
    "tokenizer": "tokenization.stages.tokenizer",
    "draw": "tokenization.stages.draw",
    "leaks": "tokenization.stages.leaks",
    "tokens": "tokenization.stages.tokens",
    "windows": "tokenization.stages.windows",
    "preview": "tokenization.stages.preview",
    "candidate": "tokenization.stages.candidate",
}

# stage -> the version of its code: raise it when its output changes for the same input
CODES = {
    "documents": "5",
    "selection": "3",
    "tokenizer": "1",
    "draw": "2",
    "leaks": "1",
    "tokens": "7",
    "windows": "4",
    "preview": "5",
    "candidate": "9",
}


def draws(recipe: Recipe) -> bool:
    """Whether the recipe may leave documents unencoded: it has the stage `draw`."""
    return recipe.mixture is not None and not recipe.encode_all


def measures(recipe: Recipe) -> bool:
    """Whether the recipe asks what is kept apart and meets: it has the stage `leaks`."""
    return recipe.cleaning.decontamination is not None


def nodes(recipe: Recipe) -> list[tuple[str, str]]:
    """(stage, source or "") of everything up to the candidate and its preview, in an order that can be run."""
    return [
        *(("documents", source.name) for source in recipe.sources),
        ("tokenizer", ""),
        ("selection", ""),
        *(("tokens", source.name) for source in recipe.chat_sources),
        *([("draw", "")] if draws(recipe) else []),
        *(("tokens", source.name) for source in recipe.text_sources),
        *([("leaks", "")] if measures(recipe) else []),
        ("windows", ""),
        ("candidate", ""),
        ("preview", ""),
    ]
