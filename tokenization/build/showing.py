"""A build made ready to look at: which sessions, windows and set-asides to show, and who says what in them.

Everything comes from the build directory. Chosen well rather than many: of each source the longest session,
some with tools, one of each of the recipe's own roles, one where a policy acted; the first windows of each kind;
and the set-asides, some of each reason.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from tokenization import shards
from tokenization.build.choosing import Chosen, chosen_items
from tokenization.build.layout import read_manifest
from tokenization.build.mask_check import BuildTokenizer
from tokenization.build.quarantined import set_aside_lines
from tokenization.build.turns import Turns
from tokenization.errors import RecipeError
from tokenization.preview.model import PreviewPage, PreviewSequence, PreviewWindow, SetAside
from tokenization.tokenizer.vocabulary import vocabulary_of

WINDOWS_PER_KIND = 6
ASIDE_PER_REASON = 20
ROW_BYTES = 4000  # of a set-aside row that are shown
LONGEST = 6000  # tokens of one sequence that are shown


class Words:
    """What the ids of a build stand for, and whose turn they are in."""

    def __init__(self, folder: Path, manifest: dict[str, Any]) -> None:
        tokenizer = BuildTokenizer(folder)
        definition = tokenizer.definition
        flat, self._offsets = vocabulary_of(definition).byte_table
        self._flat = flat.tobytes()
        self.turns = Turns.of(manifest, tokenizer.chat_template, tokenizer.named_tokens)
        self._markers = np.array(sorted(definition.markers.values()), np.int64)

    def bytes_of(self, ids: Any) -> list[bytes]:
        places, last = np.asarray(ids, np.int64), len(self._offsets) - 1
        places = np.where((places >= 0) & (places < last), places, last)  # an id of no token spells nothing
        starts, stops = self._offsets[places], self._offsets[np.minimum(places + 1, last)]
        return [self._flat[a:b] for a, b in zip(starts.tolist(), stops.tolist(), strict=True)]

    def special(self, ids: Any) -> Any:
        return np.isin(np.asarray(ids), self._markers)


def words_of(build: Path, manifest: dict[str, Any]) -> Words:
    """Opened once for each build."""
    told = {name: manifest[name] for name in ("recipe", "template")}
    return _words(build / "tokenizer", orjson.dumps(told))


@lru_cache(maxsize=4)
def _words(folder: Path, told: bytes) -> Words:
    return Words(folder, orjson.loads(told))


def page_of_build(
    build: Path, manifest: dict[str, Any] | None = None, chosen: Chosen | None = None
) -> PreviewPage:
    """The page of a whole build; `manifest` where it is not written yet, `chosen` where the choice has been made."""
    manifest = manifest or read_manifest(build)
    words = words_of(build, manifest)
    sequences, windows = collect(build, manifest, words, chosen_items(build) if chosen is None else chosen)
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
    words = words_of(build, manifest)
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


def item_rows(build: Path, wanted: set[tuple[str, str]]) -> Chosen:
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
    build: Path, manifest: dict[str, Any], words: Words, wanted: Chosen
) -> tuple[list[PreviewSequence], list[PreviewWindow]]:
    """The wanted items' segments and the first windows of each kind, in one pass over the segments' names."""
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
                values = shards.row_of(batch, number)
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
                            wanted[name],
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
    ids: Sequence[int] | NDArray[np.int32],
    mask: Sequence[bool] | NDArray[np.bool_],
    item: dict[str, Any] | None,
) -> PreviewSequence:
    """One segment with its tokens' bytes and who says what."""
    token_bytes = words.bytes_of(ids)
    roles = words.turns.roles(token_bytes, np.array(mask, bool), item) if item else []
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


def set_asides(build: Path) -> list[SetAside]:
    """Some of the quarantine, by reason."""
    shown: Counter[tuple[str, str]] = Counter()
    made = []
    for line in set_aside_lines(build):
        group = line.told["source"], line.told["reason"]
        shown[group] += 1
        if shown[group] <= ASIDE_PER_REASON:
            row = line.whole()
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
