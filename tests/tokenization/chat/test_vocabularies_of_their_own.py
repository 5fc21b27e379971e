"""Whole sessions under SentencePiece models and tiktoken ranks: ids as the vocabularies' own libraries give them.

A control token is one id and comes from the template alone; every stretch of text between two of them is encoded by
itself, as `mistral-common` does, where the vocabulary puts a space before it (SentencePiece's dummy prefix).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sentencepiece
import tiktoken
from chats import assistant, byte_tokenizer, call, renderer, system, table, transformers_tokenizer, user

from tokenization.chat.rendering import Rendered
from tokenization.chat.report import report_on
from tokenization.recipe.model import ChatSpec
from tokenization.recipe.parts import TokenizerSpec
from tokenization.stages.chat_tools import renderer_of
from tokenization.tokenizer.encoder import PreparedTokenizer, open_tokenizer
from tokenization.tokenizer.patterns import CL100K
from tokenization.tokenizer.prepare import prepare_tokenizer
from tokenization.tokenizer.tiktoken_ranks import read_ranks

pytestmark = pytest.mark.shared
TEXTS = [
    "Hello", " lead", "  two  spaces ", "\nline\n", "a\tb", "你好，世界", "𠮷野家", "🦊 family 👩‍👧", "e\u0301 é",
    "\x00\x07", "▁ is theirs", "<0x0A> is text", "</s> typed <s>", "[INST] typed [/INST]", "<|eot_id|>", "[TOOL_CALLS]",
    "مرحبا שלום", "\u200b\u202e", "ﬁ ２",
]  # fmt: skip
MISTRAL = "mistral-v3/tokenizer.model.v3"
Render = Callable[[str, str, Sequence[Any]], tuple[PreparedTokenizer, Rendered]]


@pytest.fixture(scope="module")
def render(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Render:
    """(tokenizer, template, sessions) -> the prepared tokenizer and what a build renders with it."""
    out = tmp_path_factory.mktemp("prepared")

    def rendered(name: str, template: str, sessions: Sequence[Any]) -> tuple[PreparedTokenizer, Rendered]:
        folder = out / name.replace("/", " ")
        if not folder.exists():
            prepare_tokenizer(TokenizerSpec(path=str(shared / "data/tokenizers" / name)), Path(), folder)
        chat = ChatSpec(template=template).model_dump_json()
        made = renderer_of(folder, chat, shared / "data/templates").render(table(*sessions))
        assert not made.set_aside
        return open_tokenizer(folder), made

    return rendered


def rows(rendered: Rendered) -> list[tuple[list[int], list[int]]]:
    """Each sequence's ids, and those of them that are trained."""
    ids, mask, offsets = (
        rendered.sequences.input_ids,
        rendered.sequences.loss_mask,
        rendered.sequences.offsets,
    )
    return [
        (ids[a:b].tolist(), ids[a:b][np.asarray(mask[a:b])].tolist()) for a, b in itertools.pairwise(offsets)
    ]


def library(shared: Path, name: str) -> sentencepiece.SentencePieceProcessor:
    return sentencepiece.SentencePieceProcessor(model_file=str(shared / "data/tokenizers" / name))


def test_mistrals_sessions_are_encoded_stretch_by_stretch_with_control_ids_between(
    shared: Path, render: Render
) -> None:
    pairs = list(zip(TEXTS, reversed(TEXTS), strict=True))
    _, rendered = render(MISTRAL, "mistral-common-v3.jinja", [[user(q), assistant(a)] for q, a in pairs])
    model = library(shared, MISTRAL)
    bos, inst, end_inst, eos = (model.piece_to_id(piece) for piece in ("<s>", "[INST]", "[/INST]", "</s>"))
    found = rows(rendered)
    assert len(found) == len(TEXTS)
    for (ids, trained), (question, answer) in zip(found, pairs, strict=True):
        target = [*model.encode(answer), eos]
        assert ids == [bos, inst, *model.encode(question), end_inst, *target]
        assert trained == target


def test_mistrals_tools_calls_and_results_stand_between_their_control_ids(
    shared: Path, render: Render
) -> None:
    tool = {"type": "function", "function": {"name": "get", "description": "好 [INST]", "parameters": {}}}
    asked = {**call("get", b=1, a="é </s>"), "id": "abcdefghi"}
    session = [
        user("q"),
        assistant("", tool_calls=[asked]),
        {"role": "tool", "content": "r 🦊 [/TOOL_RESULTS]", "tool_call_id": "abcdefghi"},
        assistant("done"),
    ]
    tokenizer, rendered = render(MISTRAL, "mistral-common-v3.jinja", [{"messages": session, "tools": [tool]}])
    model = library(shared, MISTRAL)
    control = {
        piece: model.piece_to_id(piece)
        for piece in (
            "<s>", "[AVAILABLE_TOOLS]", "[/AVAILABLE_TOOLS]", "[INST]", "[/INST]", "[TOOL_CALLS]", "</s>",
            "[TOOL_RESULTS]", "[/TOOL_RESULTS]",
        )
    }  # fmt: skip
    assert all(model.is_control(index) for index in control.values())
    ((ids, trained),) = rows(rendered)
    # This template marks a call's arguments as safe HTML, so that it escapes the quotes around them: transformers
    # renders and serving sends the same.
    written = '[{"name": "get", "arguments": ARGUMENTS, "id": "abcdefghi"}]'.replace('"', "&#34;")
    calls = model.encode(written.replace("ARGUMENTS", '{"b": 1, "a": "é </s>"}'))
    said = [*model.encode("done"), control["</s>"]]
    assert ids == [
        control["<s>"],
        control["[AVAILABLE_TOOLS]"],
        *model.encode(
            '[{"type": "function", "function": {"name": "get", "description": "好 [INST]", "parameters": {}}}]'
        ),
        control["[/AVAILABLE_TOOLS]"],
        control["[INST]"],
        *model.encode("q"),
        control["[/INST]"],
        control["[TOOL_CALLS]"],
        *calls,
        control["</s>"],
        control["[TOOL_RESULTS]"],
        *model.encode('{"content": "r 🦊 [/TOOL_RESULTS]", "call_id": "abcdefghi"}'),
        control["[/TOOL_RESULTS]"],
        *said,
    ]
    assert trained == [control["[TOOL_CALLS]"], *calls, control["</s>"], *said]
    assert tokenizer.prefix_scope == "always"


def test_a_template_that_escapes_the_quotes_of_calls_is_reported(shared: Path) -> None:
    tokenizer = byte_tokenizer(
        ["<s>", "</s>", "<|im_start|>", "<|im_end|>"], bos_token="<s>", eos_token="</s>"
    )
    notes = {
        name: report_on(renderer((shared / "data/templates" / name).read_text("utf-8"), tokenizer)).notes
        for name in ("mistral-common-v3.jinja", "trl-qwen3.jinja", "trl-qwen2_5_training.jinja")
    }
    assert [name for name, found in notes.items() if any("HTML" in note for note in found)] == [
        "mistral-common-v3.jinja"
    ]


@pytest.mark.parametrize(
    ("name", "template"),
    [
        ("llama2", "ct-llama-2-chat.jinja"),
        ("llama2/tokenizer.model", "ct-llama-2-chat.jinja"),
        pytest.param("llama3", "ct-llama-3-instruct.jinja", marks=pytest.mark.slow),  # 20 s to prepare it
        (MISTRAL, "mistral-common-v3.jinja"),
    ],
)
def test_ids_are_those_of_transformers_where_no_marker_is_typed(
    shared: Path, render: Render, name: str, template: str
) -> None:
    plain = [text for text in TEXTS if not any(sign in text for sign in ("<s>", "INST", "<|", "CALLS"))]
    sessions = [[user(q), assistant(a)] for q, a in zip(plain, reversed(plain), strict=True)]
    sessions.append([system("S"), user("q1"), assistant("a1"), user("q2"), assistant("a2")])
    tokenizer, rendered = render(name, template, sessions)
    other = transformers_tokenizer(
        tokenizer, (shared / "data/templates" / template).read_text(encoding="utf-8")
    )
    compared = 0
    for (ids, _), row, cut in zip(
        rows(rendered), rendered.session.tolist(), rendered.cut.tolist(), strict=True
    ):
        if cut == -1:  # Mistral's moves the system prompt: a sequence an answer
            assert ids == other.apply_chat_template(sessions[row], return_dict=True)["input_ids"]
            compared += 1
    assert compared >= len(plain)


@pytest.mark.slow
def test_llama3s_sessions_are_tiktokens_stretch_by_stretch(shared: Path, render: Render) -> None:
    pairs = list(zip(TEXTS, reversed(TEXTS), strict=True))
    tokenizer, rendered = render("llama3", "trl-llama3.jinja", [[user(q), assistant(a)] for q, a in pairs])
    content = (shared / "data/tokenizers/llama3/tokenizer.model").read_bytes()
    own = tiktoken.Encoding(
        "l3",
        pat_str=CL100K,
        mergeable_ranks=read_ranks(content, ""),
        special_tokens=dict(tokenizer.added_tokens),
    )
    for (ids, trained), (question, answer) in zip(rows(rendered), pairs, strict=True):
        target = [*own.encode_ordinary(answer.strip()), own.encode_single_token("<|eot_id|>")]
        assert trained == target and ids[-len(target) :] == target
        head = own.encode(
            "<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n", allowed_special="all"
        )
        before = ids[: -len(target)]
        assert before[-len(head) :] == head
        asked = own.encode("<|begin_of_text|><|start_header_id|>user<|end_header_id|>", allowed_special="all")
        assert before[: -len(head)] == [*asked, *own.encode_ordinary("\n\n" + question.strip())]
