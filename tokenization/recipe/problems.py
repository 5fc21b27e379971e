"""Turns what validation found into sentences: the key's path, the fact, the limit and the way on.

`describe` gives one line a problem, unknown keys first (they are often why another is missing), then
missing ones, then the rest in the file's order. The way on is the key's own description in the model.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, get_args, get_origin

import annotated_types
from pydantic import ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from tokenization.recipe.document import Path
from tokenization.recipe.section import Problems, Section

_MOST_PROBLEMS = 20
_TYPES = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "string_type": "a text",
    "string_sub_type": "a text",
    "string_unicode": "a text of valid Unicode",
    "tuple_type": "a list",
    "list_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "invalid-json-value": "something that JSON can hold",
}
_LIMITS = (("ge", "at least"), ("gt", "above"), ("le", "at most"), ("lt", "below"))
_BROKEN_LIMITS = ("greater_than_equal", "greater_than", "less_than_equal", "less_than")


class _Finding(NamedTuple):
    rank: int
    path: Path
    text: str  # what follows the path
    instead_of: Path | None = None  # the key that an unknown one was meant to be


def describe(
    error: ValidationError,
    values: Mapping[str, Any],
    root: type[Section],
    label: str,
    lines: Mapping[Path, int],
    origins: Mapping[Path, str],
) -> str:
    """Everything in `error`, one line a problem."""
    found = [finding for detail in error.errors() for finding in _findings(detail, values, root)]
    meant = {finding.instead_of for finding in found} - {None}
    found = [finding for finding in found if finding.rank != 1 or finding.path not in meant]
    found.sort(key=lambda finding: (finding.rank, _line(finding.path, lines)))
    told = [_told(finding, values, label, lines, origins) for finding in found]
    told = list(dict.fromkeys(told))
    more = [f"and {len(told) - _MOST_PROBLEMS} more"] if len(told) > _MOST_PROBLEMS else []
    return "\n".join(told[:_MOST_PROBLEMS] + more)


def _findings(detail: ErrorDetails, values: Any, root: type[Section]) -> Iterator[_Finding]:
    kind, path = detail["type"], tuple(detail["loc"])
    if kind == "extra_forbidden":
        yield _unknown(path, root)
    elif kind == "missing":
        yield _Finding(1, path, f"is missing{_about(_field(path, root))}; it cannot be left out")
    elif kind == "invalid_key":
        yield _Finding(2, path[:-1], f"has the key {_show(path[-1])}; {_QUOTE}")
    elif path[-1:] == ("[key]",):
        yield _Finding(2, path[:-2], f"has the key {_show(detail['input'])}; {_QUOTE}")
    elif kind == "value_error" and isinstance(raised := detail.get("ctx", {}).get("error"), Problems):
        for problem in raised.problems:
            yield _Finding(2, (*path, *problem.path), problem.text)
    else:
        path = _inside(path, values)
        field = _field(path, root)
        limit = _limit(detail, field, path, root) + _about(field)
        yield _Finding(2, path, f"is {_show(detail['input'])}; it must be {limit}{_nearest_choice(detail)}")


_QUOTE = "keys are texts: put it in quotes"


def _unknown(path: Path, root: type[Section]) -> _Finding:
    *above, key = path
    model = _model(tuple(above), root)
    keys = list(model.model_fields) if model else []
    elsewhere = [".".join(map(str, p)) for p in _every_path(root) if p[-1] == key]
    near = [] if elsewhere else difflib.get_close_matches(str(key), keys, 1)
    if elsewhere:
        way = f"did you mean {' or '.join(elsewhere[:2])}?"
    elif near:
        way = f"did you mean {near[0]!r}?"
    else:
        way = f"the keys here are {', '.join(keys)}"
    return _Finding(0, path, f"unknown key {key!r}; {way}", (*above, near[0]) if near else None)


def _limit(detail: ErrorDetails, field: FieldInfo | None, path: Path, root: type[Section]) -> str:
    """What follows "it must be"."""
    kind, given, context = detail["type"], detail["input"], detail.get("ctx", {})
    if kind in _BROKEN_LIMITS and field is not None:
        return " and ".join(
            f"{words} {getattr(limit, name):,}"
            for name, words in _LIMITS
            for limit in field.metadata
            if isinstance(limit, annotated_types.BaseMetadata) and hasattr(limit, name)
        )
    if kind == "literal_error":
        return _or(_choices(detail))
    if kind in ("string_too_short", "too_short"):
        return "filled"
    if kind == "string_too_long":
        return f"at most {context['max_length']} characters long"
    if kind == "string_pattern_mismatch":
        return "made of letters, digits, _ and - only"
    if kind == "model_type" and (model := _model(path, root)):
        return f"a mapping with keys of its own ({', '.join(model.model_fields)})"
    if kind in ("string_type", "string_sub_type") and isinstance(given, (bool, int, float)):
        return "a text: put it in quotes"
    return _TYPES.get(kind) or f"otherwise ({detail['msg']})"


def _choices(detail: ErrorDetails) -> list[str]:
    """What a key can be, as YAML has it, from "False, True or 'auto'"."""
    expected = str(detail.get("ctx", {})["expected"])
    words = [word.strip("'") for word in re.split(r", | or ", expected)]
    return [word.lower() if word in ("True", "False") else word for word in words]


def _or(words: list[str]) -> str:
    return f"{', '.join(words[:-1])} or {words[-1]}" if len(words) > 1 else words[0]


def _nearest_choice(detail: ErrorDetails) -> str:
    given = detail["input"]
    if detail["type"] != "literal_error" or not isinstance(given, str):
        return ""
    near = difflib.get_close_matches(given.lower(), _choices(detail), 1)
    return f"; did you mean {near[0]}?" if near else ""


def _told(
    finding: _Finding,
    values: Mapping[str, Any],
    label: str,
    lines: Mapping[Path, int],
    origins: Mapping[Path, str],
) -> str:
    path = finding.path[:-1] if finding.rank == 0 else finding.path
    where = _dotted(path, values)
    subject = f"{where}: " if where and finding.rank == 0 else f"{where} " if where else ""
    by = next((o for p, o in origins.items() if p == finding.path[: len(p)]), None)
    if by is not None:
        return f"{label}: {subject}{finding.text} (by --set {by})"
    line = _line(finding.path, lines)
    return f"{label}:{line}: {subject}{finding.text}" if line else f"{label}: {subject}{finding.text}"


def _dotted(path: Path, values: Any) -> str:
    """The path as people write it: sources by name where that says which."""
    words = []
    for step in path:
        siblings = values if isinstance(values, (list, tuple)) else ()
        values = _step(values, step)
        names = [_step(sibling, "name") for sibling in siblings]
        name = _step(values, "name")
        by_name = isinstance(name, str) and name and names.count(name) == 1
        words.append(str(name if by_name else step))
    return ".".join(words)


def _line(path: Path, lines: Mapping[Path, int]) -> int:
    """The line of the key, or of the nearest thing around it; 0 where no line is known."""
    return next((lines[path[:n]] for n in range(len(path), 0, -1) if path[:n] in lines), 0)


def _inside(path: Path, values: Any) -> Path:
    """The path without the steps that validation adds for the branches of a union."""
    steps: list[str | int] = []
    for step in path:
        if _holds(values, step):
            steps.append(step)
            values = _step(values, step)
    return tuple(steps)


def _holds(values: Any, step: str | int) -> bool:
    if isinstance(values, (list, tuple)):
        return isinstance(step, int) and step < len(values)
    return isinstance(values, Mapping) and step in values


def _step(values: Any, step: str | int) -> Any:
    return values[step] if _holds(values, step) else None


def _model(path: Path, root: type[Section]) -> type[Section] | None:
    """The section that stands at a path; None where there is none."""
    if not path:
        return root
    field = _field(path, root)
    if field is None:
        return None
    return _section_in(field.annotation)


def _field(path: Path, root: type[Section]) -> FieldInfo | None:
    """The model's field for a key's path: what a list or mapping holds is described by its own field."""
    model: type[Section] | None = root
    field: FieldInfo | None = None
    named = False  # the next step is a name that the recipe's writer chose
    for step in path:
        if named or isinstance(step, int):
            named = False
            continue
        field = model.model_fields.get(step) if model else None
        if field is None:
            return None
        model = _section_in(field.annotation)
        named = get_origin(field.annotation) is dict
    return field


def _section_in(annotation: Any) -> type[Section] | None:
    if isinstance(annotation, type) and get_origin(annotation) is None:
        return annotation if issubclass(annotation, Section) else None
    return next((found for part in get_args(annotation) if (found := _section_in(part))), None)


def _every_path(model: type[Section], above: Path = ()) -> Iterator[Path]:
    for name, field in model.model_fields.items():
        yield (*above, name)
        if inner := _section_in(field.annotation):
            yield from _every_path(inner, (*above, name))


def _about(field: FieldInfo | None) -> str:
    return f" ({field.description})" if field is not None and field.description else ""


def _show(value: Any) -> str:
    """A value as the recipe's writer knows it, shortened."""
    if value is None:
        return "empty"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, (list, tuple)):
        return "a list" if value else "an empty list"
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}…"
