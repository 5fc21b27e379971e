"""A build directory, opened for reading: the manifest, and the rows of its two splits.

Rows stay in the memory-mapped Arrow files and come out as NumPy views, a row at a time, so that
resident memory does not grow with the dataset and opening costs milliseconds. Fixed windows and rows of
differing length (`sft.layout: rows`) read alike.

Guarantees: only a directory with a `manifest.json` is a build; every row handed out has as many mask
entries as tokens, segments that add up to its length, and no target on a segment's first token.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
from numpy.typing import NDArray

from tokenization.errors import BuildError, RecipeError

COLUMNS = ("input_ids", "loss_mask", "seq_lens", "segments", "kind", "loss_weights")


@dataclass(frozen=True)
class Row:
    """One stored row: a window, or one session of a `rows` layout."""

    input_ids: NDArray[np.int32]  # [length]
    loss_mask: NDArray[np.bool_]  # [length]  True = this token is a target, unshifted
    seq_lens: NDArray[np.int32]  # [num_segments]  adds up to length; padding is a last segment of its own
    loss_weights: NDArray[np.float32] | None  # [num_segments], where the build uses weights
    kind: str  # "pretrain" | "sft"
    num_pad_tokens: int

    @property
    def num_tokens(self) -> int:
        """Tokens without padding."""
        return len(self.input_ids) - self.num_pad_tokens


class Split:
    """The rows of one split; `split[i]` is row i in stored order."""

    def __init__(self, name: str, table: pa.Table) -> None:
        self.name = name
        missing = [column for column in COLUMNS[:4] if column not in table.column_names]
        if missing and len(table):
            raise BuildError(f"split {name} has no column {', '.join(missing)}: rebuild the dataset")
        self._columns = {column: table[column] for column in COLUMNS if column in table.column_names}
        self._num_rows = len(table)

    def __len__(self) -> int:
        return self._num_rows

    def __getitem__(self, row: int) -> Row:
        if not 0 <= row < self._num_rows:
            raise IndexError(f"row {row} of {self._num_rows}")
        columns = self._columns
        seq_lens = _values(columns["seq_lens"], row)
        last = columns["segments"][row][-1].as_py() if len(seq_lens) else {"source": "", "length": 0}
        weights = _values(columns["loss_weights"], row) if "loss_weights" in columns else None
        found = Row(
            input_ids=_values(columns["input_ids"], row),
            loss_mask=_values(columns["loss_mask"], row),
            seq_lens=seq_lens,
            loss_weights=weights,
            kind=str(columns["kind"][row].as_py()) if "kind" in columns else "",
            num_pad_tokens=int(seq_lens[-1]) if last["source"] == "" and len(seq_lens) else 0,
        )
        _check(found, f"row {row} of split {self.name}")
        return found


@dataclass(frozen=True)
class Build:
    """An opened build directory."""

    path: Path
    manifest: dict[str, Any]
    train: Split
    validation: Split

    @property
    def fingerprint(self) -> str:
        return str(self.manifest.get("fingerprint", ""))

    @property
    def window(self) -> int:
        return int(self.manifest["window"])

    @property
    def vocab_size(self) -> int:
        """Token ids in use, added tokens included: every id is below this."""
        return int(self.manifest["tokenizer"]["vocab_size"])

    @property
    def stop_token_ids(self) -> list[int]:
        return [int(token) for token in self.manifest["tokenizer"].get("stop_token_ids") or []]

    @property
    def pad_token_id(self) -> int | None:
        return _optional_id(self.manifest["tokenizer"].get("pad_token_id"))

    @property
    def document_end_token_id(self) -> int | None:
        return _optional_id(self.manifest["tokenizer"].get("document_end_token_id"))

    @property
    def tokenizer_dir(self) -> Path:
        return self.path / "tokenizer"


def open_build(path: str | Path) -> Build:
    """Open a build directory; anything else is answered with what is missing and how to make it."""
    root = Path(path)
    manifest_file = root / "manifest.json"
    if not root.is_dir():
        raise RecipeError(f"{root} is no directory: give the build directory that `tokenmill build` wrote")
    if not manifest_file.is_file():
        raise RecipeError(
            f"{root} has no manifest.json, so it is no finished build: the manifest is written last; "
            "run `tokenmill build` again, or give the directory above dataset/"
        )
    manifest = _read_json(manifest_file)
    for key in ("window", "tokenizer", "splits"):
        if not isinstance(manifest, dict) or key not in manifest:
            raise RecipeError(f"{manifest_file} has no key {key}: it is not the manifest of a build")
    return Build(
        path=root.resolve(),
        manifest=manifest,
        train=_open_split(root / "dataset" / "train", "train"),
        validation=_open_split(root / "dataset" / "validation", "validation"),
    )


def _open_split(directory: Path, name: str) -> Split:
    """Memory-map the Arrow files that the split's `state.json` names, in its order."""
    state_file = directory / "state.json"
    if not state_file.is_file():
        raise BuildError(f"{state_file} is missing although the manifest is there: rebuild the dataset")
    tables = []
    for entry in _read_json(state_file).get("_data_files", []):
        shard = directory / entry["filename"]
        if not shard.is_file():
            raise BuildError(f"{shard} is missing although {state_file} names it: rebuild the dataset")
        tables.append(pa.ipc.open_stream(pa.memory_map(str(shard))).read_all())
    return Split(name, pa.concat_tables(tables) if tables else pa.table({}))


def _values(column: pa.ChunkedArray, row: int) -> NDArray[Any]:
    """The values of one list entry, without a copy (booleans are bits and are unpacked)."""
    values = column[row].values
    if values is None:
        return np.empty(0, np.int32)
    unpack = pa.types.is_boolean(values.type)
    array: NDArray[Any] = values.to_numpy(zero_copy_only=not unpack)
    return array


def _check(row: Row, place: str) -> None:
    length = len(row.input_ids)
    if len(row.loss_mask) != length:
        raise BuildError(f"{place} has {len(row.loss_mask)} mask entries for {length} tokens: rebuild")
    if int(row.seq_lens.sum()) != length or (len(row.seq_lens) and int(row.seq_lens.min()) < 1):
        raise BuildError(
            f"{place}: seq_lens must be positive and add up to its {length} tokens, "
            f"and {row.seq_lens.tolist()[:8]}… add up to {int(row.seq_lens.sum())}: rebuild"
        )
    starts = np.cumsum(row.seq_lens) - row.seq_lens
    wrong = np.flatnonzero(row.loss_mask[starts])
    if len(wrong):
        raise BuildError(
            f"{place}: the first token of segment {int(wrong[0])} is marked as a target, and nothing in "
            "the segment predicts it; loss_mask must be 0 there: run `tokenmill verify` and rebuild"
        )
    if row.num_pad_tokens and bool(row.loss_mask[length - row.num_pad_tokens :].any()):
        raise BuildError(f"{place}: padding is marked as a target: run `tokenmill verify` and rebuild")


def _read_json(path: Path) -> Any:
    try:
        return orjson.loads(path.read_bytes())
    except orjson.JSONDecodeError as error:
        raise RecipeError(f"{path} is not JSON ({error}): rebuild the dataset") from None


def _optional_id(value: Any) -> int | None:
    return None if value is None else int(value)
