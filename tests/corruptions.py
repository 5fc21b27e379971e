"""Ways to break a build that exactly one check may notice.

Each function takes a copy of a whole build, breaks one law, and seals everything else again: the hashes of shards,
the counts of manifest and ledger, whatever another check would trip over. A check that fails alone was needed.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from tokenization import shards
from tokenization.hashing import file_digest
from tokenization.stages.items import ITEM_SCHEMA
from tokenization.stages.leaks import LEAK_SCHEMA
from tokenization.store import write_json

Row = dict[str, Any]


def manifest_of(build: Path) -> dict[str, Any]:
    return dict(orjson.loads((build / "manifest.json").read_bytes()))


def save_manifest(build: Path, manifest: dict[str, Any]) -> None:
    write_json(build / "manifest.json", manifest, indent=True)


def rows_of(build: Path, split: str = "train") -> list[Row]:
    """The split's rows as Python values."""
    return [row for batch in shards.read_split(build / "dataset" / split) for row in batch.to_pylist()]


def save_rows(build: Path, rows: list[Row], split: str = "train") -> None:
    """Write the rows as the split's one shard and seal it."""
    manifest = manifest_of(build)
    (shard,) = manifest["splits"][split]["shards"]
    window = manifest["window"]
    batch = pa.RecordBatch.from_pylist(rows, schema=shards.schema_of(window))
    shards.write_shard(build / shard["path"], iter([batch]), window)
    shard["sha256"] = file_digest(build / shard["path"])
    told = manifest["splits"][split]
    told["num_target_tokens"] = sum(sum(row["loss_mask"]) for row in rows)
    save_manifest(build, manifest)


def items_of(build: Path) -> list[Row]:
    return list(pq.read_table(build / "items.parquet").to_pylist())


def save_items(build: Path, items: list[Row]) -> None:
    pq.write_table(pa.Table.from_pylist(items, schema=ITEM_SCHEMA), build / "items.parquet")


def segments_of(row: Row) -> list[tuple[Row, slice]]:
    """Each segment with its place in the row."""
    found, begin = [], 0
    for segment in row["segments"]:
        found.append((segment, slice(begin, begin + segment["length"])))
        begin += segment["length"]
    return found


def first_session(rows: list[Row]) -> tuple[Row, Row, slice]:
    """A session of the split: its row, its segment, its place."""
    for row in rows:
        if row["kind"] == "sft":
            segment, place = segments_of(row)[0]
            return row, segment, place
    raise AssertionError("the split has no session")


def is_padded(row: Row) -> bool:
    return row["segments"][-1]["source"] == "" and row["seq_lens"][-1] > 1


def padded_rows(rows: list[Row]) -> list[Row]:
    return [row for row in rows if is_padded(row)]


# -- hashes ---------------------------------------------------------------------------------------------------


def append_a_byte(build: Path) -> None:
    """Behind the end of the Arrow stream, where no reader looks."""
    path = build / manifest_of(build)["splits"]["train"]["shards"][0]["path"]
    path.write_bytes(path.read_bytes() + b"\0")


def name_another_hash(build: Path) -> None:
    manifest = manifest_of(build)
    manifest["splits"]["validation"]["shards"][0]["sha256"] = "0" * 64
    save_manifest(build, manifest)


# -- windows_full ---------------------------------------------------------------------------------------------


def lend_a_token(build: Path) -> None:
    """One row claims a padding token less, the next one a token more: every total stays as it was, and every other
    row's tokens stand where they stood."""
    rows = rows_of(build)
    shorter, longer = next(pair for pair in pairwise(rows) if all(map(is_padded, pair)))
    for row, change in ((shorter, -1), (longer, 1)):
        row["seq_lens"][-1] += change
        row["segments"][-1]["length"] += change
    save_rows(build, rows)


def put_padding_first(build: Path) -> None:
    rows = rows_of(build)
    row = padded_rows(rows)[0]
    padding = row["seq_lens"][-1]
    for column, count in (("input_ids", padding), ("loss_mask", padding), ("seq_lens", 1), ("segments", 1)):
        row[column] = row[column][-count:] + row[column][:-count]
    save_rows(build, rows)


def count_a_window_more(build: Path) -> None:
    manifest = manifest_of(build)
    manifest["splits"]["train"]["num_windows"] += 1
    save_manifest(build, manifest)


# -- masks_proved ---------------------------------------------------------------------------------------------


def train_on_a_prompt(build: Path) -> None:
    """One token of a question is trained, one of its answer is not: the number of targets stays."""
    rows = rows_of(build)
    row, _, place = first_session(rows)
    mask = row["loss_mask"][place]
    prompt, answer = mask.index(False, 1), mask.index(True)
    row["loss_mask"][place.start + prompt] = True
    row["loss_mask"][place.start + answer] = False
    save_rows(build, rows)


def move_the_spans_too(build: Path) -> None:
    """The header before an answer is trained, and items.parquet says that it should be."""
    rows, items = rows_of(build), items_of(build)
    row, segment, place = first_session(rows)
    first = row["loss_mask"][place].index(True)
    row["loss_mask"][place.start + first - 1] = True
    item = next(
        each for each in items if each["item"] == segment["item"] and each["source"] == segment["source"]
    )
    item["spans"][0]["start"] -= 1
    item["num_target_tokens"] += 1
    save_rows(build, rows)
    save_items(build, items)


def forget_a_stop(build: Path) -> None:
    """The token that ends an answer is not trained."""
    rows = rows_of(build)
    row, _, place = first_session(rows)
    mask = row["loss_mask"]
    last = max(token for token in range(place.start, place.stop) if mask[token])
    mask[last] = False
    save_rows(build, rows)


def change_an_answer(build: Path) -> None:
    """One trained token is another one than the answer's."""
    rows = rows_of(build)
    row, _, place = first_session(rows)
    token = place.start + row["loss_mask"][place].index(True)
    row["input_ids"][token] = row["input_ids"][token] + 1
    save_rows(build, rows)


def mask_some_text(build: Path) -> None:
    rows = rows_of(build)
    row = next(row for row in rows if row["kind"] == "pretrain")
    row["loss_mask"][5] = False
    save_rows(build, rows)


def train_on_padding(build: Path) -> None:
    rows = rows_of(build)
    padded_rows(rows)[0]["loss_mask"][-1] = True
    save_rows(build, rows)


# -- targets_present ------------------------------------------------------------------------------------------


def declare_nothing(build: Path) -> None:
    """A session whose answers all say that they are not to be trained, and are not."""
    rows, items = rows_of(build), items_of(build)
    row, segment, place = first_session(rows)
    row["loss_mask"][place] = [False] * segment["length"]
    item = next(
        each for each in items if each["item"] == segment["item"] and each["source"] == segment["source"]
    )
    messages = orjson.loads(item["messages"])
    for message in messages:
        if message["role"] == "assistant":
            message["train"] = False
    item |= {"messages": orjson.dumps(messages).decode(), "spans": [], "num_target_tokens": 0}
    save_rows(build, rows)
    save_items(build, items)


# -- ledger_closed --------------------------------------------------------------------------------------------


def lose_a_session(build: Path) -> None:
    """A source reads one row more than it keeps and sets aside."""
    ledger = orjson.loads((build / "ledger.json").read_bytes())
    next(entry for entry in ledger["entries"] if entry["stage"] == "ingest")["in"] += 1
    write_json(build / "ledger.json", ledger, indent=True)


def break_the_chain(build: Path) -> None:
    """Two stages that each close, and do not meet."""
    ledger = orjson.loads((build / "ledger.json").read_bytes())
    entry = next(
        entry for entry in ledger["entries"] if entry["stage"] == "encode" and entry["unit"] == "tokens"
    )
    entry["in"] += 3
    entry["out"] += 3
    write_json(build / "ledger.json", ledger, indent=True)


def entry_of(ledger: Row, stage: str, unit: str) -> Row:
    """The first entry of the stage in that unit."""
    return next(entry for entry in ledger["entries"] if (entry["stage"], entry["unit"]) == (stage, unit))


def lose_characters(build: Path) -> None:
    """A text source reads some characters more than it keeps and says it removed."""
    ledger = orjson.loads((build / "ledger.json").read_bytes())
    entry_of(ledger, "ingest", "characters")["in"] += 5
    write_json(build / "ledger.json", ledger, indent=True)


def break_the_chain_of_bytes(build: Path) -> None:
    """The encoder took other bytes than the draw gave, and closes."""
    ledger = orjson.loads((build / "ledger.json").read_bytes())
    entry = entry_of(ledger, "encode", "bytes")
    entry["in"] += 3
    entry["out"] += 3
    write_json(build / "ledger.json", ledger, indent=True)


def quarantine_of_texts(build: Path) -> tuple[Path, list[Row]]:
    """The quarantine of the first source that had a duplicate."""
    for path in sorted((build / "quarantine").glob("*.jsonl")):
        rows = [orjson.loads(line) for line in path.read_bytes().splitlines()]
        if any(row["reason"] == "exact_duplicate" and "text" in orjson.loads(row["row"]) for row in rows):
            return path, rows
    raise AssertionError("no text was a duplicate")


def drop_a_quarantined_row(build: Path) -> None:
    """What was set aside is nowhere any more."""
    path, rows = quarantine_of_texts(build)
    path.write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in rows[1:]))


def shorten_a_quarantined_text(build: Path) -> None:
    """As many rows as the ledger counts, and fewer characters."""
    path, rows = quarantine_of_texts(build)
    row = next(row for row in rows if row["reason"] == "exact_duplicate")
    held = orjson.loads(row["row"])
    row["row"] = orjson.dumps({**held, "text": held["text"][1:]}).decode()
    path.write_bytes(b"".join(orjson.dumps(each) + b"\n" for each in rows))


def lose_the_ledger(build: Path) -> None:
    (build / "ledger.json").unlink()


# -- share ----------------------------------------------------------------------------------------------------


def ask_for_less(build: Path) -> None:
    """The dataset was mixed for another share than the recipe asks for."""
    manifest = manifest_of(build)
    manifest["mixture"]["asked"] = manifest["recipe"]["mixture"]["pretrain_share"] = 0.11
    save_manifest(build, manifest)


def boast_of_the_share(build: Path) -> None:
    manifest = manifest_of(build)
    manifest["mixture"]["achieved"]["total_tokens"] = 0.15
    save_manifest(build, manifest)


def leave_the_range(build: Path) -> None:
    """A share that was allowed when it was built, and is not by the recipe in the manifest."""
    manifest = manifest_of(build)
    manifest["recipe"]["mixture"]["pretrain_share"] = 0.05
    save_manifest(build, manifest)


# -- sources_readable -----------------------------------------------------------------------------------------


def allow_no_bad_row(build: Path) -> None:
    """The one broken line of a source is more than its recipe allows."""
    manifest = manifest_of(build)
    next(source for source in manifest["recipe"]["sources"] if source["name"] == "web")["max_unreadable"] = (
        0.0
    )
    save_manifest(build, manifest)


def read_less_than_half(build: Path) -> None:
    """A source of which most rows were no JSON."""
    manifest = manifest_of(build)
    account = manifest["sources"]["web"]
    account["set_aside"]["invalid_json"] = account["rows"] // 2 + 1
    save_manifest(build, manifest)


# -- contamination --------------------------------------------------------------------------------------------


def share_content(build: Path) -> None:
    """A validation item is said to have the content of one that is trained."""
    items = items_of(build)
    held = next(each for each in items if each["split"] == "validation")
    held["content_hash"] = next(each for each in items if each["split"] == "train")["content_hash"]
    save_items(build, items)


def change_quarantined(build: Path, change: Callable[[Row], None]) -> None:
    """Change the first contaminated row of the quarantine."""
    for path in sorted((build / "quarantine").glob("*.jsonl")):
        rows = [orjson.loads(line) for line in path.read_bytes().splitlines()]
        for row in rows:
            if row["reason"] == "contaminated":
                change(row)
                path.write_bytes(b"".join(orjson.dumps(each) + b"\n" for each in rows))
                return
    raise AssertionError("nothing is contaminated")


def move_the_evidence(build: Path) -> None:
    """The n-gram is said to stand one character on."""
    change_quarantined(build, lambda row: row["overlap"].update(character=row["overlap"]["character"] + 1))


def lower_the_share(build: Path) -> None:
    """A text is set aside for less than the recipe asks for."""
    change_quarantined(build, lambda row: row["overlap"].update(share=0.0))


def name_one_that_stayed(build: Path) -> None:
    """The row that is said to be set aside is one of the dataset's."""
    items = items_of(build)

    def rename(row: Row) -> None:
        row["item"] = next(each["item"] for each in items if each["source"] == row["source"])

    change_quarantined(build, rename)


def forget_the_figures(build: Path) -> None:
    manifest = manifest_of(build)
    manifest["decontamination"] = None
    save_manifest(build, manifest)


# -- leaks ----------------------------------------------------------------------------------------------------


def leak_too_much(build: Path) -> None:
    """Every fourth validation item leaks, by the manifest and by the list."""
    manifest = manifest_of(build)
    none = {"items": 0, "looked_for": 0, "touched": 0, "leaked": 0}
    told = manifest["decontamination"] or {"sets": {}, "threshold": 0.0}
    told["leaks"] = {
        "threshold": 0.5,
        "limit": 0.02,
        "validation": {"items": 12, "looked_for": 12, "touched": 6, "leaked": 3},
        "answers": none,
    }
    manifest["decontamination"] = told
    save_manifest(build, manifest)
    row = {"question": "validation", "source": "web", "item": "i", "share": 1.0, "ngram": "a"}
    rows = [{**row, "train_source": "web", "train_item": "j"}] * 3
    pq.write_table(pa.Table.from_pylist(rows, LEAK_SCHEMA), build / "quarantine" / "leaks.parquet")


def hide_a_leak(build: Path) -> None:
    """The list is shorter than the count."""
    path = build / "quarantine" / "leaks.parquet"
    table = pq.read_table(path)
    pq.write_table(table.slice(1), path)


CORRUPTIONS: dict[str, list[Callable[[Path], None]]] = {
    "hashes": [append_a_byte, name_another_hash],
    "windows_full": [lend_a_token, put_padding_first, count_a_window_more],
    "masks_proved": [
        train_on_a_prompt,
        move_the_spans_too,
        forget_a_stop,
        change_an_answer,
        mask_some_text,
        train_on_padding,
    ],
    "targets_present": [declare_nothing],
    "ledger_closed": [
        lose_a_session,
        break_the_chain,
        lose_characters,
        break_the_chain_of_bytes,
        drop_a_quarantined_row,
        shorten_a_quarantined_text,
        lose_the_ledger,
    ],
    "share": [ask_for_less, boast_of_the_share, leave_the_range],
    "sources_readable": [allow_no_bad_row, read_less_than_half],
    "contamination": [share_content],
    "leaks": [leak_too_much],
}
# For builds of recipes with cleaning.decontamination, of which something was set aside and something leaks.
GUARDED: dict[str, list[Callable[[Path], None]]] = {
    "contamination": [
        share_content,
        move_the_evidence,
        lower_the_share,
        name_one_that_stayed,
        forget_the_figures,
    ],
    "leaks": [leak_too_much, hide_a_leak],
}
