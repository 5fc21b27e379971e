"""A chat template as the recipe names it: its source, what it is given, and what it does with it.

`ChatTemplate.load` finds the source (the tokenizer's own, a built-in name, a .jinja file, or the text
itself). `bind` fixes what a recipe says beside it (roles, keyword arguments, default system prompt) and
probes once how the template takes reasoning and what system prompt it inserts.

Guarantees: a bound template renders what `apply_chat_template` renders for the messages that `prepare`
gives; equal fingerprints, equal renderings.
Price: compiling takes about 5 ms, probing a few renderings.
"""

from __future__ import annotations

import datetime
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from jinja2 import nodes
from numpy.typing import NDArray

from tokenization.chat.control import THINK_CLOSE, THINK_OPEN
from tokenization.chat.roles import ASSISTANT, SYSTEM, TOOL, USER, Role, role_policy
from tokenization.chat.sandbox import (
    DEFAULT_DATE,
    ChatEnvironment,
    CompiledTemplate,
    TemplateFailure,
    Text,
    read_source,
    to_json,
)
from tokenization.errors import RecipeError
from tokenization.hashing import key_of

Message = dict[str, Any]
BUILTIN_FOLDER = Path(__file__).parent / "builtin"
NAMED_TOKENS = ("bos_token", "eos_token", "pad_token", "unk_token")
_GIVEN = {"messages", "tools", "documents", "add_generation_prompt", "raise_exception", "strftime_now"}
_MARKER = re.compile(r"<[^<>\s]*>|\[[^\[\]\s]*\]")
_THINKING = re.compile("think|reason", re.IGNORECASE)


class ChatTokenizer(Protocol):
    """What chats ask of a tokenizer."""

    @property
    def added_tokens(self) -> dict[str, int]: ...
    @property
    def bos_token(self) -> str | None: ...
    @property
    def eos_token(self) -> str | None: ...
    @property
    def pad_token(self) -> str | None: ...
    @property
    def chat_template(self) -> str | None: ...
    def encode_batch(
        self, texts: list[str], continuing: list[bool] | None = None
    ) -> tuple[NDArray[np.uint32], NDArray[np.int64]]: ...
    def token_bytes(self, token_id: int) -> bytes: ...


@dataclass(frozen=True)
class ChatTemplate:
    """A template's source with the tokens it may name."""

    name: str  # tokenizer | a built-in name | the file's name | inline
    source: str
    named_tokens: Mapping[str, str]  # bos_token, eos_token, … as far as the tokenizer has them
    date: datetime.date = DEFAULT_DATE  # what strftime_now says
    builtin: bool = False

    @classmethod
    def load(
        cls,
        choice: str,
        tokenizer: ChatTokenizer,
        *,
        roles: Mapping[str, Role] | None = None,
        date: datetime.date = DEFAULT_DATE,
        folder: Path | None = None,
    ) -> ChatTemplate:
        """The template that `choice` names; `folder` is where relative paths begin."""
        named = {name: token for name in NAMED_TOKENS if (token := getattr(tokenizer, name, None))}
        if choice == "tokenizer":
            if not tokenizer.chat_template:
                raise RecipeError(
                    "chat.template: the tokenizer has no chat template of its own; name one, "
                    f"such as chatml ({', '.join(builtin_names())}) or a .jinja file"
                )
            return cls("tokenizer", tokenizer.chat_template, named, date)
        if choice in builtin_names():
            return cls(choice, builtin_source(choice, role_policy(roles or {})), named, date, builtin=True)
        if "{{" in choice or "{%" in choice:
            return cls("inline", choice, named, date)
        path = (folder or Path()) / choice
        if not path.is_file():
            raise RecipeError(
                f"chat.template: {choice!r} is neither a file nor a built-in template; "
                f"the built-in ones are {', '.join(builtin_names())}, and tokenizer means its own"
            )
        return cls(path.name, path.read_text(encoding="utf-8"), named, date)

    @cached_property
    def fingerprint(self) -> str:
        """Names the source, the tokens it may name and the frozen date."""
        return key_of("chat template", self.source, dict(self.named_tokens), self.date.isoformat())

    @cached_property
    def has_generation_marks(self) -> bool:
        """Whether the author marked what is generated."""
        return re.search(r"\{%[-+]?\s*generation\s*[-+]?%\}", self.source) is not None

    @cached_property
    def variables(self) -> frozenset[str]:
        """What the template asks for beside messages, tools and named tokens."""
        return read_source(self.source)[1] - _GIVEN - set(NAMED_TOKENS)

    @cached_property
    def constants(self) -> tuple[str, ...]:
        """Every piece of text in the source."""
        tree, _ = read_source(self.source)
        data = [node.data for node in tree.find_all(nodes.TemplateData)]
        return (*data, *(n.value for n in tree.find_all(nodes.Const) if isinstance(n.value, str)))

    def compile(self, environment: ChatEnvironment | None = None) -> CompiledTemplate:
        """Code for it; a RecipeError where the source is no valid template."""
        try:
            return CompiledTemplate(self.source, environment or ChatEnvironment(self.date))
        except TemplateFailure as error:
            raise RecipeError(f"chat.template {self.name}: {error}") from error


def builtin_names() -> tuple[str, ...]:
    """The templates that come with tokenmill."""
    return tuple(sorted(path.stem for path in BUILTIN_FOLDER.glob("*.jinja")))


def builtin_source(name: str, policy: Mapping[str, Role]) -> str:
    """A built-in template, self-contained: the roles' headers, which of them are trained and which are not shown
    written in, so that whoever serves it shows a model what it was trained on."""
    source = (BUILTIN_FOLDER / f"{name}.jinja").read_text(encoding="utf-8")
    headers = {role: declared.header for role, declared in policy.items()}
    trained = [role for role, declared in policy.items() if declared.trained]
    usual = [SYSTEM, USER, ASSISTANT, TOOL]
    for word, value in (("HEADERS", headers), ("TRAINED", trained), ("USUAL", usual)):
        source = source.replace(f"__{word}__", json.dumps(value, ensure_ascii=False))
    hidden = [role for role, declared in policy.items() if not declared.visible_in_generation]
    names = json.dumps(hidden, ensure_ascii=False)
    left_out = f"{{%- set messages = messages | rejectattr('role', 'in', {names}) | list -%}}\n"
    return left_out + source if hidden else source


@dataclass(frozen=True)
class Prompt:
    """A generation prompt: for whom, and under which variant of the keyword arguments."""

    role: str = ASSISTANT
    name: str | None = None
    variant: int = 0


@dataclass(frozen=True)
class BoundTemplate:
    """A template with what the recipe says beside it; see `prepare` and `render`."""

    template: ChatTemplate
    policy: Mapping[str, Role]
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    default_system: str = "template"  # template | none | a text

    @cached_property
    def compiled(self) -> CompiledTemplate:
        return self.template.compile()

    @cached_property
    def unmarked(self) -> CompiledTemplate:
        """The same template without marks around what `{% generation %}` holds."""
        return self.template.compile(ChatEnvironment(self.template.date, marks=False))

    # -- what the template is given ---------------------------------------------------------------------

    def prepare(
        self, messages: Sequence[Message], has_tools: bool, as_json: Callable[[Any], str] = to_json
    ) -> tuple[list[Message], list[int]]:
        """Messages as the template takes them, and which message of the session each one is (-1: none)."""
        prepared: list[Message] = []
        origin: list[int] = []
        for place, message in enumerate(messages):
            if self.policy[message["role"]].visible_in_generation:
                prepared.append(self.shown(message, as_json))
                origin.append(place)
        if messages and messages[0]["role"] != SYSTEM:
            inserted = self._inserted_system(has_tools)
            if inserted is not None:
                prepared.insert(0, {"role": SYSTEM, "content": inserted})
                origin.insert(0, -1)
        return prepared, origin

    def shown(self, message: Message, as_json: Callable[[Any], str] = to_json) -> Message:
        """One message as the template looks for it: its role's header, its reasoning, its calls."""
        made: Message = {"role": self.header_of(message["role"])}
        made["content"] = message.get("content", "")
        reasoning = message.get("reasoning_content")
        if reasoning is not None and self.reasoning_field:
            made[self.reasoning_field] = reasoning
        elif reasoning:
            made["content"] = f"{THINK_OPEN}\n" + reasoning + f"\n{THINK_CLOSE}\n\n" + made["content"]
        for key in ("name", "tool_calls", "tool_call_id"):
            if key in message:
                made[key] = message[key]
        if "tool_calls" in made and self.takes_arguments_as_text:
            made["tool_calls"] = [_with_text_arguments(call, as_json) for call in made["tool_calls"]]
        return made

    def header_of(self, role: str) -> str:
        """What the template is told of a message's role."""
        return role if self.template.builtin else self.policy[role].header

    def _inserted_system(self, has_tools: bool) -> str | None:
        if self.default_system == "template":
            return None
        if self.default_system == "none":
            return "" if has_tools and self.inserted_system else None
        return self.default_system

    # -- rendering --------------------------------------------------------------------------------------

    def render(
        self,
        messages: Sequence[Message],
        tools: Sequence[Any] | None = None,
        prompt: Prompt | None = None,
        compiled: CompiledTemplate | None = None,
    ) -> Text:
        """The text of these prepared messages, with a generation prompt where one is asked for."""
        text = self._rendered(messages, tools, prompt, compiled or self.compiled)
        if self.default_system != "none" or not messages or messages[0]["role"] == SYSTEM:
            return text
        if self.inserted_system and text.text.startswith(self._prefix):
            return _without_prefix(text, self._prefix, self.template.named_tokens.get("bos_token", ""))
        return text

    def _rendered(
        self,
        messages: Sequence[Message],
        tools: Sequence[Any] | None,
        prompt: Prompt | None,
        compiled: CompiledTemplate,
    ) -> Text:
        return compiled.render(self.variables(messages, tools, prompt))

    def variables(
        self, messages: Sequence[Message], tools: Sequence[Any] | None, prompt: Prompt | None
    ) -> dict[str, Any]:
        """What the template is given."""
        variables: dict[str, Any] = {
            **self.template.named_tokens,
            **(self.variants[prompt.variant] if prompt else self.kwargs),
            "messages": list(messages),
            "tools": list(tools) if tools else None,
            "documents": None,
            "add_generation_prompt": prompt is not None,
        }
        if prompt and self.offers_role_prompts:
            variables |= {"generation_role": prompt.role, "generation_name": prompt.name}
        return variables

    # -- what probing found -----------------------------------------------------------------------------

    @cached_property
    def offers_role_prompts(self) -> bool:
        """Whether the template can prompt for a role other than the assistant."""
        return "generation_role" in self.template.variables

    @cached_property
    def variants(self) -> tuple[Mapping[str, Any], ...]:
        """The keyword arguments as configured, then each thinking switch turned the other ways."""
        switches = sorted(name for name in self.template.variables if _THINKING.search(name))
        others = [
            {**self.kwargs, name: value}
            for name in switches
            for value in (True, False)
            if self.kwargs.get(name) is not value
        ]
        unset = [
            {k: v for k, v in self.kwargs.items() if k != name} for name in switches if name in self.kwargs
        ]
        return (dict(self.kwargs), *others, *unset)

    @cached_property
    def reasoning_field(self) -> str | None:
        """The message field in which the template looks for reasoning; None: it is part of the content."""
        for candidate in ("reasoning_content", "thinking"):
            answer = {"role": ASSISTANT, "content": "qzanswer", candidate: "qzreason"}
            if "qzreason" in self.probe([{"role": USER, "content": "qzquestion"}, answer]):
                return candidate
        return None

    @cached_property
    def takes_arguments_as_text(self) -> bool:
        """Whether the template fails on a call's arguments as an object and shows them as JSON text."""
        call = {"type": "function", "id": "qzcall123", "function": {"name": "f", "arguments": {"qzkey": 1}}}
        user = {"role": USER, "content": "qzquestion"}
        as_object = {"role": ASSISTANT, "content": "", "tool_calls": [call]}
        as_text = {**as_object, "tool_calls": [_with_text_arguments(call, to_json)]}
        return "qzkey" not in self.probe([user, as_object]) and "qzkey" in self.probe([user, as_text])

    @cached_property
    def inserted_system(self) -> str:
        """What the template writes before the first turn where a session has no system message, less BOS."""
        bos = self.template.named_tokens.get("bos_token", "")
        words = _MARKER.sub("", self._prefix.replace(bos, "", 1) if bos else self._prefix)
        return self._prefix.replace(bos, "", 1) if words.strip() else ""

    @cached_property
    def _prefix(self) -> str:
        """What stands before the first user's turn: found by comparing with a system message before it."""
        system = {"role": SYSTEM, "content": "qzsystem"}
        user = {"role": USER, "content": "qzquestion"}
        bare, alone, both = (self.probe(m) for m in ([user], [system], [system, user]))
        turn = both.removeprefix(alone)
        if not alone or turn == both or not turn or not bare.endswith(turn):
            return ""
        return bare.removesuffix(turn)

    def probe(self, messages: Sequence[Message], tools: Sequence[Any] | None = None) -> str:
        """The rendering, or "" where the template refuses these messages."""
        try:
            return self._rendered(messages, tools, None, self.compiled).text
        except TemplateFailure:
            return ""


def _with_text_arguments(call: Message, as_json: Callable[[Any], str]) -> Message:
    arguments = call["function"]["arguments"]
    text = arguments if isinstance(arguments, str) else as_json(arguments)
    return {**call, "function": {**call["function"], "arguments": text}}


def _without_prefix(text: Text, prefix: str, bos: str) -> Text:
    """The rendering without the system prompt that the template inserted; BOS stays."""
    kept = prefix[: prefix.find(bos) + len(bos)] if bos and bos in prefix else ""
    shift = len(prefix) - len(kept)
    return Text(kept + text.text[len(prefix) :], tuple((a - shift, b - shift) for a, b in text.marks))
