"""Sequences for the preview's tests, with a tokenizer that breaks characters on purpose.

Ids below 256 are bytes; a special token has an id of its own above them. A chat is written by hand as
(role, text) pairs in ChatML, its mask on the answers and their stop token.
"""

from __future__ import annotations

import numpy as np

from tokenization.preview.model import PreviewSequence, PreviewWindow, RoleSpan

START, END, DOCUMENT_END = 256, 257, 258
SPECIAL_TEXT = {START: b"<|im_start|>", END: b"<|im_end|>", DOCUMENT_END: b"<|endoftext|>"}

HOSTILE = (
    "</script><script>alert(1)</script><img src=x onerror=alert(2)> \x1b[31mred\x1b]0;title\x07 "
    "\u202egnirts\u202c \u2028\u2029\u2066\u200b\x00\x9b1m ```\n````\n``` "
    "<|im_end|> ]]>&amp; \ufeff\U000e0041"
)
SPLIT = "你好，饕餮 👨‍👩‍👧 👍🏽 🇩🇪 e\u0301 नमस्ते"


def sequence(
    tokens: list[tuple[bytes, bool]],
    ids: list[int] | None = None,
    special: list[bool] | None = None,
    roles: list[RoleSpan] | None = None,
    title: str = "a title",
    note: str = "",
) -> PreviewSequence:
    """From (bytes, trained) pairs."""
    return PreviewSequence(
        source="made",
        item="item-1",
        kind="sft",
        title=title,
        input_ids=np.array(ids if ids is not None else range(len(tokens)), np.int64),
        loss_mask=np.array([trained for _, trained in tokens], bool),
        token_bytes=[token for token, _ in tokens],
        special=np.array(special if special is not None else [False] * len(tokens), bool),
        roles=roles or [],
        note=note,
    )


def chat(
    turns: list[tuple[str, str]], piece: int = 1, title: str = "a title", note: str = ""
) -> PreviewSequence:
    """ChatML with `piece` bytes a token: at 1 and 2 every Chinese character is split."""
    tokens: list[tuple[bytes, bool]] = []
    ids: list[int] = []
    roles: list[RoleSpan] = []

    def add(token_ids: list[int], pieces: list[bytes], trained: bool) -> None:
        ids.extend(token_ids)
        tokens.extend((token, trained) for token in pieces)

    def add_text(text: str, trained: bool) -> None:
        raw = text.encode("utf-8", "surrogatepass")
        pieces = [raw[i : i + piece] for i in range(0, len(raw), piece)]
        add([int.from_bytes(b"\1" + one, "big") for one in pieces], pieces, trained)

    for role, text in turns:
        trained = role == "assistant"
        begin = len(ids)
        add([START], [SPECIAL_TEXT[START]], False)
        add_text(f"{role}\n", False)
        roles.append(RoleSpan(begin, len(ids), role, False, "header"))
        begin = len(ids)
        add_text(text, trained)
        add([END], [SPECIAL_TEXT[END]], trained)
        roles.append(RoleSpan(begin, len(ids), role, trained, "answer" if trained else "context"))
        begin = len(ids)
        add_text("\n", False)
        roles.append(RoleSpan(begin, len(ids), role, False, "after the stop"))
    return sequence(tokens, ids, [i in SPECIAL_TEXT for i in ids], roles, title, note)


def window(lengths: list[int], padding: int, mask: list[bool] | None = None) -> PreviewWindow:
    """Segments of these lengths, then padding; every token but each segment's first is trained."""
    built = [i > 0 for length in lengths for i in range(length)] + [False] * padding
    segments = [("made", f"item-{i}", 0, length) for i, length in enumerate(lengths)]
    size = sum(lengths) + padding
    return PreviewWindow(
        row=3,
        kind="sft",
        seq_lens=[*lengths, *([padding] if padding else [])],
        segments=[*segments, *([("", "", 0, padding)] if padding else [])],
        loss_mask=np.array(mask if mask is not None else built, bool),
        input_ids=np.zeros(size, np.int32),
    )
