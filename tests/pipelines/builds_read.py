"""A published build read the way a stranger would: `datasets`, parquet and JSON, nothing of ours."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

Row = dict[str, Any]
Key = tuple[str, str, str]  # split, source, item


def dataset_of(build: Path) -> dict[str, list[Row]]:
    """Each split's rows."""
    from datasets import load_from_disk

    loaded = load_from_disk(str(build / "dataset"))
    return {split: loaded[split].to_list() for split in loaded}


def items_of(build: Path) -> dict[Key, Row]:
    rows = pq.read_table(build / "items.parquet").to_pylist()
    items = {(row["split"], row["source"], row["item"]): row for row in rows}
    assert len(items) == len(rows), "an item stands twice"
    return items


def quarantine_of(build: Path) -> list[Row]:
    return [
        json.loads(line)
        for path in sorted((build / "quarantine").glob("*.jsonl"))
        for line in path.read_text().splitlines()
    ]


def ledger_of(build: Path) -> list[Row]:
    return list(json.loads((build / "ledger.json").read_text())["entries"])


def segments_of(dataset: dict[str, list[Row]]) -> dict[Key, dict[int, tuple[list[int], list[bool]]]]:
    """Of every item that the dataset shows: its segments' ids and masks, by where they begin in the item."""
    found: dict[Key, dict[int, tuple[list[int], list[bool]]]] = defaultdict(dict)
    for split, rows in dataset.items():
        for row in rows:
            begin = 0
            for segment in row["segments"]:
                place = slice(begin, begin + segment["length"])
                begin = place.stop
                if not segment["source"]:
                    assert not any(row["loss_mask"][place]), "padding is trained"
                    continue
                shown = row["input_ids"][place], row["loss_mask"][place]
                pieces = found[split, segment["source"], segment["item"]]
                assert pieces.setdefault(segment["start"], shown) == shown, "shown again, and otherwise"
    return dict(found)


def joined(pieces: dict[int, tuple[list[int], list[bool]]]) -> list[int] | None:
    """The ids of an item from its beginning, or None where a part between is not drawn."""
    ids: list[int] = []
    for start in sorted(pieces):
        if start != len(ids):
            return None
        ids += pieces[start][0]
    return ids


def decoder(build: Path) -> Any:
    """ids -> text, special tokens included."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(build / "tokenizer" / "tokenizer.json"))
    return lambda ids: tokenizer.decode(list(ids), skip_special_tokens=False)
