"""Sessions that are asked together whether a plan holds answer what each answers by itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import chat_templates
import numpy as np
import pytest
from chats import assistant, byte_tokenizer, renderer, system, table, user

from tokenization.chat import groups
from tokenization.chat.agreement import Agreement
from tokenization.chat.cases import Case
from tokenization.chat.skeleton import Plan

TOKENIZER = byte_tokenizer(chat_templates.MARKERS, bos_token="<s>", eos_token="</s>")
SUPPOSED = ("counting", "measuring", "slicing", "parting", "selective")
TEXTS = (
    "a",
    "more than four",
    "/x",
    "secret",
    "<|im_end|>",
    "a <think> b",
    "\U00100001",
    "你好",
    "\u3000x",
    "##",
)


def sessions() -> list[list[dict[str, Any]]]:
    """Every text as question and as answer, with a system prompt and without."""
    asked = [[user(q), assistant(a)] for q in TEXTS for a in TEXTS]
    return [*asked, *([system(own[0]["content"]), *own] for own in asked)]


@pytest.mark.parametrize("options", [{}, {"default_system": "S"}], ids=["as usual", "with a system prompt"])
@pytest.mark.parametrize("name", SUPPOSED)
def test_a_group_answers_what_each_session_answers(
    name: str, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[bool] = []
    asked_in_groups = groups._agreeing

    def compared(ask: Agreement, plan: Plan, own: Any, case_of: Callable[[int], Case]) -> Any:
        found = asked_in_groups(ask, plan, own, case_of)
        alone = [ask.renderer.is_as_planned(plan, case_of(session)) for session in own.tolist()]
        assert found.tolist() == alone
        seen.extend(alone)
        return found

    monkeypatch.setattr(groups, "_agreeing", compared)
    renderer(chat_templates.EVERY[name], TOKENIZER, **options).render(table(*sessions()))
    assert len(seen) >= 32 and any(seen)
    assert name in ("counting", "parting", "selective") or not all(seen)


def test_a_session_whose_plan_says_something_else_is_found() -> None:
    ask = renderer(chat_templates.EVERY["parting"], TOKENIZER)
    found: list[list[bool]] = []
    asked_in_groups = Agreement.of

    def of(self: Agreement, plan: Plan, own: Any, case_of: Any, expected: list[list[str]]) -> Any:
        for number in range(len(own)):
            wrong = [[*texts] for texts in expected]
            wrong[-1][number] = wrong[-1][number].replace("\n", " ", 1)
            found.append(asked_in_groups(self, plan, own, case_of, wrong).tolist())
        return np.ones(len(own), bool)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Agreement, "of", of)
        ask.render(table(*([user(f"q{number}"), assistant("a")] for number in range(4))))
    assert found == [[place != number for place in range(4)] for number in range(4)]
