"""How repetitive prompts are: counted by hand, by a naive counter, and as advice."""

from __future__ import annotations

import time
from collections import Counter
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pytest
from chats import assistant, system, user
from hypothesis import given
from hypothesis import strategies as st

from tokenization.chat.prompts import (
    OPENINGS,
    UNIQUE_BELOW,
    PromptTexts,
    Repetition,
    joined,
    measure,
    prompt_texts,
    report,
    suggestion,
)

ROLES = frozenset({"assistant"})
Session = list[dict[str, Any]]


def texts_of(*sessions: Session) -> PromptTexts:
    texts = pa.array([orjson.dumps(session).decode() for session in sessions], pa.large_string())
    return prompt_texts(pa.chunked_array([texts]), ROLES)


def measured(*sessions: Session) -> Repetition:
    return measure(texts_of(*sessions), np.ones(len(sessions), bool))


def one(prompt: str, *more: dict[str, Any]) -> Session:
    return [*more, user(prompt), assistant("an answer of its own")]


def test_a_text_that_occurs_again_is_exact_repetition_also_within_one_session() -> None:
    found = measured(one("same"), one("same"), one("other"))
    assert found.exact.tolist() == [4, 4, 0] and found.templated.tolist() == [4, 4, 0]
    found = measured(one("same", user("same")), one("other"))
    assert found.exact.tolist() == [4, 4, 0] and found.templated.tolist() == [0, 0, 0]
    assert found.shares() == {"bytes": 13, "exact_repetition": 0.615385, "templated_repetition": 0.0}


def test_lines_that_other_sessions_have_are_templated_with_their_line_feeds() -> None:
    found = measured(one("Translate:\nHello"), one("Translate:\nWorld\n春"), one("no\nTranslate: not"))
    assert found.exact.sum() == 0
    assert found.templated.tolist() == [11, 11, 0]
    twice = measured(one("line\nline\nline"), one("other"))
    assert twice.templated.tolist() == [0, 0]  # one session's own lines are no template


def test_an_opening_that_other_sessions_share_is_templated_up_to_its_last_known_length() -> None:
    opening = "Answer the question about this: "  # 32 bytes
    assert len(opening) == OPENINGS[0]
    found = measured(one(opening + "why?"), one(opening + "how so?"), one(opening[:31]))
    assert found.templated.tolist() == [32, 32, 0]
    longer = opening * 4 + "x"
    found = measured(one(longer + "why?"), one(longer + "how?"))
    assert found.templated.tolist() == [128, 128]


def test_an_opening_and_a_line_behind_it_are_counted_once() -> None:
    opening = "Answer the question about this: "
    found = measured(one(f"{opening}why?\nBe brief."), one(f"{opening}how?\nBe brief."))
    assert found.templated.tolist() == [32 + 9, 32 + 9]


def test_what_is_trained_is_no_prompt_and_what_a_tool_returned_is_one_that_decides_nothing() -> None:
    session = [
        user("u"),
        {"role": "tool", "content": "result"},
        assistant("a"),
        assistant("flagged", train=False),
        user("trained", train=True),
    ]
    texts = texts_of(session)
    assert texts.size.tolist() == [1, 6, 7] and texts.may_train.tolist() == [True, False, False]
    assert texts.answers.tolist() == [1 + 7]


def test_sessions_that_are_not_in_the_dataset_do_not_count() -> None:
    texts = texts_of(one("same"), one("same"), one("other"))
    found = measure(texts, np.array([True, False, True]))
    assert found.exact.tolist() == [0, 0, 0] and found.size.tolist() == [4, 0, 5]
    assert found.unique_sessions().tolist() == [True, False, True]


def test_a_session_is_unique_below_half_of_its_own_bytes() -> None:
    assert UNIQUE_BELOW == 0.5
    shared = system("ten bytes!")
    found = measured(
        one("eleven byte", shared), one("ten bytes?", shared), one("nine byte", shared), [assistant("alone")]
    )
    assert found.unique_sessions().tolist() == [True, False, False, False]


WORDS = st.sampled_from(["a", "bb", "春", "\n", "Answer the question about this: ", "x" * 40])
PROMPTS = st.lists(st.lists(WORDS, max_size=5).map("".join), max_size=3)


@given(st.lists(PROMPTS, max_size=8), st.integers(0, 7))
def test_a_naive_count_gives_the_same_however_the_sessions_are_cut_into_chunks(
    prompts: list[list[str]], border: int
) -> None:
    sessions = [[user(text) for text in own] for own in prompts]
    whole = measured(*sessions)
    parts = joined([texts_of(*sessions[:border]), texts_of(*sessions[border:])])
    again = measure(parts, np.ones(len(sessions), bool))
    assert again.either.tolist() == whole.either.tolist()

    messages = [(s, text.encode()) for s, own in enumerate(prompts) for text in own if text]
    times = Counter(text for _, text in messages)

    def elsewhere(session: int, piece: bytes, pieces: Any) -> bool:
        return any(piece in pieces(text) for other, text in messages if other != session)

    templated = []
    for session, text in messages:
        opening = max(
            (
                size
                for size in OPENINGS
                if size <= len(text)
                and elsewhere(session, text[:size], lambda t, n=size: [t[:n]] if len(t) >= n else [])
            ),
            default=0,
        )
        covered, begin = 0, 0
        for line in text.split(b"\n"):
            size = min(len(line) + 1, len(text) - begin)
            own = elsewhere(session, line, lambda t: t.split(b"\n"))
            covered += size if own else max(0, min(opening - begin, size))
            begin += size
        templated.append(covered)
    assert whole.exact.tolist() == [len(text) if times[text] > 1 else 0 for _, text in messages]
    assert whole.templated.tolist() == templated


def test_the_report_says_it_source_by_source_with_its_unit() -> None:
    texts = joined([texts_of(one("same"), one("same")), texts_of(one("春"))])
    counts = np.ones(3, bool)
    said = report(measure(texts, counts), {"first": slice(0, 2), "second": slice(2, 3)}, counts)
    assert said == {
        "unit": "bytes of UTF-8",
        "bytes": 11,
        "exact_repetition": 0.727273,
        "templated_repetition": 0.727273,
        "answer_bytes": 60,
        "sources": {
            "first": {"bytes": 8, "exact_repetition": 1.0, "templated_repetition": 1.0},
            "second": {"bytes": 3, "exact_repetition": 0.0, "templated_repetition": 0.0},
        },
        "unique_below": 0.5,
        "unique_sessions": 1,
        "suggests": suggestion(11, 8 / 11, 60),
    }


@pytest.mark.parametrize(
    ("figures", "words"),
    [
        ((0, 0.0, 9), ["no prompt text"]),
        ((100, 0.8, 9), ["80%", "keep prompts masked", "train_on_prompt: false"]),
        ((100, 0.1, 50), ["10%", "may help", "arXiv:2405.14394", "train_on_prompt: auto"]),
        ((100, 0.1, 500), ["answers are longer", "keep them masked"]),
    ],
)
def test_the_suggestion_follows_from_the_figures(figures: tuple[int, float, int], words: list[str]) -> None:
    said = suggestion(*figures)
    assert all(word in said for word in words) and said.count(".") - said.count("2405.") <= 2


def test_the_measure_does_not_grow_with_the_square_of_the_sessions() -> None:
    def seconds(count: int) -> float:
        texts = texts_of(*[one(f"Translate this:\nnumber {n}\nand so on") for n in range(count)])
        began = time.perf_counter()
        assert measure(texts, np.ones(count, bool)).templated.sum() > 0
        return time.perf_counter() - began

    seconds(100)
    assert seconds(16_000) < 200 * max(seconds(1_000), 1e-3)
