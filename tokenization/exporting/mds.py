"""`mds`: shards of MosaicML's streaming, written by the published layout, so that nothing need be installed.

A shard is

    uint32 samples · uint32 begin of each sample and the end of the last, in bytes of the file · the shard's
    configuration as JSON · samples

and a sample is a uint32 size for each column of no fixed size, then the columns' values, in the order of their names.
Arrays without a fixed shape begin with one byte (dimensions * 4 + how wide the shape's numbers are) and the shape.
`index.json` lists the shards.

Price: one shard in memory; a few microseconds a window.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from tokenization.exporting.task import Counted, Task
from tokenization.exporting.windows import Windows
from tokenization.store import write_json

SHARD_BYTES = 1 << 26  # what streaming's own writer aims at
Encodings = dict[str, tuple[str, int | None]]  # column -> its encoding, its bytes where they are fixed


def write_mds(task: Task) -> Counted:
    """The split's shards and their index."""
    encodings = _encodings(task)
    counted = Counted()
    shard = _Shard(task.folder, encodings)
    for source in task.shards:
        for windows in counted.following(source):
            for sample in _samples(windows, encodings, task):
                shard.add(sample)
    shard.flush()
    write_json(task.folder / "index.json", {"version": 2, "shards": shard.written})
    return counted


def _encodings(task: Task) -> Encodings:
    """In the order of their names."""
    of_tokens = (
        ("ndarray:int32", None) if task.window is None else (f"ndarray:int32:{task.window}", 4 * task.window)
    )
    columns: Encodings = {
        "input_ids": of_tokens,
        "kind": ("str", None),
        "labels": of_tokens,
        "position_ids": of_tokens,
        "segments": ("json", None),
        "seq_lens": ("ndarray:int32", None),
    }
    if task.weights:
        columns["loss_weights"] = ("ndarray:float32", None)
    return dict(sorted(columns.items()))


def _samples(windows: Windows, encodings: Encodings, task: Task) -> Iterator[bytes]:
    rows = windows.rows
    shown: dict[str, list[Any]] = {
        name: windows.batch.column(name).to_pylist() for name in ("kind", "segments")
    }
    tokens = {"input_ids": rows.input_ids, "labels": windows.labels, "position_ids": windows.position_ids}
    segments: dict[str, NDArray[Any]] = {"seq_lens": rows.seq_lens}
    if rows.loss_weights is not None:
        segments["loss_weights"] = rows.loss_weights
    for row in range(windows.batch.num_rows):
        own = slice(int(rows.offsets[row]), int(rows.offsets[row + 1]))
        ours = slice(int(rows.segment_offsets[row]), int(rows.segment_offsets[row + 1]))
        values = {
            **{name: _array(flat[own], fixed=task.window is not None) for name, flat in tokens.items()},
            **{name: _array(flat[ours], fixed=False) for name, flat in segments.items()},
            "kind": shown["kind"][row].encode(),
            "segments": orjson.dumps(shown["segments"][row]),
        }
        ordered = [values[name] for name in encodings]
        sizes = [len(value) for value, (_, size) in zip(ordered, encodings.values(), strict=True) if not size]
        yield np.array(sizes, "<u4").tobytes() + b"".join(ordered)


def _array(values: NDArray[Any], *, fixed: bool) -> bytes:
    """A one-dimensional array, its shape before it unless that is fixed."""
    content = np.ascontiguousarray(values).tobytes()
    if fixed:
        return content
    width = 0 if len(values) < 1 << 8 else 1 if len(values) < 1 << 16 else 2
    return bytes([1 << 2 | width]) + len(values).to_bytes(1 << width, "little") + content


class _Shard:
    """The shard that is being filled."""

    def __init__(self, folder: Path, encodings: Encodings) -> None:
        self._folder = folder
        self.written: list[dict[str, Any]] = []
        self._configuration = {
            "version": 2,
            "format": "mds",
            "compression": None,
            "hashes": [],
            "size_limit": SHARD_BYTES,
            "column_names": list(encodings),
            "column_encodings": [encoding for encoding, _ in encodings.values()],
            "column_sizes": [size for _, size in encodings.values()],
        }
        self._head = orjson.dumps(self._configuration, option=orjson.OPT_SORT_KEYS)
        self._samples: list[bytes] = []
        self._bytes = 0

    def add(self, sample: bytes) -> None:
        if self._samples and self._bytes + len(sample) > SHARD_BYTES:
            self.flush()
        self._samples.append(sample)
        self._bytes += len(sample) + 4

    def flush(self) -> None:
        """Write the samples that wait as one shard."""
        if not self._samples:
            return
        name = f"shard.{len(self.written):05d}.mds"
        count = len(self._samples)
        sizes = np.array([0, *map(len, self._samples)], np.int64)
        begins = (np.cumsum(sizes) + 4 * (count + 2) + len(self._head)).astype("<u4")
        with open(self._folder / name, "wb") as file:
            file.write(np.array([count], "<u4").tobytes() + begins.tobytes() + self._head)
            file.writelines(self._samples)
            size = file.tell()
        told = {
            "samples": count,
            "raw_data": {"basename": name, "bytes": size, "hashes": {}},
            "zip_data": None,
        }
        self.written.append({**told, **self._configuration})
        self._samples, self._bytes = [], 0
