"""The sources of a recipe: what they are called, where they lie, and how their rows are to be read."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, model_validator

from tokenization.recipe.section import Problem, Section, refuse

# What `fields` can rename: the id, the parts of a session, the parts of a message.
FIELD_NAMES = (
    *("id", "messages", "tools", "system"),
    *("instruction", "input", "output", "history", "prompt", "completion"),
    *("role", "name", "content", "reasoning_content", "tool_calls"),
)
NAME_PATTERN = r"^[A-Za-z0-9_-]+$"
_ONLY_TEXT = ("text_field",)
_ONLY_CHAT = ("format", "role_names")
_ONLY_HUB = ("config", "split")


class SourceSpec(Section):
    """One source: texts or chats from files, a directory, a URL or a dataset of the Hugging Face hub."""

    name: str = Field(
        min_length=1,
        max_length=100,
        pattern=NAME_PATTERN,
        description="letters, digits, _ and -; in Dagster names - becomes _",
    )
    kind: Literal["text", "chat"] = Field(description="raw documents or chat sessions")
    path: str = Field(
        min_length=1,
        description="a file, a directory, a glob, an fsspec URL such as s3://…, or hf://owner/name; "
        "relative to the recipe file",
    )
    licence: str | None = Field(None, description="noted in the manifest, never judged")
    text_field: str | None = Field(
        None,
        min_length=1,
        description="text sources: the field that holds the text; left out, text or what is usual beside it",
    )
    limit: int | None = Field(None, ge=1, description="read no more than this many documents or sessions")
    format: Literal["auto", "messages", "sharegpt", "alpaca", "prompt_completion"] = Field(
        "auto", description="chat sources: the shape of a row"
    )
    fields: dict[str, str] = Field(
        {},
        description="what the usual fields are called here, such as {messages: dialog}; of texts, the id",
    )
    role_names: dict[str, str] = Field(
        {}, description="chat sources: what this source's roles are called here, such as {client: user}"
    )
    config: str | None = Field(None, min_length=1, description="hf:// sources: the dataset's configuration")
    split: str | None = Field(
        None, min_length=1, description="hf:// sources: the dataset's split; left out, train"
    )
    weight: float = Field(1.0, gt=0, description="loss weight of this source's targets")
    max_unreadable: float = Field(
        0.5,
        ge=0,
        le=1,
        description="the part of its rows that may be unreadable before a build is not published",
    )

    @model_validator(mode="before")
    @classmethod
    def _hub_split(cls, given: Any) -> Any:
        if isinstance(given, dict) and str(given.get("path")).startswith("hf://") and not given.get("split"):
            return {**given, "split": "train"}
        return given

    @model_validator(mode="after")
    def _keys_fit(self) -> Self:
        kind, other = ("text", _ONLY_CHAT) if self.kind == "text" else ("chat", _ONLY_TEXT)
        belongs = "chat" if kind == "text" else "text"
        problems = [
            Problem((key,), f"belongs to {belongs} sources, and {self.name} is {kind}; leave it out")
            for key in other
            if key in self.model_fields_set
        ]
        if not self.from_hub:
            problems += [
                Problem((key,), f"belongs to hf:// sources, and the path is {self.path!r}; leave it out")
                for key in _ONLY_HUB
                if getattr(self, key) is not None
            ]
        known, way = (FIELD_NAMES, "") if self.kind == "chat" else (("id",), "; text_field names the text")
        problems += [
            Problem(("fields", name), f"is no field that is read here; it can be {', '.join(known)}{way}")
            for name in self.fields
            if name not in known
        ]
        refuse(problems)
        return self

    @property
    def from_hub(self) -> bool:
        """Whether the path names a dataset of the Hugging Face hub."""
        return self.path.startswith("hf://")

    @property
    def dagster_name(self) -> str:
        """The name with - as _, as Dagster has it."""
        return self.name.replace("-", "_")

    def resolved(self) -> dict[str, Any]:
        """JSON-able: every key that means something to a source of this kind, defaults filled."""
        skip = {*(_ONLY_CHAT if self.kind == "text" else _ONLY_TEXT), *(() if self.from_hub else _ONLY_HUB)}
        return self.model_dump(mode="json", exclude=skip)
