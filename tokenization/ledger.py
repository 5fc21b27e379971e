"""The ledger: a conservation law at every stage.

One entry says what went in, what was added, what was taken away and what came out, in one unit:

    in + sum(added) == out + sum(removed)

Entries of one stage and unit chain to the next: what came out of `ingest` goes into `select`. `problems`
checks both laws; `verify` and the blocking asset check call it, and nothing else does the arithmetic.

Units are `documents`, `sessions`, `cuts` (sequences rendered from sessions), `tokens`, and of the texts of documents
`characters` (code points) and `bytes` (of UTF-8): as they were decoded, until they are encoded.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Entry:
    """One line of the ledger; counts in `unit`."""

    stage: str
    unit: str
    coming_in: int
    going_out: int
    source: str = ""
    split: str = ""
    added: Mapping[str, int] = field(default_factory=dict)
    removed: Mapping[str, int] = field(default_factory=dict)

    @property
    def difference(self) -> int:
        """0 where the entry closes; positive where something was lost."""
        return self.coming_in + sum(self.added.values()) - self.going_out - sum(self.removed.values())

    def as_json(self) -> dict[str, Any]:
        return {
            "stage": self.stage,
            "unit": self.unit,
            "source": self.source,
            "split": self.split,
            "in": self.coming_in,
            "added": dict(self.added),
            "removed": dict(self.removed),
            "out": self.going_out,
        }

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> Entry:
        return cls(
            stage=row["stage"],
            unit=row["unit"],
            coming_in=row["in"],
            going_out=row["out"],
            source=row.get("source", ""),
            split=row.get("split", ""),
            added=row.get("added", {}),
            removed=row.get("removed", {}),
        )


# What comes out of the first goes into the second: (stage, unit, joined over) -> (stage, unit).
CHAIN = (
    ("ingest", "select", "documents"),
    ("ingest", "select", "sessions"),
    ("select", "draw", "documents"),
    ("draw", "encode", "documents"),
    ("select", "render", "sessions"),
    *(
        (first, second, unit)
        for unit in ("characters", "bytes")
        for first, second in (("ingest", "select"), ("select", "draw"), ("draw", "encode"))
    ),
    ("encode", "pack", "tokens"),
    ("pack", "mix", "tokens"),
    ("mix", "write", "tokens"),
)


def problems(entries: Iterable[Entry]) -> list[str]:
    """Every entry that does not close and every link of the chain that does not hold; empty is good."""
    rows = list(entries)
    found = [
        f"{row.stage} {row.source or row.split} loses {row.difference} {row.unit}: "
        f"in {row.coming_in} + added {sum(row.added.values())} != "
        f"out {row.going_out} + removed {sum(row.removed.values())}"
        for row in rows
        if row.difference
    ]
    for first, second, unit in CHAIN:
        out = sum(row.going_out for row in rows if row.stage == first and row.unit == unit)
        into = sum(row.coming_in for row in rows if row.stage == second and row.unit == unit)
        if out != into:
            found.append(f"{out} {unit} leave {first} and {into} enter {second}")
    return found
