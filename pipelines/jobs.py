"""A recipe's assets, checks, jobs, schedules and sensors, put together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import dagster as dg

from assets import checks, dataset, decisions, evaluation, gallery, gathering, raw, sources, training
from pipelines.automation import automated, automation_sensor
from pipelines.launch import build_config
from pipelines.schedules import build_schedule, train_schedule
from pipelines.sensors import sources_sensor
from tokenization.recipe.model import Recipe
from tokenization.stages.catalogue import draws, measures

PARTS = ("tokenizer", "leaks", "windows", "loss_mask_preview", "candidate")


@dataclass(frozen=True)
class RecipeDefinitions:
    """What Dagster knows of one recipe."""

    assets: Sequence[dg.AssetsDefinition | dg.AssetSpec]
    checks: Sequence[dg.AssetChecksDefinition]
    jobs: Sequence[dg.UnresolvedAssetJobDefinition]
    schedules: Sequence[dg.ScheduleDefinition] = field(default_factory=list)
    sensors: Sequence[dg.SensorDefinition] = field(default_factory=list)


def build_job_name(recipe: Recipe) -> str:
    return f"{recipe.dagster_name}_build"


def train_job_name(recipe: Recipe) -> str:
    return f"{recipe.dagster_name}_train"


def recipe_definitions(recipe: Recipe, path: Path) -> RecipeDefinitions:
    """Assets from raw files to evaluation, the checks between, and what starts them."""
    where = str(path)
    outside = [sources.raw_spec(recipe, source) for source in recipe.sources]
    if raw.has_model_files(recipe):
        outside.append(sources.model_files_spec(recipe))
    made = automated(built_assets(recipe, where))
    keys = [key for asset in made for key in asset.keys]
    build = build_job(recipe, where, keys)
    jobs, schedules = [build], [build_schedule(recipe, build)] if recipe.schedule else []
    asked: list[dg.AssetsDefinition] = []
    found = [checks.candidate_checks(recipe, where), checks.advice_checks(recipe, where)]
    if recipe.train is not None:
        asked = [training.checkpoint_asset(recipe, where), evaluation.evaluation_asset(recipe, where)]
        found.append(checks.training_checks(recipe))
        train = train_job(recipe, [asset.key for asset in asked])
        jobs.append(train)
        schedules += [train_schedule(recipe, where, train)] if recipe.schedule else []
    return RecipeDefinitions(
        assets=[*outside, *made, *asked, gallery.gallery_asset(recipe, where)],
        checks=found,
        jobs=jobs,
        schedules=schedules,
        sensors=[sources_sensor(recipe, where), automation_sensor(recipe, keys)],
    )


def built_assets(recipe: Recipe, where: str) -> list[dg.AssetsDefinition]:
    """Everything up to the published dataset."""
    made = [decisions.decision_asset(recipe, where, "selection")]
    if draws(recipe):
        made.append(decisions.decision_asset(recipe, where, "draw"))
    for source in recipe.sources:
        made += [sources.items_asset(recipe, where, source), sources.tokens_asset(recipe, where, source)]
    made += gathering.gathering_assets(recipe, where)
    parts = [name for name in PARTS if name != "leaks" or measures(recipe)]
    made += [dataset.stage_asset(recipe, where, name) for name in parts]
    return [*made, dataset.dataset_asset(recipe, where)]


def build_job(recipe: Recipe, where: str, keys: list[dg.AssetKey]) -> dg.UnresolvedAssetJobDefinition:
    return dg.define_asset_job(
        build_job_name(recipe),
        selection=dg.AssetSelection.assets(*keys) | dg.AssetSelection.checks_for_assets(*keys),
        config=build_config(where),
        description=f"Everything of recipe `{recipe.name}` up to the published dataset; what did not change is reused.",
        tags={"recipe": recipe.name},
    )


def train_job(recipe: Recipe, keys: list[dg.AssetKey]) -> dg.UnresolvedAssetJobDefinition:
    return dg.define_asset_job(
        train_job_name(recipe),
        selection=dg.AssetSelection.assets(*keys) | dg.AssetSelection.checks_for_assets(*keys),
        description=f"Train on the published dataset of recipe `{recipe.name}`, and look at what was learnt.",
        tags={"recipe": recipe.name},
    )
