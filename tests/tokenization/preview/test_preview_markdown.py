"""What the Dagster page gets: small, readable, and closed only by us."""

from __future__ import annotations

import base64
import re
import xml.etree.ElementTree as ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from preview_samples import HOSTILE, SPLIT, chat, sequence

from tokenization.preview.markdown import markdown_preview, mask_diff
from tokenization.preview.svg import token_svg

GOLDEN = """\
```diff
  <|im_start|>system⏎You are careful.<|im_end|>⏎
  <|im_start|>user⏎2 + 2 是多少？<|im_end|>⏎
  <|im_start|>assistant⏎
+ 答案是 4。<|im_end|>
  ⏎
  <|im_start|>user⏎And doubled?<|im_end|>⏎
  <|im_start|>assistant⏎
+ It makes 8.<|im_end|>
  ⏎
```"""


def browser_length(text: str) -> int:
    return len(text.encode("utf-16-le")) // 2


def test_the_diff_of_a_short_session_reads_as_it_is_trained() -> None:
    turns = [("system", "You are careful."), ("user", "2 + 2 是多少？"), ("assistant", "答案是 4。")]
    assert mask_diff(chat([*turns, ("user", "And doubled?"), ("assistant", "It makes 8.")])) == GOLDEN


@pytest.mark.parametrize("limit", [400, 1000, 3000])
@pytest.mark.parametrize("num_turns", [1, 8, 60])
def test_a_diff_stays_below_its_limit_and_counts_what_it_leaves_out(limit: int, num_turns: int) -> None:
    times = 400 // num_turns + 10
    text = mask_diff(
        chat([("user", "👍 why? " * times), ("assistant", "because " * times)] * num_turns), limit
    )
    assert browser_length(text) <= limit
    assert "…" in text and text.count("\n") >= 3
    assert any(line.startswith("+ ") for line in text.splitlines()) or "trained" in text


def test_left_out_runs_are_counted_to_the_token() -> None:
    seq = chat([("user", "why? " * 9), ("assistant", "because " * 9)] * 60)
    text = mask_diff(seq, 600)
    gap = re.search(r"… (\d+) more runs: ([\d,]+) tokens, ([\d,]+) trained", text)
    assert gap
    tokens, trained = (int(part.replace(",", "")) for part in gap.groups()[1:])
    assert 0 < trained < seq.num_trained and trained < tokens < len(seq)
    assert text.splitlines()[1].startswith("  <|im_start|>u")


def test_a_shortened_answer_still_shows_its_stop_token() -> None:
    text = mask_diff(chat([("user", "q"), ("assistant", "word " * 900)]))
    (answer,) = [line for line in text.splitlines() if line.startswith("+ ")]
    assert "…" in answer and answer.endswith("<|im_end|>")


@settings(max_examples=60)
@given(st.text(alphabet="`~ \n+-a<|>", max_size=60) | st.just(HOSTILE))
def test_no_content_closes_the_fence(content: str) -> None:
    lines = mask_diff(chat([("user", content), ("assistant", content)])).split("\n")
    fence = re.fullmatch(r"(`{3,})diff", lines[0])
    assert fence and lines[-1] == fence[1]
    closing = re.compile(rf" {{0,3}}{fence[1]}`*\s*")
    assert not any(closing.fullmatch(line) for line in lines[1:-1])
    assert all(line.startswith(("+ ", "  ")) for line in lines[1:-1])


@pytest.mark.parametrize("content", [HOSTILE, SPLIT, "&<>\"'", "word " * 500, "\ud800\uffff\x0b"])
def test_the_boxes_are_well_formed_and_within_their_bytes(content: str) -> None:
    seq = chat([("user", content), ("assistant", content)])
    for limit in (2_000, 6_000, 100_000):
        svg = token_svg(seq, limit)
        ElementTree.fromstring(svg)
        assert len(svg.encode()) <= limit
    assert "more of" not in token_svg(seq, 500_000)
    assert "more of" in token_svg(seq, 2_000)


def test_boxes_cost_less_than_their_budget_a_token_and_show_characters_whole() -> None:
    seq = chat([("user", "你好 " * 50), ("assistant", "答案 " * 50)])
    svg = token_svg(seq, 100_000)
    assert len(svg.encode()) / len(seq) < 145
    tree = ElementTree.fromstring(svg)
    boxes = [node.text for node in tree.iter("{http://www.w3.org/2000/svg}tspan")]
    assert boxes.count("你") == 50 and boxes.count("答") == 50
    trained = [
        node.text for node in tree.iter("{http://www.w3.org/2000/svg}tspan") if node.get("class") == "t"
    ]
    assert trained.count("答") == 50 and trained[-1] == "<|im_end|>" and "你" not in trained
    assert svg.count('fill="#fff"') == 1


@pytest.mark.parametrize("count", [1, 2, 3, 12, 200])
@pytest.mark.parametrize("budget", [5_000, 20_000])
def test_a_preview_of_any_number_of_sessions_stays_within_its_budget(count: int, budget: int) -> None:
    seq = chat([("user", HOSTILE * 3), ("assistant", SPLIT * 20)] * 4, title="[x](javascript:1) **b** " * 9)
    text = markdown_preview([seq] * count, budget)
    assert len(text.encode()) <= budget
    shown = text.count("trained** /") + text.count("** trained /")
    assert shown >= 1
    assert ("not shown here" in text) == (shown < count)


def test_a_preview_uses_its_budget_and_its_pictures_decode() -> None:
    seqs = [chat([("user", "word " * 300), ("assistant", "answer " * 300)], note="2 turns dropped")] * 3
    text = markdown_preview(seqs)
    assert 15_000 < len(text.encode()) <= 20_000
    pictures = re.findall(r"data:image/svg\+xml;base64,([A-Za-z0-9+/=]+)\)", text)
    assert len(pictures) == 3
    for picture in pictures:
        ElementTree.fromstring(base64.b64decode(picture))
    assert "2 turns dropped" in text


def test_titles_cannot_become_markdown() -> None:
    text = markdown_preview([chat([("user", "hi")], title="`a` ![x](http://e) <b>\n# h")])
    assert "![x]" not in text and "<b>" not in text and "\n# h" not in text


def test_nothing_to_show_gives_empty_but_valid_output() -> None:
    empty = sequence([])
    assert markdown_preview([]) == ""
    assert mask_diff(empty) == "```diff\n\n```"
    ElementTree.fromstring(token_svg(empty, 2_000))
