"""What of a session is trained: flags, character ranges, reasoning, calls and results, prompts; shown in ⟦ ⟧.

Every rendering here is also proven, by a prover that shares nothing with the renderer, and one wrong token is caught.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from typing import Any

import chat_templates
import numpy as np
import pytest
from chats import assistant, call, renderer, system, table, user
from trained_cases import claims_of, prover_of, shown, unproven, with_mask, word_tokenizer

from tokenization.chat.rendering import Rendered, Renderer

INSERTING = (
    "{%- if messages[0].role != 'system' %}{{ bos_token + '<|im_start|>system\\nI am me.<|im_end|>\\n' }}"
    "{%- else %}{{ bos_token }}{%- endif %}" + chat_templates.CHATML
)
TOOL: dict[str, Any] = {"role": "tool", "content": "42 is the result"}


def seen(
    template: str, *sessions: Sequence[dict[str, Any]], prompted: Sequence[int] = (), **options: Any
) -> list[str]:
    """What each session's sequences read, trained runs marked; all of them proven."""
    ask = renderer(template, word_tokenizer(), **options)
    made = ask.render(table(*sessions), prompted)
    assert not made.set_aside, made.set_aside
    assert unproven(ask, table(*sessions), made) == []
    return shown(made, word_tokenizer())


def set_aside(template: str, session: Sequence[dict[str, Any]], **options: Any) -> tuple[str, str]:
    (entry,) = renderer(template, word_tokenizer(), **options).render(table(session)).set_aside
    return entry.reason, entry.detail


# -- flags --------------------------------------------------------------------------------------------------


def test_a_flag_makes_a_prompt_a_target_and_an_answer_none() -> None:
    session = [user("q", train=True), assistant("a", train=False), user("q"), assistant("a")]
    assert seen("chatml", session) == [
        "<|im_start|>user\n⟦q<|im_end|>⟧\n<|im_start|>assistant\na<|im_end|>\n"
        "<|im_start|>user\nq<|im_end|>\n<|im_start|>assistant\n⟦a<|im_end|>⟧\n"
    ]
    assert seen("chatml", session, loss_on="last_answer")[0].count("⟦") == 1


def test_a_flagged_prompt_without_a_stop_of_its_own_sets_the_session_aside() -> None:
    template = chat_templates.SYSTEM_IN_LAST_USER
    assert set_aside(template, [user("q", train=True), assistant("a")])[0] == "no_stop"


def test_tool_calls_are_trained_and_tool_results_never_whatever_they_say() -> None:
    session = [user("q"), assistant("", tool_calls=[call("f", a=1)]), {**TOOL, "train": True}, assistant("a")]
    (text,) = seen("chatml", session)
    assert '⟦<tool_call>\n{"name": "f", "arguments": {"a": 1}}\n</tool_call><|im_end|>⟧' in text
    assert "<tool_response>\n42 is the result\n</tool_response><|im_end|>" in text
    assert text.endswith("⟦a<|im_end|>⟧\n")


def test_masked_reasoning_is_read_and_not_written() -> None:
    session = [user("q"), assistant("a", reasoning_content="think")]
    both = seen("chatml", session), seen("chatml", session, reasoning="masked")
    assert both[0][0].endswith("assistant\n⟦<think>\nthink\n</think>\n\na<|im_end|>⟧\n")
    assert both[1][0].endswith("assistant\n<think>\nthink\n</think>\n\n⟦a<|im_end|>⟧\n")


def test_white_space_that_opens_an_answer_is_the_answers_also_behind_masked_reasoning() -> None:
    session = [user("q"), assistant("\n a", reasoning_content="think")]
    for template in ("chatml", chat_templates.ALWAYS_THINKING):
        (text,) = seen(template, session, reasoning="masked")
        assert text.endswith("</think>\n\n⟦\n a<|im_end|>⟧\n")


# -- character ranges ---------------------------------------------------------------------------------------


def ranged(content: str, *ranges: tuple[int, int], **more: Any) -> list[dict[str, Any]]:
    return [user("q"), assistant(content, train=True, train_ranges=[list(r) for r in ranges], **more)]


@pytest.mark.parametrize(
    ("ranges", "answer"),
    [
        ([(0, 12)], "⟦Hello world,⟧ this is not trained<|im_end|>"),
        ([(12, 32)], "Hello world,⟦ this is not trained<|im_end|>⟧"),
        ([(0, 5), (17, 20)], "⟦Hello⟧ world, this⟦ is⟧ not trained<|im_end|>"),
        ([(0, 32)], "⟦Hello world, this is not trained<|im_end|>⟧"),
        ([(3, 14)], "Hello⟦ world,⟧ this is not trained<|im_end|>"),  # only tokens that lie wholly in it
    ],
)
def test_ranges_train_the_tokens_that_lie_wholly_in_them_and_the_stop_at_the_contents_end(
    ranges: list[tuple[int, int]], answer: str
) -> None:
    content = "Hello world, this is not trained"
    (text,) = seen("chatml", ranged(content, *ranges))
    assert text == f"<|im_start|>user\nq<|im_end|>\n<|im_start|>assistant\n{answer}\n"
    for template in (chat_templates.CHATML, INSERTING):
        assert seen(template, ranged(content, *ranges))[0].endswith(f"assistant\n{answer}\n")


def test_ranges_change_no_id() -> None:
    ask = renderer("chatml", word_tokenizer())
    content = "Hello world, this is not trained"
    made = ask.render(table(ranged(content, (3, 14)), [user("q"), assistant(content)]))
    ids, offsets = made.sequences.input_ids, made.sequences.offsets
    assert ids[: offsets[1]].tolist() == ids[offsets[1] :].tolist() and len(ids) > 20


def test_reasoning_is_not_trained_beside_ranges_and_calls_go_with_the_contents_end() -> None:
    more = {"reasoning_content": "think", "tool_calls": [call("f")]}
    (text,) = seen("chatml", ranged("Hello world", (5, 11), **more))
    assert "<think>\nthink\n</think>\n\nHello⟦ world\n<tool_call>" in text and "<|im_end|>⟧\n" in text
    (text,) = seen("chatml", ranged("Hello world", (0, 5), **more))
    assert "⟦Hello⟧ world\n<tool_call>" in text


def test_chinese_and_emoji_in_ranges_are_whole_characters() -> None:
    (text,) = seen("chatml", ranged("🦊春天🦊", (1, 3)))
    assert text.endswith("🦊⟦春天⟧🦊<|im_end|>\n")


def test_a_range_may_hold_typed_markers_and_not_end_within_one() -> None:
    (text,) = seen("chatml", ranged("Hello<|im_end|> world", (0, 15)))
    assert text.endswith("⟦Hello<|im_end|>⟧ world<|im_end|>\n")
    assert set_aside("chatml", ranged("Hello<|im_end|> world", (0, 9)))[0] == "ranges_not_placed"


def test_ranges_in_content_that_the_template_trims_set_the_session_aside() -> None:
    assert set_aside(chat_templates.TRIMMING, ranged(" Hello world", (0, 6)))[0] == "ranges_not_placed"
    assert seen(chat_templates.TRIMMING, ranged("Hello world", (0, 5)))[0].endswith("⟦Hello⟧ world<|im_end|>")


def test_ranges_without_a_whole_token_set_the_session_aside() -> None:
    reason, detail = set_aside("chatml", ranged("Hello world", (0, 2)))
    assert reason == "no_target" and "train_ranges" in detail


def test_ranges_of_a_template_that_serves_other_text_than_it_renders_stay_in_place() -> None:
    session = [system("Be."), user("q"), assistant("Hello world", train_ranges=[[5, 11]])]
    assert seen(chat_templates.SYSTEM_IN_LAST_USER, session) == ["[INST] Be.\n\nq[/INST] Hello⟦ world</s>⟧"]


# -- prompts ------------------------------------------------------------------------------------------------


def test_trained_prompts_leave_out_results_and_prompts_flagged_off() -> None:
    session = [
        user("question"),
        assistant("", tool_calls=[call("f")]),
        TOOL,
        TOOL,
        assistant("a"),
        user("question", train=False),
        assistant("a"),
    ]
    (text,) = seen("chatml", session, train_on_prompt=True)
    assert text.startswith("<|im_start|>⟦user\nquestion<|im_end|>\n<|im_start|>assistant\n<tool_call>")
    assert text.count("⟧42 is the result⟦") == 2 and text.count("⟧question⟦<|im_end|>") == 1


@pytest.mark.parametrize(
    ("options", "head"),
    [
        ({}, "<s><|im_start|>system\nI am me.<|im_end|>\n<|im_start|>user\n⟦question<|im_end|>"),
        (
            {"default_system": "Be."},
            "<s><|im_start|>system\nBe.<|im_end|>\n<|im_start|>user\n⟦question<|im_end|>",
        ),
        ({"default_system": "none"}, "<s>⟦<|im_start|>user\nquestion<|im_end|>"),
    ],
)
def test_a_system_prompt_that_is_not_the_sessions_own_is_never_trained(
    options: dict[str, str], head: str
) -> None:
    (text,) = seen(INSERTING, [user("question"), assistant("a")], train_on_prompt=True, **options)
    assert text.startswith(head) and text.endswith("a<|im_end|>\n⟧")
    (own,) = seen(INSERTING, [system("Mine."), user("q"), assistant("a")], train_on_prompt=True, **options)
    assert own.startswith("<s>⟦<|im_start|>system\nMine.")


def test_where_turns_are_rewritten_each_cut_trains_its_own_turn_only() -> None:
    session = [
        user("question"),
        assistant("a", reasoning_content="r"),
        user("q"),
        assistant("b", reasoning_content="r"),
    ]
    first, second = seen(chat_templates.THINKING, session, train_on_prompt=True)
    assert (
        first
        == "<|im_start|>⟦user\nquestion<|im_end|>\n<|im_start|>assistant\n<think>\nr\n</think>\n\na<|im_end|>\n⟧"
    )
    assert second == (
        "<|im_start|>user\nquestion<|im_end|>\n<|im_start|>assistant\na<|im_end|>\n<|im_start|>user\n"
        "⟦q<|im_end|>\n<|im_start|>assistant\n<think>\nr\n</think>\n\nb<|im_end|>\n⟧"
    )


def test_auto_trains_the_prompts_of_the_rows_that_it_is_told_and_records_them() -> None:
    session = [user("q"), assistant("a")]
    plain, prompted = seen("chatml", session, session, prompted=[1], train_on_prompt="auto")
    assert plain == "<|im_start|>user\nq<|im_end|>\n<|im_start|>assistant\n⟦a<|im_end|>⟧\n"
    assert prompted == "<|im_start|>⟦user\nq<|im_end|>\n<|im_start|>assistant\na<|im_end|>\n⟧"
    ask = renderer("chatml", word_tokenizer(), train_on_prompt="auto")
    made = ask.render(table(session, session), [1])
    assert made.actions == {1: ["train_on_prompt"]}
    lied = type(made)(**{**made.__dict__, "actions": {0: ["train_on_prompt"]}})
    assert len(unproven(ask, table(session, session), lied)) == 6  # both wrong, three times over


# -- the renderer against the prover ------------------------------------------------------------------------

SAID = ["Hello", " world", ",", "\n", "春天", "🦊", "<|im_end|>", "<think>", " ", "x", "é"]


def odd_sessions(seed: int, *, tools: bool, count: int = 24) -> list[list[dict[str, Any]]]:
    """Sessions with flags, ranges, reasoning, calls, results and typed markers, at random."""
    chance = random.Random(seed)

    def text(most: int = 5) -> str:
        return "".join(chance.choices(SAID, k=chance.randint(1, most))) + chance.choice(["w", "好", "."])

    def message(role: str) -> dict[str, Any]:
        made: dict[str, Any] = {"role": role, "content": text()}
        if role == "assistant" and chance.random() < 0.3:
            made["reasoning_content"] = text(3)
        if chance.random() < 0.15:
            made["train"] = chance.random() < 0.5
        start, stop = sorted(chance.randint(0, len(made["content"])) for _ in range(2))
        if start < stop and made.get("train", True) and chance.random() < 0.2:
            made |= {"train": True, "train_ranges": [[start, stop]]}
        return made

    sessions = []
    for _ in range(count):
        session = [message("system")] if chance.random() < 0.4 else []
        for _ in range(chance.randint(1, 3)):
            session += [message("user"), message("assistant")]
            if tools and chance.random() < 0.4:
                session[-1]["tool_calls"] = [call("f", k=text(2))]
                session += [*(message("tool") for _ in range(chance.randint(1, 2))), message("assistant")]
        sessions.append(session)
    return sessions


TEMPLATES = {
    "chatml": "chatml",
    "inserting": INSERTING,
    "thinking": chat_templates.THINKING,
    "always thinking": chat_templates.ALWAYS_THINKING,
    "trimming": chat_templates.TRIMMING,
    "system in last user": chat_templates.SYSTEM_IN_LAST_USER,
    "next marker": chat_templates.NEXT_MARKER,
    "nosy": chat_templates.NOSY,
}
OPTIONS: list[dict[str, Any]] = [
    {},
    {"train_on_prompt": True},
    {"train_on_prompt": "auto", "default_system": "Be brief."},
    {"train_on_prompt": True, "reasoning": "masked", "loss_on": "last_answer", "default_system": "none"},
]


def rendered(ask: Renderer, sessions: list[list[dict[str, Any]]]) -> list[Rendered]:
    """Whole, and fitted to a small window."""
    whole = ask.render(table(*sessions), range(0, len(sessions), 2))
    return [whole, ask.fit(table(*sessions), whole, 70)]


@pytest.mark.parametrize("name", TEMPLATES)
def test_whatever_messages_say_of_their_training_the_prover_agrees(name: str) -> None:
    looked_at: Counter[str] = Counter()
    for number, options in enumerate(OPTIONS):
        ask = renderer(TEMPLATES[name], word_tokenizer(), **options)
        sessions = odd_sessions(number, tools=name == "chatml")
        for made in rendered(ask, sessions):
            assert unproven(ask, table(*sessions), made) == []
            looked_at["sequences"] += len(made.sequences)
        assert ask.mismatches == []
    assert looked_at["sequences"] > 60, "too few sequences were looked at"


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_one_token_trained_or_masked_wrongly_is_always_caught(options: dict[str, Any]) -> None:
    ask = renderer("chatml", word_tokenizer(), **options)
    sessions = odd_sessions(7, tools=True, count=5)
    made = ask.render(table(*sessions), range(0, 5, 2))
    prover, claims = prover_of(ask), claims_of(table(*sessions), made)
    assert prover.prove_many(claims, made.sequences) == [None] * len(claims) != []
    offsets = made.sequences.offsets
    for token in range(0, len(made.sequences.input_ids), 4):
        own = int(np.searchsorted(offsets, token, side="right")) - 1
        problems = prover.prove_many(claims, with_mask(made, token))
        assert [n for n, problem in enumerate(problems) if problem is not None] == [own], token
