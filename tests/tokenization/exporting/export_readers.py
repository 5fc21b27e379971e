"""Exports read back by the rules of those who read them, with nothing of ours: each gives windows as segments.

A segment is (ids, which of them are trained); padding is none. The trained tokens are those that the reader's loss
counts: labels are shifted here as the readers shift them.
"""

from __future__ import annotations

import itertools
import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

Segment = tuple[list[int], list[bool]]
Window = list[Segment]


def segments_of(ids: list[int], trained: list[bool], lengths: list[int]) -> Window:
    """Cut at these lengths; a last segment of padding is left out by the caller."""
    ends = np.cumsum(lengths).tolist()
    return [(ids[a:b], trained[a:b]) for a, b in zip([0, *ends[:-1]], ends, strict=True)]


def shifted(ids: list[int], labels: list[int], positions: list[int]) -> list[bool]:
    """What a causal model is trained on: logits of t against labels of t + 1, never over a border."""
    trained = [False] * len(ids)
    for place in range(len(ids) - 1):
        if labels[place + 1] != -100:
            assert labels[place + 1] == ids[place + 1], "the label is another token"
            assert positions[place + 1] == positions[place] + 1, "the first token of a segment is a label"
            trained[place + 1] = True
    assert labels[0] == -100
    return trained


def lengths_of(positions: list[int]) -> list[int]:
    """Segments as attention sees them: a new one wherever positions restart."""
    begins = [place for place, position in enumerate(positions) if position == 0]
    return np.diff([*begins, len(positions)]).tolist()


def read_trl(folder: Path) -> list[Window]:
    """As SFTTrainer's collator does with padding_free."""
    from datasets import load_from_disk

    found = []
    for row in load_from_disk(str(folder)):
        assert set(row) == {"input_ids", "labels", "seq_lengths"}
        positions = [place for length in row["seq_lengths"] for place in range(length)]
        trained = shifted(row["input_ids"], row["labels"], positions)
        found.append(segments_of(row["input_ids"], trained, row["seq_lengths"]))
    return found


def read_axolotl(folder: Path) -> list[Window]:
    """As a tokenized dataset, segments told by positions."""
    from datasets import load_from_disk

    dataset = load_from_disk(str(folder))
    assert {"input_ids", "attention_mask", "labels"} <= set(dataset.features), "taken for raw text"
    found = []
    for row in dataset:
        assert set(row) == {"input_ids", "attention_mask", "labels", "position_ids"}
        assert set(row["attention_mask"]) == {1} and len(row["attention_mask"]) == len(row["input_ids"])
        trained = shifted(row["input_ids"], row["labels"], row["position_ids"])
        found.append(segments_of(row["input_ids"], trained, lengths_of(row["position_ids"])))
    return found


class Indexed:
    """A .bin/.idx pair, memory-mapped by the layout of Megatron's IndexedDataset."""

    def __init__(self, prefix: Path) -> None:
        head = Path(f"{prefix}.idx").read_bytes()[:34]
        assert head[:9] == b"MMIDIDX\x00\x00"
        version, code, sequences, borders = struct.unpack("<QBQQ", head[9:])
        assert version == 1
        self.dtype = np.dtype({1: np.uint8, 4: np.int32, 8: np.uint16}[code])
        index = np.memmap(f"{prefix}.idx", mode="r")
        self.lengths = np.frombuffer(index, np.int32, sequences, 34)
        self.begins = np.frombuffer(index, np.int64, sequences, 34 + 4 * sequences)
        self.documents = np.frombuffer(index, np.int64, borders, 34 + 12 * sequences)
        assert len(index) == 34 + 12 * sequences + 8 * borders
        self.values = np.memmap(f"{prefix}.bin", mode="r")

    def __getitem__(self, number: int) -> list[int]:
        count, begin = int(self.lengths[number]), int(self.begins[number])
        return np.frombuffer(self.values, self.dtype, count, begin).tolist()


def read_pairs(folder: Path) -> list[Window]:
    """tokens and loss_mask side by side."""
    tokens, mask = Indexed(folder / "tokens"), Indexed(folder / "loss_mask")
    assert tokens.documents.tolist() == mask.documents.tolist()
    assert tokens.documents[-1] == len(tokens.lengths) and mask.dtype == np.uint8
    return [
        [(tokens[number], [bool(flag) for flag in mask[number]]) for number in range(first, last)]
        for first, last in zip(tokens.documents[:-1].tolist(), tokens.documents[1:].tolist(), strict=True)
    ]


def read_packed(folder: Path) -> list[Window]:
    """As Megatron-Bridge's packed reader: segment[:-1] in, segment[1:] as labels, loss_mask[:-1]."""
    found = []
    for path in sorted(folder.glob("*.parquet")):
        for row in pq.read_table(path).to_pylist():
            ids, mask, starts = row["input_ids"], row["loss_mask"], row["seq_start_id"]
            assert len(mask) == len(ids) and starts[0] == 0
            window: Window = []
            for first, last in zip(starts, [*starts[1:], len(ids)], strict=True):
                counted = [bool(flag) for flag in mask[first : last - 1]]
                window.append((ids[first:last], [False, *counted]))
                assert not mask[last - 1]
            found.append(window)
    return found


def read_parquet(folder: Path) -> list[Window]:
    """The columns, held against each other."""
    found = []
    for path in sorted(folder.glob("*.parquet")):
        for row in pq.read_table(path).to_pylist():
            trained = shifted(row["input_ids"], row["labels"], row["position_ids"])
            assert trained == row["loss_mask"] and lengths_of(row["position_ids"]) == row["seq_lens"]
            assert [segment["length"] for segment in row["segments"]] == row["seq_lens"]
            if "loss_weights" in row:
                assert len(row["loss_weights"]) == len(row["seq_lens"])
            found.append(segments_of(row["input_ids"], trained, row["seq_lens"]))
    return found


def mds_samples(folder: Path) -> list[dict[str, Any]]:
    """Every sample of the shards that index.json lists, decoded by the published layout."""
    index = json.loads((folder / "index.json").read_text())
    assert index["version"] == 2
    samples = []
    for shard in index["shards"]:
        content = (folder / shard["raw_data"]["basename"]).read_bytes()
        assert len(content) == shard["raw_data"]["bytes"] and shard["version"] == 2
        count = int(np.frombuffer(content, np.uint32, 1)[0])
        begins = np.frombuffer(content, np.uint32, count + 1, 4).tolist()
        assert count == shard["samples"] and begins[-1] == len(content)
        for begin, end in itertools.pairwise(begins):
            samples.append(_mds_sample(content[begin:end], shard))
    return samples


def _mds_sample(data: bytes, shard: dict[str, Any]) -> dict[str, Any]:
    sizes = list(shard["column_sizes"])
    at = 0
    for place, size in enumerate(sizes):
        if not size:
            sizes[place] = int(np.frombuffer(data, np.uint32, 1, at)[0])
            at += 4
    sample: dict[str, Any] = {}
    for name, encoding, size in zip(shard["column_names"], shard["column_encodings"], sizes, strict=True):
        value = data[at : at + size]
        at += size
        kind, _, rest = encoding.partition(":")
        sample[name] = (
            value.decode() if kind == "str" else json.loads(value) if kind == "json" else _array(value, rest)
        )
    assert at == len(data)
    return sample


def _array(value: bytes, described: str) -> list[Any]:
    dtype, _, shape = described.partition(":")
    if shape:
        array = np.frombuffer(value, dtype)
        assert len(array) == int(shape)
        return array.tolist()
    dimensions, width = value[0] >> 2, 1 << value[0] % 4
    assert dimensions == 1
    count = int.from_bytes(value[1 : 1 + width], "little")
    array = np.frombuffer(value, dtype, offset=1 + width)
    assert len(array) == count
    return array.tolist()


def read_mds(folder: Path) -> list[Window]:
    found = []
    for row in mds_samples(folder):
        trained = shifted(row["input_ids"], row["labels"], row["position_ids"])
        assert lengths_of(row["position_ids"]) == row["seq_lens"]
        assert [segment["length"] for segment in row["segments"]] == row["seq_lens"]
        found.append(segments_of(row["input_ids"], trained, row["seq_lens"]))
    return found


# What reads each form, and whether the form keeps padding as a last segment.
READERS = {
    "trl": [(read_trl, True)],
    "axolotl": [(read_axolotl, True)],
    "megatron": [(read_pairs, False), (read_packed, False)],
    "parquet": [(read_parquet, True)],
    "mds": [(read_mds, True)],
}
