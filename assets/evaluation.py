"""The evaluation: what the last training came to; `learnt` looks, when a run asks for it."""

from pathlib import Path

import dagster as dg

from assets import naming
from assets.reports import explained
from assets.settings import Settings
from assets.training import run_folder
from tokenization.recipe.model import Recipe


def evaluation_asset(recipe: Recipe, path: str) -> dg.AssetsDefinition:
    """What the checkpoint has learnt."""

    @dg.asset(
        key=naming.key(recipe, "evaluation"),
        deps=[naming.key(recipe, "checkpoint")],
        group_name="train",
        kinds={"pytorch"},
        owners=[naming.OWNER],
        tags=naming.tags(recipe),
        code_version="1",
        pool=naming.GPU,
        description=(
            "What the checkpoint has learnt. `below_unigram_entropy` is how far the held-out loss lies below what "
            "token counts alone would reach, in nats: above 0 the model uses context. The answers are greedy, to the "
            "first prompts of held-out sessions."
        ),
    )
    def evaluation(context: dg.AssetExecutionContext, settings: Settings) -> dg.MaterializeResult[None]:
        from assets.learnt import learnt

        with explained():
            workspace = settings.workspace(path, context.log.info)
            return learnt(Path(run_folder(workspace.recipe)))

    return evaluation
