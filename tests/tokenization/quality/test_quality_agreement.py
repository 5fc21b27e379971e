"""Column by column says what the papers' rules say text by text."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from naive_rules import JUDGES, words_of

from tokenization.quality import apply, measures
from tokenization.quality.apply import apply_rules
from tokenization.quality.rules import RULES, ConfiguredRule, parse_rules

LOOSE = parse_rules(
    ["gopher", "c4", "fineweb", {"min_length": {"min": 3, "unit": "words"}}, {"max_length": {"max": 400}}]
)
STRICT = parse_rules(  # thresholds that short texts cross
    [
        {"script": {"keep": ["Latin", "Han"], "min_share": 0.9}},
        {"min_length": {"min": 30}},
        {"max_length": {"max": 9, "unit": "words"}},
        {"gopher_word_count": {"min": 7, "max": 20}},
        {"gopher_mean_word_length": {"min": 2, "max": 4.5}},
        {"gopher_symbol_ratio": {"max": 0.4}},
        {"gopher_bullet_lines": {"max": 0.3}},
        {"gopher_alpha_words": {"min": 0.5}},
        {"gopher_stop_words": {"min": 1}},
        {"gopher_top_ngrams": {"max": {1: 0.5, 2: 0.1, 3: 0.3}}},
        {"gopher_duplicate_ngrams": {"max": {1: 0.8, 2: 0.5, 3: 0.3, 4: 0.1}}},
        {"c4_terminal_punctuation": {"min": 1, "min_words": 2}},
        {"c4_min_sentences": {"min": 4}},
        {"fineweb_short_lines": {"below": 0.5, "length": 8}},
    ]
)
_FRAGMENTS = (
    *("the", "to be", "of", " ", " ", " ", "\n", "\n", "\n\n", " \n\t\n", "word word2", "a b", "b a", "ab"),
    *(
        "中",
        "文字",
        "中文字中文字",
        "。",
        "，",
        "！",
        "“",
        "”",
        "한국 말",
        "ไทย",
        "かな",
        "カナ",
        "кириллица",
    ),
    *("...", "…", "....", ".", "?", '"', ")", "#", "- ", "•", "*", "{", "}", "Lorem Ipsum", "JavaScript"),
    *(
        "we use cookies",
        "privacy policy",
        "\u3000",
        "\u2028",
        "\x85",
        "\x0b",
        "é",
        "e\u0301",
        "😀",
        "٣",
        "12",
    ),
    *("x" * 8, "x" * 9, "x" * 16, "y" * 65, "z" * 200, "\x00", "naïve", "𠀀", "ɐ", "'tis"),
)
_text = st.lists(
    st.one_of(st.sampled_from(_FRAGMENTS), st.text(st.characters(max_codepoint=0x24F), max_size=4)),
    max_size=25,
).map("".join)


def _check(texts: list[str], rules: tuple[ConfiguredRule, ...]) -> dict[str, int]:
    """The rules say what the naive rules say, in whichever order; gives what each rejects."""
    column = pa.array(texts, pa.large_string())
    verdicts = {rule.name: [JUDGES[rule.name](text, rule.parameters) for text in texts] for rule in rules}
    alone = {name: sum(not kept for _, kept in found) for name, found in verdicts.items()}
    turn = len("".join(texts)) % len(rules)
    for ordered in (rules[turn:] + rules[:turn], tuple(reversed(rules))):
        outcome = apply_rules(column, ordered)
        assert outcome.figures is not None
        assert {name: counts.alone for name, counts in outcome.counts.items()} == alone
        assert sum(counts.first for counts in outcome.counts.values()) == (~outcome.kept).sum()
        for row, text in enumerate(texts):
            first = next((rule.name for rule in ordered if not verdicts[rule.name][row][1]), None)
            by = outcome.rejected_by[row]
            assert (outcome.rules[by] if by >= 0 else None) == first, text
            if first is not None:
                assert outcome.figures[row] == pytest.approx(verdicts[first][row][0]), (first, text)
    return alone


def test_every_rule_has_an_oracle() -> None:
    assert set(RULES) - set(JUDGES) == {"language", "c4_bad_words"}
    assert {rule.name for rule in (*LOOSE, *STRICT)} == set(JUDGES)


@pytest.mark.parametrize("rules", [LOOSE, STRICT], ids=["published", "strict"])
@settings(max_examples=40, deadline=None)
@given(texts=st.lists(_text, max_size=8), block=st.sampled_from([1, 64, 1 << 20]))
def test_a_column_is_judged_as_its_texts_are(
    texts: list[str], block: int, rules: tuple[ConfiguredRule, ...]
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(measures, "BLOCK_BYTES", block)
        patch.setattr(apply, "PIECE_BYTES", 3 * block)
        _check(texts, rules)


def test_the_fragments_make_each_strict_rule_reject_and_keep() -> None:
    texts = [
        first + second * 3 for first in _FRAGMENTS for second in ("\n- the naïve ab.", "中文字。", "# …\n")
    ]
    for name, rejected in _check(texts, STRICT).items():
        assert 0 < rejected < len(texts), name


@settings(max_examples=100, deadline=None)
@given(text=_text)
def test_words_are_runs_of_other_than_white_space_and_single_unspaced_letters(text: str) -> None:
    block = measures.Measured(*_bytes(text))
    data = text.encode()
    spans = zip(block.structure.word_begins.tolist(), block.structure.word_ends.tolist(), strict=True)
    assert [data[begin:end].decode() for begin, end in spans] == words_of(text)


def _bytes(text: str) -> tuple[measures.Bytes, measures.Places]:
    import numpy as np

    data = np.frombuffer(text.encode(), np.uint8)
    return data, np.array([0, len(data)])


def _real_texts(raw: Path) -> dict[str, list[str]]:
    def lines(name: str) -> list[str]:
        opened = gzip.open if name.endswith("gz") else open
        with opened(raw / "jsonl" / name, "rt", encoding="utf-8") as file:
            return [json.loads(line)["text"] for line in file]

    return {
        "web": lines("c4-demo.jsonl")[:40],
        "peps": [text[:10_000] for text in lines("peps.jsonl.gz")[:8]],
        "wiki-zh": lines("cmrc2018-wiki-zh.jsonl.gz")[:60],
        "poems": lines("tang-poems.jsonl")[:100],
        "code": pq.read_table(raw / "parquet" / "code-mbxp.parquet")["text"].to_pylist()[::200],
        "react-zh": [
            path.read_text("utf-8")[:8_000] for path in sorted((raw / "md/react-zh-hans").rglob("*.md"))[:8]
        ],
        "novel": [(raw / "txt/tinyshakespeare.txt").read_text("utf-8")[:20_000]],
        "novel-zh": [(raw / "txt-zh/xiyou-ji.txt").read_text("utf-8").replace("\r\n", "\n")[:10_000]],
    }


@pytest.mark.shared
@pytest.mark.parametrize(
    "source", ["web", "peps", "wiki-zh", "poems", "code", "react-zh", "novel", "novel-zh"]
)
def test_real_texts_are_judged_as_the_papers_say(shared: Path, source: str) -> None:
    texts = _real_texts(shared / "data/raw")[source]
    assert texts
    _check(texts, LOOSE)
    _check(texts, STRICT)


@pytest.mark.shared
def test_the_published_rules_keep_most_web_text_and_most_chinese_encyclopedia(shared: Path) -> None:
    texts = _real_texts(shared / "data/raw")
    for source, least in (("web", 0.75), ("wiki-zh", 0.75)):
        outcome = apply_rules(pa.array(texts[source], pa.large_string()), parse_rules(["gopher", "c4"]))
        assert outcome.kept.mean() > least, (source, outcome.counts)
