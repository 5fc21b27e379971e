"""What a writer of a form is given, and the counts that it gives back."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tokenization.exporting.windows import Windows, windows_of


@dataclass(frozen=True)
class Task:
    """One split to write into a folder that is there and empty."""

    split: str
    folder: Path
    shards: list[Path]
    fingerprint: str  # of the build's dataset
    window: int | None  # None: rows have lengths of their own
    largest_id: int
    weights: bool  # whether the dataset has loss_weights


@dataclass
class Counted:
    """What went by on its way into an export."""

    windows: int = 0
    tokens: int = 0  # without padding
    targets: int = 0

    def following(self, shard: Path) -> Iterator[Windows]:
        """The shard's windows, counted."""
        for each in windows_of(shard):
            self.windows += each.batch.num_rows
            self.tokens += int(each.rows.seq_lens[~each.rows.is_padding].sum())
            self.targets += int(each.rows.mask_bits.true_count)
            yield each
