"""A tokenizer.json as data: what it holds, and the copy of it that plain text is encoded with.

A tokenizer.json turns some strings into control ids wherever they stand, also where a user merely typed
them. Raw text and chat content must stay text, so text is encoded with its *text view*: the same model
with markers under names that no text has. The libraries' own switch (`encode_special_tokens`,
`split_special_tokens`) spares only tokens flagged `special`, and Qwen3 and minimind do not flag `<think>`
or `<tool_call>`; nor does it keep merges from making one.

Guarantees: no marker's id comes out of the text view, whatever the text; every other id is the one the
full tokenizer gives. Truncation, padding, post-processing and dropout play no part in it.
Price: about 0.3 s for 150,000 entries, once a process.
"""

from __future__ import annotations

import copy
import re
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, Literal

import orjson

Json = dict[str, Any]
PrefixScope = Literal["never", "first", "always"]

# Added tokens that Gemma-like vocabularies learnt as ordinary text: HTML elements keep being parsed.
_HTML = re.compile(
    r"</?(?:table|caption|thead|tbody|tfoot|tr|th|td|h[1-6]|blockquote|strong|em|b|i|u|s|sub|sup|code|p|a|br)>"
)
_BRACKETED = re.compile(r"[<\[{|【＜][^\s].*[>\]}|】＞]", re.DOTALL)
# Before a hidden marker's name. No lookup finds it: spaces reach a model as other letters, or split it.
_UNREACHABLE = " \ufffe"


@dataclass(frozen=True, eq=False)
class Definition:
    """One parsed tokenizer.json, itself alone its equal; treat `document` as read-only."""

    document: Json

    @classmethod
    def read(cls, path: str | Path) -> Definition:
        """The definition in a tokenizer.json file."""
        return parsed(Path(path).read_bytes())

    @property
    def model(self) -> Json:
        """The `model` part: type, vocab, merges."""
        model: Json = self.document["model"]
        return model

    @cached_property
    def model_vocab(self) -> dict[str, int]:
        """Token string to id, without added tokens."""
        vocab = self.model["vocab"]
        if isinstance(vocab, dict):
            return vocab
        return {piece: index for index, (piece, _) in enumerate(vocab)}

    @cached_property
    def added_tokens(self) -> dict[str, int]:
        """Every added or control token, flagged special or not, and its id."""
        return {entry["content"]: entry["id"] for entry in self.document.get("added_tokens") or []}

    @cached_property
    def markers(self) -> dict[str, int]:
        """The added tokens that never come out of text: see `is_marker`."""
        entries = self.document.get("added_tokens") or []
        return {entry["content"]: entry["id"] for entry in entries if is_marker(entry)}

    @property
    def vocab_size(self) -> int:
        """Number of distinct tokens, added ones included."""
        return len(self.model_vocab.keys() | self.added_tokens.keys())

    @property
    def largest_id(self) -> int:
        """The largest id, added tokens included; ids may have gaps, so this may be above vocab_size - 1."""
        return max(max(self.model_vocab.values(), default=0), max(self.added_tokens.values(), default=0))

    def id_of(self, token: str) -> int | None:
        """The id of a token by its own string (as the vocabulary writes it), or None."""
        found = self.added_tokens.get(token)
        return self.model_vocab.get(token) if found is None else found

    @cached_property
    def prefix_scope(self) -> PrefixScope:
        """Where a space is put before text: never, at a string's start, or also behind special tokens."""
        scopes = {_prefix_of(step) for step in _steps(self.document)}
        return "always" if "always" in scopes else "first" if "first" in scopes else "never"

    def text_view(self, *, continuing: bool = False) -> str:
        """The tokenizer.json that encodes plain text; `continuing`: without the space before a string."""
        view = {**self.document, "truncation": None, "padding": None, "post_processor": None}
        # Renamed, not left out: the reference numbers added tokens by their order.
        view["added_tokens"] = [
            {**entry, "content": _hidden(entry["content"]), "special": True} if is_marker(entry) else entry
            for entry in self.document.get("added_tokens") or []
        ]
        view["model"] = _model_without(self.model, self.markers)
        if continuing and self.prefix_scope != "never":
            view["normalizer"] = _without_prefix(self.document.get("normalizer"))
            view["pre_tokenizer"] = _without_prefix(self.document.get("pre_tokenizer"))
        return orjson.dumps(view).decode()


@lru_cache(maxsize=2)
def parsed(content: bytes) -> Definition:
    """The definition that a tokenizer.json holds, parsed once for all who ask: a build asks a dozen times."""
    return Definition(orjson.loads(content))


def is_marker(entry: Json) -> bool:
    """True where an added token is structure, so that its string in a text stays text.

    Tokens flagged `special`, and unflagged ones in brackets such as `<think>` or `<|file_sep|>`. Not: runs
    of blanks (GPT-NeoX), words, and HTML elements (Gemma), which are vocabulary in the guise of added tokens.
    """
    content: str = entry["content"]
    if entry.get("special"):
        return True
    return bool(_BRACKETED.fullmatch(content)) and not _HTML.fullmatch(content)


def _model_without(model: Json, markers: dict[str, int]) -> Json:
    """The model with its markers out of reach: no merge makes them, no lookup finds them."""
    present = markers.keys() & _strings_of(model["vocab"])
    changed: Json = {**model, "dropout": None} if "dropout" in model else {**model}
    if not present:
        return changed
    if isinstance(model["vocab"], dict):
        changed["vocab"] = {_hidden(t) if t in present else t: i for t, i in model["vocab"].items()}
    else:
        changed["vocab"] = [[_hidden(t) if t in present else t, score] for t, score in model["vocab"]]
    if model.get("unk_token") in present:
        changed["unk_token"] = _hidden(model["unk_token"])
    if "merges" in model:
        changed["merges"] = [pair for pair in model["merges"] if _merged(pair) not in present]
    return changed


def _strings_of(vocab: dict[str, int] | list[list[Any]]) -> set[str]:
    return set(vocab) if isinstance(vocab, dict) else {piece for piece, _ in vocab}


def _hidden(token: str) -> str:
    return _UNREACHABLE + token


def _merged(pair: str | list[str]) -> str:
    return pair.replace(" ", "", 1) if isinstance(pair, str) else "".join(pair)


def _steps(document: Json) -> list[Json]:
    """The normalizer's and pre-tokenizer's steps, sequences opened."""
    found: list[Json] = []
    for part in ("normalizer", "pre_tokenizer"):
        step = document.get(part)
        if step:
            found += step.get("normalizers") or step.get("pretokenizers") or [step]
    return found


def _prefix_of(step: Json) -> PrefixScope:
    kind = step.get("type")
    if kind == "Prepend":
        return "always"
    if kind == "Metaspace":
        scheme = step.get("prepend_scheme") or ("always" if step.get("add_prefix_space", True) else "never")
        return "always" if scheme == "always" else "first" if scheme == "first" else "never"
    return "always" if kind == "ByteLevel" and step.get("add_prefix_space") else "never"


def _without_prefix(step: Json | None) -> Json | None:
    if step is None or step["type"] == "Prepend":
        return None
    changed = copy.copy(step)
    for inner in ("normalizers", "pretokenizers"):
        if inner in step:
            changed[inner] = [kept for s in step[inner] if (kept := _without_prefix(s)) is not None]
    if step["type"] == "Metaspace":
        changed |= {"prepend_scheme": "never"}
        changed.pop("add_prefix_space", None)
    if step["type"] == "ByteLevel":
        changed["add_prefix_space"] = False
    return changed
