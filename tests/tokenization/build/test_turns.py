"""Whose turn a token is in, where texts are short, repeat each other, stand in headers or are trimmed."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tokenization.build.proving import served_template
from tokenization.build.turns import Turns
from tokenization.recipe.model import ChatSpec

sys.path.insert(0, str(Path(__file__).parents[1] / "chat"))
import chat_templates
from chats import SmallTokenizer, assistant, byte_tokenizer, call, renderer, system, table, user

TEXT = st.sampled_from(["a", "user", "assistant", "<|im_end|>", " x ", "a\n", "", "im_start", "s", "好"])
SESSIONS = st.lists(
    st.tuples(st.sampled_from(["system", "user"]), TEXT, TEXT.filter(str.strip)), min_size=1, max_size=4
)


def turns_of(
    source: str, tokenizer: SmallTokenizer, session: list[dict[str, Any]]
) -> list[list[tuple[str, str]]]:
    """For each sequence its turns: (role, text)."""
    rendered = renderer(source, tokenizer).render(table(session))
    named = {
        name: getattr(tokenizer, name) for name in ("bos_token", "eos_token") if getattr(tokenizer, name)
    }
    served = served_template(ChatSpec(template=source), source, named, builtin=False)
    found = []
    for i in range(len(rendered.sequences)):
        own = slice(*rendered.sequences.offsets[i : i + 2])
        ids, mask = rendered.sequences.input_ids[own], rendered.sequences.loss_mask[own]
        places = range(*rendered.span_offsets[i : i + 2])
        item = {
            "messages": orjson.dumps(session).decode(),
            "tools": None,
            "cut": int(rendered.cut[i]),
            "spans": [
                {
                    "start": int(rendered.span_start[k]),
                    "stop": int(rendered.span_stop[k]),
                    "message": int(rendered.span_message[k]),
                }
                for k in places
            ],
        }
        token_bytes = [tokenizer.token_bytes(int(token)) for token in ids]
        spans = Turns(served).roles(token_bytes, mask, item)
        assert [(a.start, a.stop) for a in spans] == list(
            zip([0, *(a.stop for a in spans[:-1])], [a.stop for a in spans], strict=True)
        )
        assert spans[-1].stop == len(ids) and all((mask[a.start : a.stop] == a.trained).all() for a in spans)
        told: list[tuple[str, str]] = []
        for span in spans:
            text = b"".join(token_bytes[span.start : span.stop]).decode()
            if told and told[-1][0] == span.role and not text.startswith(("<|im_start|>", "[INST]")):
                told[-1] = span.role, told[-1][1] + text
            else:
                told.append((span.role, text))
        found.append(told)
    return found


@settings(max_examples=60, deadline=None)
@given(SESSIONS)
def test_a_turn_is_its_header_its_text_and_its_end_whatever_is_said(
    pairs: list[tuple[str, str, str]],
) -> None:
    session = [m for role, q, a in pairs for m in ({"role": role, "content": q}, assistant(a))]
    (turns,) = turns_of(chat_templates.CHATML, byte_tokenizer(chat_templates.MARKERS), session)
    assert turns == [(m["role"], f"<|im_start|>{m['role']}\n{m['content']}<|im_end|>\n") for m in session]


def test_turns_of_cuts_are_those_that_the_cut_holds() -> None:
    session = [
        user("a"),
        assistant("a", reasoning_content="r"),
        user("u"),
        assistant("a", reasoning_content="s"),
    ]
    first, second = turns_of(chat_templates.THINKING, byte_tokenizer(chat_templates.MARKERS), session)
    assert first == [
        ("user", "<|im_start|>user\na<|im_end|>\n"),
        ("assistant", "<|im_start|>assistant\n<think>\nr\n</think>\n\na<|im_end|>\n"),
    ]
    assert second[:3] == [
        ("user", "<|im_start|>user\na<|im_end|>\n"),
        ("assistant", "<|im_start|>assistant\na<|im_end|>\n"),
        ("user", "<|im_start|>user\nu<|im_end|>\n"),
    ]
    assert second[3][1].endswith("<think>\ns\n</think>\n\na<|im_end|>\n") and len(second) == 4


def test_a_call_and_the_next_turns_marker_belong_to_the_answer() -> None:
    tokenizer = byte_tokenizer(chat_templates.MARKERS)
    called = [
        system("s"),
        user("u"),
        assistant("", tool_calls=[call("f", a="s")]),
        {"role": "tool", "content": "u"},
    ]
    called.append(assistant("u"))
    (turns,) = turns_of(chatml(), tokenizer, called)
    assert [role for role, _ in turns] == ["system", "user", "assistant", "tool", "assistant"]
    assert turns[2][1].endswith("</tool_call><|im_end|>\n") and turns[3][1].startswith("<|im_start|>tool")
    (marked,) = turns_of(
        chat_templates.NEXT_MARKER, tokenizer, [user("a"), assistant("a"), user("u"), assistant("a")]
    )
    assert marked[0] == ("user", "<|user|>\na") and marked[-1] == ("assistant", "<|assistant|>\na<|user|>")


def chatml() -> str:
    from tokenization.chat.roles import role_policy
    from tokenization.chat.templates import builtin_source

    return builtin_source("chatml", role_policy({}))


def test_texts_are_searched_for_where_a_template_looks_into_them() -> None:
    session = [user("/secret"), assistant("fine")]
    (turns,) = turns_of(chat_templates.NOSY, byte_tokenizer(chat_templates.MARKERS), session)
    assert [role for role, _ in turns] == ["user", "assistant"] and "fine" in turns[1][1]


def test_a_system_prompt_that_nobody_said_is_a_turn_of_its_own() -> None:
    own = (
        "{%- if messages[0].role != 'system' %}{{ '<|im_start|>system\\nBe kind.<|im_end|>\\n' }}{%- endif %}"
    )
    tokenizer = byte_tokenizer(chat_templates.MARKERS)
    said = [user("a"), assistant("Be kind.")]
    (turns,) = turns_of(own + chat_templates.CHATML, tokenizer, said)
    assert turns == [
        ("system", "<|im_start|>system\nBe kind.<|im_end|>\n"),
        ("user", "<|im_start|>user\na<|im_end|>\n"),
        ("assistant", "<|im_start|>assistant\nBe kind.<|im_end|>\n"),
    ]
    given = [system("Be kind."), *said]
    assert turns_of(own + chat_templates.CHATML, tokenizer, given) == [turns]
    (bare,) = turns_of("{{ bos_token }}" + chat_templates.CHATML, tokenizer, said)
    assert [role for role, _ in bare] == ["user", "assistant"]


@pytest.mark.shared
@pytest.mark.parametrize("template", ["ct-llama-2-chat", "trl-qwen3", "ct-vicuna", "trl-glm4moe"])
def test_turns_under_a_tokenizer_that_puts_spaces_before_texts(shared: Path, template: str) -> None:
    from benchmarks.templates import GLM

    tokenizer = SmallTokenizer.read(shared / "data/tokenizers/llama2")
    tokenizer.bos_token, tokenizer.eos_token = "<s>", "</s>"
    source = (shared / f"data/templates/{template}.jinja").read_text(encoding="utf-8")
    if "<|" in source:
        tokenizer = byte_tokenizer(
            dict.fromkeys([*chat_templates.MARKERS, *GLM]), bos_token="<s>", eos_token="</s>"
        )
    session = [user("a"), assistant("E"), user("US"), assistant("a")]
    for turns in turns_of(source, tokenizer, session):
        texts = [text for _, text in turns]
        assert [role for role, _ in turns] == ["user", "assistant", "user", "assistant"][: len(turns)]
        assert all(m["content"] in text for m, text in zip(session, texts, strict=False))
