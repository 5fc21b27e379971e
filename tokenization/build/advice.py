"""What a build should be looked at for, without keeping it from being published.

    round_trip          texts come back from the tokenizer as they went in
    unknown_tokens      the vocabulary has a piece for everything
    prompt_repetition   prompts are not mostly one and the same

The first two are measured on the build's own items and tokens, the third was measured when the mask was decided.
Price: one pass over the ids, and the encoding of a few hundred messages.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import orjson
import pyarrow.parquet as pq

from tokenization.build.contents import SPLITS, Build
from tokenization.build.finding import Finding, finding
from tokenization.tokenizer.definition import Definition

SAMPLE = 500  # messages encoded and decoded
MOST_UNKNOWN = 0.001  # of all tokens
MOST_REPEATED = 0.5  # of the prompts' bytes


def measured(found: Finding, figure: str) -> Finding:
    """The finding with a figure of its own."""
    return Finding(found.name, found.passed, found.looked_at, figure, found.limit, found.problems)


def sampled_texts(build: Path, most: int) -> Iterator[tuple[str, str]]:
    """(source and item, text) of messages, spread evenly over the sessions of items.parquet."""
    table = pq.read_table(build / "items.parquet", columns=["source", "item", "kind", "messages"])
    rows = np.flatnonzero(table.column("messages").is_valid().to_numpy(zero_copy_only=False))
    chosen = (
        rows[np.unique(np.linspace(0, len(rows) - 1, min(most, len(rows)), dtype=np.int64))]
        if len(rows)
        else rows
    )
    for row in table.take(chosen).to_pylist():
        for message in orjson.loads(row["messages"])[:2]:
            if message.get("content"):
                yield f"{row['source']} {row['item']}", message["content"]


def check_round_trip(build: Build) -> Finding:
    """A sample of the messages, encoded and decoded by the exported tokenizer, is what it was."""
    pairs = list(sampled_texts(build.path, SAMPLE))
    decoded = and_back(build, [text for _, text in pairs])
    lossy = [
        f"{place}: {text[:60]!r} comes back as {again[:60]!r}"
        for (place, text), again in zip(pairs, decoded, strict=True)
        if again.strip() != text.strip()  # a dummy prefix is no loss
    ]
    found = finding("round_trip", lossy, f"{len(pairs)} messages", "every text comes back")
    return measured(found, f"{len(lossy) / max(1, len(pairs)):.2%} lossy")


def and_back(build: Build, texts: list[str]) -> list[str]:
    """The texts encoded and decoded by the exported tokenizer, which is opened (0.3 to 0.6 s) where there are any."""
    if not texts:
        return []
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(build.path / "tokenizer" / "tokenizer.json"))
    encoded = tokenizer.encode_batch(texts, add_special_tokens=False)
    decoded: list[str] = tokenizer.decode_batch([each.ids for each in encoded], skip_special_tokens=False)
    return decoded


def check_unknown(build: Build) -> Finding:
    """The tokenizer's unknown token is rare among the dataset's ids."""
    unknown = unknown_token_id(build.path)
    if unknown is None:
        return finding("unknown_tokens", [], "a vocabulary without an unknown token", "it can't occur")
    tokens = hits = 0
    per_source: dict[str, int] = {}
    for split in SPLITS:
        for rows in build.batches(split):
            where = np.flatnonzero(rows.input_ids == unknown)
            tokens, hits = tokens + len(rows.input_ids), hits + len(where)
            segments = np.searchsorted(rows.begins, where, side="right") - 1
            for segment, count in zip(*np.unique(segments, return_counts=True), strict=True):
                place = f"{rows.sources[int(segment)]} {rows.items[int(segment)]}"
                per_source[place] = per_source.get(place, 0) + int(count)
    share = hits / max(1, tokens)
    worst = sorted(per_source.items(), key=lambda pair: -pair[1])[:20]
    problems = [f"{place}: {count} unknown tokens" for place, count in worst] if share > MOST_UNKNOWN else []
    found = finding("unknown_tokens", problems, f"{tokens:,} tokens", f"at most {MOST_UNKNOWN:.1%}")
    return measured(found, f"{hits:,} unknown, {share:.3%}")


def unknown_token_id(build: Path) -> int | None:
    """The id that stands for what the vocabulary lacks, or None where every byte has a piece."""
    model = Definition.read(build / "tokenizer" / "tokenizer.json").model
    if model.get("byte_fallback"):
        return None
    if isinstance(model.get("unk_id"), int):  # unigram
        return int(model["unk_id"])
    token = model.get("unk_token")
    return model["vocab"].get(token) if token and isinstance(model.get("vocab"), dict) else None


def check_prompts(build: Build) -> Finding:
    """How much of the prompts is the same again; a mistake only where prompts are trained."""
    prompts = build.manifest.get("prompts")
    if not prompts:
        return finding("prompt_repetition", [], "no chats", "nothing to repeat")
    repeated = max(prompts["exact_repetition"], prompts["templated_repetition"])
    trained = build.manifest["recipe"]["chat"]["train_on_prompt"] is True
    problems = [prompts["suggests"]] if trained and repeated > MOST_REPEATED else []
    looked_at = f"{prompts['bytes']:,} bytes of prompts, {'trained' if trained else 'not trained'}"
    found = finding(
        "prompt_repetition", problems, looked_at, f"at most {MOST_REPEATED:.0%} where prompts are trained"
    )
    return measured(found, f"{repeated:.1%} repeated. {prompts['suggests']}")


ADVICE: dict[str, Callable[[Build], Finding]] = {
    "round_trip": check_round_trip,
    "unknown_tokens": check_unknown,
    "prompt_repetition": check_prompts,
}
