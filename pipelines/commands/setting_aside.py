"""`tokenmill quarantine`: what a build left out, and why, with samples to look at."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
import orjson

from tokenization.build.set_aside_view import LeftOut, left_out

WIDTH = 100  # characters of a text shown


def show_left_out(
    directory: Path, *, source: str | None, reason: str | None, samples: int, as_json: bool
) -> None:
    """Counts and samples by source and reason; clusters of near duplicates; leaks."""
    found = left_out(directory, source=source, reason=reason, samples=samples)
    if as_json:
        click.echo(orjson.dumps(asdict(found)).decode())
        return
    for line in lines(found, samples):
        click.echo(line)


def lines(found: LeftOut, samples: int) -> Iterator[str]:
    """For people."""
    for reason in found.reasons:
        yield f"{reason.source}: {reason.count:,} {reason.reason}"
        for row in reason.samples:
            yield f"    {where(row)}: {short(row['detail'])}"
            yield f"        {short(str(row.get('row', row.get('row_base64'))))}"
    for source, rules in found.would_remove.items():
        told = ", ".join(
            f"{rule} {count:,}" for rule, count in sorted(rules.items(), key=lambda each: -each[1])
        )
        yield f"{source}: each rule alone removes, or would remove: {told}"
    if found.num_clusters:
        yield f"{found.num_clusters:,} clusters of near duplicates" + (
            ", the first ones:" if found.clusters else ""
        )
    for cluster in found.clusters:
        for row in cluster:
            fate = "stays" if row["kept"] else f"goes, {row['similarity']:.0%} like it"
            yield f"    {row['source']} {row['item']} ({fate}): {short(row['text'])}"
    for leak in found.leaks[:samples]:
        yield (
            f"leak, {leak['question']}: {leak['share']:.0%} of {leak['source']} {leak['item']} stands in "
            f"{leak['train_source']} {leak['train_item']}: {short(leak['ngram'])}"
        )
    if not (found.reasons or found.num_clusters or found.leaks or found.would_remove):
        yield "nothing was set aside"


def where(row: dict[str, Any]) -> str:
    place = f"{row['file']}:{row['place']}" if row["place"] else row["file"]
    return place if row["item"] in (None, place) else f"{place} {row['item']}"


def short(text: str) -> str:
    """One line of it."""
    line = " ".join(text[: 4 * WIDTH].split())
    return line if len(line) <= WIDTH else f"{line[:WIDTH]}…"
