"""Every shared template with `{% generation %}` × tokenizers × the shared chats: what is trained is what is marked.

The reference and the rules by which it differs from a target are in `marked_reference`; which rules explain something
is stated template by template, so that a rule can neither hide a difference elsewhere nor stay when nothing needs it.

Slow tests take 60 sessions a file; MARKED_SESSIONS_A_FILE=30000 takes all 21,572, in half an hour of one core.
"""

from __future__ import annotations

import datetime
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pytest
from chats import assistant, byte_tokenizer, renderer, table, trained, transformers_tokenizer, user
from marked_reference import MarkedReference, bytes_of

from benchmarks.templates import DEEPSEEK, GEMMA, GLM, GPT_OSS, PHI, ROLES, read_chats
from tokenization.chat.outcome import Rendered
from tokenization.chat.rendering import Renderer
from tokenization.chat.templates import ChatTemplate
from tokenization.recipe.model import ChatSpec
from tokenization.recipe.parts import TokenizerSpec
from tokenization.stages.chat_tools import options_of
from tokenization.tokenizer.encoder import PreparedTokenizer, open_tokenizer
from tokenization.tokenizer.prepare import prepare_tokenizer

pytestmark = pytest.mark.shared
SESSIONS_A_FILE = int(os.environ.get("MARKED_SESSIONS_A_FILE", "60"))
CHATML = ("<|im_start|>", "<|im_end|>", "<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>")
LLAMA3 = ("<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>")
MARKERS = tuple(dict.fromkeys((*CHATML, *LLAMA3, *PHI, *GEMMA, *GLM, *GPT_OSS, *DEEPSEEK)))
RULES = ("supplied", "behind", "flagged", "cut", "moved")
FAST = ("identity", "xtuner-reasoning-content-loss", "glaive-toolcall-zh")
TOKENIZERS = ("qwen3", "llama2", "minimind")


@dataclass(frozen=True)
class Marked:
    """What is known of a marked template: the rules that explain something, and why sessions are set aside."""

    rules: frozenset[str]
    set_aside: frozenset[str]
    ends_with_eos: bool = False  # behind the last answer, whatever its stop


def marked(*rules: str, aside: str, ends_with_eos: bool = False) -> Marked:
    return Marked(frozenset(rules), frozenset(aside.split()) | {"empty_answer"}, ends_with_eos)


# A template that knows no tool calls or no reasoning loses an answer; most know no narrator.
TEMPLATES = {
    # Marks open before "<|Assistant|>"; its second call of a session follows no header (prompt_not_prefix).
    "deepseekv3": marked("supplied", "flagged", aside="answer_lost prompt_not_prefix role_not_rendered"),
    "gemma3": marked("behind", "flagged", aside="answer_lost template_error"),
    "glm4moe": marked("cut", "flagged", aside="role_not_rendered"),
    "gptoss": marked(
        "supplied", "cut", "moved", "flagged", aside="answer_lost template_error role_not_rendered"
    ),
    "llama3": marked("flagged", aside="answer_lost"),
    "phi3": marked("behind", "flagged", aside="answer_lost role_not_rendered", ends_with_eos=True),
    "qwen2_5": marked("supplied", "behind", "flagged", aside="role_not_rendered"),
    "qwen3": marked("behind", "flagged", aside="role_not_rendered"),
}


@pytest.fixture(scope="session")
def chats(shared: Path) -> list[tuple[str, pa.Table]]:
    """(file, its sessions), all of the shared chats."""
    found = list(read_chats(shared / "data" / "chat"))
    assert sum(len(sessions) for _, sessions in found) > 20_000 and len(found) >= 19
    return found


@pytest.fixture(scope="session")
def tokenizers(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, PreparedTokenizer]:
    """With the markers of every template, so that all of them can stop."""
    out = tmp_path_factory.mktemp("marked")
    for name in TOKENIZERS:
        path = str(shared / "data" / "tokenizers" / name)
        prepare_tokenizer(TokenizerSpec(path=path, add_special_tokens=MARKERS), Path(), out / name)
    return {name: open_tokenizer(out / name) for name in TOKENIZERS}


def some(sessions: pa.Table, most: int) -> pa.Table:
    """At most that many, evenly spread."""
    rows = np.unique(np.linspace(0, len(sessions) - 1, min(most, len(sessions))).astype(int))
    return sessions.take(pa.array(rows))


def shown(message: dict[str, Any], source: str) -> dict[str, Any]:
    """A message as people hand it to transformers: reasoning is content where the template knows no field for it."""
    kept = ("role", "content", "name", "tool_calls", "tool_call_id", "train")
    made = {"content": "", **{key: message[key] for key in kept if key in message}}
    reasoning = message.get("reasoning_content")
    if reasoning and ("reasoning_content" in source or "thinking" in source):
        made["reasoning_content"] = reasoning
    elif reasoning:
        made["content"] = f"<think>\n{reasoning}\n</think>\n\n{made['content']}"
    return made


@dataclass(frozen=True)
class Sequence:
    """One sequence of ours, and the conversation that it is the rendering of."""

    row: int
    messages: list[dict[str, Any]]
    tools: Any
    answers: frozenset[int]
    ids: list[int]
    mask: np.ndarray
    is_cut: bool


def sequences(sessions: pa.Table, rendered: Rendered) -> Iterator[Sequence]:
    for i, row in enumerate(rendered.session.tolist()):
        own = slice(*rendered.sequences.offsets[i : i + 2])
        answers = frozenset(rendered.span_message[slice(*rendered.span_offsets[i : i + 2])].tolist())
        messages = orjson.loads(sessions.column("messages")[row].as_py())
        tools = sessions.column("tools")[row].as_py()
        is_cut = bool(rendered.cut[i] >= 0)
        yield Sequence(
            row,
            messages[: max(answers) + 1] if is_cut else messages,
            orjson.loads(tools) if tools else None,
            answers,
            rendered.sequences.input_ids[own].tolist(),
            rendered.sequences.loss_mask[own],
            is_cut,
        )


def renderer_today(source: str, tokenizer: PreparedTokenizer) -> Renderer:
    """Ours with the date that transformers reads off the clock."""
    options = options_of(ChatSpec(template=source, roles=ROLES))
    template = ChatTemplate.load(source, tokenizer, roles=options.roles, date=datetime.date.today())
    return Renderer(template, tokenizer, options)


def compare(
    chats: list[tuple[str, pa.Table]], tokenizer: PreparedTokenizer, source: str, known: Marked, most: int
) -> Counter[str]:
    """Compares some sessions of every file; what was compared, and what explained differences."""
    ours = renderer_today(source, tokenizer)
    other = transformers_tokenizer(tokenizer, source)
    eos = str(tokenizer.eos_token)
    reference = MarkedReference(other, tokenizer, eos.encode() if known.ends_with_eos else b"")
    seen: Counter[str] = Counter()
    for name, every in chats:
        sessions = some(every, most)
        rendered = ours.render(sessions)
        seen.update(f"set aside: {entry.reason}" for entry in rendered.set_aside)
        seen["sessions"] += len(sessions)
        seen["sessions compared"] += len(np.unique(rendered.session))
        for sequence in sequences(sessions, rendered):
            messages = [shown(message, source) for message in sequence.messages]
            text, ids, marks = reference.marked(messages, sequence.tools)
            if sequence.is_cut:
                text, marks = reference.as_served(messages, sequence.tools, text, marks)
            expected = reference.targets(messages, sequence.tools, sequence.answers, text, marks)
            found = bytes_of(text, sequence.ids, sequence.mask, tokenizer)
            wrong = np.flatnonzero(found != expected)
            assert not len(wrong), (name, sequence.row, text.encode()[wrong[0] - 40 : wrong[0] + 40])
            seen.update({"compared": 1, "same ids": ids == sequence.ids, "cut": sequence.is_cut})
    return seen + reference.used


def check(
    shared: Path, tokenizers: dict[str, PreparedTokenizer], chats: Any, template: str, name: str, most: int
) -> Counter[str]:
    """The comparison, with only those rules and reasons at work that are known of the template."""
    source = (shared / f"data/templates/trl-{template}_training.jinja").read_text(encoding="utf-8")
    known = TEMPLATES[template]
    seen = compare(chats, tokenizers[name], source, known, most)
    reasons = {key.removeprefix("set aside: ") for key in seen if key.startswith("set aside: ")}
    assert reasons <= known.set_aside
    assert {rule for rule in RULES if seen[rule]} <= known.rules
    aside = sum(count for key, count in seen.items() if key.startswith("set aside: "))
    assert seen["sessions compared"] == seen["sessions"] - aside >= 0.5 * seen["sessions"]
    assert seen["same ids"] >= 0.98 * (seen["compared"] - seen["moved"])
    return seen


@pytest.mark.parametrize(
    ("template", "name"), [(template, TOKENIZERS[i % 3]) for i, template in enumerate(TEMPLATES)]
)
def test_a_sample_is_trained_as_transformers_marks_it(
    shared: Path,
    tokenizers: dict[str, PreparedTokenizer],
    chats: list[tuple[str, pa.Table]],
    template: str,
    name: str,
) -> None:
    few = [(file, sessions) for file, sessions in chats if any(part in file for part in FAST)]
    seen = check(shared, tokenizers, few, template, name, 4)
    assert len(few) == len(FAST) and seen["compared"] >= 6


@pytest.mark.slow
@pytest.mark.parametrize("name", TOKENIZERS)
@pytest.mark.parametrize("template", TEMPLATES)
def test_all_chats_are_trained_as_transformers_marks_them(
    shared: Path,
    tokenizers: dict[str, PreparedTokenizer],
    chats: list[tuple[str, pa.Table]],
    template: str,
    name: str,
) -> None:
    seen = check(shared, tokenizers, chats, template, name, SESSIONS_A_FILE)
    print(template, name, dict(seen))
    assert seen["sessions"] >= 400
    # A dummy prefix stands for the line break behind a stop: transformers marks it in that one's place.
    explained = TEMPLATES[template].rules - ({"behind"} if name == "llama2" else set())
    assert explained <= {rule for rule in RULES if seen[rule]}, "a rule that nothing needs"


def test_a_span_that_ends_at_the_first_token_is_not_the_rest_of_the_sequence() -> None:
    """transformers #47325: where a marked span ends at token 0, it marks all that follows as well."""
    source = (
        "{%- for m in messages %}{%- if m.role == 'assistant' %}{% generation %}{{ m.content }}{% endgeneration %}"
        "{%- else %}{{ m.content }}{%- endif %}{{ '<|im_end|>' }}{%- endfor %}"
    )
    tokenizer = byte_tokenizer()
    session = [assistant("a"), user("q"), assistant("b")]
    encoded = transformers_tokenizer(tokenizer, source).apply_chat_template(
        session, return_dict=True, return_assistant_tokens_mask=True
    )
    assert encoded["assistant_masks"] == [1] * 6  # a, stop, q, stop, b, stop
    rendered = renderer(source, tokenizer).render(table(session))
    assert rendered.sequences.input_ids.tolist() == encoded["input_ids"]
    assert trained(rendered, tokenizer) == [["<|im_end|>", "b<|im_end|>"]]  # nothing predicts a first token


TWO_FORMS = ("gemma3", "glm4moe", "gptoss", "llama3", "qwen2_5", "qwen3")


def both_forms(
    shared: Path, tokenizers: dict[str, PreparedTokenizer], template: str
) -> tuple[Renderer, Renderer]:
    """Ours under a template as it is served, and under the form with marks that was made for training."""
    tokenizer = tokenizers["llama2" if template == "llama3" else "qwen3"]  # Llama 3's needs a BOS
    folder = shared / "data" / "templates"
    plain, with_marks = (
        renderer_today((folder / f"trl-{template}{kind}.jinja").read_text(encoding="utf-8"), tokenizer)
        for kind in ("", "_training")
    )
    assert with_marks.template.has_generation_marks and not plain.template.has_generation_marks
    return plain, with_marks


@pytest.mark.parametrize(
    ("template", "most"),
    [
        *((template, 4) for template in TWO_FORMS),
        *(pytest.param(template, 60, marks=pytest.mark.slow) for template in TWO_FORMS),
    ],
)
def test_a_template_with_marks_gives_the_targets_of_the_one_without(
    shared: Path,
    tokenizers: dict[str, PreparedTokenizer],
    chats: list[tuple[str, pa.Table]],
    template: str,
    most: int,
) -> None:
    plain, with_marks = both_forms(shared, tokenizers, template)
    compared = 0
    for name, every in chats:
        if most == 4 and not any(part in name for part in FAST):
            continue
        sessions = some(every, most)
        found, expected = (ask.render(sessions) for ask in (plain, with_marks))
        targets, others = (targets_of(sessions, made, plain.tokenizer) for made in (found, expected))
        differing = {key for key in targets.keys() | others.keys() if targets.get(key) != others.get(key)}
        if (
            template == "glm4moe"
        ):  # its form with marks opens a result that no call asked for as a user's turn
            uncalled = {key for key in differing if follows_no_call(sessions, *key)}
            assert all(
                targets[key].removesuffix("<|observation|>") == others[key].removesuffix("<|user|>")
                for key in uncalled
            )
            differing -= uncalled
        assert not differing
        assert [(e.row, e.reason) for e in found.set_aside] == [(e.row, e.reason) for e in expected.set_aside]
        compared += len(targets)
    assert compared >= 6


def test_only_marks_can_say_that_an_answer_stands_behind_less_than_its_prompt(
    shared: Path, tokenizers: dict[str, PreparedTokenizer], chats: list[tuple[str, pa.Table]]
) -> None:
    """The one pair that differs: DeepSeek-V3 prompts with an open think block that no rendered answer has.

    Serving never sends what its plain form renders, so that form trains nothing; where the author marked the answers
    all the same, they are trained behind what prompt and rendering share.
    """
    plain, with_marks = both_forms(shared, tokenizers, "deepseekv3")
    sessions = some(next(every for name, every in chats if "identity" in name), 8)
    refused = plain.render(sessions)
    assert [entry.reason for entry in refused.set_aside] == ["prompt_not_prefix"] * 8
    assert "<think>" in refused.set_aside[0].detail
    trained_texts = targets_of(sessions, with_marks.render(sessions), plain.tokenizer)
    assert len(trained_texts) == 8
    assert all(text.endswith("<｜end▁of▁sentence｜>") for text in trained_texts.values())


def follows_no_call(sessions: pa.Table, row: int, place: int) -> bool:
    """Whether what comes after this message is the result of a call that it does not make."""
    messages = orjson.loads(sessions.column("messages")[row].as_py())[place : place + 2]
    return len(messages) == 2 and "tool_calls" not in messages[0] and messages[1]["role"] == "tool"


def targets_of(sessions: pa.Table, rendered: Rendered, tokenizer: Any) -> dict[tuple[int, int], str]:
    """(session, message) -> what is trained of it, as text."""
    found: dict[tuple[int, int], str] = {}
    for i, row in enumerate(rendered.session.tolist()):
        begin = int(rendered.sequences.offsets[i])
        for span in range(*rendered.span_offsets[i : i + 2]):
            ids = rendered.sequences.input_ids[
                begin + rendered.span_start[span] : begin + rendered.span_stop[span]
            ]
            key = row, int(rendered.span_message[span])
            found[key] = found.get(key, "") + tokenizer.decode(ids, continuing=True)
    return found
