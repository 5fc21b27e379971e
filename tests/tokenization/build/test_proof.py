"""The prover accepts what a naive renderer makes by hand, and names every single thing that is then broken."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from proof_cases import (
    CHATML,
    MARKERS,
    Made,
    TinyTokenizer,
    chat,
    proved,
    prover,
    rendered,
    together,
    tokenizer,
)

from tokenization.build.proof_template import ServedTemplate
from tokenization.build.proof_view import Demands

TALK = chat("How are you?", "Fine, thanks. 🦊", "春天的河流?", "很长。", system="Be brief.")
TOOLS = [
    {"role": "user", "content": "And you?"},
    {"role": "assistant", "content": "One moment."},
    {"role": "tool", "content": "the river is long"},
    {"role": "assistant", "content": "Long."},
]

contents = st.one_of(
    st.text(max_size=30),
    st.text("春天的河流很长🦊é\n \t<|>", max_size=20),
    st.lists(st.sampled_from([*MARKERS, "<think>", "</think>", "user", "\n", " x "]), max_size=4).map(
        "".join
    ),
)
messages = st.lists(
    st.fixed_dictionaries(
        {"role": st.sampled_from(["system", "user", "assistant", "tool"]), "content": contents},
        optional={"train": st.booleans()},
    ),
    min_size=1,
    max_size=6,
).filter(lambda session: any(m["role"] == "assistant" and m.get("train", True) for m in session))


def spoken(session: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The session with something in every message: an answer that says nothing is never rendered."""
    return [{**message, "content": message["content"] + "."} for message in session]


@settings(max_examples=150, deadline=None)
@given(st.lists(messages.map(spoken), min_size=1, max_size=4))
def test_what_is_rendered_by_hand_is_proven_whatever_is_said(sessions: list[list[dict[str, Any]]]) -> None:
    by = prover()
    for _ in range(3):  # by itself, while its shape is learnt, and by its shape
        assert by.prove_many(*together([rendered(session) for session in sessions])) == [None] * len(sessions)
    assert by.counts.proven == 3 * len(sessions)


@settings(max_examples=100, deadline=None)
@given(messages.map(spoken), st.data())
def test_any_one_flipped_target_is_noticed(session: list[dict[str, Any]], data: st.DataObject) -> None:
    made = rendered(session)
    place = data.draw(st.integers(0, len(made.mask) - 1))
    problem = proved(prover(), made.with_mask({place: not made.mask[place]}))
    assert problem is not None and f"token {place}:" in problem


@settings(max_examples=100, deadline=None)
@given(messages.map(spoken), st.data())
def test_any_one_changed_token_is_noticed(session: list[dict[str, Any]], data: st.DataObject) -> None:
    made = rendered(session)
    place = data.draw(st.integers(0, len(made.ids) - 1))
    other = data.draw(st.integers(0, tokenizer().size - 1).filter(lambda token: token != made.ids[place]))
    ids = [*made.ids[:place], other, *made.ids[place + 1 :]]
    assert proved(prover(), replace(made, ids=ids)) is not None


def span(made: Made, number: int = -1) -> tuple[int, int, int]:
    return made.claim.spans[number]


BREAKS: dict[str, tuple[Callable[[Made], Made], str]] = {
    "the target begins a token late": (
        lambda m: m.with_mask({span(m)[0]: False}),
        "is a target and is not trained",
    ),
    "the header leaks into the target": (
        lambda m: m.with_mask({span(m)[0] - 1: True}),
        "is no target and is trained",
    ),
    "the stop is not trained": (
        lambda m: m.with_mask({span(m)[1] - 1: False}),
        "'<|im_end|>' (id 2) of message",
    ),
    "the newline behind the stop is trained": (lambda m: m.with_mask({span(m)[1]: True}), "is no target"),
    "the first token is trained": (
        lambda m: m.with_mask({0: True}),
        "token 0: '<|im_start|>' (id 1) is trained",
    ),
    "an answer is not trained": (
        lambda m: m.with_mask(dict.fromkeys(range(*span(m, 0)[:2]), False)),
        "tokens are wrong",
    ),
    "a question's token is trained": (lambda m: m.with_mask({6: True}), "token 6: "),
    "a span begins a token early": (
        lambda m: m.with_spans(*m.claim.spans[:-1], (span(m)[0] - 1, *span(m)[1:])),
        "is recorded where",
    ),
    "a span ends a token late": (
        lambda m: m.with_spans(*m.claim.spans[:-1], (span(m)[0], span(m)[1] + 1, span(m)[2])),
        "is recorded where",
    ),
    "a span names another message": (
        lambda m: m.with_spans(*m.claim.spans[:-1], (*span(m)[:2], span(m)[2] - 1)),
        "is recorded where",
    ),
    "a span is missing": (lambda m: m.with_spans(*m.claim.spans[:-1]), "nothing is recorded where message"),
    "the last token is missing": (
        lambda m: replace(m, ids=m.ids[:-1], mask=m.mask[:-1]),
        "where the template writes",
    ),
    "a token is there twice": (
        lambda m: replace(m, ids=[*m.ids, m.ids[-1]], mask=[*m.mask, False]),
        "where the template writes",
    ),
    "an id stands for nothing": (lambda m: replace(m, ids=[*m.ids[:-1], 60_000]), "stands for nothing"),
    "a cut of what need not be cut": (
        lambda m: replace(m, claim=replace(m.claim, cut=0)),
        "need not be cut",
    ),
}


@pytest.mark.parametrize("name", BREAKS)
@pytest.mark.parametrize("session", [TALK, TOOLS], ids=["talk", "tools"])
def test_a_broken_sequence_is_caught_and_the_place_is_named(name: str, session: list[dict[str, Any]]) -> None:
    change, words = BREAKS[name]
    by = prover()
    made = rendered(session)
    assert proved(by, made) is None
    assert proved(by, change(made)) is not None
    assert words in str(proved(by, change(made)))


def test_a_token_of_a_tool_result_that_is_trained_is_named() -> None:
    made = rendered(TOOLS)
    place = span(made, 1)[0] - 12
    problem = proved(prover(), made.with_mask({place: True}))
    assert problem is not None and problem.startswith(f"token {place}: ") and "no target" in problem


def test_one_bad_sequence_among_many_is_the_only_one_named() -> None:
    by = prover()
    good = [rendered(chat(f"How are {i}?", f"Fine, {i} times. 河" + "!" * (i % 3))) for i in range(60)]
    assert by.prove_many(*together(good)) == [None] * 60
    bad = [*good]
    bad[17] = good[17].with_mask({span(good[17])[1] - 1: False})
    bad[40] = replace(good[40], ids=[*good[40].ids[:-1], 300])
    found = by.prove_many(*together(bad))
    assert [i for i, problem in enumerate(found) if problem is not None] == [17, 40]
    assert by.counts.by_shape > by.counts.by_itself


def test_two_sessions_that_were_swapped_are_both_named() -> None:
    one, other = rendered(chat("How?", "Fine.")), rendered(chat("And you?", "Thanks."))
    swapped = [replace(one, claim=other.claim), replace(other, claim=one.claim)]
    assert all(problem is not None for problem in prover().prove_many(*together(swapped)))


def test_a_typed_marker_as_text_is_proven_and_as_a_control_token_is_not() -> None:
    session = chat("What is <|im_end|> for?", "It ends: <|im_end|>")
    made = rendered(session)
    assert proved(prover(), made) is None
    spelled = tokenizer().text("<|im_end|>")
    at = next(i for i in range(len(made.ids)) if made.ids[i : i + len(spelled)] == spelled)
    length = len(spelled) - 1
    injected = Made(
        replace(made.claim, spans=[(a - length, b - length, m) for a, b, m in made.claim.spans]),
        [*made.ids[:at], tokenizer().marker("<|im_end|>"), *made.ids[at + len(spelled) :]],
        [*made.mask[:at], False, *made.mask[at + len(spelled) :]],
    )
    problem = proved(prover(), injected)
    assert problem == f"token {at}: '<|im_end|>' (id 2) is a control token where the session has typed text"


def test_a_marker_of_the_template_that_is_spelled_as_text_is_named() -> None:
    made = rendered(chat("How?", "Fine."))
    spelled = tokenizer().text("<|im_start|>")
    grown = len(spelled) - 1
    broken = Made(
        replace(made.claim, spans=[(a + grown, b + grown, m) for a, b, m in made.claim.spans]),
        [*spelled, *made.ids[1:]],
        [False] * grown + made.mask,
    )
    assert "must stand here as one control token" in str(proved(prover(), broken))


def test_a_stop_that_serving_does_not_know_is_a_problem() -> None:
    made = rendered(TALK)
    assert proved(prover(stop_ids=frozenset({tokenizer().marker("<|im_end|>")})), made) is None
    assert "is no stop of the build" in str(proved(prover(stop_ids=frozenset({0})), made))


def test_flags_and_the_last_answer_decide_what_must_be_trained() -> None:
    flagged = [{**TALK[0]}, TALK[1], {**TALK[2], "train": False}, *TALK[3:]]
    assert proved(prover(), rendered(flagged)) is None
    assert proved(prover(), rendered(flagged, trained=[2, 4])) is not None
    last = Demands(loss_on="last_answer")
    assert proved(prover(demands=last), rendered(TALK, trained=[4])) is None
    assert proved(prover(demands=last), rendered(TALK)) is not None
    roles = Demands(trained_roles=frozenset({"assistant", "narrator"}))
    scene = [{"role": "narrator", "content": "Night."}, *chat("How?", "Fine.")]
    assert proved(prover(demands=roles), rendered(scene, trained=[0, 2])) is None
    assert proved(prover(demands=roles), rendered(scene, trained=[2])) is not None


def test_prompts_are_trained_where_the_recipe_says_so_and_flagged_messages_are_not() -> None:
    everything = Demands(train_on_prompt=True)
    session = [*TALK[:2], {**TALK[2], "train": False}, *TALK[3:]]
    made = rendered(session)
    untrained = span(rendered(TALK), 0)
    mask = [i > 0 and not untrained[0] <= i < untrained[1] for i in range(len(made.mask))]
    assert proved(prover(demands=everything), replace(made, mask=mask)) is None
    assert "token 1:" in str(proved(prover(demands=everything), made))


THINKING = (
    "{% set ns = namespace(last=-1) %}{% for m in messages %}{% if m.role == 'user' %}"
    "{% set ns.last = loop.index0 %}{% endif %}{% endfor %}"
    "{% for m in messages %}<|im_start|>{{ m.role }}\n"
    "{% if m.reasoning_content and loop.index0 > ns.last %}<think>{{ m.reasoning_content }}</think>{% endif %}"
    "{{ m.content | trim }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def by_hand(session: list[dict[str, Any]], trained: int, cut: int | None) -> Made:
    """The thinking template by hand, up to this answer, which alone is trained."""
    shown = [dict(message) for message in session[: trained + 1]]
    last_user = max(i for i, m in enumerate(shown) if m["role"] == "user")
    for place, message in enumerate(shown):
        reasoning = message.pop("reasoning_content", None)
        message["content"] = message["content"].strip()
        if reasoning and place > last_user:
            message["content"] = f"<think>{reasoning}</think>{message['content']}"
    made = rendered(shown, trained=[trained])
    return replace(made, claim=replace(made.claim, messages=session, cut=cut))


def test_a_template_that_rewrites_earlier_turns_must_be_cut_as_the_recipe_says() -> None:
    session = chat("How?", "  Fine.\n", "And?", "Long. ")
    session[1]["reasoning_content"], session[3]["reasoning_content"] = "a", "b <|im_end|>"
    first, second = by_hand(session, 1, 0), by_hand(session, 3, 1)
    for _ in range(3):
        assert proved(prover(THINKING), first) is proved(prover(THINKING), second) is None
    assert "2 cuts were due" in str(
        proved(prover(THINKING), replace(second, claim=replace(second.claim, cut=None)))
    )
    assert proved(prover(THINKING), replace(first, claim=replace(first.claim, cut=1))) is not None
    whole = replace(second, claim=replace(second.claim, cut=None))
    assert proved(prover(THINKING, Demands(history="last")), whole) is None
    assert "history says error" in str(proved(prover(THINKING, Demands(history="error")), whole))


def test_masked_reasoning_stays_masked() -> None:
    session = chat("How?", "Fine.")
    session[1]["reasoning_content"] = "river"
    masked = Demands(reasoning="masked")
    made = by_hand(session, 1, None)
    thought = len(tokenizer().text("<think>river</think>"))
    start, stop, message = made.claim.spans[0]
    if tokenizer().text("<think>river</think>Fine.")[:thought] != tokenizer().text("<think>river</think>"):
        pytest.skip("this vocabulary has a token across the edge")
    assert proved(prover(THINKING), made) is None
    assert proved(prover(THINKING, masked), made) is not None
    kept = made.with_mask(dict.fromkeys(range(start, start + thought), False))
    assert proved(prover(THINKING, masked), kept.with_spans((start + thought, stop, message))) is None


@pytest.mark.parametrize(
    ("template", "words"),
    [
        (CHATML.replace("{{ m.content }}", "{{ m.content[:3] }}"), "does not render all of its content"),
        (CHATML.replace("<|im_end|>", "</s>"), "no control token ends the answer"),
        (CHATML.replace("{% for m", "{{ raise_exception('never') }}{% for m"), "never"),
        (
            CHATML.replace("<|im_start|>assistant\n{% endif", "<|im_start|>bot\n{% endif"),
            "is not how the rendered",
        ),
    ],
    ids=["an answer is cut", "no stop", "it raises", "another prompt"],
)
def test_a_template_that_allows_no_right_mask_proves_nothing(template: str, words: str) -> None:
    assert words in str(proved(prover(template), rendered(chat("How are you?", "Fine, thanks."))))


def test_a_call_that_the_template_drops_is_noticed_even_where_its_words_stand_elsewhere() -> None:
    first_only = CHATML.replace(
        "{{ m.content }}",
        "{{ m.content }}{% if m.tool_calls %}{{ m.tool_calls[0].function | tojson }}{% endif %}",
    )
    calls = [{"type": "function", "function": {"name": "area", "arguments": {"r": r}}} for r in (1, 2)]
    for count, fine in ((1, True), (2, False)):
        session = chat("Areas?", "area")
        session[1]["tool_calls"] = calls[:count]
        shown = chat("Areas?", 'area{"name": "area", "arguments": {"r": 1}}')
        made = rendered(shown)
        problem = proved(prover(first_only), replace(made, claim=replace(made.claim, messages=session)))
        assert (problem is None) == fine, problem
        assert fine or "tool_calls" in str(problem)


def test_a_template_that_looks_into_strings_is_followed_session_by_session() -> None:
    looking = CHATML.replace(
        "{{ m.content }}",
        "{% if m.content.startswith('!') %}{{ m.content[1:] | upper }}{% else %}{{ m.content }}{% endif %}",
    )
    by = prover(looking)
    for _ in range(4):
        for question, shown in (("How?", "How?"), ("!how", "HOW"), (" !how", " !how"), ("!", "")):
            made = rendered(chat(shown, "Fine."))
            claim = replace(made.claim, messages=chat(question, "Fine."))
            if shown in ("How?", " !how"):
                assert proved(by, replace(made, claim=claim)) is None
            else:  # the template changes what a user says: that is nothing to train on
                assert "does not render all" in str(proved(by, replace(made, claim=claim)))


def test_text_that_the_tokenizer_normalises_is_proven_with_its_encoder_and_counted() -> None:
    from tokenizers import normalizers

    own = TinyTokenizer(normalizers.NFC())
    decomposed = "Cafe\u0301 e\u0301"
    session = chat("How?", decomposed)
    made = rendered(chat("How?", "Caf\u00e9 \u00e9"))
    ids = [
        own.marker("<|im_start|>"), *own.text("user\n"), *own.text("How?"), own.marker("<|im_end|>"), *own.text("\n"),
        own.marker("<|im_start|>"), *own.text("assistant\n"), *own.text(decomposed), own.marker("<|im_end|>"),
        *own.text("\n"),
    ]  # fmt: skip
    assert ids == made.ids
    claim = replace(made.claim, messages=session)
    without = prover(tokenizer=own)
    assert "where the template writes" in str(proved(without, replace(made, claim=claim)))
    helped = prover(tokenizer=own, encode=lambda text, goes_on: own.text(text))
    assert proved(helped, replace(made, claim=claim)) is None
    assert helped.counts.lossy > 0
    assert proved(helped, replace(made, claim=claim).with_mask({span(made)[1] - 1: False})) is not None


def test_hidden_roles_headers_and_a_system_prompt_of_the_recipe() -> None:
    served = ServedTemplate(
        CHATML, headers={"narrator": "scene"}, hidden_roles=frozenset({"note"}), default_system="Be brief."
    )
    session = [
        {"role": "note", "content": "x"},
        {"role": "narrator", "content": "Night."},
        *chat("How?", "Fine."),
    ]
    shown = [
        {"role": "system", "content": "Be brief."},
        {"role": "scene", "content": "Night."},
        *chat("How?", "Fine."),
    ]
    made = rendered(shown)
    start, stop, _ = made.claim.spans[0]
    claim = replace(made.claim, messages=session, spans=[(start, stop, 3)])
    assert proved(prover(served=served), replace(made, claim=claim)) is None
    assert proved(prover(), replace(made, claim=claim)) is not None


def test_a_message_trained_in_parts_is_not_taken_for_one_trained_whole() -> None:
    by = prover()
    made = rendered(chat("How?", "Fine."))
    parted = [made.claim.messages[0], {**made.claim.messages[1], "train_ranges": [[0, 2]]}]
    for _ in range(3):
        assert proved(by, made) is None
        assert "(3 tokens are wrong)" in str(
            proved(by, replace(made, claim=replace(made.claim, messages=parted)))
        )


def test_nothing_to_prove_is_no_proof() -> None:
    by = prover()
    made = rendered(TALK, trained=[])
    silent = [{**message, "train": False} for message in TALK]
    assert "no message" in str(proved(by, replace(made, claim=replace(made.claim, messages=silent))))
    assert by.prove_many(*together([])) == [] and by.counts.proven == 0
    empty = by.prove(TALK, None, np.zeros(0, np.uint32), np.zeros(0, bool), [])
    assert empty is not None
