"""What every part of a recipe shares: frozen, strict about types, closed to unknown keys.

An empty key (`cleaning:` with all its lines commented out, `limit:` with nothing behind it) counts as
left out wherever "nothing" can only mean that: for lists, mappings and keys whose default is nothing.
`default_system:` left empty is an error instead, because "none" may have been meant.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict, model_validator
from pydantic.fields import FieldInfo


class Problem(NamedTuple):
    """One thing wrong: the key, as steps from the part it was found in, and what is said about it."""

    path: tuple[str | int, ...]
    text: str


class Problems(ValueError):
    """Everything a check across several keys found wrong; validation carries it to `problems.describe`."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(f"{'.'.join(map(str, path))} {text}" for path, text in self.problems))


def refuse(problems: list[Problem]) -> None:
    """Raise if there is anything in the list."""
    if problems:
        raise Problems(problems)


class Section(BaseModel):
    """A part of a recipe. The description of a key is read in editors and at the end of its errors."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _empty_is_left_out(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        return {
            key: value
            for key, value in given.items()
            if value is not None or not can_be_left_empty(cls.model_fields.get(key))
        }


def can_be_left_empty(field: FieldInfo | None) -> bool:
    """Whether a key with nothing behind it counts as left out."""
    if field is None or field.is_required():
        return False
    default = field.get_default(call_default_factory=True, validated_data={})
    return default is None or isinstance(default, (dict, tuple, BaseModel))
