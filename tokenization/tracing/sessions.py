"""A chat's token: the message, the part of its turn that the token is, and why it is trained or not.

A turn is a header, the message's texts and what ends it; an answer's turn has beside them what serving supplies before
the model writes, and the stop that the model writes last:

    <|im_start|>assistant\\n  <think>\\n\\n</think>\\n\\n  Because …  <|im_end|>  \\n
    header                  supplied                 content    stop       behind_stop

The recorded targets (`spans` of items.parquet) say where the model writes; the mask itself is the dataset's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tokenization.build.proof_template import Message
from tokenization.build.turns import OWN_PROMPT, PlacedText, ReadTurns
from tokenization.tracing.spelling import Characters, whole_characters, within

THINK = b"<think"
ANSWER = "assistant"


@dataclass(frozen=True)
class InSession:
    """Where a token stands in its session."""

    number: int | None  # of the message, from 0; None: the session has no such message
    role: str
    part: str  # content | reasoning_content | header | supplied | template | stop | behind_stop | end | inserted
    why: str
    characters: Characters | None  # of the message's text, where the token is in one


@dataclass(frozen=True)
class SessionTokens:
    """A session's sequence as the dataset holds it, beside its item."""

    item: Mapping[str, Any]
    token_bytes: Sequence[bytes]
    trained: Sequence[bool]
    is_stop: Sequence[bool]  # which tokens are stops of the tokenizer
    chat: Mapping[str, Any]  # the recipe's chat section


def in_session(sequence: SessionTokens, read: ReadTurns, token: int) -> InSession:
    """What this token of the sequence is."""
    if token < read.inserted:
        first = "the first token of a segment: nothing in the segment predicts it"
        return InSession(None, "system", "inserted", OWN_PROMPT if token else first, None)
    number = next((place for place, end in enumerate(read.ends) if token < end), len(read.ends) - 1)
    message = read.messages[number]
    turn = (read.ends[number - 1] if number else read.inserted, read.ends[number])
    begin = sum(map(len, sequence.token_bytes[:token]))
    end = begin + len(sequence.token_bytes[token])
    whole = b"".join(sequence.token_bytes)
    text = next((t for t in read.texts if t.message == number and t.start < end and begin < t.stop), None)
    spans = [span for span in sequence.item["spans"] or [] if span["message"] == number]
    if text is not None and not sequence.is_stop[token]:
        part = text.field
    elif message["role"] == ANSWER or spans:
        part = _part_of_answer(sequence, read, turn, spans, token, begin)
    else:
        said = [t.start for t in read.texts if t.message == number]
        part = "header" if not said or end <= min(said) else "end"
    characters = (
        None if part not in ("content", "reasoning_content") else _in_text(message, text, whole, begin, end)
    )
    return InSession(
        number,
        str(message.get("name") or message["role"]),
        part,
        _why(sequence, message, part, spans, token),
        characters,
    )


def _in_text(
    message: Message, text: PlacedText | None, whole: bytes, begin: int, end: int
) -> Characters | None:
    if text is None:
        return None
    found = within(message[text.field], whole, text.start, text.stop)
    if found is None:
        return None
    spelled, first = found
    return whole_characters(spelled.text, *spelled.place(begin - first, end - first))


def _part_of_answer(
    sequence: SessionTokens,
    read: ReadTurns,
    turn: tuple[int, int],
    spans: Sequence[Mapping[str, int]],
    token: int,
    begin: int,
) -> str:
    """A token of an answer's turn that is in none of its texts."""
    tokens = sequence.token_bytes
    if sequence.is_stop[token] and token > turn[0]:
        return "stop"
    first = spans[0]["start"] if spans else _first_said(read, turn, tokens)
    last = spans[-1]["stop"] if spans else turn[1]
    if token < first:
        opened = b"".join(tokens[turn[0] : first]).find(THINK)
        header = sum(map(len, tokens[: turn[0]]))
        return "supplied" if 0 <= opened <= begin - header else "header"
    stopped = any(sequence.is_stop[place] for place in range(first, token))
    return "behind_stop" if token >= last or stopped else "template"


def _first_said(read: ReadTurns, turn: tuple[int, int], tokens: Sequence[bytes]) -> int:
    """The first token of this turn's texts, of a turn that holds no target."""
    number = read.ends.index(turn[1])
    said = [text.start for text in read.texts if text.message == number]
    at = 0
    for token, value in enumerate(tokens):
        at += len(value)
        if said and token >= turn[0] and at > min(said):
            return token
    return turn[1]


def _why(
    sequence: SessionTokens, message: Message, part: str, spans: Sequence[Mapping[str, int]], token: int
) -> str:
    """Why the token is trained or masked, in a sentence."""
    chat = sequence.chat
    if sequence.trained[token]:
        if message["role"] == ANSWER:
            return {
                "stop": "the token that stops a trained answer, which the model writes",
                "behind_stop": "what follows the stop, which chat.around_answers: trained trains too",
                "supplied": "supplied by the prompt, which chat.around_answers: trained trains too",
                "template": "what the template writes into a trained answer, such as think tags or a call",
                "reasoning_content": "the reasoning of a trained answer",
            }.get(part, "the text of a trained answer")
        if message.get("train") or "train_ranges" in message:
            return "this row says that the message is trained"
        if (chat["roles"].get(message["role"]) or {}).get("trained"):
            return f"chat.roles trains what {message['role']} says"
        return f"a prompt, which chat.train_on_prompt: {str(chat['train_on_prompt']).lower()} trains"
    if token == 0:
        return "the first token of a segment: nothing in the segment predicts it"
    if part == "header" and (message["role"] == ANSWER or spans):
        return "the header, which serving supplies before the model answers"
    if part == "supplied":
        return "a think block that serving supplies before the model answers"
    if part == "behind_stop":
        return "behind the stop: serving ends the answer there"
    if not spans and (message["role"] == ANSWER):
        return _why_no_target(sequence, message)
    if part == "reasoning_content" and chat["reasoning"] == "masked":
        return "reasoning, which chat.reasoning: masked leaves out"
    if "train_ranges" in message:
        return "outside the character ranges that this row trains"
    if spans:
        return "inside a trained turn, and not among the tokens that the recipe trains"
    return f"{message['role']}: the model reads this and does not write it"


def _why_no_target(sequence: SessionTokens, message: Message) -> str:
    """Why an answer has no target at all in this sequence."""
    if message.get("train") is False:
        return "this answer's row says that it is not to be trained"
    if sequence.chat["loss_on"] == "last_answer":
        return "chat.loss_on: last_answer trains the last answer only"
    if sequence.item["cut"] is not None:
        return "an earlier answer, which another cut of this session trains"
    return "an earlier answer, which the template renders otherwise once later turns follow"
