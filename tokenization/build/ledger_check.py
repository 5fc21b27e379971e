"""The ledger held against the build's other files: what it says was set aside is in the quarantine, to the unit.

Documents and sessions are counted by stage and reason; what the selection took out of texts also by characters and
bytes, of the rows themselves. What is in no file (over a source's limit, not drawn) is the ledger's word alone.
Price: one pass over the quarantine.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

import orjson

from tokenization.build.quarantined import set_aside_lines
from tokenization.ledger import Entry

if TYPE_CHECKING:
    from tokenization.build.contents import Build

STAGES = {
    "documents": ("ingest", "select"),
    "sessions": ("ingest", "select", "render"),
    "characters": ("select",),
    "bytes": ("select",),
}
NO_ROW = ("over_limit", "not_drawn")
Key = tuple[str, str, str, str]  # unit, stage, source, reason


def quarantine_problems(build: Build, entries: list[Entry]) -> Iterator[str]:
    """Every count of the ledger that the quarantine does not bear out, and the other way round."""
    kinds = {name: source["kind"] for name, source in build.manifest["sources"].items()}
    held = in_quarantine(build, kinds)
    told: Counter[Key] = Counter()
    for entry in entries:
        if entry.stage in STAGES.get(entry.unit, ()):
            for reason, count in entry.removed.items():
                if reason not in NO_ROW:
                    told[entry.unit, entry.stage, entry.source, reason] += count
    for key in sorted(held.keys() | told.keys()):
        if held[key] != told[key]:
            unit, stage, source, reason = key
            yield (
                f"{source}: the ledger sets {told[key]} {unit} aside at {stage} as {reason}, the quarantine holds "
                f"{held[key]}"
            )


def in_quarantine(build: Build, kinds: dict[str, str]) -> Counter[Key]:
    """What the quarantine holds, counted."""
    held: Counter[Key] = Counter()
    for line in set_aside_lines(build.path):
        told = line.told
        where = told["stage"], told["source"], told["reason"]
        is_text = kinds.get(told["source"]) == "text"
        held["documents" if is_text else "sessions", *where] += 1
        if is_text and told["stage"] == "select":
            text = orjson.loads(line.whole()["row"])["text"]
            held["characters", *where] += len(text)
            held["bytes", *where] += len(text.encode())
    return held
