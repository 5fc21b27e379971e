"""Our text, ids and mask beside `apply_chat_template`, on real templates, tokenizers and chats."""

from __future__ import annotations

import datetime
import re
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from chats import SmallTokenizer, byte_tokenizer, renderer, table, texts

from tokenization.chat.rendering import ChatOptions, Renderer
from tokenization.chat.report import check_stop
from tokenization.chat.templates import ChatTemplate

pytestmark = pytest.mark.shared
FILES = {
    "xtuner-openai-sft.jsonl": 12,
    "xtuner-reasoning-content-loss.jsonl": 17,
    "sgd-toolcalls.jsonl": 6,
    "reason-tool-use-think.jsonl": 8,
}


def sessions(shared: Path) -> list[dict[str, Any]]:
    found = []
    for name, count in FILES.items():
        lines = (shared / "data/chat/messages" / name).read_text(encoding="utf-8").splitlines()[:count]
        rows = [orjson.loads(line) for line in lines]
        texts_only = [row for row in rows if b'"content":[' not in orjson.dumps(row)]
        found += [_normal(row) for row in texts_only]
    assert len(found) > 30
    return found


def _normal(row: Any) -> dict[str, Any]:
    messages = row if isinstance(row, list) else row["messages"]
    return {
        "messages": [_message(m) for m in messages],
        "tools": None if isinstance(row, list) else row.get("tools"),
    }


def _message(message: dict[str, Any]) -> dict[str, Any]:
    made = {"role": message["role"], "content": message.get("content") or ""}
    reasoning = message.get("reasoning_content")
    if made["content"].startswith("<think>") and "</think>" in made["content"]:
        reasoning, _, rest = made["content"].removeprefix("<think>").partition("</think>")
        made["content"] = rest.lstrip("\n")
    if reasoning:
        made["reasoning_content"] = reasoning.strip("\n")
    if message.get("tool_calls"):
        made["tool_calls"] = [_call(call) for call in message["tool_calls"]]
    return made


def _call(call: dict[str, Any]) -> dict[str, Any]:
    arguments = call["function"]["arguments"]
    parsed = orjson.loads(arguments) if isinstance(arguments, str) else arguments
    return {"type": "function", "function": {"name": call["function"]["name"], "arguments": parsed}}


def theirs(tokenizer: SmallTokenizer, source: str) -> Any:
    from transformers import PreTrainedTokenizerFast

    named = {n: getattr(tokenizer, n) for n in ("bos_token", "eos_token") if getattr(tokenizer, n)}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer._full, chat_template=source, **named)


@pytest.mark.parametrize("name", ["qwen3", "minimind"])
@pytest.mark.parametrize("template", ["trl-qwen3_training", "trl-qwen2_5_training"])
def test_ids_are_theirs_and_the_mask_differs_by_what_serving_supplies_and_blanks_only(
    shared: Path, name: str, template: str
) -> None:
    tokenizer = SmallTokenizer.read(shared / "data/tokenizers" / name)
    source = (shared / f"data/templates/{template}.jinja").read_text()
    other = theirs(tokenizer, source)
    rows = sessions(shared)
    rendered = renderer(source, tokenizer).render(table(*rows))
    assert set(rendered.cut.tolist()) == {-1}
    compared = 0
    for i, row in enumerate(rendered.session):
        session = rows[row]
        if template == "trl-qwen2_5_training" and any("reasoning_content" in m for m in session["messages"]):
            continue  # that template ignores the field; ours puts reasoning into the content
        encoded = other.apply_chat_template(
            session["messages"], tools=session["tools"], return_dict=True, return_assistant_tokens_mask=True
        )
        span = slice(*rendered.sequences.offsets[i : i + 2])
        ids, mask = rendered.sequences.input_ids[span].tolist(), rendered.sequences.loss_mask[span]
        assert tokenizer.decode(ids) == other.apply_chat_template(
            session["messages"], tools=session["tools"], tokenize=False
        )
        if ids != encoded["input_ids"]:
            continue  # an answer that begins in a line break is encoded as it follows a prompt
        their_mask = np.array(encoded["assistant_masks"], bool)
        untrained = {m for m, message in enumerate(session["messages"]) if message.get("train") is False}
        assert not untrained
        assert not (mask & ~their_mask).any()
        assert {tokenizer.decode([t]) for t in np.array(ids)[their_mask & ~mask]} <= {"\n"}
        compared += 1
    assert compared >= 15


TRAINING = ["deepseekv3", "gemma3", "glm4moe", "gptoss", "llama3", "phi3", "qwen2_5", "qwen3"]


@pytest.mark.parametrize("template", TRAINING)
def test_every_marked_template_trains_a_part_of_its_marks_through_the_stop(
    shared: Path, template: str
) -> None:
    source = (shared / f"data/templates/trl-{template}_training.jinja").read_text()
    found = re.findall(r"<\|[a-z_]+\|>|<｜[^｜]+｜>|<(?:start|end)_of_turn>", source)
    markers = ["<s>", "</s>", "<think>", "</think>", "<|observation|>", *dict.fromkeys(found)]
    tokenizer = byte_tokenizer(list(dict.fromkeys(markers)), bos_token="<s>", eos_token="</s>")
    other = theirs(tokenizer, source)
    today = ChatTemplate.load(source, tokenizer, date=datetime.date.today())  # theirs is not frozen
    ask = Renderer(today, tokenizer, ChatOptions())
    plain = [
        {"role": r, "content": c}
        for r, c in [("user", "q1"), ("assistant", "a1"), ("user", "q2"), ("assistant", "a2")]
    ]
    rendered = ask.render(table(plain[:2], plain))
    assert not rendered.set_aside and check_stop(ask)
    whole = {0: plain[:2], 1: plain}
    for i, row in enumerate(rendered.session):
        messages = whole[row] if rendered.cut[i] != 0 else plain[:2]
        encoded = other.apply_chat_template(messages, return_dict=True, return_assistant_tokens_mask=True)
        span = slice(*rendered.sequences.offsets[i : i + 2])
        ids, mask = rendered.sequences.input_ids[span], rendered.sequences.loss_mask[span]
        assert ids.tolist() == encoded["input_ids"]
        assert not (mask & ~np.array(encoded["assistant_masks"], bool)).any()
        assert int(ids[np.flatnonzero(mask)[-1]]) in rendered.stop_ids


def test_every_shared_template_gives_masks_or_reasons_and_skeletons_agree(shared: Path) -> None:
    from test_skeletons import assert_same, directly

    rows = table(
        [{"role": "user", "content": " q1 "}, {"role": "assistant", "content": " a1\n"}],
        [
            {"role": "system", "content": "s"},
            {"role": "user", "content": "q1"},
            {"role": "assistant", "content": "a1"},
            {"role": "user", "content": "q2"},
            {"role": "assistant", "content": "a2 <|im_end|></s>"},
        ],
    )
    paths = sorted((shared / "data/templates").glob("*.jinja"))
    assert len(paths) >= 30
    answered = 0
    for path in paths:
        source = path.read_text(encoding="utf-8")
        found = re.findall(r"<\|[a-z_]+\|>|<｜[^｜]+｜>|<(?:start|end)_of_turn>", source)
        tokenizer = byte_tokenizer(
            list(dict.fromkeys(["<s>", "</s>", "<think>", "</think>", "<|user|>", *found])),
            bos_token="<s>",
            eos_token="</s>",
        )
        ask = renderer(source, tokenizer)
        rendered = ask.render(rows)
        assert_same(rendered, directly(ask, rows))
        assert ask.mismatches == []
        assert {*rendered.session.tolist(), *(e.row for e in rendered.set_aside)} == {0, 1}, path.name
        answered += len(set(rendered.session.tolist())) == 2
        assert all("a" in text for text in texts(rendered, tokenizer))
    assert answered >= 28


def test_a_stretch_that_goes_on_gets_no_dummy_prefix(shared: Path) -> None:
    tokenizer = SmallTokenizer.read(shared / "data/tokenizers/llama2")
    source = (
        "{%- for m in messages %}{{ ('[INST] ' + m.content + ' [/INST]') if m.role == 'user' "
        "else (m.content + eos_token) }}{%- endfor %}"
    )
    tokenizer.eos_token = "</s>"
    session = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "there"}]
    rendered = renderer(source, tokenizer).render(table(session))
    assert not rendered.set_aside
    answer = rendered.sequences.input_ids[rendered.span_start[0] : rendered.span_stop[0] - 1].tolist()
    assert answer == tokenizer._late.encode("there", add_special_tokens=False).ids
    assert answer != tokenizer._first.encode("there", add_special_tokens=False).ids
