"""Schedules: the recipe's own cron line, for the dataset and, apart from it, for training.

Both are there and off until somebody switches them on in the page. The build's reuses what did not change; the
training's skips where the newest checkpoint was already trained on the published build.
"""

import dagster as dg

from assets.settings import Settings
from assets.training import is_trained_on
from tokenization.build.layout import published
from tokenization.recipe.model import Recipe

ZONE = "UTC"


def build_schedule(recipe: Recipe, job: "dg.UnresolvedAssetJobDefinition") -> dg.ScheduleDefinition:
    """Rebuild the dataset at the recipe's hours."""
    assert recipe.schedule is not None
    return dg.ScheduleDefinition(
        name=f"{recipe.dagster_name}_schedule",
        job=job,
        cron_schedule=recipe.schedule,
        execution_timezone=ZONE,
        description=f"Rebuilds `{recipe.name}` at {recipe.schedule!r} ({ZONE}); what did not change is reused.",
    )


def train_schedule(
    recipe: Recipe, path: str, job: "dg.UnresolvedAssetJobDefinition"
) -> dg.ScheduleDefinition:
    """Train at the recipe's hours, where the published build is another one than the checkpoint's."""
    assert recipe.schedule is not None

    @dg.schedule(
        name=f"{recipe.dagster_name}_train_schedule",
        job=job,
        cron_schedule=recipe.schedule,
        execution_timezone=ZONE,
        description=f"Trains on the published build of `{recipe.name}` at {recipe.schedule!r} ({ZONE}), if it is new.",
    )
    def train(context: dg.ScheduleEvaluationContext, settings: Settings) -> dg.RunRequest | dg.SkipReason:
        workspace = settings.workspace(path, context.log.info)
        if is_trained_on(workspace.recipe, published(workspace.out)):
            return dg.SkipReason("the newest checkpoint was trained on the published build")
        return dg.RunRequest()

    return train
