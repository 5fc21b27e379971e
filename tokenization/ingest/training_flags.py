"""What a message says of its own training: flags, weights and character ranges, out of the forms they come in.

| a message has | it becomes |
|---|---|
| `train`, `training` or `loss`: true or false | `train`; of several, one false is enough |
| `weight` or `loss_weight` (or a flag given as a number) 0 | `train: false`; 1 says nothing |
| any other number above 0 | `weight` |
| `train_detail` or `training_detail`: [{`begin_offset`, `end_offset` (the last character), `train`}] | `train_ranges` |
| `train_ranges`: [[start, stop], …], half-open | `train_ranges` |

`train_ranges` count characters of the normalised content, ascending and apart from one another. They are all that is
trained of the message, which they make a target whatever its role, unless a flag says false; a character that no
detail names is not trained, and one that a detail says false of is not either. A message without any trained
character is `train: false`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from tokenization.ingest.json_kinds import json_kind
from tokenization.ingest.tool_calls import Refused

TRAIN_KEYS = ("train", "training", "loss", "weight", "loss_weight")  # booleans, or numbers that weigh
DETAIL_KEYS = ("train_detail", "training_detail")
RANGES_KEY = "train_ranges"
ALL_KEYS = frozenset((*TRAIN_KEYS, *DETAIL_KEYS, RANGES_KEY))

Ranges = list[list[int]]


def training_of(given: Mapping[str, Any], content: str, shift: int) -> dict[str, Any]:
    """`train`, `weight` and `train_ranges` of a message; `content` is its normalised content, which begins `shift`
    characters into the content as it was given. Raises `Refused` where they say what cannot be."""
    flags: list[bool] = []
    weights: list[float] = []
    for key in TRAIN_KEYS:
        value = given.get(key)
        if isinstance(value, bool):
            flags.append(value)
        elif isinstance(value, int | float):
            if not (math.isfinite(value) and value >= 0):
                raise Refused("wrong_type", f"{key} is {value} and must be a number from 0 on")
            if value == 0:
                flags.append(False)
            else:
                weights.append(float(value))
        elif value is not None:
            raise Refused("wrong_type", f"{key} is {json_kind(value)} and must be true, false or a number")
    if len(set(weights)) > 1:
        raise Refused("wrong_type", f"two weights are given, {weights[0]:g} and {weights[1]:g}; give one")
    ranges = _ranges(given, content, shift)
    found: dict[str, Any] = {}
    if ranges is not None:
        flags.append(bool(ranges))
    if flags:
        found["train"] = all(flags)
    if weights and weights[0] != 1:
        found["weight"] = weights[0]
    if ranges and found["train"]:
        found[RANGES_KEY] = ranges
    return found


def _ranges(given: Mapping[str, Any], content: str, shift: int) -> Ranges | None:
    """The trained ranges of the content; None where none are given."""
    key = next((key for key in (RANGES_KEY, *DETAIL_KEYS) if given.get(key) is not None), None)
    if key is None:
        return None
    if not isinstance(given[key], list):
        raise Refused("wrong_type", f"{key} is {json_kind(given[key])} and must be a list")
    read = _pair if key == RANGES_KEY else _detail
    stated = [read(key, each) for each in given[key]]
    length = shift + len(content)
    for start, stop, _ in stated:
        if not 0 <= start <= stop <= length:
            raise Refused(
                "wrong_type",
                f"{key} has characters {start} to {stop} (half-open), and the content has {length}",
            )
    kept = _without(
        _merged([(a, b) for a, b, yes in stated if yes]), [(a, b) for a, b, yes in stated if not yes]
    )
    if kept and kept[0][0] < shift:
        raise Refused("unsupported_content", f"{key} reaches into the thinking that opens the content")
    return [[start - shift, stop - shift] for start, stop in kept]


def _pair(key: str, value: Any) -> tuple[int, int, bool]:
    if not (
        isinstance(value, list | tuple) and len(value) == 2 and all(type(place) is int for place in value)
    ):
        raise Refused("wrong_type", f"{key} must hold [start, stop] pairs of whole numbers")
    return value[0], value[1], True


def _detail(key: str, value: Any) -> tuple[int, int, bool]:
    """An entry that names its last character; one with begin above end names none."""
    first, last = (
        (value.get("begin_offset"), value.get("end_offset")) if isinstance(value, dict) else (None, None)
    )
    if type(first) is not int or type(last) is not int:
        raise Refused("wrong_type", f"{key} must hold objects with begin_offset, end_offset and train")
    if not isinstance(value.get("train", True), bool):
        raise Refused("wrong_type", f"{key}: train is {json_kind(value['train'])} and must be true or false")
    return first, max(first, last + 1), value.get("train", True)


def _merged(ranges: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Ascending, apart from one another, none empty."""
    made: list[tuple[int, int]] = []
    for start, stop in sorted(ranges):
        if made and start <= made[-1][1]:
            made[-1] = made[-1][0], max(made[-1][1], stop)
        elif start < stop:
            made.append((start, stop))
    return [(start, stop) for start, stop in made if start < stop]


def _without(ranges: list[tuple[int, int]], taken: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """What is left of the ranges without those taken."""
    for first, last in taken:
        if first < last:
            cut = [((a, min(b, first)), (max(a, last), b)) for a, b in ranges]
            ranges = [(a, b) for pair in cut for a, b in pair if a < b]
    return ranges
