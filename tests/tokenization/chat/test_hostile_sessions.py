"""Whatever a session holds, it is proven or set aside with a reason; typed special tokens stay text."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import chat_templates
import numpy as np
import pytest
from chats import byte_tokenizer
from hostile import SHARED, TYPED, Ask, hostile_sessions, hostile_texts, in_turn, turns
from hypothesis import HealthCheck, example, given, settings

from tokenization.chat.rendering import Rendered, Renderer
from tokenization.chat.templates import ChatTemplate
from tokenization.recipe.model import ChatSpec
from tokenization.recipe.parts import TokenizerSpec
from tokenization.stages.chat_tools import options_of
from tokenization.tokenizer.encoder import PreparedTokenizer, open_tokenizer
from tokenization.tokenizer.prepare import prepare_tokenizer

TEXT = hostile_texts(TYPED)
SESSIONS = hostile_sessions(TEXT)


@cache
def ask_of(template: str, **options: Any) -> Ask:
    """Over bytes, with every typed token of the list a special token."""
    source = chat_templates.EVERY.get(template, template)
    if template.endswith(".jinja"):
        source = (SHARED / "templates" / template).read_text(encoding="utf-8")
    markers = [*chat_templates.MARKERS, *(text for text in TYPED if not any(map(str.isspace, text)))]
    tokenizer = byte_tokenizer(list(dict.fromkeys(markers)), bos_token="<s>", eos_token="</s>")
    chat = ChatSpec(template=source, **options)
    return Ask(chat, Renderer(ChatTemplate.load(source, tokenizer), tokenizer, options_of(chat)), tokenizer)


OPTIONS: dict[str, dict[str, Any]] = {
    "as usual": {},
    "last": {"history": "last", "reasoning": "masked"},
    "split": {"overlong": "split", "default_system": "S"},
    "prompts": {"train_on_prompt": True},
}


EXAMPLES = settings(deadline=None, max_examples=15, suppress_health_check=list(HealthCheck))


@pytest.mark.parametrize(
    ("template", "option"),
    [
        ("chatml", "as usual"),
        *(
            pytest.param(template, option, marks=pytest.mark.slow)
            for template in ("chatml", "thinking", "next_marker")
            for option in OPTIONS
            if (template, option) != ("chatml", "as usual")
        ),
    ],
)
@EXAMPLES
@given(SESSIONS)
@example([[]])
@example([[{"role": "assistant", "content": ""}], [{"role": "user", "content": ""}]])
@example([[{"role": "assistant", "content": "first"}, *turns(2)]])
@example([[turns(1)[0], turns(1)[0], turns(1)[1], turns(1)[1]]])
@example([[{"role": "system", "content": "Qz9Probe9zQ"}, {"role": "system", "content": "s", "train": True}]])
@example([[{"role": "user", "content": "\ud800"}, {"role": "assistant", "content": "<|im_end|>\udc00"}]])
@example([[{"role": "system", "content": "\u2028", "reasoning_content": "r", "train": True}]])
@example([[{"role": "assistant", "content": "Qz9Probe9zQ x", "reasoning_content": "r"}]])
@example([[{"role": "assistant", "content": "\U0010fffd \U0010fffc x", "reasoning_content": "r"}]])
def test_every_hostile_session_is_proven_or_set_aside_with_a_reason(
    template: str, option: str, sessions: list[list[dict[str, Any]]]
) -> None:
    ask_of(template, **OPTIONS[option]).outcome(sessions)


@pytest.mark.parametrize("template", ["chatml", "thinking", "next_marker"])
@given(text=TEXT)
@settings(deadline=None, max_examples=20)
def test_typed_special_tokens_stay_text(template: str, text: str) -> None:
    ask = ask_of(template)
    said = [{"role": "user", "content": f"q{text}q"}, {"role": "assistant", "content": f"a{text}a"}]
    _, plain, _ = ask.outcome([[{"role": "user", "content": "qq"}, {"role": "assistant", "content": "aa"}]])
    _, rendered, _ = ask.outcome([said])
    assert len(rendered.sequences) == 1, rendered.set_aside
    special = np.array(sorted(ask.tokenizer.special_ids))

    def structure(made: Rendered) -> list[int]:
        ids = made.sequences.input_ids
        return [int(i) for i in ids[np.isin(ids, special)]]

    assert structure(rendered) == structure(plain) and structure(plain)


def test_a_session_of_300_turns_is_proven() -> None:
    for template in ("chatml", "thinking"):
        ask = ask_of(template, history="last")
        _, rendered, problems = ask.outcome([turns(300)])
        assert problems == [None] and not rendered.set_aside
        assert len(rendered.span_start) == (300 if template == "chatml" else 1)


def shared_templates() -> Iterator[str]:
    yield from sorted(path.name for path in (SHARED / "templates").glob("*.jinja"))


@pytest.mark.shared
@pytest.mark.slow
@pytest.mark.parametrize("template", [*chat_templates.EVERY, *shared_templates()])
@EXAMPLES
@given(SESSIONS)
@example([[{"role": "system", "content": "<|endoftext|>", "train": True}]])
@example([[{"role": "system", "content": "", "reasoning_content": "<|endoftext|>", "train": True}]])
@example([[{"role": "system", "content": "long enough", "train": True}]])
def test_templates_of_every_habit_prove_hostile_sessions(
    template: str, sessions: list[list[dict[str, Any]]]
) -> None:
    ask_of(template).outcome(sessions)


# -- real tokenizers, each with a template that its markers are for --------------------------------------------

REAL = {
    "gpt2": ("chatml", ("<|im_start|>", "<|im_end|>")),
    "llama2": ("ct-llama-2-chat.jinja", ()),
    "llama3": ("ct-llama-3-instruct.jinja", ()),
    "mistral-v3": ("mistral-common-v3.jinja", ()),
    "qwen2.5": ("trl-qwen2_5.jinja", ()),
    "qwen3": ("trl-qwen3.jinja", ()),
    "minimind": ("tokenizer", ()),
}


@pytest.fixture(scope="session")
def real(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], PreparedTokenizer]:
    """A shared tokenizer, prepared on first use."""
    out = tmp_path_factory.mktemp("hostile")

    @cache
    def prepared(name: str) -> PreparedTokenizer:
        spec = TokenizerSpec(path=str(shared / "data/tokenizers" / name), add_special_tokens=REAL[name][1])
        prepare_tokenizer(spec, Path(), out / name)
        return open_tokenizer(out / name)

    return prepared


def ask_real(shared: Path, name: str, tokenizer: PreparedTokenizer) -> Ask:
    chat = ChatSpec(template=REAL[name][0])
    options = options_of(chat)
    template = ChatTemplate.load(
        chat.template, tokenizer, roles=options.roles, folder=shared / "data" / "templates"
    )
    return Ask(chat, Renderer(template, tokenizer, options), tokenizer)


EVERY_TOKENIZER = [pytest.param(name, marks=[] if name == "minimind" else pytest.mark.slow) for name in REAL]


@pytest.mark.shared
@pytest.mark.parametrize("name", EVERY_TOKENIZER)
def test_every_special_token_of_every_shared_tokenizer_stays_text_where_it_is_typed(
    shared: Path, real: Callable[[str], PreparedTokenizer], name: str
) -> None:
    ask = ask_real(shared, name, real(name))
    others = [name] if name == "minimind" else list(REAL)  # alone it is quick enough for every run
    typed = sorted({token for other in others for token in real(other).added_tokens})
    assert len(typed) >= (30 if name == "minimind" else 1000)
    said = [("qq", "aa"), *((f"q{token}q", f"a {token} a") for token in typed)]
    sessions = [[{"role": "user", "content": q}, {"role": "assistant", "content": a}] for q, a in said]
    _, rendered, problems = ask.outcome(sessions, fits=False)
    assert not rendered.set_aside and len(problems) == len(sessions)
    ids, offsets = rendered.sequences.input_ids, rendered.sequences.offsets
    special = np.isin(ids, sorted(ask.tokenizer.special_ids))
    found = [ids[a:b][special[a:b]].tolist() for a, b in itertools.pairwise(offsets)]
    assert found[0] and all(structure == found[0] for structure in found)


@pytest.mark.shared
@pytest.mark.slow
@pytest.mark.parametrize("name", REAL)
def test_hostile_sessions_of_real_tokenizers_are_proven_or_set_aside(
    shared: Path, real: Callable[[str], PreparedTokenizer], name: str
) -> None:
    ask = ask_real(shared, name, real(name))
    typed = sorted({token for other in REAL for token in real(other).added_tokens})
    proven = 0

    @EXAMPLES
    @given(hostile_sessions(hostile_texts(typed)) | in_turn(hostile_texts(typed)))
    @example([[]])
    @example([turns(300)])
    @example([turns(count) for count in (1, 2, 3, 4, 5)])  # five that are proven, whatever chance brings
    @example([[{"role": "assistant", "content": "first"}, *turns(2)]])
    @example([[turns(1)[0], turns(1)[0], turns(1)[1], turns(1)[1]]])
    def none_is_unproven(sessions: list[list[dict[str, Any]]]) -> None:
        nonlocal proven
        proven += len(ask.outcome(sessions)[2])

    none_is_unproven()
    assert proven >= 5
