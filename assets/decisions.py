"""Decisions that cross sources: which items stay (selection), and which documents are encoded (draw).

One step makes the decision and each source's slice of it as an asset of its own. A slice's data version is what that
source's tokens depend on, so a new chat file moves its own slice and leaves the others' tokens alone. The decision's
own moves with all that it was made on, so that what stands behind it needs no edge to each source.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import dagster as dg

from assets import naming, versions
from assets.gathering import inputs
from assets.reports import VERSION, by_source, explained, materialized
from assets.settings import Settings
from tokenization.hashing import key_of
from tokenization.recipe.model import Recipe, SourceSpec
from tokenization.stages.catalogue import CODES

DESCRIPTIONS = {
    "selection": "Which items stay: duplicates out (the first in recipe order stays), the validation split off. "
    "`by_source` says how many of each.",
    "draw": "Which documents the share needs: whole ones, in a seeded order by content; only they are encoded.",
}
SLICES = {
    "selection": "Which items of source `{source}` stay. Its data version moves only where one of them does; on which "
    "side of the split they fall is in `selection`, and encodes nothing.",
    "draw": "Which documents of source `{source}` are encoded. Its data version moves only where one of them does.",
}


def upstream(recipe: Recipe, stage: str) -> list[dg.AssetKey]:
    """What the decision is made from."""
    if stage == "selection":
        return inputs(recipe, "items")
    return [*inputs(recipe, "chat_tokens"), naming.key(recipe, "selection"), naming.key(recipe, "tokenizer")]


def sliced(recipe: Recipe, stage: str) -> tuple[SourceSpec, ...]:
    """The sources that the decision is about."""
    return recipe.sources if stage == "selection" else recipe.text_sources


def decision_asset(recipe: Recipe, path: str, stage: str) -> dg.AssetsDefinition:
    """The decision and each source's slice of it, in one step."""
    version = versions.of_stage(recipe, stage, CODES[stage])
    common: dict[str, Any] = {
        "group_name": "select",
        "kinds": {"numpy"},
        "owners": [naming.OWNER],
        "tags": naming.tags(recipe),
        "code_version": version,
    }
    whole = naming.key(recipe, stage)
    slices = {naming.slice_key(recipe, stage, source.name): source.name for source in sliced(recipe, stage)}

    @dg.multi_asset(
        name=f"{recipe.dagster_name}__{stage}",
        specs=[
            dg.AssetSpec(whole, deps=upstream(recipe, stage), description=DESCRIPTIONS[stage], **common),
            *(
                dg.AssetSpec(key, deps=[whole], description=SLICES[stage].format(source=source), **common)
                for key, source in slices.items()
            ),
        ],
        pool=naming.CORES,
    )
    def decision(
        context: dg.AssetExecutionContext, settings: Settings
    ) -> Iterator[dg.MaterializeResult[None]]:
        with explained():
            workspace = settings.workspace(path, context.log.info)
            result = workspace.run(stage)
            items = {
                source.name: workspace.result("documents", source.name).fingerprint
                for source in recipe.sources
            }
            before = workspace.result("selection").fingerprint if stage == "draw" else None
        made = materialized(result, decided(result.value), key_of(result.fingerprint, items, before))
        yield dg.MaterializeResult(asset_key=whole, metadata=made.metadata, data_version=made.data_version)
        for key, source in slices.items():
            yield dg.MaterializeResult(
                asset_key=key,
                metadata={**counted(result.value["counts"][source]), "reused": result.reused},
                data_version=dg.DataVersion(
                    key_of(items[source], slice_version(stage, result.value, source))[:VERSION]
                ),
            )

    return decision


def counted(counts: Mapping[str, Any]) -> dict[str, int]:
    """A source's counts of items; amounts of text are in the ledger."""
    return {name: number for name, number in counts.items() if isinstance(number, int)}


def decided(value: Mapping[str, Any]) -> dict[str, Any]:
    """The counts of all sources together, and a table of each source's."""
    counts = {source: counted(numbers) for source, numbers in value["counts"].items()}
    kept = "train", "validation", "drawn"
    names = dict.fromkeys(name for numbers in counts.values() for name in numbers if name in kept)
    totals = {name: sum(numbers[name] for numbers in counts.values()) for name in names}
    return {**totals, "by_source": dg.MetadataValue.md(by_source(counts))}


def slice_version(stage: str, value: dict[str, Any], source: str) -> str:
    """What the source's tokens depend on of this decision, beside the items themselves."""
    if stage == "draw":
        return key_of(value["encoded"][source])
    return key_of(value["kept"][source], value["prompted"].get(source))
