"""What became of everything: the ledger's entries and the manifest's account of each source.

Every number here was counted by the stage that did the work; this only lays them side by side, and `ledger.problems`
says whether they close.
"""

from __future__ import annotations

from typing import Any

from tokenization.ingest.amounts import READ, UNITS
from tokenization.ledger import Entry
from tokenization.stages.catalogue import draws
from tokenization.stages.windows import SPLITS
from tokenization.stages.workspace import Workspace


def ledger_of(workspace: Workspace, splits: dict[str, Any]) -> list[Entry]:
    """The whole ledger, stage by stage; `splits` is the manifest's, counted from what was written."""
    entries = []
    for source in workspace.recipe.sources:
        entries += source_entries(workspace, source.name)
    windows = workspace.result("windows").value
    for row in windows["pack"]:
        entries.append(
            Entry(
                stage="pack",
                unit="tokens",
                source=row["kind"],
                split=row["split"],
                coming_in=row["tokens"],
                added={"padding": row["padding"]},
                going_out=row["tokens"] + row["padding"],
            )
        )
    for split in SPLITS:
        for row in windows["pack"]:
            if row["split"] == split:
                entries.append(mix_entry(row, windows["splits"][split]["not_drawn"][row["kind"]]))
        written = splits[split]["num_tokens"] + splits[split]["num_pad_tokens"]
        planned = windows["splits"][split]
        entries.append(
            Entry(
                stage="write",
                unit="tokens",
                split=split,
                coming_in=planned["tokens"] + planned["padding"],
                going_out=written,
            )
        )
    return entries


def source_entries(workspace: Workspace, name: str) -> list[Entry]:
    """A source's rows on their way to token sequences."""
    source = workspace.source(name)
    unit = "documents" if source.kind == "text" else "sessions"
    read = workspace.result("documents", name).value
    chosen = workspace.result("selection").value["counts"][name]
    tokens = workspace.result("tokens", name).value
    kept = chosen["train"] + chosen["validation"]
    unrendered = sum(tokens["set_aside"].values())
    over_limit = {"over_limit": read["over_limit"]} if read["over_limit"] else {}
    entries = [
        Entry(
            "ingest",
            unit,
            read["rows_read"],
            read["items"],
            name,
            removed={**read["set_aside"], **over_limit},
        ),
        Entry(
            "select",
            unit,
            read["items"],
            kept,
            name,
            removed=turned_away(chosen),
        ),
    ]
    if source.kind == "text":
        left = undrawn(workspace, name)
        entries.append(Entry("draw", unit, kept, kept - left, name, removed=nonzero(not_drawn=left)))
        entries.append(Entry("encode", unit, kept - left, tokens["items"], name))
    else:
        sessions = tokens["sessions"]
        entries.append(Entry("render", unit, kept, kept - unrendered, name, removed=tokens["set_aside"]))
        entries.append(
            Entry("cut", "cuts", sessions, tokens["sequences"], name, added=nonzero(cuts=tokens["cuts"]))
        )
    content = tokens["tokens"] - tokens["separators"]
    added = nonzero(document_end=tokens["separators"])
    entries.append(Entry("encode", "tokens", content, tokens["tokens"], name, added=added))
    if source.kind == "text":
        entries += [entry for unit in UNITS for entry in amount_entries(workspace, name, unit)]
    return entries


def amount_entries(workspace: Workspace, name: str, unit: str) -> list[Entry]:
    """A text source's characters or bytes on their way to the encoder, each stage's by its own count."""
    read = workspace.result("documents", name).value
    moved = dict(read["amounts"].get(unit, {}))
    coming_in = moved.pop(READ, 0)
    indexed = read[f"text_{unit}"]
    chosen = workspace.result("selection").value["counts"][name]["amounts"][unit]
    kept = chosen["train"] + chosen["validation"]
    left = undrawn(workspace, name, f"not_drawn_{unit}")
    encoded = workspace.result("tokens", name).value["amounts"][unit]
    return [
        Entry(
            "ingest",
            unit,
            coming_in,
            indexed,
            name,
            added={step: count for step, count in moved.items() if count > 0},
            removed={step: -count for step, count in moved.items() if count < 0},
        ),
        Entry("select", unit, indexed, kept, name, removed=turned_away(chosen)),
        Entry("draw", unit, kept, kept - left, name, removed=nonzero(not_drawn=left)),
        Entry("encode", unit, kept - left, encoded, name),
    ]


def mix_entry(row: dict[str, Any], left: dict[str, int]) -> Entry:
    """One kind's windows of one split: those not drawn leave, those shown again come."""
    packed = row["tokens"] + row["padding"]
    removed = left["tokens"] + left["padding"]
    again = left["repeated_tokens"] + left["repeated_padding"]
    return Entry(
        stage="mix",
        unit="tokens",
        source=row["kind"],
        split=row["split"],
        coming_in=packed,
        added=nonzero(repeated=again),
        removed=nonzero(not_drawn=removed),
        going_out=packed + again - removed,
    )


def source_accounts(workspace: Workspace) -> dict[str, Any]:
    """The manifest's `sources`: files, items, tokens and set-asides of each."""
    accounts = {}
    for source in workspace.recipe.sources:
        read = workspace.result("documents", source.name).value
        chosen = workspace.result("selection").value["counts"][source.name]
        tokens = workspace.result("tokens", source.name).value
        set_aside = dict(read["set_aside"])
        for reason, count in (
            *turned_away(chosen).items(),
            *tokens["set_aside"].items(),
        ):
            set_aside[reason] = set_aside.get(reason, 0) + count
        accounts[source.name] = {
            "kind": source.kind,
            "licence": source.licence,
            "files": read["files"],
            "rows": read["rows_read"],
            "items": chosen["train"]
            + chosen["validation"]
            - sum(tokens["set_aside"].values())
            - undrawn(workspace, source.name),
            "not_drawn": undrawn(workspace, source.name),
            "tokens": tokens["tokens"],
            "target_tokens": tokens["target_tokens"],
            "set_aside": set_aside,
            "over_limit": read["over_limit"],
            "changed": read["changed"],
            "personal_data": read["personal_data"],
            "rules_would_remove": read["rules_would_remove"],
        }
    return accounts


def undrawn(workspace: Workspace, name: str, what: str = "not_drawn") -> int:
    """How many of a source's documents (or their characters or bytes) the share did not need."""
    if workspace.source(name).kind != "text" or not draws(workspace.recipe):
        return 0
    return int(workspace.result("draw").value["counts"][name][what])


def turned_away(chosen: dict[str, int]) -> dict[str, int]:
    """What the selection took out of a source."""
    return nonzero(
        **{reason: chosen[reason] for reason in ("exact_duplicate", "near_duplicate", "contaminated")}
    )


def nonzero(**counts: int) -> dict[str, int]:
    """Only what there is: a ledger of zeros hides the rest."""
    return {name: count for name, count in counts.items() if count}
