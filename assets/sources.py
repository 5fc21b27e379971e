"""A source's way to token sequences: raw files (external), documents or sessions, tokens."""

import dagster as dg

from assets import naming, raw, versions
from assets.columns import INDEX, SEQUENCES, table_schema
from assets.reports import explained, items_numbers, materialized, tokens_numbers
from assets.settings import Settings
from tokenization.recipe.model import Recipe, SourceSpec
from tokenization.stages.catalogue import CODES, draws

# Files on object stores and network disks come and go for a moment; what tokenmill can explain is not tried again.
RETRIES = dg.RetryPolicy(max_retries=2, delay=5, backoff=dg.Backoff.EXPONENTIAL)


def raw_spec(recipe: Recipe, source: SourceSpec) -> dg.AssetSpec:
    """The files that the source names; nobody here writes them."""
    return dg.AssetSpec(
        naming.raw_key(recipe, source.name),
        description=(
            f"The files of `{source.path}`, as people keep them; nobody here writes them. The data version is a hash "
            f"of their content. Licence: {source.licence or 'not stated'}."
        ),
        group_name="raw",
        kinds={"s3"} if source.path.startswith("s3://") else {"file"},
        owners=[naming.OWNER],
        tags=naming.tags(recipe, kind=source.kind),
    )


def model_files_spec(recipe: Recipe) -> dg.AssetSpec:
    """Tokenizer and template as people keep them."""
    return dg.AssetSpec(
        naming.model_files_key(recipe),
        description="The tokenizer's and the chat template's own files. The data version is a hash of their content.",
        group_name="raw",
        kinds={"file"},
        owners=[naming.OWNER],
        tags=naming.tags(recipe),
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
        tags=naming.tags(recipe, kind=source.kind),
        code_version=versions.of_items(recipe, source, CODES["documents"]),
        pool=naming.CORES,
        retry_policy=RETRIES,
        metadata={"dagster/column_schema": table_schema(INDEX)},
        description=(
            f"The {noun} of source `{source.name}`: read, decoded, cleaned, each with its file and place. Of "
            f"`rows_read`, `dagster/row_count` were kept; `set_aside/REASON` counts the rest, which the build's "
            f"quarantine keeps."
        ),
    )
    def items(context: dg.AssetExecutionContext, settings: Settings) -> dg.MaterializeResult[None]:
        with explained():
            workspace = settings.workspace(path, context.log.info)
            result = workspace.run("documents", source.name)
            return materialized(result, items_numbers(result.value))

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
            naming.slice_key(  # it moves with the items too
                recipe, "draw" if source.kind == "text" and draws(recipe) else "selection", source.name
            ),
            naming.key(recipe, "tokenizer"),
            *(
                [naming.model_files_key(recipe)]
                if source.kind == "chat" and raw.has_model_files(recipe)
                else []
            ),
        ],
        group_name="encode",
        kinds={"numpy"},
        owners=[naming.OWNER],
        tags=naming.tags(recipe, kind=source.kind),
        code_version=versions.of_tokens(recipe, source, CODES["tokens"]),
        pool=naming.CORES,
        metadata={"dagster/column_schema": table_schema(SEQUENCES)},
        description=(
            f"The kept and drawn {naming.ITEMS[source.kind]} of source `{source.name}`, {what}. `tokens` counts "
            f"everything, `target_tokens` what the loss sees, `trained_fraction` the one by the other; "
            f"`tokens_per_second` is of the run that encoded them."
        ),
    )
    def source_tokens(context: dg.AssetExecutionContext, settings: Settings) -> dg.MaterializeResult[None]:
        with explained():
            workspace = settings.workspace(path, context.log.info)
            result = workspace.run("tokens", source.name)
            return materialized(result, tokens_numbers(result.value))

    return source_tokens
