"""What a parsed JSON value is, in words for messages."""

from __future__ import annotations

from typing import Any

_KINDS = {dict: "an object", list: "a list", str: "a string", bool: "a boolean", type(None): "null"}


def json_kind(value: Any) -> str:
    """`a list`, `null`, …; anything that is none of JSON's other kinds is a number."""
    return _KINDS.get(type(value), "a number")
