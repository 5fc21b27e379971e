"""Reads YAML into plain values, and remembers on which line each key stands.

It is YAML as `yaml.safe_load` reads it, but for three things people trip over: a key that stands twice
in one mapping is an error, `1e-4` is a number, and dates stay text. Whatever PyYAML makes of a file, the
reader sees one `RecipeError` with the line.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import yaml

from tokenization.errors import RecipeError

Path = tuple[str | int, ...]
_MOST_VALUES = 100_000  # aliases count as often as they are used: a few lines can stand for billions
_TIMESTAMP, _MERGE = "tag:yaml.org,2002:timestamp", "tag:yaml.org,2002:merge"
_WAYS = (
    ("found character '\\t'", "indent with spaces, not tabs"),
    ("mapping values are not allowed", "put a text that holds ': ' in quotes, and check the indentation"),
    ("alias", "put a text that begins with * in quotes"),
    ("anchor", "put a text that begins with & in quotes"),
    ("cannot start any token", "put a text that begins with such a character in quotes"),
    ("could not determine a constructor", "put a text that begins with ! in quotes"),
    ("single document", "one file is one recipe: remove the --- between them"),
)


class Document(NamedTuple):
    """A file's values, and the line of every key and list item (1 = the first)."""

    values: dict[str, Any]
    lines: Mapping[Path, int]


class _Loader(yaml.SafeLoader):
    """SafeLoader that refuses keys given twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        first: dict[str, int] = {}
        for key, _ in node.value:
            line = key.start_mark.line + 1
            if isinstance(key, yaml.ScalarNode) and key.tag != _MERGE:
                if key.value in first:
                    fact = f"key {key.value!r} stands twice, here and on line {first[key.value]}; keep one"
                    raise yaml.MarkedYAMLError(problem=fact, problem_mark=key.start_mark)
                first[key.value] = line
        return super().construct_mapping(node, deep=deep)


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != _TIMESTAMP]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)[eE][-+]?[0-9]+"),
    list("-+.0123456789"),
)


def read_document(text: str, label: str) -> Document:
    """The mapping that `text` holds; `label` is what messages call it."""
    values, lines = _parse(text, label)
    if values is None:
        raise RecipeError(f"{label}: is empty; `tokenmill init` writes a recipe to start from")
    if not isinstance(values, dict):
        what = "a list" if isinstance(values, list) else f"the single value {str(values)[:40]!r}"
        raise RecipeError(
            f"{label}: holds {what}; a recipe is a mapping of keys to values, such as name: demo"
        )
    return Document(values, lines)


def read_value(text: str, label: str) -> Any:
    """One value, as it would stand behind a key."""
    return _parse(text, label)[0]


def _parse(text: str, label: str) -> tuple[Any, dict[Path, int]]:
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        if node is None:
            return None, {}
        lines = dict(_lines(node, ()))
        return loader.construct_document(node), lines
    except yaml.MarkedYAMLError as error:
        raise RecipeError(_sentence(error, label)) from None
    except RecursionError:
        raise RecipeError(f"{label}: is nested too deeply to be a recipe") from None
    except Exception as error:  # PyYAML lets all kinds out: 0b_, !!bool maybe, control characters
        fact = f"{error}".partition("\n")[0]
        raise RecipeError(f"{label}: holds a value that YAML cannot read: {fact}") from None


def _lines(node: yaml.Node, path: Path) -> Iterator[tuple[Path, int]]:
    """Path and line of every value below the node, each alias followed anew, in the file's order."""
    seen = 0
    open_nodes: list[tuple[yaml.Node, Path, frozenset[int]]] = [(node, path, frozenset())]
    while open_nodes:
        node, path, above = open_nodes.pop()
        seen += 1
        problem = (
            "an alias stands inside what it repeats"
            if id(node) in above
            else "too many values for a recipe"
            if seen > _MOST_VALUES
            else None
        )
        if problem:
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=node.start_mark)
        below = above | {id(node)}
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                if isinstance(key, yaml.ScalarNode):
                    yield (*path, key.value), key.start_mark.line + 1
                    open_nodes.append((value, (*path, key.value), below))
        elif isinstance(node, yaml.SequenceNode):
            for index, value in enumerate(node.value):
                yield (*path, index), value.start_mark.line + 1
                open_nodes.append((value, (*path, index), below))


def _sentence(error: yaml.MarkedYAMLError, label: str) -> str:
    problem = error.problem or error.context or "cannot be read"
    mark = error.problem_mark or error.context_mark
    place = f"{label}:{mark.line + 1}" if mark else label
    told = f"{error.context or ''} {problem}"
    way = next((f"; {way}" for sign, way in _WAYS if sign in told), "")
    return f"{place}: {problem}{way}"
