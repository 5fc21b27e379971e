"""What a recipe may say, every default, and every limit.

`Recipe` and its parts are frozen pydantic models; a key's description is its one explanation, shown in
editors (`schema`), in the starter recipe's comments and at the end of the errors about it. Nothing here
looks at a disk. `Recipe.resolved()` is the recipe written out, and reading that again gives it back;
`Recipe.fingerprint` names what decides the data, so neither `name` nor `train` nor `schedule` is in it.
"""

from __future__ import annotations

import re
from keyword import iskeyword
from pathlib import Path
from typing import Any, Self

from pydantic import Field, PrivateAttr, field_validator, model_validator

from tokenization.hashing import key_of
from tokenization.recipe.chat import BUILT_IN_ROLES, ChatSpec, RoleSpec
from tokenization.recipe.cleaning import CleaningSpec, PersonalDataSpec
from tokenization.recipe.cron import cron_problem
from tokenization.recipe.parts import (
    MixtureSpec,
    PretrainSpec,
    SftSpec,
    TokenizerSpec,
    TokenizerTraining,
    TrainSpec,
)
from tokenization.recipe.section import Problem, Section, refuse
from tokenization.recipe.sources import FIELD_NAMES, NAME_PATTERN, SourceSpec

__all__ = [
    "BUILT_IN_ROLES",
    "FIELD_NAMES",
    "ChatSpec",
    "CleaningSpec",
    "MixtureSpec",
    "PersonalDataSpec",
    "PretrainSpec",
    "Recipe",
    "RoleSpec",
    "SftSpec",
    "SourceSpec",
    "TokenizerSpec",
    "TokenizerTraining",
    "TrainSpec",
]

LEAST_WINDOW, MOST_WINDOW = 16, 1_048_576
# What Dagster refuses as a name, beside Python's keywords (dagster 1.13, `check_valid_name`).
_DAGSTER_WORDS = frozenset(
    {"context", "conf", "config", "meta", "arg_dict", "dict", "input_arg_dict", "output_arg_dict"}
    | {"int", "str", "float", "bool", "input", "output", "type"}
)
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")


class Recipe(Section):
    """One dataset: where it comes from, what happens to it, and what its windows hold."""

    name: str = Field(
        min_length=1,
        max_length=100,
        pattern=NAME_PATTERN,
        description="letters, digits, _ and -; in Dagster names - becomes _",
    )
    window: int = Field(
        4096,
        ge=LEAST_WINDOW,
        le=MOST_WINDOW,
        description="tokens per window; 4096 and 8192 are the usual ones",
    )
    seed: int = Field(
        17, ge=0, lt=2**32, description="decides what is drawn, what is split off and the order"
    )
    tokenizer: TokenizerSpec = Field(description="the tokenizer: a path, or how to train one")
    chat: ChatSpec = Field(ChatSpec(), description="how sessions are rendered and masked")
    sources: tuple[SourceSpec, ...] = Field(
        min_length=1, strict=False, description="the texts and chats, at least one source"
    )
    cleaning: CleaningSpec = Field(CleaningSpec(), description="what happens before encoding")
    pretrain: PretrainSpec = Field(PretrainSpec(), description="how documents become windows")
    sft: SftSpec = Field(SftSpec(), description="how sessions become windows")
    mixture: MixtureSpec | None = Field(
        None, description="text among chats; only where a recipe has both, and 0.15 there"
    )
    validation: float = Field(
        0.0, ge=0, lt=1, description="the part of documents and sessions that is kept from training"
    )
    encode_all: bool = Field(
        False, description="true: encode every document, also where the mixture needs only some of them"
    )
    train: TrainSpec | None = Field(None, description="train a model on the dataset")
    schedule: str | None = Field(None, description='when to build again, a cron line such as "0 2 * * *"')

    _directory: Path = PrivateAttr(default=Path("."))

    @model_validator(mode="before")
    @classmethod
    def _two_kinds_are_mixed(cls, given: Any) -> Any:
        """A recipe of texts and chats without a `mixture` has the default one."""
        if not isinstance(given, dict) or given.get("mixture") is not None:
            return given
        sources = given.get("sources")
        kinds = {_kind_of(source) for source in sources} if isinstance(sources, (list, tuple)) else set()
        return {**given, "mixture": {}} if {"text", "chat"} <= kinds else given

    @field_validator("name")
    @classmethod
    def _name_dagster_allows(cls, name: str) -> str:
        if (word := name.replace("-", "_")) in _DAGSTER_WORDS or iskeyword(word):
            refuse([Problem((), f"is {name!r}, a word that Dagster keeps for itself; call it my_{name}")])
        return name

    @field_validator("schedule")
    @classmethod
    def _cron(cls, schedule: str | None) -> str | None:
        if schedule is not None and (wrong := cron_problem(schedule)):
            refuse([Problem((), f'is {schedule!r}; it must be {wrong}; "0 2 * * *" is every night at two')])
        return schedule

    @model_validator(mode="after")
    def _parts_fit(self) -> Self:
        refuse([*self._source_name_problems(), *self._role_name_problems(), *self._kind_problems()])
        return self

    def _source_name_problems(self) -> list[Problem]:
        first: dict[str, str] = {}
        problems = []
        for index, source in enumerate(self.sources):
            other = first.get(source.dagster_name)
            if other is not None:
                like = "" if other == source.name else f" ({other} and {source.name} are one name to Dagster)"
                fact = f"is {source.name!r}, and an earlier source has that name{like}"
                problems.append(Problem(("sources", index, "name"), f"{fact}; give every source its own"))
            first.setdefault(source.dagster_name, source.name)
        return problems

    def _role_name_problems(self) -> list[Problem]:
        known = self.chat.role_names
        return [
            Problem(
                ("sources", index, "role_names", theirs),
                f"is {ours!r}; it must be one of {', '.join(known)}, or declared under chat.roles",
            )
            for index, source in enumerate(self.sources)
            for theirs, ours in source.role_names.items()
            if ours not in known
        ]

    def _kind_problems(self) -> list[Problem]:
        problems = []
        if self.mixture is not None and not (self.text_sources and self.chat_sources):
            kind = "text" if self.text_sources else "chat"
            fact = f"has nothing to mix: every source is {kind}"
            problems.append(Problem(("mixture",), f"{fact}; leave it out, or add a source of the other kind"))
        if self.chat_sources and self.tokenizer.train and self.chat.template == "tokenizer":
            fact = "is tokenizer, but a tokenizer that is trained here has no template of its own"
            way = "name one, such as chatml, and add its markers with tokenizer.add_special_tokens"
            problems.append(Problem(("chat", "template"), f"{fact}; {way}"))
        return problems

    @property
    def directory(self) -> Path:
        """The folder that relative paths are relative to: the recipe file's."""
        return self._directory

    def at(self, directory: Path) -> Recipe:
        """The same recipe, its relative paths relative to `directory`."""
        moved = self.model_copy()
        moved._directory = directory
        return moved

    def locate(self, path: str) -> str:
        """A path of the recipe as it can be opened: URLs as written, others joined to `directory`."""
        return path if _URL.match(path) else str(self.directory / Path(path).expanduser())

    @property
    def text_sources(self) -> tuple[SourceSpec, ...]:
        """The sources of documents, in the recipe's order."""
        return tuple(source for source in self.sources if source.kind == "text")

    @property
    def chat_sources(self) -> tuple[SourceSpec, ...]:
        """The sources of sessions, in the recipe's order."""
        return tuple(source for source in self.sources if source.kind == "chat")

    @property
    def dagster_name(self) -> str:
        """The name with - as _, as Dagster has it."""
        return self.name.replace("-", "_")

    def source(self, name: str) -> SourceSpec:
        """The source of that name; KeyError where there is none."""
        for source in self.sources:
            if source.name == name:
                return source
        raise KeyError(name)

    def resolved(self) -> dict[str, Any]:
        """JSON-able: the recipe with every default filled in, which read again gives the same recipe."""
        whole = self.model_dump(mode="json")
        return {**whole, "sources": [source.resolved() for source in self.sources]}

    @property
    def fingerprint(self) -> str:
        """Names everything in the recipe that decides the dataset: all but name, train and schedule."""
        return key_of({k: v for k, v in self.resolved().items() if k not in ("name", "train", "schedule")})


def _kind_of(source: Any) -> Any:
    kind = source.get("kind") if isinstance(source, dict) else getattr(source, "kind", None)
    return kind if isinstance(kind, str) else None
