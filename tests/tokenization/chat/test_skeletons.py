"""Skeletons give what the template gives, for any text that people write."""

from __future__ import annotations

from typing import Any

import chat_templates
import numpy as np
import pytest
from chats import assistant, byte_tokenizer, call, renderer, system, table, user
from hypothesis import given, settings
from hypothesis import strategies as st

from tokenization.chat.rendering import Rendered, Renderer
from tokenization.chat.symbols import SymbolicText

TOKENIZER = byte_tokenizer(chat_templates.MARKERS, bos_token="<s>", eos_token="</s>")
RENDERERS = {name: renderer(source, TOKENIZER) for name, source in chat_templates.EVERY.items()}
RENDERERS["builtin chatml"] = renderer("chatml", TOKENIZER)

hostile = st.one_of(
    st.sampled_from(
        [*chat_templates.MARKERS, "secret", "/", "##", "{{ bos_token }}", "\u3000", "\n", "\U00100001"]
    ),
    st.text(max_size=12),
)
content = (
    st.lists(hostile, max_size=4).map("".join).filter(lambda s: not any("\ud800" <= c <= "\udfff" for c in s))
)


@st.composite
def messages(draw: Any) -> list[dict[str, Any]]:
    found = [system(draw(content))] if draw(st.booleans()) else []
    for _ in range(draw(st.integers(1, 3))):
        found.append(user(draw(content)))
        more: dict[str, Any] = {}
        if draw(st.booleans()):
            more["reasoning_content"] = draw(content)
        if draw(st.integers(0, 3)) == 0:
            more["tool_calls"] = [call(draw(content) or "f", x=draw(content), **{draw(content): 1})]
        found.append(assistant(draw(content), **more))
    return found


def directly(ask: Renderer, sessions: Any) -> Rendered:
    """The same through the template itself, session by session."""
    other = Renderer(ask.template, ask.tokenizer, ask.options)
    other.planner.plan = lambda shape, messages, tools: None  # type: ignore[method-assign]
    return other.render(sessions)


def assert_same(a: Rendered, b: Rendered) -> None:
    assert a.session.tolist() == b.session.tolist() and a.cut.tolist() == b.cut.tolist()
    assert np.array_equal(a.sequences.input_ids, b.sequences.input_ids)
    assert np.array_equal(a.sequences.loss_mask, b.sequences.loss_mask)
    assert np.array_equal(a.span_start, b.span_start) and np.array_equal(a.span_stop, b.span_stop)
    assert [(e.row, e.reason) for e in a.set_aside] == [(e.row, e.reason) for e in b.set_aside]


@settings(max_examples=40, deadline=None)
@given(st.lists(messages(), min_size=1, max_size=3))
def test_hostile_sessions_come_out_as_the_template_renders_them(sessions: list[list[dict[str, Any]]]) -> None:
    rows = table(*sessions)
    for ask in RENDERERS.values():
        assert_same(ask.render(rows), directly(ask, rows))
        assert ask.mismatches == []


@settings(max_examples=40, deadline=None)
@given(messages())
def test_every_session_has_targets_that_end_in_a_stop_or_a_reason(session: list[dict[str, Any]]) -> None:
    for ask in RENDERERS.values():
        rendered = ask.render(table(session))
        assert bool(len(rendered.sequences)) != bool(rendered.set_aside)
        for i in range(len(rendered.sequences)):
            ids = rendered.sequences.input_ids[
                rendered.sequences.offsets[i] : rendered.sequences.offsets[i + 1]
            ]
            spans = slice(rendered.span_offsets[i], rendered.span_offsets[i + 1])
            assert rendered.span_start[spans].size
            assert set(ids[rendered.span_stop[spans] - 1].tolist()) <= rendered.stop_ids


def test_templates_are_served_by_skeletons_those_that_look_into_text_by_supposed_ones() -> None:
    rows = table(*[[user(f"q{i}"), assistant(f"a{i}")] for i in range(20)])
    for name, ask in RENDERERS.items():
        fresh = Renderer(ask.template, ask.tokenizer, ask.options)
        fresh.render(rows)
        served = [plan for plan in fresh.planner.plans.values() if plan]
        supposed = name in ("counting", "measuring", "slicing", "parting", "selective")
        assert served and all(plan.is_supposed == supposed for plan in served), name


def test_a_condition_that_fails_sends_one_session_to_the_template() -> None:
    ask = renderer(chat_templates.NOSY, TOKENIZER)
    rows = table(
        [user("a secret"), assistant("x")], [user("plain"), assistant("/y")], [user("z"), assistant("w")]
    )
    cases, _ = ask.cases(rows)
    assert [ask._filled(case)[1] is None for case in cases] == [True, True, False]
    assert_same(ask.render(rows), directly(ask, rows))


def test_a_supposition_holds_for_some_sessions_and_the_template_serves_the_others() -> None:
    texts = ["much longer" if i % 5 == 4 else "abcd"[: 1 + i % 4] for i in range(60)]
    rows = table(*[[user("why?"), assistant(text)] for text in texts])
    ask = renderer(chat_templates.MEASURING, TOKENIZER)
    left: list[int] = []
    cases = ask.cases

    def watched(sessions: Any, rows: Any = None, prompted: Any = ()) -> Any:
        left.extend(rows or ())
        return cases(sessions, rows, prompted)

    ask.cases = watched  # type: ignore[method-assign]
    assert_same(ask.render(rows), directly(ask, rows))
    assert left == [i for i, text in enumerate(texts) if len(text) > 4]


def test_a_session_that_the_template_refuses_for_what_it_says_is_set_aside_alone() -> None:
    refusing = chat_templates.SLICING.replace("{{- '[odd]\\n' }}", "{{- raise_exception('odd') }}")
    assert refusing != chat_templates.SLICING
    rows = table(*[[user("why?"), assistant("/x" if i == 7 else "so")] for i in range(20)])
    rendered = renderer(refusing, TOKENIZER).render(rows)
    assert [(each.row, each.reason) for each in rendered.set_aside] == [(7, "template_error")]
    assert len(rendered.sequences) == 19


def test_a_supposition_that_holds_for_few_is_given_up() -> None:
    rows = table(*[[user("why?"), assistant("w" * i)] for i in range(1, 80)])
    ask = renderer(chat_templates.COUNTING, TOKENIZER)
    looked: list[int] = []
    planned = ask.is_as_planned
    ask.is_as_planned = lambda plan, case: looked.append(case.row) or planned(plan, case)  # type: ignore[method-assign,func-returns-value]
    assert_same(ask.render(rows), directly(ask, rows))
    assert looked[:32] == list(range(32))


def test_neighbours_do_not_change_a_session() -> None:
    sessions = [[user(f"q{i % 3}" * i), assistant(f"a{i}")] for i in range(1, 30)]
    whole = RENDERERS["thinking"].render(table(*sessions))
    for i, session in enumerate(sessions):
        alone = renderer(chat_templates.THINKING, TOKENIZER).render(table(session))
        span = slice(*whole.sequences.offsets[i : i + 2])
        assert np.array_equal(alone.sequences.input_ids, whole.sequences.input_ids[span])
        assert np.array_equal(alone.sequences.loss_mask, whole.sequences.loss_mask[span])


def test_a_wrong_skeleton_is_found_by_the_sample_and_the_template_serves(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rows = table(*[[user(f" q{i} "), assistant(f"a{i}")] for i in range(40)])
    expected = directly(RENDERERS["trimming"], rows)
    ask = renderer(chat_templates.TRIMMING, TOKENIZER)
    monkeypatch.setattr(
        SymbolicText, "strip", lambda self, chars=None: self
    )  # a skeleton that forgets to trim
    assert_same(ask.render(rows), expected)
    assert ask.mismatches
