"""The chat template as it is served, for the proof of masks: what it is given and what it writes.

This side of the proof knows a template only by its source, as `apply_chat_template` does, and shares no code with
the rendering that it judges beside the sandbox in which templates run.

Guarantees: what is rendered here is what a server renders for the same messages.
Price: 10 to 300 µs a rendering.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from jinja2 import nodes

from tokenization.chat.sandbox import (
    DEFAULT_DATE,
    ChatEnvironment,
    CompiledTemplate,
    TemplateFailure,
    Text,
    read_source,
    to_json,
)

Message = dict[str, Any]
SYSTEM, USER, ASSISTANT, TOOL = "system", "user", "assistant", "tool"
PROBE = "Qz9Probe9zQ"  # stands for an answer where only what surrounds it is of interest
FOLLOWING = "Qz9Next9zQ"  # stands for what follows one
_SEARCHES = {"startswith", "endswith", "split", "rsplit", "replace", "partition", "rpartition", "find", "rfind",
             "index", "count", "removeprefix", "removesuffix"}  # fmt: skip
_STRIPS = {"strip", "lstrip", "rstrip"}


@dataclass(frozen=True)
class Prompt:
    """A generation prompt for a role; `kwargs` is an index into the template's `variants`."""

    role: str = ASSISTANT
    name: str | None = None
    variant: int = 0


@dataclass(frozen=True)
class Looks:
    """What a template looks for in strings: a string with such a part may be rendered otherwise than another."""

    parts: tuple[str, ...]  # searched for
    wholes: frozenset[str]  # compared with
    opaque: bool  # False: it strips in ways that are not learnt; every session is rendered by itself


@dataclass(frozen=True)
class ServedTemplate:
    """A template with what a server is told beside the messages."""

    source: str
    named_tokens: Mapping[str, str] = field(default_factory=dict)
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)  # role in the recipe -> role in the template
    hidden_roles: frozenset[str] = frozenset()  # roles that the model is not shown
    default_system: str = "template"  # template | none | a text
    date: datetime.date = DEFAULT_DATE

    @cached_property
    def _compiled(self) -> CompiledTemplate:
        return CompiledTemplate(self.source, ChatEnvironment(self.date))

    @cached_property
    def _variables(self) -> frozenset[str]:
        return read_source(self.source)[1]

    @cached_property
    def marks_generation(self) -> bool:
        """Whether the author marked what is generated."""
        return re.search(r"\{%[-+]?\s*generation\b", self.source) is not None

    @cached_property
    def prompts_any_role(self) -> bool:
        """Whether a generation prompt can be asked for roles other than the assistant."""
        return "generation_role" in self._variables

    @cached_property
    def variants(self) -> tuple[Mapping[str, Any], ...]:
        """The keyword arguments as configured; then with one thinking switch set otherwise."""
        made: list[Mapping[str, Any]] = [dict(self.kwargs)]
        for switch in sorted(
            name for name in self._variables if re.search("think|reason", name, re.IGNORECASE)
        ):
            rest = {key: value for key, value in self.kwargs.items() if key != switch}
            settings = [{**rest, switch: True}, {**rest, switch: False}, rest]
            made += [setting for setting in settings if setting != made[0]]
        return tuple(made)

    # -- messages ---------------------------------------------------------------------------------------

    def shown(self, messages: Sequence[Message], has_tools: bool) -> tuple[list[Message], list[int]]:
        """The messages as the template takes them, and the session's message behind each (-1: none)."""
        made: list[Message] = []
        origin: list[int] = []
        if messages and messages[0]["role"] != SYSTEM and self.default_system != "template":
            if self.default_system != "none":
                made.append({"role": SYSTEM, "content": self.default_system})
                origin.append(-1)
            elif has_tools and self.own_system:
                made.append({"role": SYSTEM, "content": ""})
                origin.append(-1)
        for place, message in enumerate(messages):
            if message["role"] not in self.hidden_roles:
                made.append(self._one(message))
                origin.append(place)
        return made, origin

    def _one(self, message: Message) -> Message:
        made: Message = {"role": self.headers.get(message["role"], message["role"])}
        made["content"] = message.get("content") or ""
        reasoning = message.get("reasoning_content")
        if reasoning is not None and self.reasoning_field:
            made[self.reasoning_field] = reasoning
        elif reasoning:
            made["content"] = f"<think>\n{reasoning}\n</think>\n\n{made['content']}"
        made.update({key: message[key] for key in ("name", "tool_calls", "tool_call_id") if key in message})
        if "tool_calls" in made and self.wants_arguments_as_text:
            made["tool_calls"] = [with_text_arguments(call) for call in made["tool_calls"]]
        return made

    @cached_property
    def wants_arguments_as_text(self) -> bool:
        """Whether the template takes a call's arguments as JSON text only, as some servers hand them over."""
        call = {"type": "function", "id": "call00001", "function": {"name": "f", "arguments": {PROBE: 1}}}
        user: Message = {"role": USER, "content": "question"}
        calling: Message = {"role": ASSISTANT, "content": "", "tool_calls": [call]}
        if PROBE in self._tried([user, calling]):
            return False
        return PROBE in self._tried([user, {**calling, "tool_calls": [with_text_arguments(call)]}])

    @cached_property
    def reasoning_field(self) -> str | None:
        """The field in which the template looks for reasoning; None: reasoning is part of the content."""
        for name in ("reasoning_content", "thinking"):
            session: list[Message] = [
                {"role": USER, "content": "question"},
                {"role": ASSISTANT, "content": "answer", name: PROBE},
            ]
            if PROBE in self._tried(session):
                return name
        return None

    # -- rendering --------------------------------------------------------------------------------------

    def render(
        self, messages: Sequence[Message], tools: Sequence[Any] | None = None, prompt: Prompt | None = None
    ) -> Text:
        """The text of these messages as `shown` gave them, with a generation prompt where one is asked for."""
        made = self._plain(messages, tools, prompt)
        dropped = self.own_system
        if self.default_system != "none" or not dropped or not messages or messages[0]["role"] == SYSTEM:
            return made
        bos = self._leading_bos(made.text)
        if not made.text.startswith(dropped, len(bos)):
            return made
        shift = len(dropped)
        return Text(bos + made.text[len(bos) + shift :], tuple((a - shift, b - shift) for a, b in made.marks))

    def _plain(self, messages: Sequence[Message], tools: Sequence[Any] | None, prompt: Prompt | None) -> Text:
        given: dict[str, Any] = {
            **self.named_tokens,
            **(self.variants[prompt.variant] if prompt else self.kwargs),
            "messages": list(messages),
            "tools": list(tools) if tools else None,
            "documents": None,
            "add_generation_prompt": prompt is not None,
        }
        if prompt and self.prompts_any_role:
            given |= {"generation_role": prompt.role, "generation_name": prompt.name}
        return self._compiled.render(given)

    def _tried(self, messages: Sequence[Message]) -> str:
        try:
            return self._plain(messages, None, None).text
        except TemplateFailure:
            return ""

    def _leading_bos(self, text: str) -> str:
        bos = self.named_tokens.get("bos_token", "")
        return bos if bos and text.startswith(bos) else ""

    @cached_property
    def own_system(self) -> str:
        """What the template writes before the first turn where a session has no system message, BOS excepted."""
        system, user = {"role": SYSTEM, "content": "instruction"}, {"role": USER, "content": "question"}
        alone, both, without = (self._tried(session) for session in ([system], [system, user], [user]))
        if not alone or not both.startswith(alone) or both == alone:
            return ""
        turn = both[len(alone) :]
        if not without.endswith(turn):
            return ""
        return without[: len(without) - len(turn)][len(self._leading_bos(without)) :]

    # -- what it looks at -------------------------------------------------------------------------------

    @cached_property
    def looks(self) -> Looks:
        """The constants that the template searches strings for or compares them with."""
        parts: set[str] = set()
        wholes: set[str] = set()
        opaque = True
        tree, _ = read_source(self.source)
        for compare in tree.find_all(nodes.Compare):
            constants = [_strings(compare.expr), *(_strings(operand.expr) for operand in compare.ops)]
            searches = any(operand.op in ("in", "notin") for operand in compare.ops)
            if searches and isinstance(compare.expr, nodes.Const):
                parts.update(constants[0])
            wholes.update(text for found in constants for text in found)
        for call in tree.find_all(nodes.Call):
            name = call.node.attr if isinstance(call.node, nodes.Getattr) else ""
            constants = [_strings(argument) for argument in call.args]
            if name in _SEARCHES:
                parts.update(text for found in constants for text in found)
            elif name in _STRIPS and any(text != "\n" for found in constants for text in found):
                opaque = False
        for applied in tree.find_all(nodes.Filter):
            if applied.name in ("replace", "select", "selectattr", "truncate", "length_is"):
                parts.update(text for argument in applied.args for text in _strings(argument))
        return Looks(tuple(sorted(part for part in parts if part)), frozenset(wholes), opaque)


def with_text_arguments(call: Message) -> Message:
    """A tool call whose arguments are JSON text."""
    arguments = call["function"]["arguments"]
    text = arguments if isinstance(arguments, str) else to_json(arguments)
    return {**call, "function": {**call["function"], "arguments": text}}


def _strings(node: nodes.Node) -> list[str]:
    """The string constants that an expression is or lists."""
    if isinstance(node, nodes.Const):
        return [node.value] if isinstance(node.value, str) else []
    if isinstance(node, nodes.List | nodes.Tuple):
        return [text for item in node.items for text in _strings(item)]
    return []
