"""`tokenmill diff`: which items, masks and tokens changed between two builds, and why."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import orjson

from pipelines.commands.setting_aside import short
from tokenization.comparing.compare import CHANGES, Change, Comparison, compare
from tokenization.comparing.manifests import Difference

WORDS = {
    "num_windows": "windows",
    "num_tokens": "tokens",
    "num_target_tokens": "targets",
    "num_pad_tokens": "padding",
}


def compare_builds(before: Path, after: Path, *, limit: int, as_json: bool) -> None:
    """The comparison, for people or as one JSON line."""
    found = compare(before, after, limit=limit)
    if as_json:
        click.echo(orjson.dumps(found.as_json()).decode())
        return
    for line in lines(found):
        click.echo(line)


def lines(found: Comparison) -> Iterator[str]:
    """For people."""
    sides = (("before", found.before), ("after ", found.after))
    if found.same:
        yield f"the same: both are {found.before['fingerprint']}, {found.unchanged:,} items"
    else:
        yield from (f"{name}  {side['fingerprint']}  {side['path']}" for name, side in sides)
    yield from _listed("recipe", found.recipe)
    yield from _listed("made with", found.made_with)
    if found.same:
        return
    for split, counts in found.totals.items():
        told = [
            f"{WORDS[name]} {_moved(before, after)}"
            for name, (before, after) in counts.items()
            if before != after
        ]
        yield f"{split}: {'; '.join(told) or 'the same totals'}"
    for each in found.set_aside:
        yield f"set aside, {each.key}: {each.before or 0:,} → {each.after or 0:,}"
    yield f"the same in every way: {found.unchanged:,} items"
    if found.unseen:
        yield f"drawn in neither: {found.unseen:,}"
    for change in found.changes:
        yield from _change(change)


def _listed(name: str, differences: list[Difference]) -> Iterator[str]:
    for each in differences:
        yield f"  {name} {each.key}: {_value(each.before)} → {_value(each.after)}"


def _change(change: Change) -> Iterator[str]:
    where = ", ".join(f"{source} {count:,}" for source, count in change.sources.items())
    yield f"{CHANGES[change.change]}: {change.count:,} ({where})"
    for reason, count in change.reasons.items():
        yield f"    {count:,}: {reason}"
    yield f"    why: {', '.join(change.why)}"
    for sample in change.samples:
        yield f"    {_sample(sample)}"


def _sample(sample: dict[str, Any]) -> str:
    place = f"{sample['file']}:{sample['place']}" if sample["place"] else sample["file"]
    named = sample["item"] if sample["item"] == place else f"{sample['item']} ({place})"
    told = [f"{sample['source']} {named}"]
    if "reason" in sample:
        told.append(sample["reason"])
    told += [
        f"{name.removesuffix('_differs')} {_value(values[0])} → {_value(values[1])}"
        for name, values in sample.items()
        if name.endswith("_differs")
    ]
    parts = sample.get("first_difference")
    if parts:
        before, after = parts["before"], parts["after"]
        told.append(
            f"token {parts['token']}: {before['text']!r} {_mask(before)} → {after['text']!r} {_mask(after)}; "
            f"trace --split {before['split']} --row {before['row']} --token {before['token']} → "
            f"--split {after['split']} --row {after['row']} --token {after['token']}"
        )
    return "; ".join(told)


def _mask(side: dict[str, Any]) -> str:
    return "trained" if side["trained"] else "masked"


def _moved(before: int, after: int) -> str:
    return f"{before:,} → {after:,} ({after - before:+,})"


def _value(value: Any) -> str:
    return (
        "nothing"
        if value is None
        else short(value if isinstance(value, str) else orjson.dumps(value).decode())
    )
