"""Each rule rejects what it is there for, and keeps what comes near."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from tokenization.quality.apply import apply_rules
from tokenization.quality.rules import GROUPS, RULES, parse_rules

_SENTENCE = "The quick brown fox jumps over the lazy dog and runs to the river with it."
_DISTINCT = " ".join(f"word{number}" for number in range(100))
_CHINESE = "话说天下大势，分久必合，合久必分。周末七国分争，并入于秦。及秦灭之后，楚、汉分争，又并入于汉。"

# rule, parameters, what it rejects, a near miss that it keeps
CASES: list[tuple[str, dict[str, Any], str, str]] = [
    ("min_length", {"min": 3}, "中文", "中文字"),
    ("max_length", {"max": 2, "unit": "words"}, "one two three", "one two"),
    ("script", {"keep": ["Latin"]}, "abcde фывапр", "abcdef фывапр"),
    ("language", {"keep": ["en"]}, "Les enfants jouent dans le jardin avec leurs amis.", _SENTENCE),
    ("gopher_word_count", {}, "word " * 49, "word " * 50),
    ("gopher_word_count", {"min": 0, "max": 9}, "字" * 10, "字" * 9),
    ("gopher_mean_word_length", {}, "ab " * 20, "abc " * 20),
    ("gopher_mean_word_length", {}, "abcdefghijk " * 20, "abcdefghij " * 20),
    ("gopher_symbol_ratio", {}, "# # " + "word " * 15, "# # " + "word " * 18),
    ("gopher_symbol_ratio", {}, "so... so… " + "word " * 15, "so... so… " + "word " * 18),
    ("gopher_bullet_lines", {}, "• point\n" * 19 + "line", "- point\n" * 9 + "line"),
    ("gopher_ellipsis_lines", {}, "more...\nmore…\nline\nline\nline\n", "more...\n" * 3 + "line.\n" * 7),
    ("gopher_alpha_words", {}, "word 1 2 3 --", "word 2nd a1 x2y 3"),
    ("gopher_stop_words", {}, "the cat sat on a mat, The end", "the cat sat of a mat"),
    (
        "gopher_duplicate_lines",
        {},
        "a\nb\na\nb",
        "a\nb\nc\na" + "\nlonger lines to dilute it" * 0 + "\nddddddd",
    ),
    ("gopher_duplicate_lines", {"max": 1}, "a\nbb\nbb\nc", "a\nb\na\ncccccc"),
    ("gopher_duplicate_paragraphs", {}, "one\ntwo\n\n one \ntwo\n\nthree", "one\ntwo\n\none\n\ntwo\n\nthree"),
    ("gopher_top_ngrams", {}, "to be or not to be", _DISTINCT + " to be or not to be"),
    ("gopher_duplicate_ngrams", {}, f"{_DISTINCT} {_DISTINCT}", f"{_DISTINCT} word1 word2 word3 word4 word5"),
    ("c4_terminal_punctuation", {}, "Only four words here.", "There are five words here."),
    ("c4_terminal_punctuation", {}, "A long line without an end\nand this one...", "他说：“今天天气很好。”"),
    ("c4_min_sentences", {}, "One. Two. v1.2.3", "One. Two! Three?"),
    ("c4_min_sentences", {}, "一。二，三", "一。二！三？"),
    ("c4_curly_bracket", {}, "if (a) { b }", "if (a) [ b ]"),
    ("c4_lorem_ipsum", {}, "Lorem IPSUM dolor", "lorem dolor ipsum"),
    ("c4_javascript", {}, "Please enable JavaScript.\nText.", "JavaScript is off.\n" + "Text.\n" * 9),
    ("c4_policy", {}, "This site uses cookies.\nText.", "This site uses biscuits.\nText."),
    ("c4_bad_words", {"words": ["darn it", "坏词"]}, "Well, DARN it!", "a darned thing, darn"),
    ("c4_bad_words", {"words": ["darn it", "坏词"]}, "这是坏词吗", "这是好词吗"),
    ("fineweb_line_punctuation", {}, "a\n" * 22 + "b.\n" * 3, "a\n" * 21 + "“好。”\n" * 3),
    ("fineweb_short_lines", {}, "short\n" * 3 + "long" * 8, "short\n" * 2 + "long" * 8),
    ("fineweb_char_duplicates", {}, "ab\nab\n" + "x" * 16, "ab\nab\n" + "x" * 17),
]


def _rejects(name: str, parameters: dict[str, Any], text: str) -> bool:
    if name == "language":
        pytest.importorskip("py3langid")
    outcome = apply_rules(pa.array([text], pa.large_string()), parse_rules([{name: parameters}]))
    return bool(outcome.rejected_by[0] == 0)


@pytest.mark.parametrize(("name", "parameters", "rejected", "kept"), CASES)
def test_a_rule_rejects_what_it_is_for_and_keeps_what_comes_near(
    name: str, parameters: dict[str, Any], rejected: str, kept: str
) -> None:
    assert _rejects(name, parameters, rejected)
    assert not _rejects(name, parameters, kept)


def test_every_rule_is_tried() -> None:
    assert {name for name, *_ in CASES} == set(RULES)


@pytest.mark.parametrize("name", GROUPS["gopher"] + ("fineweb_line_punctuation", "c4_min_sentences"))
def test_chinese_prose_passes_the_rules_that_count_words(name: str) -> None:
    assert not _rejects(name, {}, _CHINESE * 1 + "\n" + "三国演义是中国古典四大名著之一，作者罗贯中。" * 1)


@pytest.mark.parametrize("name", ["gopher_mean_word_length", "gopher_alpha_words", "gopher_stop_words"])
@pytest.mark.parametrize(
    "text",
    ["รักเมืองไทย" * 10, "日本語の文章です。" * 10, "中文 with some English 混在的文本，还有更多的字。" * 5],
)
def test_text_without_spaces_is_not_rejected_for_having_no_words(name: str, text: str) -> None:
    assert not _rejects(name, {}, text)


def test_stop_words_apply_to_documents_in_their_script() -> None:
    russian = "Мама мыла раму каждый день"
    assert not _rejects("gopher_stop_words", {}, russian)
    assert _rejects("gopher_stop_words", {"words": ["и", "в", "не"]}, russian)
    assert not _rejects("gopher_stop_words", {"words": ["и", "в", "не"], "min": 1}, "И мама не мыла раму")
    assert _rejects("gopher_stop_words", {"words": ["的", "是"]}, "话说天下大势")
    assert not _rejects("gopher_stop_words", {"words": ["的", "是"]}, "天下的大势是")


def test_bad_words_come_from_a_file_beside_the_recipe(tmp_path: Path) -> None:
    (tmp_path / "words.txt").write_text("Darn\n\nheck\n", "utf-8")
    rules = parse_rules([{"c4_bad_words": {"path": "words.txt"}}], tmp_path)
    assert rules[0].key() == ["c4_bad_words", {"path": None, "words": ["darn", "heck"]}], "content, not path"
    outcome = apply_rules(pa.array(["oh heck", "check"], pa.large_string()), rules)
    assert outcome.kept.tolist() == [False, True]


@pytest.mark.parametrize("rule", RULES.values(), ids=list(RULES))
def test_a_rule_says_where_it_comes_from_and_what_it_rejects(rule: Any) -> None:
    assert rule.rejects.endswith(".") and rule.source and rule.parameters.__doc__
    assert rule.family in ("gopher", "c4", "fineweb", "length", "language")
    assert all(field.description for field in rule.parameters.model_fields.values())


def test_the_defaults_are_the_published_ones() -> None:
    assert {name: rule.defaults for name, rule in RULES.items() if rule.family in GROUPS} == {
        "gopher_word_count": {"min": 50, "max": 100_000},
        "gopher_mean_word_length": {"min": 3, "max": 10},
        "gopher_symbol_ratio": {"max": 0.1},
        "gopher_bullet_lines": {"max": 0.9},
        "gopher_ellipsis_lines": {"max": 0.3},
        "gopher_alpha_words": {"min": 0.8},
        "gopher_stop_words": {
            "min": 2,
            "words": ("the", "be", "to", "of", "and", "that", "have", "with"),
        },
        "gopher_duplicate_lines": {"max": 0.3, "max_characters": 0.2},
        "gopher_duplicate_paragraphs": {"max": 0.3, "max_characters": 0.2},
        "gopher_top_ngrams": {"max": {2: 0.2, 3: 0.18, 4: 0.16}},
        "gopher_duplicate_ngrams": {"max": {5: 0.15, 6: 0.14, 7: 0.13, 8: 0.12, 9: 0.11, 10: 0.1}},
        "c4_terminal_punctuation": {"min": 1, "min_words": 5},
        "c4_min_sentences": {"min": 3},
        "c4_curly_bracket": {},
        "c4_lorem_ipsum": {},
        "c4_javascript": {"max": 0.1},
        "c4_policy": {"max": 0.1},
        "c4_bad_words": {"path": None, "words": ()},
        "fineweb_line_punctuation": {"above": 0.12},
        "fineweb_short_lines": {"below": 0.67, "length": 30},
        "fineweb_char_duplicates": {"below": 0.1},
    }
