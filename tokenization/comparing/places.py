"""Where in both datasets a sample parts: the first token that differs, and its rows, for `tokenmill trace`."""

from __future__ import annotations

from typing import Any

from tokenization import shards
from tokenization.build.contents import Build
from tokenization.build.showing import words_of
from tokenization.preview.characters import decode


def first_difference(old: Build, new: Build, row: dict[str, Any]) -> dict[str, Any]:
    """{first_difference: {token, before, after}} with of each side split, row, token in the row, id, text and whether
    it is trained; nothing where the first segments do not part."""
    sides = [
        _segment(build, row[f"shown_in{suffix}"], row[f"row{suffix}"], row["source"], row[f"item{suffix}"])
        for build, suffix in ((old, ""), (new, "_after"))
    ]
    if None in sides:
        return {}
    (one, other) = (side for side in sides if side is not None)
    if one["start"] != other["start"]:
        return {}
    shared = min(len(one["ids"]), len(other["ids"]))
    place = next(
        (
            number
            for number in range(shared)
            if (one["ids"][number], one["mask"][number]) != (other["ids"][number], other["mask"][number])
        ),
        None,
    )
    if place is None:
        return {}
    told = {
        name: {
            "split": side["split"],
            "row": side["row"],
            "token": side["begin"] + place,
            "id": side["ids"][place],
            "text": decode(words_of(build.path, build.manifest).bytes_of([side["ids"][place]])[0]),
            "trained": side["mask"][place],
        }
        for name, build, side in (("before", old, one), ("after", new, other))
    }
    return {"first_difference": {"token": one["start"] + place, **told}}


def _segment(build: Build, split: str, row: int, source: str, item: str) -> dict[str, Any] | None:
    """The item's first segment in this row."""
    values = shards.read_row(build.path / "dataset" / split, row)
    begin = 0
    for segment in values["segments"]:
        end = begin + segment["length"]
        if (segment["source"], segment["item"]) == (source, item):
            return {
                "split": split,
                "row": row,
                "begin": begin,
                "start": segment["start"],
                "ids": values["input_ids"][begin:end],
                "mask": values["loss_mask"][begin:end],
            }
        begin = end
    return None
