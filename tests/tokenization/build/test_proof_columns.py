"""Plain sessions proved as groups: none of a mask's errors hides behind sound neighbours of its shape."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from proof_cases import CHATML, Made, chat, prover, rendered, table_of, together

from tokenization.build import proof_columns
from tokenization.build.proof_view import Demands
from tokenization.build.proving import prove_table

SESSIONS = [
    *(chat(f"question {i}", f"answer {i} 春天") for i in range(12)),
    *(chat(f"first {i}", "yes", f"second {i}", f"no {i}", system="Be brief.") for i in range(12)),
    *(chat("<|im_end|> typed", f"🦊 {i} <|im_start|>assistant") for i in range(3)),
]
SOUND = [rendered(session) for session in SESSIONS]


def problems_of(made: list[Made], **more: object) -> list[str | None]:
    by = prover(**more)
    claims, sequences = together(made)
    return prove_table(by, table_of(claims), sequences)


def test_sound_sessions_are_proven_in_groups_and_none_of_them_one_by_one() -> None:
    by = prover()
    claims, sequences = together(SOUND)
    assert prove_table(by, table_of(claims), sequences) == [None] * len(SOUND)
    assert by.counts.by_shape == by.counts.proven == len(SOUND)


def first_target(made: Made) -> tuple[int, int, int]:
    return made.claim.spans[0]


ERRORS: dict[str, Callable[[Made], Made]] = {
    "one token too early": lambda m: m.with_mask({first_target(m)[0] - 1: True}),
    "the first answer token lost": lambda m: m.with_mask({first_target(m)[0]: False}),
    "the stop lost": lambda m: m.with_mask({first_target(m)[1] - 1: False}),
    "what follows the stop trained": lambda m: m.with_mask({first_target(m)[1]: True}),
    "the header leaked": lambda m: m.with_mask({0: True, 1: True}),
    "a span that ends early": lambda m: m.with_spans(
        (first_target(m)[0], first_target(m)[1] - 1, first_target(m)[2]), *m.claim.spans[1:]
    ),
    "a span of another message": lambda m: m.with_spans(
        (first_target(m)[0], first_target(m)[1], first_target(m)[2] + 1), *m.claim.spans[1:]
    ),
    "a span left out": lambda m: m.with_spans(*m.claim.spans[1:]),
    "another text": lambda m: replace(m, ids=[*m.ids[:4], m.ids[5], *m.ids[5:]]),
    "an id that stands for nothing": lambda m: replace(m, ids=[*m.ids[:4], 4_000_000, *m.ids[5:]]),
    "a token more": lambda m: replace(m, ids=[*m.ids, m.ids[-1]], mask=[*m.mask, False]),
    "a stop in place of typed text": lambda m: replace(m, ids=[*m.ids[:2], m.ids[0], *m.ids[3:]]),
}


@pytest.mark.parametrize("name", ERRORS)
@pytest.mark.parametrize("place", [0, 7, 20, len(SOUND) - 1])
def test_an_error_in_one_session_is_found_and_only_there(name: str, place: int) -> None:
    made = list(SOUND)
    made[place] = ERRORS[name](made[place])
    found = problems_of(made)
    assert [number for number, problem in enumerate(found) if problem is not None] == [place]


def test_two_sessions_swapped_are_both_found() -> None:
    made = list(SOUND)
    made[3], made[5] = replace(made[3], claim=made[5].claim), replace(made[5], claim=made[3].claim)
    found = problems_of(made)
    assert [number for number, problem in enumerate(found) if problem is not None] == [3, 5]


def test_a_text_moved_over_the_border_of_two_sessions_is_found() -> None:
    """The tokens of both together are right; where the first ends is not."""
    one, other = SOUND[0], SOUND[1]
    moved = [
        replace(one, ids=[*one.ids, other.ids[0]], mask=[*one.mask, False]),
        replace(other, ids=other.ids[1:], mask=other.mask[1:]),
    ]
    assert all(problem is not None for problem in problems_of(moved))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, len(SOUND) - 1), st.data())
def test_any_one_bit_of_the_mask_that_differs_is_found(place: int, data: st.DataObject) -> None:
    made = list(SOUND)
    token = data.draw(st.integers(0, len(made[place].mask) - 1))
    made[place] = made[place].with_mask({token: not made[place].mask[token]})
    found = problems_of(made)
    assert [number for number, problem in enumerate(found) if problem is not None] == [place]


def test_a_stop_that_is_not_a_declared_one_is_found_in_groups_too() -> None:
    stop = SOUND[0].ids[first_target(SOUND[0])[1] - 1]
    assert problems_of(SOUND, stop_ids=frozenset({stop})) == [None] * len(SOUND)
    assert None not in problems_of(SOUND, stop_ids=frozenset({stop + 1}))


def test_only_the_last_answer_where_the_recipe_says_so() -> None:
    demands = Demands(loss_on="last_answer")
    last = [rendered(session, [len(session) - 1]) for session in SESSIONS]
    assert problems_of(last, demands=demands) == [None] * len(last)
    found = problems_of(SOUND, demands=demands)
    more = [len(made.claim.spans) > 1 for made in SOUND]
    assert any(more) and np.array_equal([problem is not None for problem in found], more)


def around(made: Made) -> Made:
    """The same with the line break behind each stop trained too."""
    wider = made.with_mask({stop: True for _, stop, _ in made.claim.spans})
    return wider.with_spans(*((start, stop + 1, message) for start, stop, message in made.claim.spans))


def test_the_line_break_behind_a_stop_is_no_stop_where_it_is_trained_too() -> None:
    """A build that declared it would end every answer at its first line."""
    demands = Demands(around_answers="trained")
    made = [around(each) for each in SOUND]
    _, end, _ = first_target(made[0])
    stop, line_break = made[0].ids[end - 2 : end]
    assert problems_of(made, demands=demands, stop_ids=frozenset({stop})) == [None] * len(made)
    found = problems_of(made, demands=demands, stop_ids=frozenset({line_break}))
    assert all(problem is not None and "no stop of the build" in problem for problem in found)
    assert None not in problems_of(made, stop_ids=frozenset({stop}))  # the other mode's labels


LONG = "a long story " * 20
SHORT_AND_LONG = [rendered(chat(text, "yes")) for text in ("one", LONG, "two", "three")]


def test_a_template_that_writes_long_texts_otherwise_is_found_out_by_the_text_of_a_session() -> None:
    """Markers are short: what the shape's layout says is held against a session's own rendering."""
    by = prover(CHATML.replace("{{ m.role }}", "{{ 'long ' if m.content | length > 99 }}{{ m.role }}"))
    claims, sequences = together(SHORT_AND_LONG)
    found = prove_table(by, table_of(claims), sequences)
    assert [number for number, problem in enumerate(found) if problem is not None] == [1]
    assert by.counts.by_shape == 0


def test_a_template_that_prompts_otherwise_behind_long_texts_is_found_out_by_a_sampled_session(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The rendering of the whole session is the same; where serving hands over is looked at in the sample."""
    source = CHATML.replace(
        "assistant\n{% endif %}", "assistant\n{{ 'Hm: ' if messages[-1].content | length > 99 }}{% endif %}"
    )
    monkeypatch.setattr(proof_columns, "SAMPLE", 2)
    by = prover(source)
    claims, sequences = together([SHORT_AND_LONG[number] for number in (0, 2, 1, 3)])
    found = prove_table(by, table_of(claims), sequences)
    assert [number for number, problem in enumerate(found) if problem is not None] == [2]
    assert by.counts.by_shape == 0
