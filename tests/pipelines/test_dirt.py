"""The real dirt in the shared data: what becomes of each file and of each kind of row, as the golden file says.

The golden (`tests/golden/dirt.json`) is small and to be read: encodings, line ends, marks, empties, copies across
encodings and near duplicates. `UPDATE_GOLDEN=1` writes it anew; look at the difference before committing it.
"""

from __future__ import annotations

import json
import os
import re
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from builds_read import items_of, ledger_of, quarantine_of
from small_recipes import Project, text_source

from tokenization.build.set_aside_view import clusters_of
from tokenization.build.verify import verify
from tokenization.ingest.decoding import UndecodableText, decode_text

pytestmark = [pytest.mark.shared, pytest.mark.slow]

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "dirt.json"
ROW = re.compile(r"^(?:(?P<made>empty|blank|null)-\d+|.*?(?P<copied>-copy|-ws|-cut)?)$")


@pytest.fixture(scope="module")
def dirt(shared: Path) -> Path:
    return shared / "data" / "raw" / "dirt"


@pytest.fixture
def project(new_project: Callable[..., Project], shared: Path) -> Project:
    """The clean editions first, then the dirt, near duplicates taken out."""
    clean = [
        text_source(name, str(shared / "data" / "raw" / "txt-zh" / f"{file}.txt"))
        for name, file in (("honglou", "honglou-meng"), ("sanguo", "sanguo-yanyi"))
    ]
    project = new_project(
        mixture=None,
        chat=None,
        validation=None,
        window=4096,
        sources=[*clean, text_source("dirt", str(shared / "data" / "raw" / "dirt"))],
        cleaning={"near_dedup": 0.5},
    )
    project.built()
    return project


def kind_of(row_id: str) -> str:
    """What was done to make the row: nothing, an exact copy, blank lines doubled, an end cut off, no text."""
    found = ROW.match(row_id)
    assert found is not None
    return found["made"] or (found["copied"] or "as it was").lstrip("-")


def described(path: Path) -> dict[str, Any]:
    """A file as it lies there."""
    data = path.read_bytes()
    try:
        encoding = decode_text(data)[1]
    except UndecodableText:
        encoding = "none"
    return {
        "bytes": len(data),
        "encoding": encoding,
        "mark": data.startswith(b"\xef\xbb\xbf"),
        "crlf": data.count(b"\r\n"),
    }


def outcome(project: Project, dirt: Path) -> dict[str, Any]:
    """Everything the golden says."""
    aside = [row for row in quarantine_of(project.out) if row["source"] == "dirt"]
    items = {item: row for (_, source, item), row in items_of(project.out).items() if source == "dirt"}
    fate: dict[str, str] = dict.fromkeys(items, "kept")
    for row in aside:
        name = row["item"] or row["file"]
        first = re.search(r"'(.+?)' of source '(.+?)'", row["detail"])
        fate[name] = f"{row['reason']} of {first[2]}: {first[1]}" if first else row["reason"]
    rows: dict[str, Counter[str]] = defaultdict(Counter)
    for name, what in fate.items():
        if not name.endswith(".txt"):
            rows[kind_of(name)][what.partition(" of ")[0]] += 1
    clusters = {
        member["item"]: round(member["similarity"], 2)
        for members in clusters_of(project.out)
        for member in members
        if not member["kept"] and member["item"].endswith(".txt")
    }
    files = {
        path.name: {**described(path), "outcome": fate[path.name], "similarity": clusters.get(path.name)}
        for path in sorted(dirt.glob("*.txt"))
    }
    ledger = {
        row["unit"]: {key: row[key] for key in ("in", "added", "removed", "out")}
        for row in ledger_of(project.out)
        if (row["stage"], row["source"]) == ("ingest", "dirt")
    }
    return {
        "files": files,
        "rows of dups-and-empties.jsonl": {kind: dict(sorted(rows[kind].items())) for kind in sorted(rows)},
        "changed": dict(sorted(project.manifest["sources"]["dirt"]["changed"].items())),
        "ingest": ledger,
    }


def test_every_file_and_row_of_the_dirt_comes_out_as_the_golden_says(project: Project, dirt: Path) -> None:
    found = outcome(project, dirt)
    assert [finding.line() for finding in verify(project.out) if not finding.passed] == []
    if os.environ.get("UPDATE_GOLDEN"):
        GOLDEN.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", "utf-8")
    assert found == json.loads(GOLDEN.read_text("utf-8"))
    assert sum(sum(kind.values()) for kind in found["rows of dups-and-empties.jsonl"].values()) == 293
