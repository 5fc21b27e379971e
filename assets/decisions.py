"""Decisions that cross sources: which items stay (selection), and which documents are encoded (draw).

One step makes the decision and each source's slice of it as an asset of its own. A slice's data version is what that
source's tokens depend on, so a new chat file moves its own slice and leaves the others' tokens alone.
"""

from collections.abc import Iterator
from typing import Any

import dagster as dg

from assets import naming, versions
from assets.reports import explained, materialized
from assets.settings import Settings
from tokenization.hashing import key_of
from tokenization.recipe.model import Recipe, SourceSpec
from tokenization.stages import draw, selection

DESCRIPTIONS = {
    "selection": "Which items stay: duplicates out (the first in recipe order stays), the validation split off. "
    "`counts/SOURCE/…` says how many of each.",
    "draw": "Which documents the share needs: whole ones, in a seeded order by content; only they are encoded.",
}
SLICES = {
    "selection": "Which items of source `{source}` stay. Its data version moves only where one of them does; on which "
    "side of the split they fall is in `selection`, and encodes nothing.",
    "draw": "Which documents of source `{source}` are encoded. Its data version moves only where one of them does.",
}
CODES = {"selection": selection.CODE, "draw": draw.CODE}


def upstream(recipe: Recipe, stage: str) -> list[dg.AssetKey]:
    """What the decision is made from."""
    if stage == "selection":
        return [naming.items_key(recipe, source.name) for source in recipe.sources]
    texts = [naming.items_key(recipe, source.name) for source in recipe.text_sources]
    chats = [naming.tokens_key(recipe, source.name) for source in recipe.chat_sources]
    return [*texts, *chats, naming.key(recipe, "selection"), naming.key(recipe, "tokenizer")]


def sliced(recipe: Recipe, stage: str) -> tuple[SourceSpec, ...]:
    """The sources that the decision is about."""
    return recipe.sources if stage == "selection" else recipe.text_sources


def decision_asset(recipe: Recipe, path: str, stage: str) -> dg.AssetsDefinition:
    """The decision and each source's slice of it, in one step."""
    version = versions.of_stage(recipe, stage, CODES[stage])
    common: dict[str, Any] = {
        "deps": upstream(recipe, stage),
        "group_name": "select",
        "kinds": {"numpy"},
        "owners": [naming.OWNER],
        "tags": naming.tags(recipe),
        "code_version": version,
        "skippable": True,
    }
    whole = naming.key(recipe, stage)
    slices = {naming.slice_key(recipe, stage, source.name): source.name for source in sliced(recipe, stage)}

    @dg.multi_asset(
        name=f"{recipe.dagster_name}__{stage}",
        specs=[
            dg.AssetSpec(whole, description=DESCRIPTIONS[stage], **common),
            *(
                dg.AssetSpec(key, description=SLICES[stage].format(source=source), **common)
                for key, source in slices.items()
            ),
        ],
        can_subset=True,
        pool=naming.CORES,
    )
    def decision(
        context: dg.AssetExecutionContext, settings: Settings
    ) -> Iterator[dg.MaterializeResult[None]]:
        with explained():
            result = settings.workspace(path, context.log.info).run(stage)
        if whole in context.selected_asset_keys:
            made = materialized(result)
            yield dg.MaterializeResult(
                asset_key=whole, metadata=made.metadata, data_version=made.data_version
            )
        for key, source in slices.items():
            if key in context.selected_asset_keys:
                yield dg.MaterializeResult(
                    asset_key=key,
                    metadata={**result.value["counts"][source], "reused": result.reused},
                    data_version=dg.DataVersion(slice_version(stage, result.value, source)),
                )

    return decision


def slice_version(stage: str, value: dict[str, Any], source: str) -> str:
    """What the source's tokens depend on of this decision."""
    if stage == "draw":
        return key_of(value["encoded"][source])
    return key_of(value["kept"][source], value["prompted"].get(source))
