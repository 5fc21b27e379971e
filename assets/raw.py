"""The raw files of a source, seen from outside: what there is, by content, and what became of it since last time.

Nobody here writes these files, so nothing here is a step: a sensor (or the command, before it runs anything) looks, and
reports a materialisation of the external asset whose data version is the files' fingerprint. A touched file is the
same file.

Price: one stat call a file that is remembered, one reading for any other; of object stores one listing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
from dagster import AssetKey

from assets import naming
from tokenization.errors import RecipeError
from tokenization.hashing import content_digest, file_digest, key_of
from tokenization.recipe.model import Recipe
from tokenization.stages.workspace import Workspace

NAMED = 8  # files named in a message
Digests = dict[str, str]  # path relative to the source -> the first 16 hex digits of its digest


@dataclass(frozen=True)
class RawFiles:
    """A source's files as they are now."""

    fingerprint: str
    digests: Digests
    num_bytes: int
    problem: str = ""  # why the source cannot be read


def look(workspace: Workspace, source: str) -> RawFiles:
    """The files of the source; one that matches nothing any more is a state too, not an error."""
    try:
        files, digests = workspace.inputs(source)
    except RecipeError as error:
        return RawFiles(key_of("unreadable", str(error)), {}, 0, str(error))
    named = {file.relative: digest[:16] for file, digest in zip(files, digests, strict=True)}
    pairs = [[file.relative, digest] for file, digest in zip(files, digests, strict=True)]
    return RawFiles(key_of(pairs), named, sum(file.size for file in files))


def changes(before: Mapping[str, str], now: Mapping[str, str]) -> dict[str, list[str]]:
    """New, changed and vanished files, by content."""
    return {
        "new": [name for name in now if name not in before],
        "changed": [name for name, digest in now.items() if name in before and before[name] != digest],
        "vanished": [name for name in before if name not in now],
    }


def materialization(
    recipe: Recipe, source: str, raw: RawFiles, before: Digests | None
) -> dg.AssetMaterialization:
    """What the page shows of the source's files; `before` where it is known what was there."""
    what = changes(before, raw.digests) if before is not None else {}
    told = [
        f"{len(names)} {word}: {', '.join(names[:NAMED])}{' …' if len(names) > NAMED else ''}"
        for word, names in what.items()
        if names
    ]
    metadata: dict[str, int | str] = {"files": len(raw.digests), "bytes": raw.num_bytes}
    metadata |= {f"files_{word}": len(names) for word, names in what.items()}
    if raw.problem:
        metadata["problem"] = raw.problem
    return dg.AssetMaterialization(
        naming.raw_key(recipe, source),
        description=raw.problem or "; ".join(told) or "The files as they are now.",
        metadata=metadata,
        tags={"dagster/data_version": raw.fingerprint},
    )


def has_model_files(recipe: Recipe) -> bool:
    """Whether the recipe names a tokenizer or a template that lies on a disk."""
    return recipe.tokenizer.path is not None or template_file(recipe) is not None


def template_file(recipe: Recipe) -> Path | None:
    """The template's own file, where the recipe names one."""
    named = recipe.directory / recipe.chat.template
    return named if recipe.chat_sources and named.is_file() else None


def model_files_version(recipe: Recipe) -> str:
    """The content of tokenizer and template."""
    path, template = recipe.tokenizer.path, template_file(recipe)
    return key_of(
        content_digest(recipe.directory / path) if path is not None else None,
        file_digest(template) if template is not None else None,
    )


def model_files_materialization(recipe: Recipe, version: str) -> dg.AssetMaterialization:
    """What the page shows of the tokenizer's and the template's files."""
    return dg.AssetMaterialization(
        naming.model_files_key(recipe),
        description="The tokenizer's and the template's files as they are now.",
        tags={"dagster/data_version": version},
    )


def recorded_version(instance: dg.DagsterInstance, key: AssetKey) -> str | None:
    """The data version that the page shows of an external asset, or None where nobody has looked yet."""
    event = instance.get_latest_materialization_event(key)
    found = event.asset_materialization if event else None
    return (found.tags or {}).get("dagster/data_version") if found else None


def report(instance: dg.DagsterInstance, workspace: Workspace) -> None:
    """Record the files that a run is about to read, those that the page does not show yet."""
    recipe = workspace.recipe
    found = [
        materialization(recipe, source.name, look(workspace, source.name), None) for source in recipe.sources
    ]
    if has_model_files(recipe):
        found.append(model_files_materialization(recipe, model_files_version(recipe)))
    for event in found:
        if recorded_version(instance, event.asset_key) != (event.tags or {})["dagster/data_version"]:
            instance.report_runless_asset_event(event)
