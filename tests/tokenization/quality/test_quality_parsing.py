"""A recipe's rules are understood, or refused with the way on."""

from __future__ import annotations

import pickle
import sys
from typing import Any

import pytest

from tokenization.errors import RecipeError
from tokenization.quality import detection
from tokenization.quality.rules import GROUPS, parse_rules


def _names(entries: list[Any]) -> list[str]:
    return [rule.name for rule in parse_rules(entries)]


def test_a_group_is_its_rules_in_their_order() -> None:
    assert _names(["fineweb", "c4_curly_bracket"]) == [*GROUPS["fineweb"], "c4_curly_bracket"]
    assert len(GROUPS["gopher"]) == 11
    assert "c4_bad_words" not in GROUPS["c4"], "it needs a list"


@pytest.mark.parametrize("turned", [False, True])
def test_a_rule_with_parameters_takes_the_place_of_its_groups(turned: bool) -> None:
    entries: list[Any] = ["gopher", {"gopher_word_count": {"min": 7}}]
    rules = parse_rules(entries[::-1] if turned else entries)
    assert len(rules) == len(GROUPS["gopher"])
    counts = [rule.key() for rule in rules if rule.name == "gopher_word_count"]
    assert counts == [["gopher_word_count", {"min": 7, "max": 100_000}]]


def test_nothing_behind_a_name_means_the_defaults() -> None:
    assert parse_rules([{"gopher_word_count": None}]) == parse_rules(["gopher_word_count"])


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("gopher_wordcount", r"rules\[0\] names 'gopher_wordcount', .*did you mean 'gopher_word_count'\?"),
        ("Gopher", "did you mean 'gopher'"),
        ("curly_bracket", "did you mean 'c4_curly_bracket'"),
        ("qqqq", "it can be gopher, c4, fineweb, min_length"),
        (7, "must be a rule's name"),
        ({"gopher": None, "c4": None}, "must be a rule's name, or one name with its parameters"),
        ({"gopher": {"min": 1}}, "gopher is a group and takes no parameters"),
        ({"gopher_word_count": 50}, "must be a mapping, with the keys min, max"),
        ({"gopher_word_count": {"minimum": 50}}, r"gopher_word_count: unknown key 'minimum'; .*'min'"),
        ({"gopher_word_count": {"min": -1}}, "min is -1; it must be at least 0"),
        ({"gopher_word_count": {"min": 9, "max": 8}}, "min is 9, above max, which is 8"),
        ({"gopher_alpha_words": {"min": 1.5}}, "min is 1.5; it must be .*at most 1"),
        ({"gopher_top_ngrams": {"max": {0: 0.5}}}, "n-gram size 0; it must be between 1 and 100"),
        ({"gopher_top_ngrams": {"max": {}}}, "it must be"),
        ({"min_length": {}}, "min is missing"),
        ({"min_length": {"min": 1, "unit": "word"}}, r"it must be characters or words .*did you mean words"),
        ({"script": {"keep": ["latin"]}}, "did you mean Latin|Latin"),
        ({"script": {"keep": []}}, "keep is an empty list"),
        ({"c4_bad_words": None}, "c4_bad_words has no words; say where they are"),
        ({"c4_bad_words": {"path": "nowhere.txt"}}, "nowhere.txt can't be read"),
    ],
)
def test_a_mistake_is_told_with_place_limit_and_way_on(entry: Any, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        parse_rules([entry])


def test_a_rule_stands_once() -> None:
    with pytest.raises(RecipeError, match=r"rules\[1\]: c4_policy is there twice"):
        parse_rules(["c4_policy", "c4_policy"])
    assert _names(["c4", "c4"]) == list(GROUPS["c4"])


def test_an_unknown_language_is_told() -> None:
    pytest.importorskip("py3langid")
    with pytest.raises(RecipeError, match=r"'zh-CN', which isn't one of the .* did you mean 'zh'"):
        parse_rules([{"language": {"keep": ["en", "zh-CN"]}}])


def test_without_the_library_the_rule_language_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    detection._identifier.cache_clear()
    detection.languages.cache_clear()
    monkeypatch.setitem(sys.modules, "py3langid.langid", None)
    with pytest.raises(RecipeError, match="pip install py3langid, or use the rule script"):
        parse_rules([{"language": {"keep": ["en"]}}])


def test_rules_can_be_sent_to_another_process() -> None:
    rules = parse_rules(["gopher", {"min_length": {"min": 5}}])
    assert rules[0].keep is not None
    assert pickle.loads(pickle.dumps(rules)) == rules


def test_all_that_matters_is_in_the_key() -> None:
    keys = [
        rule.key()
        for rule in parse_rules([{"min_length": {"min": 5}}, "gopher_top_ngrams", "c4_curly_bracket"])
    ]
    assert keys == [
        ["min_length", {"min": 5, "unit": "characters"}],
        ["gopher_top_ngrams", {"max": {"2": 0.2, "3": 0.18, "4": 0.16}}],
        ["c4_curly_bracket", {}],
    ]
