"""`python -m demo.stage`: lays out the demonstration's raw data, from which `recipes/demo.yaml` builds.

Writes three JSON Lines files into `--out` (`.tokenmill/demo`): `library.jsonl`, the standard library's files,
one a line; `questions.jsonl`, some thousands of sessions about them; `sessions.jsonl`, the written ones.
Guarantees: nothing is downloaded; a file is replaced only where its content changes, and at once, so that
modification times stay and a build that follows finds nothing new; a killed run leaves whole files only.
Price: about 6 s and 15 MB the first time, 0.1 s after that (a stamp remembers what the files were made of).
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from demo import stdlib
from tokenization.errors import TokenmillError

HERE = Path(__file__).resolve().parent
DEFAULT_OUT = Path(".tokenmill/demo")
STAMP = "stamp.json"

Rows = Iterable[dict[str, Any]]


@dataclass(frozen=True)
class Staged:
    """One staged file."""

    path: Path
    rows: int
    size: int  # bytes
    written: bool  # False where it already held exactly this


def stage(out: Path = DEFAULT_OUT) -> list[Staged]:
    """Brings the three files up to date; touches only what differs."""
    sources = stdlib.files()
    made_of = _made_of(sources)
    remembered = _remembered(out, made_of)
    if remembered is not None:
        return remembered
    out.mkdir(parents=True, exist_ok=True)
    makers: dict[str, Callable[[], tuple[bytes, int]]] = {
        "library.jsonl": lambda: _lines(_library(sources)),
        "questions.jsonl": lambda: _lines(_questions(sources)),
        "sessions.jsonl": _written_sessions,
    }
    staged = []
    for name, make in makers.items():
        content, rows = make()
        staged.append(Staged(out / name, rows, len(content), replace_if_changed(out / name, content)))
    files = {item.path.name: {"rows": item.rows, "sha256": _sha256(item.path)} for item in staged}
    stamp = {"made_of": made_of, "files": files}
    replace_if_changed(out / STAMP, json.dumps(stamp, indent=1, sort_keys=True).encode() + b"\n")
    return staged


def replace_if_changed(path: Path, content: bytes) -> bool:
    """Writes `content` beside `path` and puts it in place at once; False where it was there already."""
    if path.is_file() and path.stat().st_size == len(content) and path.read_bytes() == content:
        return False
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_bytes(content)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return True


def _made_of(sources: list[stdlib.SourceFile]) -> dict[str, str]:
    """Everything the files depend on: the Python, its sources, and this package's code and sessions."""
    own = hashlib.blake2b(digest_size=16)
    for path in sorted([*HERE.glob("*.py"), *HERE.glob("*.jsonl")]):
        own.update(path.name.encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest())
    return {"python": sys.version, "library": stdlib.listing_digest(sources), "demo": own.hexdigest()}


def _remembered(out: Path, made_of: dict[str, str]) -> list[Staged] | None:
    """The files of the last run, if they were made of the same and are still what was written."""
    try:
        stamp = json.loads((out / STAMP).read_bytes())
        if stamp["made_of"] != made_of:
            return None
        staged = []
        for name, file in stamp["files"].items():
            if _sha256(out / name) != file["sha256"]:
                return None
            staged.append(Staged(out / name, file["rows"], (out / name).stat().st_size, written=False))
        return staged
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None  # no stamp, or not one of ours: making the files again is always right


def _library(sources: list[stdlib.SourceFile]) -> Rows:
    return ({"id": source.name, "text": stdlib.read(source)} for source in sources)


def _questions(sources: list[stdlib.SourceFile]) -> Rows:
    from demo.questions import sessions

    return sessions(sources)


def _written_sessions() -> tuple[bytes, int]:
    content = (HERE / "sessions.jsonl").read_bytes()
    return content, content.count(b"\n")


def _lines(rows: Rows) -> tuple[bytes, int]:
    lines = [json.dumps(row, ensure_ascii=False) for row in rows]
    return "".join(line + "\n" for line in lines).encode(), len(lines)


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def main(arguments: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = argparse.ArgumentParser(prog="python -m demo.stage", description="Lays out the demo's raw data.")
    parser.add_argument("--out", type=Path, default=DEFAULT_OUT, help=f"folder (default {DEFAULT_OUT})")
    try:
        staged = stage(parser.parse_args(arguments).out)
    except TokenmillError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    for item in staged:
        state = "written" if item.written else "unchanged"
        print(f"{item.path}  {item.rows:,} rows  {item.size / 1e6:.1f} MB  {state}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
