"""Declarative automation: what differs is made again, and only that.

An asset is asked for when the data version of something it is made from moved, or its own code version did (the stage's
code, or the keys of the recipe that it reads). Data versions are hashes of content, so where a step gives what it
gave before, the wave ends there. Dagster's own `eager` would run on: it looks at whether a parent was made, not at what
it is.

A request is forgotten when it is made, and by nothing else: an update that lands while the step is running is served
afterwards. (Forgetting it whenever the asset is updated, as Dagster's conditions do, loses a file that changes between
the reading and the end of a step.) The price is a wave of reused results behind a build that somebody started by hand.

An asset waits while anything before it, however far, is asked for in the same look or being made. Its inputs alone are
not enough: texts and chats that change together are read in one step, and the texts' tokens would be next, while the
draw that chooses the texts still waits for the chats' tokens. So each is made once, after all that it is made from.

What is behind blocking checks waits for them: a bad candidate never becomes the dataset. Training is never automatic.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set

import dagster as dg
from dagster import AutomationCondition as AC

from tokenization.recipe.model import Recipe

SECONDS = 15  # between two looks; a look costs a few milliseconds an asset


def what_differs(before: Sequence[dg.AssetKey]) -> dg.AutomationCondition[dg.AssetKey]:
    """An input's content or the own code version moved; every input is there and let through its checks, and all that
    comes before is at rest."""
    moved = (
        AC.any_deps_match(AC.data_version_changed()).with_label("inputs_changed")
        | AC.code_version_changed().with_label("code_or_recipe_changed")
    ).since(AC.newly_requested() | AC.initial_evaluation())
    condition = moved & AC.all_deps_blocking_checks_passed() & ~AC.any_deps_missing() & ~AC.in_progress()
    moving = AC.will_be_requested() | AC.in_progress()
    for key in before:
        condition &= ~AC.asset_matches(key, moving).with_label(f"{key.to_user_string()}_is_moving")
    return condition.with_label("what_differs")


def automated(assets: Sequence[dg.AssetsDefinition]) -> list[dg.AssetsDefinition]:
    """The assets, each made again when it differs. A step that makes several is asked for by those of them that are
    made from something outside it; the others are made from these."""
    inputs = {spec.key: {dep.asset_key for dep in spec.deps} for asset in assets for spec in asset.specs}
    asking = [key for asset in assets for key in asset.keys if inputs[key] - asset.keys]
    conditions = {key: what_differs(sorted(upstream(key, inputs))) for key in asking}

    def with_condition(spec: dg.AssetSpec) -> dg.AssetSpec:
        return spec.replace_attributes(automation_condition=conditions.get(spec.key))

    return [asset.map_asset_specs(with_condition) for asset in assets]


def upstream(key: dg.AssetKey, inputs: Mapping[dg.AssetKey, Set[dg.AssetKey]]) -> set[dg.AssetKey]:
    """All that `key` is made from, at any distance, as far as `inputs` tells."""
    found: set[dg.AssetKey] = set()
    left = [key]
    while left:
        new = {each for each in inputs[left.pop()] if each in inputs} - found
        found |= new
        left += new
    return found


def automation_sensor(recipe: Recipe, keys: list[dg.AssetKey]) -> dg.AutomationConditionSensorDefinition:
    """What asks for them; people switch it on in the page."""
    return dg.AutomationConditionSensorDefinition(
        f"{recipe.dagster_name}_automation",
        target=dg.AssetSelection.assets(*keys),
        minimum_interval_seconds=SECONDS,
        description=f"Makes again what differs of recipe `{recipe.name}`, up to the published dataset.",
        run_tags={"recipe": recipe.name, "started_by": "automation"},
    )
