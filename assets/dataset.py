"""What a recipe has one of, apart from decisions: tokenizer, windows, preview, candidate, dataset."""

from datetime import timedelta

import dagster as dg

from assets import naming, versions
from assets.columns import PLAN, rows, table_schema
from assets.gathering import inputs
from assets.raw import has_model_files
from assets.reports import (
    built_numbers,
    explained,
    leaks_numbers,
    materialized,
    preview_metadata,
    tokenizer_numbers,
    windows_numbers,
)
from assets.settings import Settings
from tokenization.build.layout import publish, published
from tokenization.hashing import key_of
from tokenization.object_store import shown
from tokenization.recipe.cron import longest_pause
from tokenization.recipe.model import Recipe
from tokenization.stages.catalogue import CODES, draws, measures
from tokenization.stages.workspace import StageResult, Workspace
from tokenization.store_upkeep import keep_within_limit, note_use

DESCRIPTIONS = {
    "tokenizer": "The recipe's tokenizer, loaded or trained; the fast encoder proved equal to the reference on "
    "`proved_on_texts` of the recipe's own texts. `engine` is the one that encodes.",
    "leaks": "What is kept apart and meets: validation items in what is trained, answers in pretraining text.",
    "windows": "The plan: which tokens stand in which window, in which order; no token is moved yet. `fill/KIND/train` "
    "is the part of its windows that is not padding, `share/UNIT` the part of training that is pretraining text.",
    "loss_mask_preview": "Loss masks to look at: what is trained (green) and what is only read (grey), of the telling "
    "sessions of each source and of whole windows. Made of the last candidate that passed its checks.",
    "candidate": "The build directory, whole, not yet published. The blocking checks look at this, and where one fails "
    "the dataset stays as it was. Token counts leave padding out.",
    "dataset": "The published build: what `OUT` shows and trainers read. It changes only when every blocking check on "
    "the candidate passed, so the newest materialisation here **is the last good build**: `fingerprint` names it.",
}
GRACE = timedelta(hours=1)  # for the build itself, and for those that wait before it
STAGE_OF = {"loss_mask_preview": "preview"}  # where the asset's name says more than the stage's
GROUPS = {"leaks": "select", "tokenizer": "encode", "windows": "pack", "loss_mask_preview": "preview"}
NUMBERS = {
    "leaks": leaks_numbers,
    "tokenizer": tokenizer_numbers,
    "windows": windows_numbers,
    "candidate": built_numbers,
}
KINDS = {
    "leaks": "numpy",
    "tokenizer": "huggingface",
    "windows": "numpy",
    "loss_mask_preview": "html",
    "candidate": "arrow",
}


def upstream(recipe: Recipe, name: str) -> list[dg.AssetKey]:
    """What each of these assets is made from."""
    items, tokens = inputs(recipe, "items"), inputs(recipe, "text_tokens", "chat_tokens")
    selection, tokenizer = naming.key(recipe, "selection"), naming.key(recipe, "tokenizer")
    decided = (
        naming.key(recipe, "draw") if draws(recipe) else selection
    )  # moves with the selection, and so with items
    return {
        "tokenizer": [*items, *([naming.model_files_key(recipe)] if has_model_files(recipe) else [])],
        "windows": [*tokens, decided],
        # not the plan alone: what was read and turned away stands in the folder too, and the selection moves with it
        "candidate": [
            *(selection, tokenizer, naming.key(recipe, "windows")),
            *([naming.key(recipe, "leaks")] if measures(recipe) else []),
        ],
        "leaks": [decided],
        "loss_mask_preview": [naming.key(recipe, "candidate")],
    }[name]


def version_of(workspace: Workspace, result: StageResult) -> str:
    """The content's fingerprint; the plan's with those of the tokens that it places, which the candidate holds."""
    if result.stage != "windows":
        return result.fingerprint
    tokens = [workspace.result("tokens", source.name) for source in workspace.recipe.sources]
    return key_of(result.fingerprint, [each.fingerprint for each in tokens])


def stage_asset(recipe: Recipe, path: str, name: str) -> dg.AssetsDefinition:
    """An asset that runs the stage of its name."""
    stage = STAGE_OF.get(name, name)

    @dg.asset(
        key=naming.key(recipe, name),
        deps=upstream(recipe, name),
        group_name=GROUPS.get(name, "publish"),
        kinds={KINDS[name]},
        owners=[naming.OWNER],
        tags=naming.tags(recipe),
        code_version=versions.of_stage(recipe, stage, CODES[stage]),
        pool=None if stage == "preview" else naming.CORES,
        metadata=columns_of(recipe).get(name),
        description=DESCRIPTIONS[name],
    )
    def made(context: dg.AssetExecutionContext, settings: Settings) -> dg.MaterializeResult[None]:
        with explained():
            workspace = settings.workspace(path, context.log.info)
            result = workspace.run(stage)
            folder = workspace.store.path("preview", result.key)
            told = preview_metadata(result, folder) if stage == "preview" else NUMBERS[stage](result.value)
            return materialized(result, told, version_of(workspace, result))

    return made


def columns_of(recipe: Recipe) -> dict[str, dict[str, dg.TableSchema]]:
    """The column schemas of what is a table."""
    window = None if recipe.sft.layout == "rows" else recipe.window
    plan, dataset = ({"dagster/column_schema": table_schema(columns)} for columns in (PLAN, rows(window)))
    return {"windows": plan, "candidate": dataset, "dataset": dataset}


def freshness(recipe: Recipe) -> dg.FreshnessPolicy | None:
    """A dataset with a schedule is late an hour after its schedule's longest pause, and overdue once that has passed
    twice and the hour as well."""
    if recipe.schedule is None:
        return None
    pause = longest_pause(recipe.schedule)
    return dg.FreshnessPolicy.time_window(fail_window=2 * pause + GRACE, warn_window=pause + GRACE)


def dataset_asset(recipe: Recipe, path: str) -> dg.AssetsDefinition:
    """The published build."""

    @dg.asset(
        key=naming.key(recipe, "dataset"),
        deps=[naming.key(recipe, "candidate")],
        group_name="publish",
        kinds={"huggingface"},
        owners=[naming.OWNER],
        tags=naming.tags(recipe),
        code_version="1",
        freshness_policy=freshness(recipe),
        metadata=columns_of(recipe)["dataset"],
        description=DESCRIPTIONS["dataset"],
    )
    def dataset(context: dg.AssetExecutionContext, settings: Settings) -> dg.MaterializeResult[None]:
        with explained():
            workspace = settings.workspace(path, context.log.info)
            result = workspace.result("candidate")
            before = published(workspace.out)
            publish(workspace.out, result.fingerprint)
            note_use(
                workspace.store,
                workspace.out,
                workspace.recipe.name,
                result.fingerprint,
                workspace.used(),
            )
            keep_within_limit(workspace.store, workspace.say)
            made = {
                **built_numbers(result.value),
                "out": dg.MetadataValue.path(shown(workspace.out)),
                "fingerprint": result.fingerprint,
                "replaced": before or "nothing",
            }
            whole = dg.DataVersion(result.fingerprint)  # what verify and the command call this build
            return materialized(result, made)._replace(data_version=whole)

    return dataset
