"""`--set key.path=value`: single values of a recipe, changed from the command line.

The value is read as YAML. A step into a list is an index or a source's name (`sources.docs.limit=10`);
sections that the recipe lacks are made on the way (`mixture.pretrain_share=0.12`). Whether the key exists
and the value fits is not asked here: the recipe is checked after it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from tokenization.errors import RecipeError
from tokenization.recipe.document import Path, read_value

_STRUCTURE = ("[", "{", '"', "'")


def with_overrides(
    values: Mapping[str, Any], overrides: Iterable[str]
) -> tuple[dict[str, Any], dict[Path, str]]:
    """A changed copy of a recipe's values, and which override set which path."""
    changed: dict[str, Any] = _copy(values)
    origins: dict[Path, str] = {}
    for override in overrides:
        key, equals, text = override.partition("=")
        steps = key.strip().split(".")
        if not equals or not all(steps):
            raise RecipeError(f"--set {override}: write it as key.path=value, such as --set window=8192")
        origins[_put(changed, steps, _value(text, override), override)] = override
    return changed, origins


def _value(text: str, override: str) -> Any:
    try:
        return read_value(text, f"--set {override}")
    except RecipeError:
        if text.lstrip().startswith(_STRUCTURE):
            raise
        return text.strip()  # @daily, *.md: texts that YAML would have in quotes


def _put(values: dict[str, Any], steps: list[str], value: Any, override: str) -> Path:
    holder: Any = values
    path: Path = ()
    for depth, step in enumerate(steps):
        slot = _slot(holder, step, path, override)
        path = (*path, slot)
        if depth == len(steps) - 1:
            holder[slot] = value
        elif isinstance(holder, dict) and holder.get(slot) is None:
            holder[slot] = {}
        holder = holder[slot]
    return path


def _slot(holder: Any, step: str, path: Path, override: str) -> str | int:
    """The key or index that a step means."""
    where = ".".join(map(str, path))
    if isinstance(holder, dict):
        return step
    if not isinstance(holder, list):
        raise RecipeError(f"--set {override}: {where} is a single value; there is no {step!r} in it")
    for index, item in enumerate(holder):
        if isinstance(item, dict) and item.get("name") == step:
            return index
    if step.isdecimal() and int(step) < len(holder):
        return int(step)
    names = [str(item["name"]) for item in holder if isinstance(item, dict) and "name" in item]
    known = f"; it has {', '.join(names)}" if names else ""
    raise RecipeError(f"--set {override}: {where} has no {step!r} among its {len(holder)} entries{known}")


def _copy(value: Any) -> Any:
    """A copy in which nothing is shared, so that setting one alias leaves the others alone."""
    if isinstance(value, Mapping):
        return {key: _copy(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_copy(item) for item in value]
    return value
