"""What a build left out, to look at: counts and samples by source and reason, clusters of near duplicates, leaks.

Reads `quarantine/` and the manifest only. Price: one pass over the quarantine; a few samples a reason are held.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from tokenization.build.layout import read_manifest
from tokenization.build.quarantined import set_aside_lines

Row = dict[str, Any]
NEAR_DUPLICATES, LEAKS = "near_duplicates.parquet", "leaks.parquet"


@dataclass
class Reason:
    """Rows of one source that were set aside for one reason."""

    source: str
    reason: str
    count: int = 0
    samples: list[Row] = field(default_factory=list)  # the first ones, as the quarantine has them


@dataclass(frozen=True)
class LeftOut:
    """Everything there is to look at."""

    reasons: list[Reason]  # by source, then by falling count
    would_remove: dict[str, dict[str, int]]  # source -> rule -> documents that it alone would remove
    clusters: list[list[Row]]  # of near duplicates, the one that stays first
    num_clusters: int
    leaks: list[Row]


def left_out(
    build: Path, *, source: str | None = None, reason: str | None = None, samples: int = 2
) -> LeftOut:
    """What the build at this place left out; of this source and for this reason only, where one is named."""
    manifest = read_manifest(build)
    found: dict[tuple[str, str], Reason] = {}
    for line in set_aside_lines(build, source):
        group = line.told["source"], line.told["reason"]
        if reason in (None, group[1]):
            kept = found.setdefault(group, Reason(*group))
            kept.count += 1
            if len(kept.samples) < samples:
                kept.samples.append(line.whole())
    rules = {
        name: told["rules_would_remove"]
        for name, told in manifest["sources"].items()
        if source in (None, name) and told.get("rules_would_remove")
    }
    clusters = clusters_of(build) if reason in (None, "near_duplicate") else iter(())
    chosen = (rows for rows in clusters if source is None or any(row["source"] == source for row in rows))
    return LeftOut(
        sorted(found.values(), key=lambda each: (each.source, -each.count, each.reason)),
        rules,
        list(itertools.islice(chosen, samples)),
        int(manifest.get("near_duplicate_clusters") or 0),
        leaks_of(build) if (source, reason) == (None, None) else [],
    )


def clusters_of(build: Path) -> Iterator[list[Row]]:
    """The clusters of near duplicates in recipe order of those that stay."""
    path = build / "quarantine" / NEAR_DUPLICATES
    if not path.is_file():
        return
    rows = (row for batch in pq.ParquetFile(path).iter_batches(1024) for row in batch.to_pylist())
    for _, members in itertools.groupby(rows, key=lambda row: row["cluster"]):
        yield list(members)


def leaks_of(build: Path) -> list[Row]:
    path = build / "quarantine" / LEAKS
    return list(pq.read_table(path).to_pylist()) if path.is_file() else []
