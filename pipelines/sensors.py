"""Sensors: what changed outside, noticed by content.

One a recipe, and on by default, because it only looks. It lists the files of every source (folders, globs, object
stores), compares their digests with those it saw last, and reports new, changed and vanished files as a materialisation
of the source's external asset. It starts nothing: `automation` does, where a data version moved.

The cursor holds every file's digest up to a limit, and beyond it the source's fingerprint alone: what moved is noticed
as before, then without naming the files.
"""

from typing import Any

import dagster as dg
import orjson

from assets import raw
from assets.settings import Settings
from tokenization.recipe.model import Recipe

SECONDS = 20
MOST_NAMED = 2_000  # files of a source that the cursor names: about 100 kB

Cursor = dict[str, dict[str, Any]]  # source -> fingerprint, digests


def sources_sensor(recipe: Recipe, path: str) -> dg.SensorDefinition:
    """Looks at the files of the recipe's sources."""
    local = [source.name for source in recipe.sources if not source.from_hub]

    @dg.sensor(
        name=f"{recipe.dagster_name}_sources",
        minimum_interval_seconds=SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=f"Notices new, changed and vanished files of recipe `{recipe.name}`, by content.",
    )
    def sources(context: dg.SensorEvaluationContext, settings: Settings) -> dg.SensorResult | dg.SkipReason:
        workspace = settings.workspace(path, context.log.info)
        before: Cursor = orjson.loads(context.cursor) if context.cursor else {}
        events, after = [], {}
        for name in local:
            found = raw.look(workspace, name)
            known = before.get(name, {})
            after[name] = remembered(found)
            if known.get("fingerprint") != found.fingerprint:
                digests = known.get("digests")
                events.append(raw.materialization(recipe, name, found, digests))
        if raw.has_model_files(recipe):
            version = raw.model_files_version(workspace.recipe)
            after[""] = {"fingerprint": version}  # no source has an empty name
            if before.get("", {}).get("fingerprint") != version:
                events.append(raw.model_files_materialization(recipe, version))
        if not events:
            return dg.SkipReason(f"{len(local)} sources, every file as it was")
        return dg.SensorResult(asset_events=events, cursor=orjson.dumps(after).decode())

    return sources


def remembered(found: raw.RawFiles) -> dict[str, Any]:
    """What the cursor keeps of a source."""
    named = found.digests if len(found.digests) <= MOST_NAMED else None
    return {"fingerprint": found.fingerprint, "digests": named}
