"""Few inputs where many sources meet.

Dagster writes two tags for every input into each materialisation, 220 bytes together, and the page of an asset loads
its last hundred materialisations whole. So in a recipe of more than MOST sources what many sources give is gathered
before the assets that are made from all of it, MOST at a time, and those again, until one is left:

    documents/a ─┐
    documents/b ─┼─► items/1_to_4 ─┐
    sessions/c  ─┤                 ├─► items/1_to_8 ─► selection, tokenizer
    sessions/d  ─┘   items/5_to_8 ─┘

The numbers are places in the recipe's list of sources; of `chat_tokens` and `text_tokens`, among its chats and texts. A
group's data version is a hash of its members', so a source that gives what it gave before moves nothing behind it. One
step makes all groups of a kind; a smaller recipe has none.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import ceil
from typing import Any

import dagster as dg

from assets import naming, versions
from assets.reports import VERSION, explained
from assets.settings import Settings
from tokenization.hashing import key_of
from tokenization.recipe.model import Recipe, SourceSpec

MOST = 4  # sources that meet as they are, and members of a group
STAGES = {
    "items": "documents",
    "chat_tokens": "tokens",
    "text_tokens": "tokens",
}  # kind -> the stage gathered
SUMS = {"documents": ("items", "bytes"), "tokens": ("sequences", "tokens", "target_tokens")}
WORDS = {
    "items": "Documents and sessions",
    "chat_tokens": "The token sequences of the chats",
    "text_tokens": "The token sequences of the texts",
}


@dataclass(frozen=True)
class Group:
    """What a few assets give, as one."""

    key: dg.AssetKey
    members: tuple[dg.AssetKey, ...]
    sources: tuple[str, ...]  # of which something is in it


def sources_of(recipe: Recipe, kind: str) -> tuple[SourceSpec, ...]:
    """The sources that are gathered."""
    of_kind = {
        "items": recipe.sources,
        "chat_tokens": recipe.chat_sources,
        "text_tokens": recipe.text_sources,
    }
    return of_kind[kind]


def member(recipe: Recipe, kind: str, source: str) -> dg.AssetKey:
    """The asset of one source."""
    return naming.node_key(recipe, STAGES[kind], source)


def tree(recipe: Recipe, kind: str) -> tuple[list[Group], list[dg.AssetKey]]:
    """(every group, members before who gathers them; what stands for all: the last group, or the sources' own)."""
    names = [source.name for source in sources_of(recipe, kind)]
    left = [(place, place, member(recipe, kind, name)) for place, name in enumerate(names, 1)]
    groups: list[Group] = []
    while len(recipe.sources) > MOST and len(left) > 1:
        above = []
        for part in evenly(left, ceil(len(left) / MOST)):
            first, last, key = part[0][0], part[-1][1], part[0][2]
            if len(part) > 1:
                key = dg.AssetKey([recipe.dagster_name, kind, f"{first}_to_{last}"])
                members = tuple(each for *_, each in part)
                groups.append(Group(key, members, tuple(names[first - 1 : last])))
            above.append((first, last, key))
        left = above
    return groups, [key for *_, key in left]


def evenly(values: Sequence[Any], parts: int) -> list[Sequence[Any]]:
    """The values in so many stretches, their lengths alike to one."""
    edges = [len(values) * part // parts for part in range(parts + 1)]
    return [values[begin:end] for begin, end in pairwise(edges)]


def inputs(recipe: Recipe, *kinds: str) -> list[dg.AssetKey]:
    """What stands for all the sources of these kinds."""
    return [key for kind in kinds for key in tree(recipe, kind)[1]]


def gathered_with(recipe: Recipe, keys: Sequence[dg.AssetKey]) -> list[dg.AssetKey]:
    """The keys, and the groups that are made again where some of these are."""
    found = list(keys)
    for kind in STAGES:
        groups, _ = tree(recipe, kind)
        if any(each in keys for group in groups for each in group.members):
            found += [group.key for group in groups]
    return found


def gathering_assets(recipe: Recipe, path: str) -> list[dg.AssetsDefinition]:
    """The groups of the recipe, those of a kind in one step."""
    return [gathering_asset(recipe, path, kind) for kind in STAGES if tree(recipe, kind)[0]]


def gathering_asset(recipe: Recipe, path: str, kind: str) -> dg.AssetsDefinition:
    """All groups of one kind."""
    groups, _ = tree(recipe, kind)
    stage = STAGES[kind]

    @dg.multi_asset(
        name=f"{recipe.dagster_name}__{kind}",
        specs=[
            dg.AssetSpec(
                group.key,
                deps=group.members,
                description=f"{WORDS[kind]} of {listed(group.sources)}, as one input of what is made from all.",
                group_name="gather",
                kinds={"numpy"},
                owners=[naming.OWNER],
                tags=naming.tags(recipe),
                code_version=versions.code_version("1", [each.sources for each in groups]),
            )
            for group in groups
        ],
    )
    def gathered(
        context: dg.AssetExecutionContext, settings: Settings
    ) -> Iterator[dg.MaterializeResult[None]]:
        with explained():
            workspace = settings.workspace(path, context.log.info)
            results = {
                source.name: workspace.result(stage, source.name) for source in sources_of(recipe, kind)
            }
        version = {member(recipe, kind, name): result.fingerprint for name, result in results.items()}
        for group in groups:
            version[group.key] = key_of([version[each] for each in group.members])
            sums = {
                name: sum(results[source].value[name] for source in group.sources) for name in SUMS[stage]
            }
            yield dg.MaterializeResult(
                asset_key=group.key, metadata=sums, data_version=dg.DataVersion(version[group.key][:VERSION])
            )

    return gathered


def listed(names: Sequence[str]) -> str:
    """The first names, and how many more there are."""
    told = ", ".join(f"`{name}`" for name in names[:MOST])
    return told if len(names) <= MOST else f"{told} and {len(names) - MOST} more"
