"""The shared real data is read whole: counts as its manifest says, and the dirt as the golden says."""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from ingest_sources import Read, read_chat, read_text

from tokenization.ingest.sessions import BUILT_IN_ROLES, ChatOptions

pytestmark = pytest.mark.shared

GOLDEN = Path(__file__).resolve().parents[2] / "golden" / "ingest-dirt.json"

SESSIONS = {
    "alpaca/alpaca-zh-part-00.json": 10021,
    "alpaca/llamafactory-alpaca-en-demo.json": 999,
    "alpaca/llamafactory-alpaca-zh-demo.json": 1000,
    "alpaca/llamafactory-identity.json": 91,
    "alpaca/stanford-alpaca-en-0-3252.json": 3252,
    "alpaca/stanford-alpaca-en-3252-6382.json": 3130,
    "sharegpt/axolotl-conversation-missing-turns.json": 1,
    "sharegpt/fastchat-dummy-conversation.json": 500,
    "sharegpt/llamafactory-glaive-toolcall-en-demo.json": 300,
    "sharegpt/llamafactory-glaive-toolcall-zh-demo.json": 300,
    "messages/llamafactory-reason-tool-use-50.jsonl": 50,
    "messages/llamafactory-v1-sft-demo.jsonl": 500,
    "messages/reason-tool-use-think.jsonl": 50,
    "messages/sgd-toolcalls.jsonl": 420,
    "messages/xtuner-openai-sft.jsonl": 128,
}
NO_SESSIONS = {
    "preference/llamafactory-dpo-zh-demo.json": {"not_a_session": 300},
    "seeds/belle-zh-seed-tasks.jsonl": {"not_a_session": 175},
    "roles/coser-king-lear.json": {"not_a_session": 1},
    "roles/coser-king-lear.messages.jsonl": {"unknown_role": 19},
}
DOCUMENTS = {
    "raw/jsonl/peps.jsonl.gz": 418,
    "raw/jsonl/novels-en-more.jsonl.zst": 5,
    "raw/jsonl/c4-demo.jsonl": 300,
    "raw/jsonl/tang-poems.jsonl": 12008,
    "raw/jsonl/cmrc2018-wiki-zh.jsonl.gz": 1104,
    "raw/parquet/song-ci.parquet": 21050,
    "raw/parquet/code-mbxp.parquet": 12425,
    "raw/md/eips": 948,
    "raw/md/react-zh-hans/**/*.md": 207,
}


def reasons(read: Read) -> dict[str, int]:
    return dict(Counter(row["reason"] for row in read.set_aside))


@pytest.mark.parametrize("name", SESSIONS)
def test_every_session_of_the_shared_chats_is_read(shared: Path, name: str) -> None:
    read = read_chat(shared / "data/chat" / name)
    assert len(read.rows) == SESSIONS[name] and not read.set_aside


@pytest.mark.parametrize("name", NO_SESSIONS)
def test_what_is_no_session_is_set_aside(shared: Path, name: str) -> None:
    read = read_chat(shared / "data/chat" / name)
    assert not read.rows and reasons(read) == NO_SESSIONS[name]


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_document_of_the_shared_corpora_is_read(shared: Path, name: str) -> None:
    read = read_text(shared / "data" / name)
    assert len(read.rows) == DOCUMENTS[name] and not read.set_aside


def test_declared_roles_open_the_role_play(shared: Path) -> None:
    roles = BUILT_IN_ROLES | {"character", "narrator", "background", "client", "counselor"}
    options = ChatOptions(roles=roles, trained_roles=frozenset({"character", "counselor"}))
    read = read_chat(shared / "data/chat/roles/coser-king-lear.messages.jsonl", options)
    assert Counter(m["role"] for s in read.sessions for m in s) == {
        "character": 156, "narrator": 37, "background": 19,
    }  # fmt: skip
    smile = read_chat(shared / "data/chat/roles/smile-client-counselor.jsonl", options)
    assert len(smile.rows) + len(smile.set_aside) == 800
    assert set(reasons(smile)) == {"no_target"}, "sessions in which the counselor never speaks"


def test_both_forms_of_the_same_tool_talk_give_the_same_messages(shared: Path) -> None:
    typed = read_chat(shared / "data/chat/messages/llamafactory-reason-tool-use-50.jsonl").sessions
    tagged = read_chat(shared / "data/chat/messages/reason-tool-use-think.jsonl").sessions
    differing = [
        (a, b)
        for first, second in zip(typed, tagged, strict=True)
        for a, b in zip(first, second, strict=True)
        if _words(a) != _words(b)
    ]
    assert not differing


def _words(message: dict[str, Any]) -> tuple[str, str, str, list[Any]]:
    """Without the white space around texts, and ids, on which the two files differ."""
    calls = [call["function"] for call in message.get("tool_calls", [])]
    return (
        message["role"],
        message["content"].strip(),
        message.get("reasoning_content", "").strip(),
        calls,
    )


def test_reasoning_tools_flags_and_images_of_the_edge_cases(shared: Path) -> None:
    read = read_chat(shared / "data/chat/messages/xtuner-reasoning-content-loss.jsonl")
    assert len(read.rows) == 12 and reasons(read) == {"unsupported_content": 5}
    messages = [message for session in read.sessions for message in session]
    assert any("reasoning_content" in m for m in messages) and any("tool_calls" in m for m in messages)
    assert [m["train"] for m in messages if "train" in m].count(False) == 2


def test_the_dirt_comes_out_as_the_golden_says(shared: Path) -> None:
    read = read_text(shared / "data/raw/dirt")
    outcome = {
        "documents": len(read.rows),
        "files": {
            row["file"]: {
                "characters": len(row["text"]),
                "hash": row["hash"].hex(),
                "begins": row["text"][:40],
            }
            for row in read.rows
            if row["place"] == 0
        },
        "rows": hashlib.sha256(b"".join(row["hash"] for row in read.rows if row["place"])).hexdigest(),
        "set_aside": sorted(
            [row["file"], row["place"], row["own_id"], row["reason"]] for row in read.set_aside
        ),
        "changes": dict(sorted(read.changes.items())),
    }
    if os.environ.get("UPDATE_GOLDEN"):
        GOLDEN.write_text(json.dumps(outcome, indent=1, ensure_ascii=False) + "\n", "utf-8")
    assert outcome == json.loads(GOLDEN.read_text("utf-8"))


def test_legacy_encodings_give_the_language_they_hold(shared: Path) -> None:
    texts = {row["file"]: row["text"] for row in read_text(shared / "data/raw/dirt/*.txt").rows}
    assert "却说" in texts["honglou-meng.gbk.txt"] and "宝玉" in texts["honglou-meng.gbk.txt"]
    latin, utf8 = texts["entre-nous.latin1-crlf.txt"], texts["entre-nous.utf8.txt"]
    assert [latin.count(letter) for letter in "éèêàç"] == [utf8.count(letter) for letter in "éèêàç"]
    assert all("\r" not in text and "\ufeff" not in text for text in texts.values())
