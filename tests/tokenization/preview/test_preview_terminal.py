"""In a terminal, content is shown and only our own colours act."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st
from preview_samples import HOSTILE, SPLIT, chat, window

from tokenization.preview.terminal import terminal_preview, terminal_window

OURS = re.compile(r"\x1b\[(?:0|1|2|4|30;48;5;157)m")

GOLDEN = """\
made · item-1  17 of 49 tokens trained (35%)
a title
note: 1 earliest turn dropped
── user · 0/20 trained ─────────────────────────────────────────────────
  <|im_start|>user⏎
  one⏎
  two? 你<|im_end|>⏎
── assistant · 17/29 trained ───────────────────────────────────────────
  <|im_start|>assistant⏎
+ first⏎
+ second 你<|im_end|>
  ⏎
"""


def test_without_colour_each_trained_line_carries_a_plus() -> None:
    seq = chat([("user", "one\ntwo? 你"), ("assistant", "first\nsecond 你")], note="1 earliest turn dropped")
    assert terminal_preview(seq, colour=False) == GOLDEN


def test_colour_marks_exactly_the_trained_text() -> None:
    text = terminal_preview(chat([("user", "no"), ("assistant", f"yes {SPLIT}\nmore")]), colour=True)
    green = re.findall(r"\x1b\[1m\x1b\[30;48;5;157m(?:\x1b\[4m)?([^\x1b]*)\x1b\[0m", text)
    assert "".join(green) == f"yes {SPLIT}⏎more<|im_end|>"


@given(st.text(max_size=50) | st.just(HOSTILE))
def test_no_control_sequence_of_the_content_is_emitted(content: str) -> None:
    seq = chat([("user", content), ("assistant", content)], piece=2, title=content, note=content)
    plain = terminal_preview(seq, colour=False)
    coloured = OURS.sub("", terminal_preview(seq, colour=True))
    for text in (plain, coloured):
        assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\u2028\u2029]", text)
    assert terminal_preview(seq, colour=True).count("\x1b[0m") >= 2


def test_a_window_is_one_line_with_its_segments_and_padding() -> None:
    head, line = terminal_window(window([20, 12], padding=8), colour=False, width=40).splitlines()
    assert head == "row 3 · sft · 2 segments · 30 of 40 tokens trained · 8 padding"
    assert line == "░" + "█" * 19 + "│" + "█" * 11 + "│" + "·" * 7
