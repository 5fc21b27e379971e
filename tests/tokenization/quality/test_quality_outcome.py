"""What comes out of the rules: who rejected what, counted twice over, in bounded pieces."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from tokenization.quality import apply, measures
from tokenization.quality.apply import RuleCounts, apply_rules, merge_counts
from tokenization.quality.characters import character_classes, class_table, code_points
from tokenization.quality.rules import parse_rules
from tokenization.quality.scripts import SCRIPTS

TEXTS = pa.array(["ab", "a {", "long enough {", "long enough"], pa.large_string())
RULES = parse_rules([{"min_length": {"min": 5}}, "c4_curly_bracket"])


def test_a_text_counts_under_the_first_rule_that_rejects_it() -> None:
    outcome = apply_rules(TEXTS, RULES)
    assert outcome.rejected_by.tolist() == [0, 0, 1, -1]
    assert outcome.rejected_by.dtype == np.int16
    assert outcome.counts == {"min_length": RuleCounts(2, 2), "c4_curly_bracket": RuleCounts(1, 2)}
    expected = [(0, "min_length", 2.0), (1, "min_length", 3.0), (2, "c4_curly_bracket", 1.0)]
    assert list(outcome.rejections()) == expected
    turned = apply_rules(TEXTS, RULES[::-1])
    assert turned.counts == {"c4_curly_bracket": RuleCounts(2, 2), "min_length": RuleCounts(1, 2)}


def test_a_dry_run_counts_and_rejects_nothing() -> None:
    wet, dry = apply_rules(TEXTS, RULES), apply_rules(TEXTS, RULES, dry=True)
    assert dry.counts == wet.counts
    assert dry.kept.all() and dry.figures is None


def test_figures_are_left_out_where_none_are_asked_for() -> None:
    outcome = apply_rules(TEXTS, RULES, figures=False)
    assert outcome.figures is None
    assert outcome.rejected_by.tolist() == [0, 0, 1, -1]


@pytest.mark.parametrize("texts", [[], [""], ["", " \n", ""]])
def test_empty_columns_and_texts_have_an_outcome(texts: list[str]) -> None:
    rules = parse_rules(["gopher", "c4", "fineweb", {"script": {"keep": ["Latin"]}}])
    outcome = apply_rules(pa.array(texts, pa.large_string()), rules)
    assert len(outcome.rejected_by) == len(texts)
    assert not outcome.kept.any()


def test_no_rules_keep_everything() -> None:
    assert apply_rules(TEXTS, ()).kept.all()


def test_a_slice_is_judged_as_its_texts() -> None:
    whole = apply_rules(TEXTS, RULES)
    for begin in range(len(TEXTS)):
        part = apply_rules(TEXTS.slice(begin), RULES)
        assert part.rejected_by.tolist() == whole.rejected_by[begin:].tolist()


def test_null_is_no_text() -> None:
    with pytest.raises(ValueError, match="1 texts are null"):
        apply_rules(pa.array([None], pa.large_string()), RULES)


def test_counts_of_pieces_add_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apply, "PIECE_BYTES", 1)
    outcome = apply_rules(TEXTS, RULES)
    assert outcome.counts == {"min_length": RuleCounts(2, 2), "c4_curly_bracket": RuleCounts(1, 2)}
    assert merge_counts([outcome.counts] * 2)["min_length"] == RuleCounts(4, 4)


def test_of_a_huge_text_the_beginning_is_looked_at_and_its_length_is_whole(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(measures, "LOOK_BYTES", 8)
    texts = pa.array(["short", "中文字 {", "{中文字", "b"], pa.large_string())
    assert measures.beginnings(texts).to_pylist() == ["short", "中文", "{中文", "b"]
    assert apply_rules(texts, parse_rules(["c4_curly_bracket"])).rejected_by.tolist() == [-1, -1, 0, -1]
    assert apply_rules(texts, parse_rules([{"min_length": {"min": 4}}])).kept.tolist() == [1, 1, 1, 0]


def test_characters_have_the_classes_that_unicode_gives_them() -> None:
    regex = pytest.importorskip("regex")
    table = class_table()
    for kind, script in enumerate(SCRIPTS, start=1):
        points = np.flatnonzero((table & 31) == kind)[:: 1 if script != "Han" else 97]
        assert len(points), script
        assert all(regex.match(rf"[\p{{{script}}}--\P{{L}}]", chr(point), regex.V1) for point in points[:500])


def test_classes_and_code_points_are_read_from_utf8() -> None:
    text = "aé中𠀀\u3000\u2028 한1\u00a0Ω"
    data = np.frombuffer(text.encode(), np.uint8)
    places = np.cumsum([0, *(len(each.encode()) for each in text[:-1])])
    assert code_points(data, places).tolist() == [ord(each) for each in text]
    assert character_classes(data)[places].tolist() == [class_table()[ord(each)] for each in text]
