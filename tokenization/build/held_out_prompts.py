"""Prompts that a model never saw: the beginnings of held-out sessions, up to their first answer."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import pyarrow.compute as pc
import pyarrow.parquet as pq


@dataclass(frozen=True)
class HeldOutPrompt:
    """Messages to answer, the last of them in words, and the answer that was held out."""

    messages: list[dict[str, str]]
    asked: str
    expected: str


def held_out_prompts(build: Path, most: int) -> list[HeldOutPrompt]:
    """The first `most` plain prompts of the validation split, in the order of items.parquet."""
    filters = [("split", "=", "validation"), ("kind", "=", "sft")]
    table = pq.read_table(build / "items.parquet", columns=["messages", "tools"], filters=filters)
    found = []
    for row in table.filter(pc.is_null(table.column("tools"))).to_pylist():
        prompt = prompt_of(orjson.loads(row["messages"]))
        if prompt is not None:
            found.append(prompt)
        if len(found) == most:
            break
    return found


def prompt_of(messages: list[dict[str, Any]]) -> HeldOutPrompt | None:
    """What comes before the first answer, where all of it is plain text."""
    first = next((i for i, message in enumerate(messages) if message["role"] == "assistant"), 0)
    before = messages[:first]
    if (
        not before
        or not messages[first].get("content")
        or any(not message.get("content") for message in before)
    ):
        return None
    plain = [{"role": str(message["role"]), "content": str(message["content"])} for message in before]
    return HeldOutPrompt(plain, plain[-1]["content"], str(messages[first]["content"]))
