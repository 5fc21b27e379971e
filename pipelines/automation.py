"""Declarative automation: what differs is made again, and only that.

An asset is asked for when the data version of something it is made from moved, or its own code version did (the stage's
code, or the keys of the recipe that it reads). Data versions are hashes of content, so where a step gives what it
gave before, the wave ends there. Dagster's own `eager` would run on: it looks at whether a parent was made, not at what
it is.

A request is forgotten when it is made, and by nothing else: an update that lands while the step is running is served
afterwards. (Forgetting it whenever the asset is updated, as Dagster's conditions do, loses a file that changes between
the reading and the end of a step.) The price is a wave of reused results behind a build that somebody started by hand.

An asset waits while one of its inputs is asked for in the same look or being made, so the candidate, which is made from
nearly everything, comes after all of it and not with the first file that was read.

What is behind blocking checks waits for them: a bad candidate never becomes the dataset. Training is never automatic.
"""

from __future__ import annotations

import dagster as dg
from dagster import AutomationCondition as AC

from tokenization.recipe.model import Recipe

SECONDS = 15  # between two looks; a look costs a few milliseconds an asset


def what_differs() -> dg.AutomationCondition[dg.AssetKey]:
    """An input's content or the own code version moved; every input is there, at rest, and let through its checks."""
    moved = (
        AC.any_deps_match(AC.data_version_changed()).with_label("inputs_changed")
        | AC.code_version_changed().with_label("code_or_recipe_changed")
    ).since(AC.newly_requested() | AC.initial_evaluation())
    condition = (
        moved
        & AC.all_deps_blocking_checks_passed()
        & ~AC.any_deps_missing()
        & ~AC.any_deps_match(AC.will_be_requested())
        & ~AC.any_deps_in_progress()
        & ~AC.in_progress()
    )
    return condition.with_label("what_differs")


def automated(asset: dg.AssetsDefinition) -> dg.AssetsDefinition:
    """The asset, made again when it differs."""
    return asset.map_asset_specs(lambda spec: spec.replace_attributes(automation_condition=what_differs()))


def automation_sensor(recipe: Recipe, keys: list[dg.AssetKey]) -> dg.AutomationConditionSensorDefinition:
    """What asks for them; people switch it on in the page."""
    return dg.AutomationConditionSensorDefinition(
        f"{recipe.dagster_name}_automation",
        target=dg.AssetSelection.assets(*keys),
        minimum_interval_seconds=SECONDS,
        description=f"Makes again what differs of recipe `{recipe.name}`, up to the published dataset.",
        run_tags={"recipe": recipe.name, "started_by": "automation"},
    )
