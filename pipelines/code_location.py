"""What Dagster is shown: the recipes of a folder, or one recipe, as definitions.

A broken recipe appears as an asset of its own that says what is wrong, and leaves the others running.
"""

from __future__ import annotations

from pathlib import Path

import dagster as dg

from assets.settings import Settings
from pipelines.jobs import recipe_definitions
from pipelines.recipes import Found, find_recipes
from tokenization.recipe.model import Recipe


def broken_spec(found: Found) -> dg.AssetSpec:
    """A recipe that cannot be read, visible in the graph with its message."""
    word = "".join(letter if letter.isalnum() else "_" for letter in found.path.stem)
    return dg.AssetSpec(
        dg.AssetKey(["broken_recipe", word]),
        group_name="broken_recipes",
        description=f"**`{found.path.name}` is not a recipe:**\n\n```\n{found.problem}\n```\nMend it and reload.",
        kinds={"yaml"},
    )


def resources() -> dict[str, object]:
    return {"settings": Settings(), "trainer": dg.PipesSubprocessClient()}


def whole() -> dg.Definitions:
    """What all recipes share. Steps run in the run's own process: each uses all the cores itself, and to start a
    process for every one of twenty small steps takes longer than they do."""
    return dg.Definitions(resources=resources(), executor=dg.in_process_executor)


def of_folder(folder: Path) -> dg.Definitions:
    """The definitions of every recipe in the folder."""
    merged = whole()
    for found in find_recipes(folder):
        if found.recipe is None:
            merged = dg.Definitions.merge(merged, dg.Definitions(assets=[broken_spec(found)]))
        else:
            merged = dg.Definitions.merge(merged, of_parts(found.recipe, found.path))
    return merged


def of_parts(recipe: Recipe, path: Path) -> dg.Definitions:
    parts = recipe_definitions(recipe, path)
    return dg.Definitions(
        assets=parts.assets,
        asset_checks=parts.checks,
        jobs=parts.jobs,
        schedules=parts.schedules,
        sensors=parts.sensors,
    )


def of_recipe(recipe: Recipe, path: Path) -> dg.Definitions:
    """The same definitions for one recipe, wherever its file is: what the command line runs."""
    return dg.Definitions.merge(whole(), of_parts(recipe, path))
