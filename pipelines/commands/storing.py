"""`tokenmill store`: what the store holds and who needs it, and how it is pruned."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import orjson

from tokenization.defaults import default_store
from tokenization.errors import RecipeError
from tokenization.store import Store
from tokenization.store_upkeep import (
    DAY_S,
    LIMIT_VARIABLE,
    Pruned,
    as_json,
    inventory,
    limit_of_environment,
    prune,
    size_of,
)


def opened(folder: Path | None) -> Store:
    """The store that is there; RecipeError where there is none."""
    store = Store((folder or default_store()).absolute())
    if not store.root.is_dir():
        raise RecipeError(f"{store.root} is no store; give --store DIR, or build something first")
    return store


def show_store(folder: Path | None, as_json_line: bool) -> None:
    """A table by stage, then the builds that need some of it."""
    store, limit = opened(folder), limit_of_environment()
    told = {"store": str(store.root), "limit": limit, **as_json(inventory(store))}
    if as_json_line:
        click.echo(orjson.dumps(told).decode())
        return
    bound = f"limit {in_units(limit)}" if limit is not None else f"no limit ({LIMIT_VARIABLE} sets one)"
    click.echo(f"{store.root}: {in_units(told['bytes'])} in {told['objects']:,} objects, {bound}")
    click.echo(f"  {'stage':<12}{'objects':>9}{'size':>11}{'needed':>11}  last used")
    for stage, row in told["stages"].items():
        sizes = f"{in_units(row['bytes']):>11}{in_units(row['needed_bytes']):>11}"
        click.echo(f"  {stage:<12}{row['objects']:>9,}{sizes}  {ages(row)}")
    for use in told["builds"]:
        state = "published" if use["published"] else "no longer published, needs nothing"
        click.echo(f"  {use['recipe']}: {use['out']} ({state}): {in_units(use['bytes'])}")
    unused = told["bytes"] - told["needed_bytes"]
    click.echo(f"  {in_units(unused)} are unused; tokenmill store prune --limit SIZE takes the oldest away")


def ages(row: dict[str, Any]) -> str:
    newest, oldest = row["newest_use_days"], row["oldest_use_days"]
    return f"{newest:.1f} to {oldest:.1f} days ago" if oldest >= 0.05 else "today"


def prune_store(
    folder: Path | None, *, limit: str | None, older_than: float | None, dry_run: bool, as_json_line: bool
) -> None:
    """Take unused objects away; what was taken and what stays."""
    store = opened(folder)
    most = size_of(limit) if limit is not None else limit_of_environment()
    if most is None and older_than is None:
        raise RecipeError(
            f"prune needs to know how much may stay: --limit 50GB, --older-than DAYS or {LIMIT_VARIABLE}; "
            "--limit 0 takes everything that no published build needs"
        )
    age = older_than * DAY_S if older_than is not None else None
    outcome = prune(store, limit=most, older_than_s=age, dry=dry_run)
    left = outcome.size_before - outcome.freed
    if as_json_line:
        click.echo(orjson.dumps(pruned_line(store, outcome, left, most) | {"dry_run": dry_run}).decode())
        return
    verb = "would take" if dry_run else "took"
    click.echo(
        f"{verb} {len(outcome.removed):,} objects away, {in_units(outcome.freed)}; {in_units(left)} stay"
    )
    if most is not None and left > most:
        click.echo(f"that is above {in_units(most)}: published or running builds need what stays")


def pruned_line(store: Store, outcome: Pruned, left: int, limit: int | None) -> dict[str, Any]:
    by_stage: dict[str, int] = {}
    for each in outcome.removed:
        by_stage[each.stage] = by_stage.get(each.stage, 0) + 1
    return {
        "store": str(store.root),
        "limit": limit,
        "removed_objects": len(outcome.removed),
        "removed_bytes": outcome.freed,
        "removed_by_stage": by_stage,
        "bytes": left,
    }


def in_units(size: int) -> str:
    """Bytes for people."""
    value = float(size)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} TB"
