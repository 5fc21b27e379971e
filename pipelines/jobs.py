"""A recipe's assets, checks, jobs and schedule, put together."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import dagster as dg

from assets import checks, dataset, naming, sources, training
from tokenization.recipe.model import Recipe
from tokenization.stages.draw import draws
from tokenization.stages.leaks import measures

QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
PARTS = ("selection", "tokenizer", "draw", "leaks", "windows", "loss_mask_preview", "candidate")


@dataclass(frozen=True)
class RecipeDefinitions:
    """What Dagster knows of one recipe."""

    assets: list[dg.AssetsDefinition | dg.AssetSpec]
    checks: list[dg.AssetChecksDefinition]
    jobs: list[dg.UnresolvedAssetJobDefinition]
    schedules: list[dg.ScheduleDefinition]


def build_job_name(recipe: Recipe) -> str:
    return f"{recipe.dagster_name}_build"


def train_job_name(recipe: Recipe) -> str:
    return f"{recipe.dagster_name}_train"


def recipe_definitions(recipe: Recipe, path: Path) -> RecipeDefinitions:
    """Assets from raw files to checkpoint, the checks between, and what starts them."""
    where = str(path)
    assets: list[dg.AssetsDefinition | dg.AssetSpec] = []
    for source in recipe.sources:
        assets += [
            sources.raw_spec(recipe, source),
            sources.items_asset(recipe, where, source),
            sources.tokens_asset(recipe, where, source),
        ]
    optional = {"draw": draws(recipe), "leaks": measures(recipe)}
    parts = [name for name in PARTS if optional.get(name, True)]
    assets += [dataset.stage_asset(recipe, where, name) for name in parts]
    assets.append(dataset.dataset_asset(recipe, where))
    built = [naming.key(recipe, name) for name in (*parts, "dataset")]
    for source in recipe.sources:
        built += [naming.items_key(recipe, source.name), naming.tokens_key(recipe, source.name)]
    build = dg.define_asset_job(
        build_job_name(recipe),
        selection=dg.AssetSelection.assets(*built) | dg.AssetSelection.checks_for_assets(*built),
        description=f"Everything of recipe `{recipe.name}` up to the published dataset; what did not change is reused.",
        tags={"recipe": recipe.name},
    )
    jobs = [build]
    if recipe.train is not None:
        assets.append(training.checkpoint_asset(recipe, where))
        jobs.append(
            dg.define_asset_job(
                train_job_name(recipe),
                selection=dg.AssetSelection.assets(naming.key(recipe, "checkpoint")),
                description=f"Train on the published dataset of recipe `{recipe.name}`.",
                tags={"recipe": recipe.name},
            )
        )
    return RecipeDefinitions(
        assets,
        [checks.candidate_checks(recipe, where)],
        jobs,
        [nightly(recipe, build)] if recipe.schedule else [],
    )


def nightly(recipe: Recipe, job: dg.UnresolvedAssetJobDefinition) -> dg.ScheduleDefinition:
    """The recipe's own schedule; people switch it on in the page."""
    assert recipe.schedule is not None
    return dg.ScheduleDefinition(
        name=f"{recipe.dagster_name}_schedule",
        job=job,
        cron_schedule=recipe.schedule,
        execution_timezone="UTC",
        description=f"Rebuilds `{recipe.name}` at {recipe.schedule!r} (UTC); what did not change is reused.",
    )
