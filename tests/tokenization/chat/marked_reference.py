"""What `apply_chat_template(return_assistant_tokens_mask=True)` marks, brought to what serving leaves to the model.

A reference marks what a template's author put between `{% generation %}` and `{% endgeneration %}`, rounded to tokens.
That differs from a target (DESIGN: what the model itself has to produce, through the stop) in a few ways, each of which
is a rule here with a name, applied to the reference and counted. Whatever no rule explains is a difference.

    supplied   the block opens before the generation prompt ends: serving supplies that part
    behind     the block closes behind the stop: the line break, or the end token that some templates put there
    flagged    the message says of itself that it is not trained ("loss": false)
    cut        the template rewrites earlier turns: a sequence an answer, in which that answer alone is trained
    moved      serving renders the turns before such an answer otherwise than behind it: what is served stands there

Text is compared in bytes: where an answer is encoded as it follows the prompt, a token of one side may hold bytes of
two of the other's. Ids then differ too, which tests count.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.bool_]  # one entry a byte of the text


@dataclass
class MarkedReference:
    """transformers' tokenizer with one marked template, beside a prepared tokenizer of ours with the same ids."""

    other: Any  # transformers' tokenizer, with the template
    tokenizer: Any  # ours: the bytes of a token, which ids are control tokens
    end_token: bytes = b""  # what the template puts behind the last answer's stop
    used: Counter[str] = field(default_factory=Counter)  # rule -> answers that it explained something of

    @property
    def stops(self) -> tuple[bytes, ...]:
        return tuple(text.encode() for text in self.tokenizer.definition.markers)

    def text_of(self, messages: Sequence[Any], tools: Any, *, prompt: bool = False) -> str:
        return str(
            self.other.apply_chat_template(
                list(messages), tools=tools, tokenize=False, add_generation_prompt=prompt
            )
        )

    def marked(self, messages: Sequence[Any], tools: Any) -> tuple[str, list[int], Bytes]:
        """(text, ids, which bytes of the text are marked)."""
        encoded = self.other.apply_chat_template(
            list(messages), tools=tools, return_dict=True, return_assistant_tokens_mask=True
        )
        text = self.text_of(messages, tools)
        mask = np.array(encoded["assistant_masks"], bool)
        return text, encoded["input_ids"], bytes_of(text, encoded["input_ids"], mask, self.tokenizer)

    def as_served(self, messages: Sequence[Any], tools: Any, text: str, marks: Bytes) -> tuple[str, Bytes]:
        """The last answer behind its prompt, where the text's earlier turns are not those of the prompt."""
        raw, prompt = text.encode(), self.text_of(messages[:-1], tools, prompt=True).encode()
        start = runs_of(marks)[-1][0]
        if prompt.startswith(raw[:start]):
            return text, marks
        self.used["moved"] += 1
        shared = next(n for n in range(len(prompt), 0, -1) if raw.startswith(prompt[-n:], start))
        behind = slice(start + shared, None)
        served = np.concatenate([np.zeros(len(prompt), bool), marks[behind]])
        return (prompt + raw[behind]).decode(), served

    def targets(
        self, messages: Sequence[Any], tools: Any, answers: Collection[int], text: str, marks: Bytes
    ) -> Bytes:
        """The marks of these answers, less what the rules take away."""
        raw = text.encode()
        found = np.zeros(len(raw), bool)
        said = [place for place, message in enumerate(messages) if message["role"] == "assistant"]
        self.used["flagged"] += any(messages[place].get("train") is False for place in said)
        runs = [run for run in self._runs(messages, tools, raw, marks) if raw[slice(*run)] != self.end_token]
        if answers == {len(messages) - 1}:
            said, runs = said[-1:], runs[-1:]
        assert len(runs) == len(said), text
        for place, (start, end) in zip(said, runs, strict=True):
            if place not in answers:
                continue
            begin = max(start, self._supplied(messages[:place], tools, raw, start))
            stop = self._stop(raw[:end])
            found[begin:stop] = True
            self.used["supplied"] += begin > start
            self.used["behind"] += bool(marks[stop : end if place < said[-1] else None].any())
        return found

    def _runs(self, messages: Sequence[Any], tools: Any, raw: bytes, marks: Bytes) -> list[tuple[int, int]]:
        """What is marked, in runs of one answer: two answers in a row may be marked without a gap."""
        edges: set[int] = set()
        for place in range(1, len(messages)):
            if messages[place - 1]["role"] == messages[place]["role"] == "assistant":
                before = self.text_of(messages[:place], tools).encode()
                edges |= {len(before)} if raw.startswith(before) else set()
        split: list[tuple[int, int]] = []
        for start, end in runs_of(marks):
            inner = [start, *sorted(edge for edge in edges if start < edge < end), end]
            split += list(itertools.pairwise(inner))
        return split

    def _supplied(self, before: Sequence[Any], tools: Any, raw: bytes, start: int) -> int:
        """Where the generation prompt ends, as far as the text goes along with it."""
        if not before:
            question = [{"role": "user", "content": "q"}]
            prompt = self.text_of(question, None, prompt=True).removeprefix(self.text_of(question, None))
            header = prompt.encode()
            longest = (n for n in range(len(header), 0, -1) if raw[:start].endswith(header[:n]))
            n = next(longest, 0)
            return start + self._common(raw[start:], header[n:])
        return self._common(raw, self.text_of(before, tools, prompt=True).encode())

    def _common(self, raw: bytes, prompt: bytes) -> int:
        """How many bytes they share, no control token cut."""
        both = zip(raw, prompt, strict=False)
        shared = next((n for n, (a, b) in enumerate(both) if a != b), min(len(raw), len(prompt)))
        begin = raw.rfind(b"<", 0, shared)
        tokens = [len(stop) for stop in self.stops for side in (raw, prompt) if side.startswith(stop, begin)]
        return begin if begin >= 0 and any(begin + length > shared for length in tokens) else shared

    def _stop(self, raw: bytes) -> int:
        """Where the last control token of a run ends that the template writes behind every answer."""
        end = len(raw.rstrip())
        if self.end_token and raw[:end].endswith(self.end_token):
            end = len(raw[: end - len(self.end_token)].rstrip())
        assert raw[:end].endswith(self.stops), raw[-60:]
        return end


def bytes_of(text: str, ids: Sequence[int], mask: Bytes, tokenizer: Any) -> Bytes:
    """Which bytes of the text the masked ids spell; a space that a tokenizer puts before a stretch is none of them."""
    raw = text.encode()
    pieces = [tokenizer.token_bytes(int(token)) for token in ids]
    if b"".join(pieces) == raw:
        return np.repeat(mask, [len(piece) for piece in pieces])
    found = np.zeros(len(raw), bool)
    at = 0
    for spelled, is_marked in zip(pieces, mask, strict=True):
        if not raw.startswith(spelled, at):
            assert tokenizer.prefix_scope != "never" and spelled[:1] == b" ", (raw[at : at + 40], spelled)
            spelled = spelled[1:]
            assert raw.startswith(spelled, at), (raw[at : at + 40], spelled)
        found[at : at + len(spelled)] |= is_marked
        at += len(spelled)
    assert at == len(raw), raw[at : at + 40]
    return found


def runs_of(marks: Bytes) -> list[tuple[int, int]]:
    """(start, end) of every stretch that is marked."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], marks.astype(np.int8), [0]])))
    return [(int(a), int(b)) for a, b in edges.reshape(-1, 2)]
