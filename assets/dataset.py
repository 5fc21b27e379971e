"""What a recipe has one of: selection, tokenizer, windows, preview, candidate, dataset."""

from typing import Any

import dagster as dg

from assets import naming
from assets.reports import explained, materialized
from assets.settings import Settings
from tokenization.build.layout import publish, published
from tokenization.recipe.model import Recipe
from tokenization.stages import candidate, draw, leaks, preview, selection, tokenizer, windows
from tokenization.stages.draw import draws
from tokenization.store_upkeep import keep_within_limit, note_use

DESCRIPTIONS = {
    "selection": "Which items stay: exact duplicates out (the first in recipe order stays), validation split off.",
    "tokenizer": "The recipe's tokenizer, loaded or trained; the fast encoder proved equal to the reference.",
    "draw": "Which documents the share needs: whole ones, by a seeded hash; only they are encoded.",
    "leaks": "What is kept apart and meets: validation items in what is trained, answers in pretraining text.",
    "windows": "The plan: which tokens stand in which window, in which order. Token counts leave padding out.",
    "loss_mask_preview": "Loss masks to look at: what is trained (green) and what is only read, with a page to search.",
    "candidate": "The build directory, whole, not yet published: the blocking checks look at this.",
    "dataset": "The published build: what `OUT` shows, and trainers read. It changes only when every check passed.",
}
STAGE_OF = {"loss_mask_preview": "preview"}  # where the asset's name says more than the stage's
GROUPS = {
    "selection": "select",
    "draw": "select",
    "leaks": "select",
    "tokenizer": "encode",
    "windows": "pack",
    "loss_mask_preview": "preview",
}
KINDS = {
    "selection": "numpy",
    "draw": "numpy",
    "leaks": "numpy",
    "tokenizer": "huggingface",
    "windows": "numpy",
    "loss_mask_preview": "html",
    "candidate": "arrow",
}


def upstream(recipe: Recipe, name: str) -> list[dg.AssetKey]:
    """What each of these assets is made from."""
    items = [naming.items_key(recipe, source.name) for source in recipe.sources]
    tokens = [naming.tokens_key(recipe, source.name) for source in recipe.sources]
    chats = [naming.tokens_key(recipe, source.name) for source in recipe.chat_sources]
    return {
        "selection": items,
        "tokenizer": items,
        "draw": [*chats, naming.key(recipe, "selection"), naming.key(recipe, "tokenizer")],
        "leaks": [naming.key(recipe, "draw" if draws(recipe) else "selection")],
        "windows": [*tokens, naming.key(recipe, "selection")],
        "candidate": [
            naming.key(recipe, "windows"),
            *([naming.key(recipe, "leaks")] if leaks.measures(recipe) else []),
        ],
        "loss_mask_preview": [naming.key(recipe, "candidate")],
    }[name]


def stage_asset(recipe: Recipe, path: str, name: str) -> dg.AssetsDefinition:
    """An asset that runs the stage of its name."""
    stage = STAGE_OF.get(name, name)
    code = {
        "selection": selection,
        "draw": draw,
        "leaks": leaks,
        "tokenizer": tokenizer,
        "windows": windows,
        "preview": preview,
        "candidate": candidate,
    }[stage].CODE

    @dg.asset(
        key=naming.key(recipe, name),
        deps=upstream(recipe, name),
        group_name=GROUPS.get(name, "publish"),
        kinds={KINDS[name]},
        owners=[naming.OWNER],
        code_version=code,
        description=DESCRIPTIONS[name],
    )
    def made(context: dg.AssetExecutionContext, settings: Settings) -> dg.MaterializeResult[None]:
        with explained():
            workspace = settings.workspace(path, context.log.info)
            result = workspace.run(stage)
            return materialized(result, **extra_metadata(stage, result.value, workspace))

    return made


def extra_metadata(stage: str, value: dict[str, Any], workspace: Any) -> dict[str, Any]:
    """What the page shows beside a stage's numbers."""
    if stage == "preview":
        return {
            "preview": dg.MetadataValue.md(value["markdown"]),
            "page": dg.MetadataValue.path(value["page"]),
        }
    if stage in ("windows", "candidate"):
        numbers = {
            f"{split}/{name}": number
            for split, counts in value["splits"].items()
            for name, number in counts.items()
            if isinstance(number, (int, float))
        }
        if value["mixture"]:
            numbers["share/asked"] = value["mixture"]["asked"]
            numbers |= {f"share/{unit}": share for unit, share in value["mixture"]["achieved"].items()}
            numbers["repetition"] = value["mixture"]["repetition"]
        if stage == "windows":
            numbers |= {
                f"fill/{row['kind']}/{row['split']}": row["fill"] for row in value["pack"] if row["windows"]
            }
        return numbers
    return {}


def dataset_asset(recipe: Recipe, path: str) -> dg.AssetsDefinition:
    """The published build."""

    @dg.asset(
        key=naming.key(recipe, "dataset"),
        deps=[naming.key(recipe, "candidate")],
        group_name="publish",
        kinds={"huggingface"},
        owners=[naming.OWNER],
        code_version="1",
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
            return materialized(
                result,
                **extra_metadata("candidate", result.value, workspace),
                out=dg.MetadataValue.path(str(workspace.out)),
                fingerprint=result.fingerprint,
                replaced=before or "nothing",
            )

    return dataset
