"""Whose turn each token of a sequence is in: for pictures of masks, never for masks.

The served template is rendered with a stand-in in the place of every text that the session says; what it then writes
between two stand-ins is its own, and is cut where the earlier turn's rendering ends when nothing follows it:

    <|im_start|>user\\n A <|im_end|>\\n|<|im_start|>assistant\\n B <|im_end|>\\n

Those pieces and the session's texts, one after another, are the sequence, white space aside (templates trim, and
SentencePiece puts spaces before stretches). Where they are not (a template that looks into texts, turns that are
served otherwise than they are rendered), the texts are searched for, one behind the other.

Price: a rendering a message of the sessions that are shown.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from tokenization.build.proof_template import Message, ServedTemplate
from tokenization.build.proving import served_template
from tokenization.chat.sandbox import TemplateFailure
from tokenization.chat.templates import builtin_names
from tokenization.preview.model import RoleSpan
from tokenization.recipe.model import ChatSpec

SAID = ("reasoning_content", "content")  # what a stand-in takes the place of
FIRST_STAND_IN = 0xF0000  # a private-use plane, as no session of people has
LAST_STAND_IN = "\U000ffffd"
OWN_PROMPT = "a system prompt that the template writes by itself, or the recipe gives: the model reads it"
_STAND_IN = re.compile("[\U000f0000-\U000ffffd]")
LONGEST_MARKER = (
    64  # bytes: what may stand behind a rendering is the next turn's marker, which stops the answer
)
_LINE_END = re.compile(rb"[ \t\r]*\n")
_SPACES = b" \t\n\r\x0b\x0c"
_SPACE = np.isin(np.arange(256), np.frombuffer(_SPACES, np.uint8))


@dataclass(frozen=True)
class PlacedText:
    """Where a sequence spells one text of a message, white space around it aside: bytes [start, stop)."""

    message: int
    field: str  # one of SAID
    start: int
    stop: int


@dataclass(frozen=True)
class ReadTurns:
    """A session's sequence, read: where each message's turn ends and where its texts stand."""

    messages: list[Message]
    ends: list[int]  # [num_messages]  the token behind each turn, header counted with it
    texts: list[PlacedText]  # in their order; one that was not found is missing
    # Tokens in front that are nobody's message: a system prompt that the session does not have.
    inserted: int = 0


@dataclass(frozen=True)
class Turns:
    """The turns of one build's sessions; without a template, found by their texts alone."""

    template: ServedTemplate | None = None

    @classmethod
    def of(cls, manifest: Mapping[str, Any], source: str, named_tokens: Mapping[str, str]) -> Turns:
        """`source` is the build's chat template, `named_tokens` its tokenizer's."""
        recipe = manifest["recipe"]
        if not source or not any(each["kind"] == "chat" for each in recipe["sources"]):
            return cls()
        chat = ChatSpec.model_validate(recipe["chat"])
        named = {**named_tokens, **manifest["template"].get("named_tokens", {})}
        return cls(served_template(chat, source, named, builtin=chat.template in builtin_names()))

    def roles(self, token_bytes: Sequence[bytes], mask: Any, item: Mapping[str, Any]) -> list[RoleSpan]:
        """Who says what, each turn's header counted with it, in stretches of trained and masked tokens."""
        total = len(token_bytes)
        if item["messages"] is None:
            first = RoleSpan(
                0, min(1, total), "text", False, "nothing in the segment predicts its first token"
            )
            rest = RoleSpan(1, total, "text", True, "pretraining text: every token is a target")
            return [span for span in (first, rest) if span.stop > span.start]
        read = self.read(token_bytes, item)
        made = [RoleSpan(0, read.inserted, "system", False, OWN_PROMPT)] if read.inserted else []
        begin = read.inserted
        for message, end in zip(read.messages, read.ends, strict=True):
            if end > begin:
                made += split_by_mask(begin, end, message, mask)
                begin = end
        return made

    def read(self, token_bytes: Sequence[bytes], item: Mapping[str, Any]) -> ReadTurns:
        """Where the turns and the texts of this session stand in its sequence."""
        messages = shown_messages(item)
        ends = np.cumsum([len(value) for value in token_bytes])
        whole = b"".join(token_bytes)
        rendered = self._rendered(whole, messages, item)
        if rendered is None:
            return ReadTurns(messages, *searched(whole, messages, ends, item["spans"] or []))
        places, texts = rendered
        cuts = np.searchsorted(ends, places, side="right").tolist()  # a token of two turns is the later one's
        return ReadTurns(messages, cuts[1:], texts, cuts[0] if places[0] else 0)

    def _rendered(
        self, whole: bytes, messages: Sequence[Message], item: Mapping[str, Any]
    ) -> tuple[list[int], list[PlacedText]] | None:
        """The byte behind what no message says and behind each message's turn, and the texts; None where the pieces are
        not the sequence's."""
        if self.template is None:
            return None
        stood_in, texts = with_stand_ins(messages)
        tools = orjson.loads(item["tools"]) if item.get("tools") else None
        shown, origin = self.template.shown(stood_in, bool(tools))
        try:
            full = self.template.render(shown, tools).text
            firsts = [self.template.render(shown[: count + 1], tools).text for count in range(len(shown))]
        except TemplateFailure:
            return None
        ends = dict(zip(origin, _ends_in(full, firsts, shown), strict=True))
        cuts = list(itertools.accumulate((ends.get(place, 0) for place in range(len(messages))), max))
        front = ends.get(-1) or self._own_prompt(full, shown, tools)
        placed = _placed(whole, full, [text for _, _, text in texts], [front, *cuts[:-1], len(full)])
        if placed is None:
            return None
        return placed[0], [PlacedText(*texts[number][:2], *place) for number, place in placed[1]]

    def _own_prompt(self, full: str, shown: Sequence[Message], tools: Any) -> int:
        """How much in front of a rendering is a system prompt that the template writes where a session has none."""
        if self.template is None or not shown or shown[0]["role"] == "system":
            return 0
        given: list[Message] = [{"role": "system", "content": LAST_STAND_IN}]
        try:
            alone = self.template.render(given, tools).text
            before_others = self.template.render([*given, *shown], tools).text
        except TemplateFailure:
            return 0
        others = before_others[len(alone) :]
        front = len(full) - len(others)
        if not before_others.startswith(alone) or not full.endswith(others):
            return 0
        own = full[
            _common(alone, full) : max(front, 0)
        ].strip()  # what a given prompt begins with is no prompt's
        return front if own else 0


def shown_messages(item: Mapping[str, Any]) -> list[Message]:
    """The messages that this item's sequence holds: of a cut, those through its answer."""
    messages: list[Message] = orjson.loads(item["messages"])
    is_cut = item.get("cut") is not None and item["cut"] >= 0 and item["spans"]
    return messages[: max(span["message"] for span in item["spans"]) + 1] if is_cut else messages


def with_stand_ins(messages: Sequence[Message]) -> tuple[list[Message], list[tuple[int, str, str]]]:
    """The messages with one character for each text that says something, and those texts in turn, each with its
    message's number and its field."""
    texts: list[tuple[int, str, str]] = []
    made = []
    for number, message in enumerate(messages):
        copy = dict(message)
        for name in SAID:
            if (message.get(name) or "").strip():
                copy[name] = chr(FIRST_STAND_IN + len(texts))
                texts.append((number, name, message[name]))
        made.append(copy)
    return made, texts


def _ends_in(full: str, firsts: Sequence[str], shown: Sequence[Message]) -> list[int]:
    """Where each turn ends in the rendering of all: where it ends when nothing follows, as far as both agree."""
    ends = []
    for text, message in zip(firsts, shown, strict=True):
        said = "".join(value for value in message.values() if isinstance(value, str))
        own = max((mark for mark in _STAND_IN.findall(said) if mark in text), key=full.find, default="")
        at = full.find(own) if own else -1
        if at >= 0:
            ends.append(at + _common(full[at:], text[text.rfind(own) :]))
        else:
            ends.append(_common(full, text))
    return ends


def _common(one: str, other: str) -> int:
    shorter = min(len(one), len(other))
    return next((i for i in range(shorter) if one[i] != other[i]), shorter)


def _placed(
    whole: bytes, full: str, texts: Sequence[str], cuts: Sequence[int]
) -> tuple[list[int], list[tuple[int, tuple[int, int]]]] | None:
    """The cuts of the rendering with stand-ins as bytes of the sequence, if that is what it renders to; and of each
    stand-in its number and the bytes that its text takes."""
    stand_ins = [match.start() for match in _STAND_IN.finditer(full)]
    edges = sorted({0, len(full), *cuts, *stand_ins, *(place + 1 for place in stand_ins)})
    dense = _dense(whole)
    found = {0: 0}
    at = 0  # in `dense`
    for start, stop in itertools.pairwise(edges):
        number = ord(full[start]) - FIRST_STAND_IN
        written = _dense((texts[number] if 0 <= number < len(texts) else full[start:stop]).encode())
        if not dense.startswith(written, at):
            return None
        at += len(written)
        found[stop] = at
    if len(dense) - at > LONGEST_MARKER:
        return None
    raw = np.frombuffer(whole, np.uint8)
    said = np.concatenate([[0], np.cumsum(~_SPACE[raw])])  # how much of `dense` is before each byte
    placed: list[int] = np.searchsorted(said, [found[cut] for cut in cuts], side="left").tolist()
    for number, end in enumerate(placed):
        line_end = (
            _LINE_END.match(whole, end) if end else None
        )  # behind a stop it belongs to the turn that it ends
        end = line_end.end() if line_end else end
        placed[number] = end
    placed[-1] = len(whole)
    loud = np.flatnonzero(~_SPACE[raw])  # where the bytes of `dense` stand
    return placed, [
        (ord(full[mark]) - FIRST_STAND_IN, (int(loud[found[mark]]), int(loud[found[mark + 1] - 1]) + 1))
        for mark in stand_ins
        if 0 <= ord(full[mark]) - FIRST_STAND_IN < len(texts)
    ]


def _dense(text: bytes) -> bytes:
    return text.translate(None, _SPACES)


def searched(
    whole: bytes, messages: Sequence[Message], ends: NDArray[Any], spans: Sequence[Mapping[str, Any]]
) -> tuple[list[int], list[PlacedText]]:
    """The token behind each message's last one (the next message's header belongs to the next message), and the texts
    that were found."""
    cuts: list[int] = []
    texts: list[PlacedText] = []
    position = 0
    for number, message in enumerate(messages):
        for name in SAID:
            text = (message.get(name) or "").strip().encode("utf-8", "surrogatepass")
            place = whole.find(text, position) if text else -1
            if place >= 0:
                position = max(position, place + len(text))
                texts.append(PlacedText(number, name, place, place + len(text)))
        token = int(np.searchsorted(ends, position, side="left")) + 1
        stop = next((span["stop"] for span in spans if span["start"] <= token <= span["stop"]), None)
        cut = stop if stop is not None else min(token + 1, len(ends))
        while cut < len(ends) and whole[ends[cut - 1] : ends[cut]].isspace():
            cut += 1
        cuts.append(cut)
        position = max(position, int(ends[min(cut, len(ends)) - 1]))
    if cuts:
        cuts[-1] = len(ends)
    return (np.minimum(np.maximum.accumulate(cuts), len(ends)).tolist() if cuts else []), texts


def split_by_mask(begin: int, end: int, message: Message, mask: Any) -> list[RoleSpan]:
    """A turn's stretches of trained and masked tokens, each with its reason."""
    role = str(message.get("name") or message["role"])
    edges = begin + 1 + np.flatnonzero(np.diff(np.asarray(mask[begin:end], np.int8)))
    made = []
    for start, stop in zip([begin, *edges.tolist()], [*edges.tolist(), end], strict=True):
        trained = bool(mask[start])
        made.append(RoleSpan(start, stop, role, trained, reason(message, trained)))
    return made


def reason(message: Message, trained: bool) -> str:
    """Why a stretch of this message's turn is trained or masked, in a sentence."""
    says = message.get("train")
    if trained:
        if message["role"] != "assistant":
            return (
                "this row says that the message is trained"
                if says
                else "a role or prompts that the recipe trains"
            )
        return "the model writes this: an answer and the token that stops it"
    if "train_ranges" in message:
        return "outside the character ranges that this row trains, or the header"
    if message["role"] == "assistant":
        if says is False:
            return "this answer's row says that it is not to be trained"
        return "the header that serving supplies, or what follows the stop"
    return f"{message['role']}: the model reads this and does not write it"
