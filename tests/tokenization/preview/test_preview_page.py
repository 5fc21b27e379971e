"""The page is one file that asks for nothing, and its content is data."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from preview_samples import HOSTILE, SPLIT, chat, sequence, window

from tokenization.preview.model import PreviewPage, SetAside
from tokenization.preview.page import html_page, page_data
from tokenization.preview.page_data import LONGEST_SEQUENCE, mask_lengths

HOSTILE_ROW = SetAside(HOSTILE, HOSTILE, HOSTILE, 7, HOSTILE, HOSTILE, HOSTILE)


def hostile_page() -> PreviewPage:
    seqs = [chat([("user", HOSTILE), ("assistant", HOSTILE)], piece=3, title=HOSTILE, note=HOSTILE)]
    return PreviewPage(HOSTILE, [(HOSTILE, HOSTILE)], seqs, [window([5], 2)], [HOSTILE_ROW])


def data_of(page: str) -> dict[str, Any]:
    (text,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    result: dict[str, Any] = json.loads(text)
    return result


def test_hostile_content_opens_no_element_and_leaves_nothing_active_in_the_file() -> None:
    page = html_page(hostile_page())
    assert len(re.findall(r"<script\b", page)) == 2 and page.count("</script>") == 2
    assert "<img" not in page and "onerror=alert(2)>" not in page
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\u2028\u2029\ufeff]", page)
    shown = json.dumps(data_of(page), ensure_ascii=False)
    assert "⟨ESC⟩[31mred" in shown and "⟨U+202E⟩gnirts" in shown and "</script><script>" in shown


def test_the_file_asks_for_nothing_and_allows_only_its_own_script_and_style() -> None:
    page = html_page(PreviewPage("t", [("a", "b")], [chat([("user", "hi"), ("assistant", "ho")])]))
    addresses = set(re.findall(r"https?://[^\s\"'<>]+", page))
    assert addresses == {"http://www.w3.org/2000/svg"}  # a namespace, never fetched
    assert not re.search(r"<link\b|@import|\burl\(|\bsrc=|\bfetch\(|XMLHttpRequest|import\(", page)
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b", page)
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', page)
    assert policy and policy[1].startswith("default-src 'none';")
    for tag, directive in (("style", "style-src"), ("script", "script-src")):
        (text,) = re.findall(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{directive} 'sha256-{digest}'" in policy[1]
    assert not re.search(r"<[a-z]+[^>]* (?:style|on[a-z]+)=", page.split("<script>")[0])


def test_the_data_gives_ids_bytes_mask_and_whole_characters_back() -> None:
    seq = chat([("user", "你好"), ("assistant", f"{SPLIT}\n</b>")])
    data = data_of(html_page(PreviewPage("t", [], [seq])))
    (one,) = data["sequences"]
    tokens = [data["tokens"][row] for row in one["rows"]]
    assert [token[0] for token in tokens] == seq.input_ids.tolist()
    assert [
        bytes.fromhex(token[3]) if len(token) > 3 else token[1].encode() for token in tokens
    ] == seq.token_bytes
    assert [bool(token[2]) for token in tokens] == seq.special.tolist()
    trained = np.repeat(np.arange(len(one["mask"])) % 2 == 1, one["mask"])
    assert (trained == seq.loss_mask).all()
    joined = {text: stop - start for start, stop, text in one["groups"]}
    assert joined["你"] == 3 and joined["👨‍👩‍👧"] == len("👨‍👩‍👧".encode())
    assert [role for _, role in one["turns"]] == ["user", "assistant"]


@given(st.lists(st.booleans(), max_size=50))
def test_mask_lengths_alternate_from_masked(mask: list[bool]) -> None:
    lengths = mask_lengths(np.array(mask, bool))
    assert np.repeat(np.arange(len(lengths)) % 2 == 1, lengths).tolist() == mask
    assert all(lengths[1:])


def test_a_page_stays_below_its_limit_and_says_what_it_leaves_out() -> None:
    rng = np.random.default_rng(5)
    texts = ["".join(map(chr, rng.integers(0x4E00, 0x9FA5, 400))) for _ in range(40)]
    seqs = [
        chat([("user", text), ("assistant", text)], piece=3, title=f"{i} {HOSTILE}")
        for i, text in enumerate(texts)
    ]
    windows = [window([30, 20], 14)] * 300
    page = PreviewPage("t", [], seqs, windows, [HOSTILE_ROW] * 500)
    limit = 200_000
    small = html_page(page, limit)
    assert len(small.encode()) <= limit
    data = data_of(small)
    for name, whole in (("sequences", 40), ("windows", 300), ("set_aside", 500)):
        assert len(data[name]) + data["left_out"][name] == whole
    assert 0 < len(data["sequences"]) < 40
    whole_page = PreviewPage("t", [], seqs, windows, [HOSTILE_ROW] * 50)
    assert not any(data_of(html_page(whole_page))["left_out"].values())


def test_facts_longer_than_what_is_left_for_them_take_it_from_the_data() -> None:
    rng = np.random.default_rng(5)
    texts = ["".join(map(chr, rng.integers(0x4E00, 0x9FA5, 400))) for _ in range(40)]
    seqs = [chat([("user", text), ("assistant", text)], piece=3) for text in texts]
    page = PreviewPage("t", [("asked for", "x" * 100_000)], seqs)
    limit = 220_000
    assert len(html_page(page, limit, page_data(page, limit)).encode()) <= limit
    told = PreviewPage("t", [("asked for", "x")], seqs)
    assert html_page(told, limit, page_data(told, limit)) == html_page(told, limit)
    assert len(page_data(page, limit)) + 100_000 > limit, (
        "the data as it was made before would not have fitted"
    )


def test_a_few_hundred_usual_sessions_fit_whole() -> None:
    rng = np.random.default_rng(7)
    texts = [" ".join(f"word{n}" for n in rng.zipf(1.4, 250) % 5000) for _ in range(300)]
    seqs = [chat([("user", text[:300]), ("assistant", text)], piece=5) for text in texts]
    page = html_page(PreviewPage("t", [], seqs))
    assert len(page.encode()) < 3_000_000
    assert data_of(page)["left_out"]["sequences"] == 0


def test_a_very_long_document_is_shown_from_its_beginning_and_keeps_its_true_counts() -> None:
    seq = sequence([(b"a", True)] * (LONGEST_SEQUENCE + 5), ids=[7] * (LONGEST_SEQUENCE + 5))
    (one,) = data_of(html_page(PreviewPage("t", [], [seq])))["sequences"]
    assert len(one["rows"]) == LONGEST_SEQUENCE and one["size"] == one["trained"] == LONGEST_SEQUENCE + 5


def test_an_empty_build_gives_a_page() -> None:
    assert data_of(html_page(PreviewPage("nothing", [], [])))["sequences"] == []


@pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")
def test_the_script_has_no_syntax_error(tmp_path: Path) -> None:
    (text,) = re.findall(r"<script>(.*?)</script>", html_page(hostile_page()), re.DOTALL)
    script = tmp_path / "page.js"
    script.write_text(text, "utf-8")
    done = subprocess.run(["node", "--check", str(script)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
