"""A build made ready to look at: which sessions, windows and set-asides to show, and who says what in them.

Everything comes from the build directory. Chosen well rather than many: of each source the longest session,
some with tools, one of each of the recipe's own roles, one where a policy acted; the first windows of each kind;
and the set-asides, some of each reason.
"""

from __future__ import annotations

from collections import Counter
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tokenization import shards
from tokenization.build.choosing import chosen_items
from tokenization.build.layout import read_manifest
from tokenization.errors import RecipeError
from tokenization.preview.model import PreviewPage, PreviewSequence, PreviewWindow, RoleSpan, SetAside
from tokenization.tokenizer.definition import Definition
from tokenization.tokenizer.vocabulary import Vocabulary

WINDOWS_PER_KIND = 6
ASIDE_PER_REASON = 20
ROW_BYTES = 4000  # of a set-aside row that are shown
LONGEST = 6000  # tokens of one sequence that are shown


class Words:
    """What the ids of a build stand for."""

    def __init__(self, folder: Path) -> None:
        definition = Definition.read(folder / "tokenizer.json")
        self._vocabulary = Vocabulary(definition)
        self._markers = np.array(sorted(definition.markers.values()), np.int64)

    def bytes_of(self, ids: Any) -> list[bytes]:
        return [self._vocabulary.token_bytes(int(token)) for token in ids]

    def special(self, ids: Any) -> Any:
        return np.isin(np.asarray(ids), self._markers)


@lru_cache(maxsize=4)
def words_of(folder: Path) -> Words:
    return Words(folder)


def page_of_build(build: Path, manifest: dict[str, Any] | None = None) -> PreviewPage:
    """The page of a whole build; `manifest` where it is not written yet."""
    manifest = manifest or read_manifest(build)
    words = words_of(build / "tokenizer")
    wanted = chosen_items(build)
    sequences, windows = collect(build, manifest, words, wanted)
    return PreviewPage(
        title=f"{manifest['recipe']['name']}: what is trained",
        facts=facts(manifest),
        sequences=sequences,
        windows=windows,
        set_aside=set_asides(build),
    )


def sequences_of_row(build: Path, split: str, row: int) -> PreviewPage:
    """Every segment of one row."""
    manifest = read_manifest(build)
    words = words_of(build / "tokenizer")
    try:
        values = shards.read_row(build / "dataset" / split, row)
    except IndexError:
        count = manifest["splits"][split]["num_windows"]
        raise RecipeError(f"--row {row}: the {split} split has {count} rows, 0 to {count - 1}") from None
    items = item_rows(build, {(s["source"], s["item"]) for s in values["segments"] if s["source"]})
    sequences = []
    begin = 0
    for segment in values["segments"]:
        end = begin + segment["length"]
        if segment["source"]:
            item = items.get((segment["source"], segment["item"]))
            sequences.append(
                sequence(
                    words,
                    values["kind"],
                    segment,
                    values["input_ids"][begin:end],
                    values["loss_mask"][begin:end],
                    item,
                )
            )
        begin = end
    return PreviewPage(f"{split} row {row}", facts(manifest), sequences, [window_of(row, values)], [])


def facts(manifest: dict[str, Any]) -> list[tuple[str, str]]:
    """The build in a few numbers."""
    train, held_out = manifest["splits"]["train"], manifest["splits"]["validation"]
    told = [
        ("fingerprint", manifest["fingerprint"]),
        ("window", f"{manifest['window']:,} tokens"),
        ("train", f"{train['num_windows']:,} windows, {train['num_tokens']:,} tokens"),
        (
            "trained tokens",
            f"{train['num_target_tokens']:,} ({train['num_target_tokens'] / max(1, train['num_tokens']):.1%})",
        ),
        (
            "padding",
            f"{train['num_pad_tokens']:,} ({train['num_pad_tokens'] / max(1, train['num_tokens']):.2%})",
        ),
        ("held out", f"{held_out['num_windows']:,} windows, {held_out['num_tokens']:,} tokens"),
    ]
    if manifest["mixture"]:
        mixture = manifest["mixture"]
        told.append(
            (
                "pretraining share",
                f"{mixture['achieved'][mixture['unit']]:.2%} of {mixture['unit']} (asked {mixture['asked']:.0%})",
            )
        )
    proof = manifest["proof"]
    if proof["sessions"]:
        told.append(
            (
                "masks proved",
                f"{proof['proven']:,} of {proof['sessions']:,} sessions, {proof['set_aside']:,} set aside",
            )
        )
    return told


def item_rows(build: Path, wanted: set[tuple[str, str]]) -> dict[tuple[str, str], dict[str, Any]]:
    """The rows of items.parquet for these (source, item)."""
    if not wanted:
        return {}
    items = pa.array(sorted({item for _, item in wanted}), pa.string())
    found: list[dict[str, Any]] = []
    with pq.ParquetFile(build / "items.parquet") as file:
        for group in range(file.num_row_groups):  # one at a time: a million items do not fit side by side
            names = file.read_row_group(group, columns=["item"]).column("item")
            if pc.any(pc.is_in(names, value_set=items)).as_py():
                table = file.read_row_group(group)
                found += table.filter(pc.is_in(table.column("item"), value_set=items)).to_pylist()
    return {(row["source"], row["item"]): row for row in found if (row["source"], row["item"]) in wanted}


def collect(
    build: Path, manifest: dict[str, Any], words: Words, wanted: set[tuple[str, str]]
) -> tuple[list[PreviewSequence], list[PreviewWindow]]:
    """The wanted segments and the first windows of each kind, in one pass over the segments' names."""
    items = item_rows(build, wanted)
    found: dict[tuple[str, str], PreviewSequence] = {}
    windows: list[PreviewWindow] = []
    shown: Counter[str] = Counter()
    for split in ("train", "validation"):
        row = 0
        for batch in shards.read_split(build / "dataset" / split):
            segments = batch.column("segments")
            names = pc.struct_field(segments.flatten(), "item")
            hit = pc.is_in(names, pa.array([item for _, item in wanted], pa.string())).to_numpy(
                zero_copy_only=False
            )
            offsets = segments.offsets.to_numpy() - segments.offsets[0].as_py()
            hit_rows = set(
                np.unique(np.searchsorted(offsets, np.flatnonzero(hit), side="right") - 1).tolist()
            )
            for number, kind in enumerate(batch.column("kind").to_pylist()):
                show_window = split == "train" and shown[kind] < WINDOWS_PER_KIND
                if not show_window and number not in hit_rows:
                    continue
                values = batch.slice(number, 1).to_pylist()[0]
                if show_window:
                    windows.append(window_of(row + number, values))
                    shown[kind] += 1
                begin = 0
                for segment in values["segments"]:
                    end = begin + segment["length"]
                    name = (segment["source"], segment["item"])
                    if name in wanted and name not in found:
                        cut = slice(begin, min(end, begin + LONGEST))
                        found[name] = sequence(
                            words,
                            kind,
                            segment,
                            values["input_ids"][cut],
                            values["loss_mask"][cut],
                            items.get(name),
                        )
                    begin = end
            row += batch.num_rows
            if len(found) == len(wanted) and len(shown) == 2 and min(shown.values()) >= WINDOWS_PER_KIND:
                break
    last_first = {
        name: -number for number, name in enumerate(manifest["sources"])
    }  # people's own are often last
    ordered = sorted(found.values(), key=lambda each: (each.kind != "sft", last_first.get(each.source, 0)))
    return ordered, windows


def in_turn(sequences: list[PreviewSequence]) -> list[PreviewSequence]:
    """The sources taking turns, so that the first few show something of each."""
    seen: Counter[str] = Counter()
    places = []
    for each in sequences:
        places.append((each.kind != "sft", seen[each.source]))
        seen[each.source] += 1
    return [sequences[i] for i in sorted(range(len(sequences)), key=lambda i: places[i])]


def telling(sequences: list[PreviewSequence]) -> list[PreviewSequence]:
    """What to look at first: the longest of each source, then one with tools, one with a role beside the usual ones,
    one where a policy acted; then the rest, sources taking turns."""
    ordered = in_turn(sequences)
    sources = list(dict.fromkeys(each.source for each in ordered))
    wanted = [max((each for each in ordered if each.source == source), key=len) for source in sources]
    for is_telling in (has_tools, has_other_roles, lambda each: bool(each.note)):
        wanted += [each for each in ordered if is_telling(each)][:1]
    first = list({id(each): each for each in wanted}.values())
    return [*first, *(each for each in ordered if all(each is not other for other in first))]


def has_tools(each: PreviewSequence) -> bool:
    return any(span.role == "tool" for span in each.roles)


def has_other_roles(each: PreviewSequence) -> bool:
    return bool({span.role for span in each.roles} - {"system", "user", "assistant", "tool", "text"})


def window_of(row: int, values: dict[str, Any]) -> PreviewWindow:
    return PreviewWindow(
        row=row,
        kind=values["kind"],
        seq_lens=list(values["seq_lens"]),
        segments=[(s["source"], s["item"], s["start"], s["length"]) for s in values["segments"]],
        loss_mask=np.array(values["loss_mask"], bool),
        input_ids=np.array(values["input_ids"], np.int32),
    )


def sequence(
    words: Words,
    kind: str,
    segment: dict[str, Any],
    ids: list[int],
    mask: list[bool],
    item: dict[str, Any] | None,
) -> PreviewSequence:
    """One segment with its tokens' bytes and who says what."""
    token_bytes = words.bytes_of(ids)
    roles = roles_of(token_bytes, np.array(mask, bool), item) if item else []
    actions = (item or {}).get("actions") or []
    notes = [*actions, *([f"from token {segment['start']} of the document"] if segment["start"] else [])]
    place = f"{item['file']}:{item['place']}" if item and item["place"] else (item or {}).get("file") or ""
    return PreviewSequence(
        source=segment["source"],
        item=segment["item"],
        kind="sft" if kind == "sft" else "pretrain",
        title=place,
        input_ids=np.array(ids, np.int32),
        loss_mask=np.array(mask, bool),
        token_bytes=token_bytes,
        special=words.special(ids),
        roles=roles,
        note=", ".join(notes),
    )


def roles_of(token_bytes: list[bytes], mask: Any, item: dict[str, Any]) -> list[RoleSpan]:
    """Who says what: each message's text found in its turn, its header counted with it."""
    total = len(token_bytes)
    if item["messages"] is None:
        return [
            RoleSpan(0, min(1, total), "text", False, "nothing in the segment predicts its first token"),
            *(
                [RoleSpan(1, total, "text", True, "pretraining text: every token is a target")]
                if total > 1
                else []
            ),
        ]
    ends = np.cumsum([len(value) for value in token_bytes])
    whole = b"".join(token_bytes)
    messages = orjson.loads(item["messages"])
    spans = sorted(item["spans"] or [], key=lambda span: span["start"])
    cuts = turn_ends(whole, messages, ends, spans)
    made: list[RoleSpan] = []
    begin = 0
    for number, end in enumerate(cuts):
        message = messages[number]
        made += split_by_mask(begin, min(end, total), message, mask)
        begin = end
    return [span for span in made if span.stop > span.start]


def turn_ends(
    whole: bytes, messages: list[dict[str, Any]], ends: Any, spans: list[dict[str, Any]]
) -> list[int]:
    """The token behind each message's last one; the next message's header belongs to the next message."""
    cuts: list[int] = []
    position = 0
    for message in messages:
        texts = [message.get("content") or "", message.get("reasoning_content") or ""]
        for text in texts:
            place = (
                whole.find(text.strip().encode("utf-8", "surrogatepass"), position) if text.strip() else -1
            )
            if place >= 0:
                position = max(position, place + len(text.strip().encode("utf-8", "surrogatepass")))
        token = int(np.searchsorted(ends, position, side="left")) + 1
        stop = next((span["stop"] for span in spans if span["start"] <= token <= span["stop"]), None)
        cut = stop if stop is not None else min(token + 1, len(ends))
        while cut < len(ends) and whole[ends[cut - 1] : ends[cut]].isspace():
            cut += 1  # the line end behind a stop belongs to the turn that it ends
        cuts.append(cut)
        position = max(position, int(ends[min(cuts[-1], len(ends)) - 1]))
    if cuts:
        cuts[-1] = len(ends)
    return np.maximum.accumulate(cuts).tolist() if cuts else []


def split_by_mask(begin: int, end: int, message: dict[str, Any], mask: Any) -> list[RoleSpan]:
    """A turn's stretches of trained and masked tokens, each with its reason."""
    made = []
    start = begin
    role = message.get("name") or message["role"]
    for token in range(begin + 1, end + 1):
        if token == end or bool(mask[token]) != bool(mask[start]):
            trained = bool(mask[start])
            made.append(RoleSpan(start, token, str(role), trained, reason(message, trained)))
            start = token
    return made


def reason(message: dict[str, Any], trained: bool) -> str:
    """Why a stretch of this message's turn is trained or masked, in a sentence."""
    says = message.get("train")
    if trained:
        if message["role"] != "assistant":
            return (
                "this row says that the message is trained"
                if says
                else "a role or prompts that the recipe trains"
            )
        return "the model writes this: an answer and the token that stops it"
    if "train_ranges" in message:
        return "outside the character ranges that this row trains, or the header"
    if message["role"] == "assistant":
        if says is False:
            return "this answer's row says that it is not to be trained"
        return "the header that serving supplies, or what follows the stop"
    return f"{message['role']}: the model reads this and does not write it"


def set_asides(build: Path) -> list[SetAside]:
    """Some of the quarantine, by reason."""
    shown: Counter[tuple[str, str]] = Counter()
    made = []
    for path in sorted((build / "quarantine").glob("*.jsonl")):
        with open(path, "rb") as lines:
            for line in lines:
                row = orjson.loads(line)
                group = (row["source"], row["reason"])
                shown[group] += 1
                if shown[group] <= ASIDE_PER_REASON:
                    made.append(
                        SetAside(
                            row["source"],
                            row["item"] or "",
                            row["file"],
                            row["place"] or 0,
                            row["reason"],
                            row["detail"],
                            row.get("row", "(not UTF-8)")[:ROW_BYTES],
                        )
                    )
    return made
