"""What a sequence weighs: its messages' weights times their roles', one number for each sequence."""

from __future__ import annotations

from typing import Any

import pytest
from chats import assistant, byte_tokenizer, renderer, table, user

from tokenization.chat.roles import Role
from tokenization.chat.weights import sequence_weights


def weighed(*sessions: list[dict[str, Any]], **options: Any) -> tuple[list[float], set[int]]:
    ask = renderer("chatml", byte_tokenizer(), **options)
    made = ask.render(table(*sessions))
    weights, mixed = sequence_weights(table(*sessions).column("messages"), made, ask.policy)
    return weights.tolist(), mixed


def test_without_weights_everything_weighs_one() -> None:
    assert weighed([user("q"), assistant('said "weight": 3')]) == ([1.0], set())


def test_a_messages_weight_is_its_sequences_and_a_masked_messages_says_nothing() -> None:
    session = [user("q", weight=9.0), assistant("a", weight=0.5), assistant("b", weight=7.0, train=False)]
    assert weighed(session) == ([0.5], set())


def test_weights_that_differ_give_the_mean_over_tokens_and_are_noted() -> None:
    three, one = assistant("ab", weight=3.0), assistant("abcd")  # with their stops 3 and 5 bytes
    assert weighed([user("q"), three, user("q"), one]) == ([(3 * 3 + 5 * 1) / 8], {0})
    same = assistant("abcd", weight=3.0)
    assert weighed([user("q"), three, user("q"), same], [user("q"), one]) == ([3.0, 1.0], set())


def test_a_roles_weight_multiplies_its_messages() -> None:
    roles = {
        "assistant": Role("assistant", trained=True, weight=2.0),
        "note": Role("note", trained=True, weight=0.5),
    }
    assert weighed([user("q"), assistant("a", weight=1.5)], roles=roles) == ([3.0], set())
    note = {"role": "note", "content": "a"}
    weights, mixed = weighed([note, assistant("a")], roles=roles)
    assert weights == pytest.approx([1.25]) and mixed == {0}


def test_prompts_that_are_trained_weigh_one() -> None:
    session = [user("q"), assistant("abc", weight=2.0)]
    prompt = len("user\nq\nassistant\n\n") + 3 - 1  # three markers; the first token is never a target
    ((weight,), mixed) = weighed(session, train_on_prompt=True)
    assert weight == pytest.approx((2.0 * 4 + prompt) / (4 + prompt)) and mixed == {0}
