"""Our text, ids and mask beside `apply_chat_template`, on every shared template."""

from __future__ import annotations

import datetime
import re
from pathlib import Path

import numpy as np
import pytest
from chats import SmallTokenizer, byte_tokenizer, renderer, table, texts, transformers_tokenizer

from tokenization.chat.rendering import ChatOptions, Renderer
from tokenization.chat.report import check_stop
from tokenization.chat.templates import ChatTemplate

pytestmark = pytest.mark.shared
TRAINING = ["deepseekv3", "gemma3", "glm4moe", "gptoss", "llama3", "phi3", "qwen2_5", "qwen3"]


@pytest.mark.parametrize("template", TRAINING)
def test_every_marked_template_trains_a_part_of_its_marks_through_the_stop(
    shared: Path, template: str
) -> None:
    source = (shared / f"data/templates/trl-{template}_training.jinja").read_text()
    found = re.findall(r"<\|[a-z_]+\|>|<｜[^｜]+｜>|<(?:start|end)_of_turn>", source)
    markers = ["<s>", "</s>", "<think>", "</think>", "<|observation|>", *dict.fromkeys(found)]
    tokenizer = byte_tokenizer(list(dict.fromkeys(markers)), bos_token="<s>", eos_token="</s>")
    other = transformers_tokenizer(tokenizer, source)
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


def test_bos_is_the_templates_own_and_never_two_of_them_lead(shared: Path) -> None:
    """Llama 2's tokenizer.json puts a BOS before whatever it encodes; a template may write one as well, or none."""
    tokenizer = SmallTokenizer.read(shared / "data/tokenizers/llama2")
    tokenizer.bos_token, tokenizer.eos_token = "<s>", "</s>"
    assert tokenizer._full.encode("q").ids[0] == tokenizer.added_tokens["<s>"]
    leading = {}
    for path in sorted((shared / "data/templates").glob("ct-*.jinja")):
        rendered = renderer(path.read_text(encoding="utf-8"), tokenizer).render(
            table([{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}])
        )
        if rendered.set_aside:
            continue  # whose stop is no token of this vocabulary
        ids = [i for i in rendered.sequences.input_ids.tolist() if tokenizer.token_bytes(i).strip()]
        leading[path.stem] = sum(1 for i in ids[:2] if i == tokenizer.added_tokens["<s>"])
    assert {"ct-llama-2-chat": 1, "ct-zephyr": 0}.items() <= leading.items()
    assert set(leading.values()) == {0, 1}


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
