"""Which format a file is in: by its name where that says it, by its first bytes where it does not.

The ending chooses among `text` (the whole file is one document), `jsonl` (one row a line), `json` (an array
or values one after another), `csv`, `tsv`, `parquet` and `arrow`. `.json` and `.jsonl` are taken at their
word only after a look at the first bytes, because arrays saved as `.jsonl` and lines saved as `.json` are
common.

Price: a name costs nothing; a look inside reads at most `HEAD_BYTES` (decompressed).
"""

from __future__ import annotations

import re
from typing import Any

import orjson

HEAD_BYTES = 256 << 10

_PROSE_ENDINGS = "txt text md markdown mdx rst adoc org tex log"
_CODE_ENDINGS = """
    py pyi js jsx mjs ts tsx java c h cc cpp cxx hh hpp cs go rs rb php swift kt kts scala sh bash zsh sql lua
    r jl hs ml mli ex exs erl clj pl pm dart zig nim f90 f95 m mm vue svelte css scss proto
"""
TEXT_ENDINGS = frozenset(_PROSE_ENDINGS.split() + _CODE_ENDINGS.split())
TABLE_ENDINGS = {
    "jsonl": "jsonl",
    "ndjson": "jsonl",
    "json": "json",
    "csv": "csv",
    "tsv": "tsv",
    "parquet": "parquet",
    "pq": "parquet",
    "arrow": "arrow",
    "feather": "arrow",
}
COMPRESSION_ENDINGS = {"gz": "gz", "zst": "zst", "zstd": "zst", "bz2": "bz2", "xz": "xz"}
COMPRESSION_MAGIC = {b"\x1f\x8b": "gz", b"\x28\xb5\x2f\xfd": "zst", b"BZh": "bz2", b"\xfd7zXZ": "xz"}

KNOWN_ENDINGS = ".txt, .md, .rst, source code, .jsonl, .ndjson, .json, .csv, .tsv, .parquet, .arrow, .feather"

_MESSAGE_START = re.compile(rb'\[\s*\{\s*"(role|from|content|value)"\s*:')
_JSON_START = re.compile(rb'[\[{]\s*(["\[{\]}]|$)')


def format_by_name(name: str) -> tuple[str | None, str | None]:
    """(format, compression) as the ending says; format None where it says nothing known."""
    stem, _, ending = name.lower().rpartition(".")
    compression = COMPRESSION_ENDINGS.get(ending) if stem else None
    if compression:
        ending = stem.rpartition(".")[2] if "." in stem else ""
    if ending in TEXT_ENDINGS:
        return "text", compression
    return TABLE_ENDINGS.get(ending), compression


def compression_by_magic(head: bytes) -> str | None:
    """The compression that these first bytes announce."""
    return next((kind for magic, kind in COMPRESSION_MAGIC.items() if head.startswith(magic)), None)


def format_by_content(head: bytes, *, whole: bool) -> str:
    """The format of a file whose name says nothing; text where nothing else shows."""
    if head.startswith(b"PAR1"):
        return "parquet"
    if head.startswith((b"ARROW1", b"FEA1")):
        return "arrow"
    start = _without_mark(head)
    if _JSON_START.match(start) or _value(start.partition(b"\n")[0]) is not None:
        return json_form(head, whole=whole, named_lines=False)
    return "text"


def json_form(head: bytes, *, whole: bool, named_lines: bool) -> str:
    """`jsonl` where each line is a value of its own, else `json`.

    `whole` says that `head` is the whole file. A file with one line that is a list is one session where
    the list holds messages, and an array of rows where it holds anything else.
    """
    start = _without_mark(head)
    first, newline, rest = start.partition(b"\n")
    if not newline and not whole:  # the first line is longer than the head
        return _form_of_long_line(start, named_lines)
    second = rest.lstrip().partition(b"\n")[0]
    if start.startswith(b"["):
        return _form_of_list(first, second)
    if start.startswith(b"{"):
        if named_lines:
            return "json" if first.strip() == b"{" else "jsonl"
        return "jsonl" if _value(first) is not None or _value(second) is not None else "json"
    return "jsonl"


def _form_of_long_line(start: bytes, named_lines: bool) -> str:
    if start.startswith(b"["):
        return "jsonl" if _MESSAGE_START.match(start) else "json"
    return "jsonl" if named_lines or not start.startswith(b"{") else "json"


def _form_of_list(first: bytes, second: bytes) -> str:
    value = _value(first)
    if not isinstance(value, list):
        goes_on = first.rstrip().endswith((b"[", b"{", b","))
        return "json" if goes_on or _value(second) is None else "jsonl"
    return "jsonl" if second.strip() or _holds_messages(value) else "json"


def _holds_messages(value: list[Any]) -> bool:
    return bool(value) and all(
        isinstance(each, dict) and ("role" in each or "from" in each) for each in value
    )


def _value(line: bytes) -> Any:
    """The list or object that this line is, or None."""
    try:
        value = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    return value if isinstance(value, list | dict) else None


def _without_mark(head: bytes) -> bytes:
    return head.removeprefix(b"\xef\xbb\xbf").lstrip()
