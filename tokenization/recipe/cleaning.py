"""What a recipe says about cleaning: Unicode, duplicates, quality, personal data, evaluation sets."""

from __future__ import annotations

import difflib
import re
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BeforeValidator,
    Field,
    JsonValue,
    WithJsonSchema,
    field_serializer,
    field_validator,
    model_validator,
)

from tokenization.recipe.section import Problem, Section, refuse
from tokenization.recipe.sources import SourceSpec


def _nearest(name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name, known, 1)
    return f" (did you mean {close[0]}?)" if close else f" (groups are {', '.join(known[:3])})"


def _off_is_none(value: Any) -> Any:
    """YAML 1.1 reads `off` as false, YAML 1.2 as a string."""
    return None if value is False or value == "off" else value


def _on_is_defaults(value: Any) -> Any:
    """`on` and `true` mean every default; `off` means nothing."""
    return {} if value is True or value == "on" else _off_is_none(value)


_OnOff = Literal["off", "on"] | bool


class PersonalDataSpec(Section):
    """What stands in the place of personal data; null leaves a kind as it is."""

    email: str | None = Field("[email]", min_length=1, description="in the place of an e-mail address")
    ip: str | None = Field(
        "[IP address]", min_length=1, description="in the place of a public IPv4 or IPv6 address"
    )
    phone: str | None = Field("[phone number]", min_length=1, description="in the place of a phone number")

    @model_validator(mode="before")
    @classmethod
    def _empty_is_left_out(cls, given: Any) -> Any:
        """Null means something here: the kind stays."""
        return given

    @model_validator(mode="after")
    def _replaced_once(self) -> Self:
        from tokenization.quality.personal_patterns import PATTERNS

        refuse(
            [
                Problem((kind,), f"is {text!r}, which is {pattern.kind} itself; it must be another text")
                for kind, text in self.model_dump().items()
                for pattern in PATTERNS
                if text is not None and re.search(pattern.found, text)
            ]
        )
        return self


class DecontaminationSpec(Section):
    """Evaluation sets that must not be trained on, and how alike two texts are when one gives the other away."""

    sets: tuple[SourceSpec, ...] = Field(
        (),
        strict=False,
        description="evaluation sets, each written as a source is: name, kind, path, text_field, …",
    )
    ngram: int = Field(
        13,
        ge=2,
        le=200,
        description="words in a row that are an overlap; 13 by Brown et al. 2020, appendix C",
    )
    shortest: int = Field(
        8, ge=1, description="shorter evaluation items are looked for whole, down to so many words"
    )
    threshold: float = Field(
        0.0,
        ge=0,
        le=1,
        description="the part of an evaluation item's n-grams that sets a text aside; 0: one is enough (Brown et al. "
        "2020), 0.5 as in Lambert et al. 2024",
    )
    leak_threshold: float = Field(
        0.5,
        gt=0,
        le=1,
        description="the part of its n-grams found elsewhere that makes a validation item, or an answer, a leak "
        "(Lambert et al. 2024, arXiv:2411.15124, section 3.2)",
    )
    leak_limit: float = Field(
        0.02, ge=0, le=1, description="warn where more of them than this part leak (2 % in the same place)"
    )

    @model_validator(mode="after")
    def _sets_differ(self) -> Self:
        names = [each.name for each in self.sets]
        refuse(
            [
                Problem(("sets", place, "name"), f"is {name!r}, and an earlier set has that name")
                for place, name in enumerate(names)
                if name in names[:place]
            ]
        )
        return self

    @field_serializer("sets")
    def _resolved(self, sets: tuple[SourceSpec, ...]) -> list[dict[str, Any]]:
        return [each.resolved() for each in sets]


class CleaningSpec(Section):
    """What happens to documents and sessions before they are encoded."""

    unicode: Literal["nfc", "none"] = Field("nfc", description="Unicode normal form of texts")
    exact_dedup: bool = Field(True, description="keep one of equal documents, and of equal sessions")
    near_dedup: Annotated[
        float | None,
        BeforeValidator(_off_is_none),
        WithJsonSchema(
            {"anyOf": [{"enum": ["off", False]}, {"type": "number", "exclusiveMinimum": 0, "maximum": 1}]}
        ),
    ] = Field(None, gt=0, le=1, description="off, or how alike two documents are one, such as 0.8")
    min_characters: int = Field(1, ge=0, description="shorter documents are set aside")
    rules: tuple[str | dict[str, JsonValue], ...] = Field(
        (),
        strict=False,
        description="quality rules for documents, in this order: names or groups (gopher, c4, fineweb), or a name "
        "with its parameters, such as gopher_word_count: {min: 50}",
    )
    dry: bool = Field(False, description="true: rules only count what they would remove")
    personal_data: Annotated[
        PersonalDataSpec | None,
        BeforeValidator(_on_is_defaults, json_schema_input_type=PersonalDataSpec | _OnOff | None),
    ] = Field(
        None,
        description="off, on, or what stands in the place of each kind, such as {email: '[email]', phone: null}; "
        "in documents, and in what messages say",
    )
    decontamination: Annotated[
        DecontaminationSpec | None,
        BeforeValidator(_on_is_defaults, json_schema_input_type=DecontaminationSpec | _OnOff | None),
    ] = Field(
        None,
        description="off, or the evaluation sets to keep out; on: only measure what validation and answers share with "
        "what is trained",
    )

    @field_validator("rules")
    @classmethod
    def _rules_exist(
        cls, rules: tuple[str | dict[str, JsonValue], ...]
    ) -> tuple[str | dict[str, JsonValue], ...]:
        from tokenization.quality.rules import GROUPS, RULES

        names = [rule if isinstance(rule, str) else next(iter(rule), "") for rule in rules]
        known = [*GROUPS, *RULES]
        refuse(
            [
                Problem((), f"names {name!r}, which is no rule{_nearest(name, known)}; leave it out")
                for name in names
                if name not in known
            ]
        )
        return rules

    @field_serializer("near_dedup")
    def _none_is_off(self, value: float | None) -> float | str:
        return "off" if value is None else value

    @field_serializer("personal_data", "decontamination")
    def _nothing_is_off(self, value: Section | None) -> Any:
        return "off" if value is None else value.model_dump(mode="json")
