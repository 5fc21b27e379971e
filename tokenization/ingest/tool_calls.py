"""Tool definitions and tool calls, out of the forms they come in.

A call becomes `{"type": "function", "id"?, "function": {"name", "arguments"}}`. Arguments given as a JSON
string are parsed where they are an object, and stay that string where they aren't. The order of keys is
kept throughout, because a template prints them in that order and a server does too.
"""

from __future__ import annotations

from typing import Any

from tokenization.ingest.json_kinds import json_kind
from tokenization.ingest.rows import parse_json


class Refused(Exception):
    """A session that cannot be taken: `reason` is one of `set_aside.REASONS`."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


def parse_calls(given: Any) -> list[dict[str, Any]]:
    """The calls in a list, a single call, or either as a JSON string; none for null and empty."""
    value = _parsed(given, "the tool call")
    if not value:
        return []
    return [_call(each) for each in (value if isinstance(value, list) else [value])]


def _call(given: Any) -> dict[str, Any]:
    given = _parsed(given, "the tool call")
    function = given.get("function", given) if isinstance(given, dict) else None
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise Refused("invalid_tools", f"a tool call must have a name and arguments; it is {_shown(given)}")
    call: dict[str, Any] = {"type": "function"}
    if isinstance(given.get("id"), str):
        call["id"] = given["id"]
    arguments = function.get("arguments", function.get("parameters"))
    call["function"] = {"name": function["name"], "arguments": _arguments(arguments)}
    return call


def _arguments(given: Any) -> Any:
    """An object; or the string it came as, where that is no object."""
    if given is None:
        return {}
    if not isinstance(given, str):
        return given
    try:
        value = parse_json(given.encode("utf-8", "surrogatepass"))
    except ValueError:
        return given
    return value if isinstance(value, dict) else given


def parse_tools(given: Any) -> list[Any] | None:
    """The tool definitions of a session as they were given; None where there are none."""
    value = _parsed(given, "the tools")
    if not value:
        return None
    tools = value if isinstance(value, list) else [value]
    if not all(isinstance(tool, dict) for tool in tools):
        raise Refused("invalid_tools", f"tools must be a list of objects; they are {_shown(value)}")
    return tools


def _parsed(given: Any, what: str) -> Any:
    if not isinstance(given, str):
        return given
    if not given.strip():
        return None
    try:
        return parse_json(given.encode("utf-8", "surrogatepass"))
    except ValueError as error:
        raise Refused(
            "invalid_tools", f"{what} is a string that isn't JSON ({error}): {_shown(given)}"
        ) from None


def without_nulls(value: Any) -> Any:
    """The value without null fields: an Arrow struct has the fields of all rows, null where one had none."""
    if isinstance(value, dict):
        return {key: without_nulls(each) for key, each in value.items() if each is not None}
    return [without_nulls(each) for each in value] if isinstance(value, list) else value


def _shown(value: Any) -> str:
    if isinstance(value, str):
        return value[:80] + ("…" if len(value) > 80 else "")
    if isinstance(value, dict):
        return "an object with " + (", ".join(map(str, list(value)[:8])) or "no key")
    return json_kind(value)
