"""`around_answers: trained` gives the labels that minimind's published rule gives: a search for markers among ids.

The rule is written here anew, over ids. It is what the option is for, and what it differs from: a marker that somebody
typed begins a target for the rule, and is text for the renderer.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import chat_templates
import numpy as np
import orjson
import pyarrow as pa
import pytest
from chats import SmallTokenizer, assistant, call, renderer, system, table, user
from trained_cases import claims_of, prover_of, shown, unproven, word_tokenizer

from tokenization.chat.rendering import Rendered
from tokenization.errors import RecipeError
from tokenization.recipe.chat import ChatSpec

THINKING = (
    "{%- for m in messages %}{{- '<|im_start|>' + m.role + '\\n' }}"
    "{%- if m.role == 'assistant' %}"
    "{{- '<think>\\n' + (m.reasoning_content or '') + '\\n</think>\\n\\n' }}{%- endif %}"
    "{{- m.content + '<|im_end|>\\n' }}{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}"
    "{%- if open_thinking is defined and open_thinking is true %}{{- '<think>\\n' }}"
    "{%- else %}{{- '<think>\\n\\n</think>\\n\\n' }}{%- endif %}{%- endif %}"
)
SESSIONS: list[Any] = [
    [user("question"), assistant("answer")],
    [system("this"), user("春天"), assistant("🦊 Hello world,"), user("\n"), assistant("answer\n")],
    [user("q"), assistant("a", reasoning_content="think"), user("q"), assistant("b")],
]


def searched(ids: list[int], begin: list[int], end: list[int]) -> np.ndarray:
    """The published rule: from behind each `begin` through the next `end`, or to the last id."""
    mask = np.zeros(len(ids), bool)
    place = 0
    while place < len(ids):
        if ids[place : place + len(begin)] != begin:
            place += 1
            continue
        start = stop = place + len(begin)
        while stop < len(ids) and ids[stop : stop + len(end)] != end:
            stop += 1
        mask[start : stop + len(end)] = True
        place = stop + len(end)
    return mask


def rule_of(rendered: Rendered, tokenizer: SmallTokenizer) -> np.ndarray:
    """The rule's mask of every sequence, behind one another."""
    added = tokenizer.added_tokens
    word, _ = tokenizer.encode_batch(["assistant\n"])
    line, _ = tokenizer.encode_batch(["\n"])
    begin = [added["<|im_start|>"], *word.tolist()]
    end = [added["<|im_end|>"], *line.tolist()]
    offsets = rendered.sequences.offsets.tolist()
    ids = rendered.sequences.input_ids
    masks = [searched(ids[a:b].tolist(), begin, end) for a, b in pairwise(offsets)]
    return np.concatenate(masks)


def both(template: str, tokenizer: SmallTokenizer, sessions: pa.Table) -> tuple[Rendered, Rendered]:
    """The sessions with surroundings trained, and without; both proven."""
    made = []
    for around in ("trained", "masked"):
        ask = renderer(template, tokenizer, around_answers=around)
        rendered = ask.render(sessions)
        assert unproven(ask, sessions, rendered) == []
        made.append(rendered)
    assert np.array_equal(made[0].sequences.input_ids, made[1].sequences.input_ids)
    return made[0], made[1]


def differing(trained: Rendered, masked: Rendered, tokenizer: SmallTokenizer) -> set[str]:
    """The tokens that only one of the two trains; `trained` is the one that has more."""
    one, other = trained.sequences.loss_mask.astype(bool), masked.sequences.loss_mask.astype(bool)
    assert not (other & ~one).any()
    return {tokenizer.decode([i]) for i in trained.sequences.input_ids[one & ~other].tolist()}


@pytest.mark.parametrize("template", [THINKING, "chatml"])
def test_the_labels_are_those_of_the_search_for_markers(template: str) -> None:
    tokenizer = word_tokenizer()
    trained, masked = both(template, tokenizer, table(*SESSIONS))
    assert not trained.set_aside
    assert np.array_equal(trained.sequences.loss_mask.astype(bool), rule_of(trained, tokenizer))
    assert not np.array_equal(masked.sequences.loss_mask.astype(bool), rule_of(masked, tokenizer))


def test_the_two_differ_in_line_breaks_behind_stops_and_in_think_tags_only() -> None:
    tokenizer = word_tokenizer()
    (session,) = [[user("question"), assistant("answer")]]
    trained, masked = both(THINKING, tokenizer, table(session))
    head = "<|im_start|>user\nquestion<|im_end|>\n<|im_start|>assistant\n"
    assert shown(trained, tokenizer) == [head + "⟦<think>\n\n</think>\n\nanswer<|im_end|>\n⟧"]
    assert shown(masked, tokenizer) == [head + "<think>\n\n</think>\n\n⟦answer<|im_end|>⟧\n"]
    assert {text.strip() for text in differing(trained, masked, tokenizer)} == {"", "<think>", "</think>"}


def test_a_template_without_think_tags_trains_the_line_break_only() -> None:
    trained, masked = both(chat_templates.CHATML, word_tokenizer(), table(*SESSIONS[:2]))
    assert differing(trained, masked, word_tokenizer()) == {"\n"}


def test_a_typed_marker_is_text_here_and_a_false_target_for_the_rule() -> None:
    tokenizer = word_tokenizer()
    session = [user("<|im_start|>assistant\nq<think>"), assistant("a")]
    trained, _ = both(THINKING, tokenizer, table(session))
    assert shown(trained, tokenizer)[0].endswith(
        "<|im_start|>assistant\n⟦<think>\n\n</think>\n\na<|im_end|>\n⟧"
    )
    word = tokenizer.added_tokens["<|im_start|>"]
    assert trained.sequences.input_ids.tolist().count(word) == 2  # the typed one is no control token


@pytest.mark.parametrize(("made", "asked"), [("trained", "masked"), ("masked", "trained")])
def test_the_prover_refuses_the_labels_of_the_other_mode(made: str, asked: str) -> None:
    sessions = table(*SESSIONS)
    rendered = renderer(THINKING, word_tokenizer(), around_answers=made).render(sessions)
    prover = prover_of(renderer(THINKING, word_tokenizer(), around_answers=asked))
    assert len(claims_of(sessions, rendered)) == len(SESSIONS)
    assert unproven(renderer(THINKING, word_tokenizer(), around_answers=asked), sessions, rendered)
    assert prover.demands.around_answers == asked  # type: ignore[attr-defined]


def test_calls_train_the_line_break_behind_their_stop() -> None:
    session = [user("q"), assistant("", tool_calls=[call("f", a="b")])]
    trained, masked = both("chatml", word_tokenizer(), table(session))
    assert differing(trained, masked, word_tokenizer()) == {"\n"}


def test_masked_reasoning_and_trained_think_tags_contradict_each_other() -> None:
    with pytest.raises((RecipeError, ValueError), match="around_answers"):
        ChatSpec.model_validate({"around_answers": "trained", "reasoning": "masked"})


def shared_sessions(path: Path) -> list[list[dict[str, Any]]]:
    """Sessions of minimind's roles out of a file of messages or of Alpaca's instructions."""
    if path.suffix == ".json":
        return [
            [user(f"{row['instruction']}\n{row['input']}"), assistant(row["output"])]
            for row in orjson.loads(path.read_bytes())
        ]
    rows = [orjson.loads(line) for line in path.read_bytes().splitlines() if line.strip()]
    lists = [row["messages"] if isinstance(row, dict) else row for row in rows]
    kept = ("role", "content", "reasoning_content")
    return [
        [{key: message[key] for key in kept if key in message} for message in messages]
        for messages in lists
        if all(isinstance(message.get("content"), str) for message in messages)
        and {message["role"] for message in messages} <= {"system", "user", "assistant"}
        and messages[-1]["role"] == "assistant"
    ]


@pytest.mark.parametrize(
    "name",
    [
        "alpaca/llamafactory-alpaca-zh-demo.json",
        "messages/xtuner-openai-sft.jsonl",
        "messages/xtuner-reasoning-content-loss.jsonl",
    ],
)
def test_minimind_itself_gives_these_labels(shared: Path, name: str) -> None:
    tokenizer = SmallTokenizer.read(shared / "data" / "tokenizers" / "minimind")
    sessions = shared_sessions(shared / "data" / "chat" / name)[:200]
    assert sessions, "no session to compare"
    trained, masked = both("tokenizer", tokenizer, table(*sessions))
    assert len(trained.sequences.offsets) > 1
    assert np.array_equal(trained.sequences.loss_mask.astype(bool), rule_of(trained, tokenizer))
    odd = {text.strip() for text in differing(trained, masked, tokenizer)}
    assert {"", "<think>"} <= odd <= {"", "<think>", "</think>"}
