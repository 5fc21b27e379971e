"""A source's way to token sequences: raw files (external), documents or sessions, tokens."""

import dagster as dg

from assets import naming
from assets.reports import explained, materialized
from assets.settings import Settings
from tokenization.recipe.model import Recipe, SourceSpec
from tokenization.stages import documents, tokens
from tokenization.stages.draw import draws


def raw_spec(recipe: Recipe, source: SourceSpec) -> dg.AssetSpec:
    """The files that the source names; nobody here writes them."""
    return dg.AssetSpec(
        naming.raw_key(recipe, source.name),
        description=f"The files of `{source.path}`, as they are kept. Licence: {source.licence or 'not stated'}.",
        group_name="raw",
        kinds={"file"},
        owners=[naming.OWNER],
    )


def items_asset(recipe: Recipe, path: str, source: SourceSpec) -> dg.AssetsDefinition:
    """The source's cleaned documents, or its normalised sessions."""
    noun = naming.ITEMS[source.kind]

    @dg.asset(
        key=naming.items_key(recipe, source.name),
        deps=[naming.raw_key(recipe, source.name)],
        group_name="ingest",
        kinds={"arrow"},
        owners=[naming.OWNER],
        code_version=documents.CODE,
        description=(
            f"The {noun} of source `{source.name}`: read, decoded, cleaned, each with its file and place. `items` were "
            f"kept out of `rows_read`; `set_aside/REASON` counts the rest."
        ),
    )
    def items(context: dg.AssetExecutionContext, settings: Settings) -> dg.MaterializeResult[None]:
        with explained():
            workspace = settings.workspace(path, context.log.info)
            return materialized(workspace.run("documents", source.name))

    return items


def tokens_asset(recipe: Recipe, path: str, source: SourceSpec) -> dg.AssetsDefinition:
    """The source's token sequences."""
    what = (
        "encoded, each closed with the document end"
        if source.kind == "text"
        else "rendered, masked and proved"
    )

    @dg.asset(
        key=naming.tokens_key(recipe, source.name),
        deps=[
            naming.items_key(recipe, source.name),
            naming.key(recipe, "selection"),
            naming.key(recipe, "tokenizer"),
            *([naming.key(recipe, "draw")] if source.kind == "text" and draws(recipe) else []),
        ],
        group_name="encode",
        kinds={"numpy"},
        owners=[naming.OWNER],
        code_version=tokens.CODE,
        description=(
            f"The kept and drawn {naming.ITEMS[source.kind]} of source `{source.name}`, {what}. "
            f"`tokens` counts everything, `target_tokens` what the loss sees."
        ),
    )
    def source_tokens(context: dg.AssetExecutionContext, settings: Settings) -> dg.MaterializeResult[None]:
        with explained():
            workspace = settings.workspace(path, context.log.info)
            return materialized(workspace.run("tokens", source.name))

    return source_tokens
