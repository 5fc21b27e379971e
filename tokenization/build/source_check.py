"""A law about sources: none is broken as a whole. It reads the manifest's account of each source alone."""

from __future__ import annotations

from typing import Any

from tokenization.ingest.set_aside import REASONS

BY_CHOICE = {"too_short", "no_target"}  # rows that were read well and are not wanted
UNREADABLE = frozenset(REASONS) - BY_CHOICE
MOST_UNREADABLE = 0.5  # where a recipe says nothing


def unreadable_problems(manifest: dict[str, Any]) -> tuple[str, list[str]]:
    """What was looked at, and each source of which more rows are unreadable than its recipe allows."""
    problems = []
    rows = unreadable = 0
    limits = {
        source["name"]: source.get("max_unreadable", MOST_UNREADABLE)
        for source in manifest["recipe"]["sources"]
    }
    for name, account in manifest["sources"].items():
        reasons = {reason: n for reason, n in account["set_aside"].items() if reason in UNREADABLE}
        lost = sum(reasons.values())
        rows, unreadable = rows + account["rows"], unreadable + lost
        if lost > limits[name] * account["rows"]:
            most = max(reasons, key=lambda reason: reasons[reason])
            problems.append(
                f"source {name}: {lost:,} of {account['rows']:,} rows could not be read ({reasons[most]:,} {most}: "
                f"{REASONS[most]}); quarantine/{name}.jsonl has them; mend the source, or set its max_unreadable"
            )
    return f"{rows:,} rows of {len(limits)} sources, {unreadable:,} unreadable", problems
