"""Sessions longer than the window."""

from __future__ import annotations

from typing import Any

import chat_templates
import numpy as np
import pytest
from chats import assistant, byte_tokenizer, renderer, system, table, texts, trained, user
from hypothesis import given, settings
from hypothesis import strategies as st

from tokenization.chat.rendering import Rendered, Renderer

TOKENIZER = byte_tokenizer(chat_templates.MARKERS, bos_token="<s>", eos_token="</s>")


def long_session(turns: int, size: int = 20) -> list[dict[str, Any]]:
    return [system("S"), *[m for i in range(turns) for m in (user(f"q{i}"), assistant(f"a{i}" + "x" * size))]]


def fitted(ask: Renderer, window: int, *sessions: Any) -> Rendered:
    rows = table(*sessions)
    return ask.fit(rows, ask.render(rows), window)


def assert_sound(rendered: Rendered, window: int) -> None:
    lengths = rendered.sequences.lengths
    assert (lengths <= window).all()
    stops = np.array(sorted(rendered.stop_ids))
    for i in range(len(rendered.sequences)):
        mask = rendered.sequences.loss_mask[slice(*rendered.sequences.offsets[i : i + 2])]
        ids = rendered.sequences.input_ids[slice(*rendered.sequences.offsets[i : i + 2])]
        assert mask.any() and not mask[0]
        for span in range(rendered.span_offsets[i], rendered.span_offsets[i + 1]):
            assert mask[rendered.span_start[span] : rendered.span_stop[span]].all()
            assert ids[rendered.span_stop[span] - 1] in stops


def test_whole_earliest_turns_go_and_the_system_prompt_stays() -> None:
    rendered = fitted(renderer("chatml", TOKENIZER), 110, long_session(4), [user("u"), assistant("short")])
    assert_sound(rendered, 110)
    assert texts(rendered, TOKENIZER)[0].startswith("<|im_start|>system\nS<|im_end|>\n<|im_start|>user\nq2")
    assert rendered.actions == {0: ["drop_turns:2"]}
    assert rendered.span_message.tolist() == [6, 8, 1]  # counted in the session as it came
    assert rendered.session.tolist() == [0, 1]


def test_what_is_left_begins_with_one_bos_and_the_system_prompt_and_its_first_token_is_no_target() -> None:
    ask = renderer(chat_templates.TRIMMING, TOKENIZER)
    rendered = fitted(ask, 110, long_session(4))
    assert_sound(rendered, 110)
    (text,) = texts(rendered, TOKENIZER)
    assert text.startswith("<s><|im_start|>system\nS<|im_end|><|im_start|>user\nq2<|im_end|>")
    assert text.count("<s>") == 1 and rendered.actions == {0: ["drop_turns:2"]}
    assert trained(rendered, TOKENIZER)[0][0] == "a2" + "x" * 20 + "<|im_end|>"


def test_a_last_turn_that_does_not_fit_sets_the_session_aside_and_no_stop_is_made_up() -> None:
    rendered = fitted(
        renderer("chatml", TOKENIZER), 60, [user("u"), assistant("x" * 100)], long_session(1, 5)
    )
    assert [(entry.row, entry.reason) for entry in rendered.set_aside] == [(0, "overlong")]
    assert "window=60" in rendered.set_aside[0].detail
    assert rendered.session.tolist() == [1]


def test_set_aside_drops_nothing() -> None:
    ask = renderer("chatml", TOKENIZER, overlong="set_aside")
    rendered = fitted(ask, 150, long_session(4), long_session(1))
    assert [(entry.row, entry.reason) for entry in rendered.set_aside] == [(0, "overlong")]
    assert rendered.session.tolist() == [1] and not rendered.actions


def test_split_keeps_every_answer_once() -> None:
    ask = renderer("chatml", TOKENIZER, overlong="split")
    rendered = fitted(ask, 110, long_session(1), long_session(7))
    assert_sound(rendered, 110)
    assert rendered.session.tolist() == [0] + [1] * 4
    assert rendered.cut.tolist() == [-1, 0, 1, 2, 3]
    assert sorted(rendered.span_message[1:].tolist()) == list(range(2, 15, 2))
    assert rendered.actions == {1: ["split:4"]}
    assert all(text.startswith("<|im_start|>system\nS") for text in texts(rendered, TOKENIZER)[1:])


def test_cuts_of_a_rewriting_template_lose_their_earliest_turns() -> None:
    rendered = fitted(renderer(chat_templates.THINKING, TOKENIZER), 120, long_session(4))
    assert_sound(rendered, 120)
    assert rendered.cut.tolist() == [0, 1, 2, 3]
    assert rendered.span_message.tolist() == [2, 4, 6, 8]
    assert [runs[0][-10:] for runs in trained(rendered, TOKENIZER)] == ["<|im_end|>"] * 4
    done = [rendered.actions_of(number) for number in range(4)]
    assert done == [
        [],
        [],
        ["drop_turns:1"],
        ["drop_turns:2"],
    ]  # each names what it lost, not what others did


def test_what_fits_is_left_alone() -> None:
    ask = renderer("chatml", TOKENIZER)
    rows = table(long_session(2))
    rendered = ask.render(rows)
    assert ask.fit(rows, rendered, 10_000) is rendered


def test_tool_results_stay_with_the_call_they_answer() -> None:
    call = {"type": "function", "function": {"name": "f", "arguments": {"x": "y"}}}
    turn = [user("q"), assistant("", tool_calls=[call]), {"role": "tool", "content": "r"}, assistant("a")]
    rendered = fitted(renderer("chatml", TOKENIZER), 200, [*turn, *turn, *turn])
    assert_sound(rendered, 200)
    assert rendered.actions == {0: ["drop_turns:2"]}
    assert rendered.span_message.tolist() == [9, 11]


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.integers(0, 60), min_size=1, max_size=6),
    st.integers(30, 260),
    st.sampled_from(["drop_turns", "split", "set_aside"]),
    st.sampled_from([chat_templates.CHATML, chat_templates.THINKING, chat_templates.SYSTEM_IN_LAST_USER]),
)
def test_any_policy_leaves_sound_sequences_or_a_reason(
    sizes: list[int], window: int, policy: str, source: str
) -> None:
    session = [system("S"), *[m for n in sizes for m in (user("q" * n), assistant("a" * (n + 1)))]]
    ask = renderer(source, TOKENIZER, overlong=policy)
    rendered = fitted(ask, window, session, session[:3])
    assert_sound(rendered, window)
    rows = {*rendered.session.tolist(), *(entry.row for entry in rendered.set_aside)}
    assert rows == {0, 1}
    assert not set(rendered.session.tolist()) & {entry.row for entry in rendered.set_aside}


@pytest.mark.parametrize("window", [1, 5])
def test_a_window_too_small_for_anything_sets_everything_aside(window: int) -> None:
    rendered = fitted(renderer("chatml", TOKENIZER), window, long_session(2), long_session(3))
    assert len(rendered.sequences) == 0
    assert [entry.reason for entry in rendered.set_aside] == ["overlong", "overlong"]


def test_history_last_trains_every_answer_that_what_is_left_does_not_rewrite() -> None:
    session = [
        user("q0"), assistant("a0" + "x" * 60, reasoning_content="r"), user("q1"), assistant("a1"), assistant("a2"),
    ]  # fmt: skip
    ask = renderer(chat_templates.THINKING, TOKENIZER, history="last")
    assert trained(ask.render(table(session)), TOKENIZER) == [["<think>\n\n</think>\n\na2<|im_end|>"]]
    rendered = fitted(ask, 100, session)
    assert rendered.actions == {0: ["drop_turns:1"]}
    assert rendered.span_message.tolist() == [3, 4]
