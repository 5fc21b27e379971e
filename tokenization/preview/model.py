"""What a preview is made of: plain values that whoever opens a build fills in.

Arrays and bytes go in, nothing here knows a tokenizer, a template or a file. Ranges are half-open and
count tokens from the sequence's beginning.

Guarantees: the arrays of one `PreviewSequence` agree in length, its role spans lie inside it in rising
order, and the segments of one `PreviewWindow` add up to its length. Price: nothing is copied.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from tokenization.sequences import BoolArray

Ids = NDArray[np.integer]
Kind = Literal["pretrain", "sft"]
Segment = tuple[str, str, int, int]  # source, item, start (tokens from the item's beginning), length


@dataclass(frozen=True)
class RoleSpan:
    """The tokens [start, stop) belong to `role`; `why` says in words why they are trained or masked."""

    start: int
    stop: int
    role: str
    trained: bool
    why: str


@dataclass(frozen=True, eq=False)
class PreviewSequence:
    """One document or session in tokens, with all that a viewer needs to show and explain it."""

    source: str
    item: str
    kind: Kind
    title: str
    input_ids: Ids  # integer [num_tokens]
    loss_mask: BoolArray  # bool [num_tokens]  True = this token is a target, unshifted
    token_bytes: list[bytes]  # [num_tokens]  the bytes a token stands for; a special token's own text
    special: BoolArray  # bool [num_tokens]  True = structure by id, never typed text
    roles: list[RoleSpan] = field(default_factory=list)
    note: str = ""  # a policy that acted: "3 earliest turns dropped"

    def __post_init__(self) -> None:
        lengths = [len(self.input_ids), len(self.loss_mask), len(self.token_bytes), len(self.special)]
        if len(set(lengths)) != 1:
            raise ValueError(
                f"{self.item}: input_ids, loss_mask, token_bytes, special have lengths {lengths}"
            )
        edges = [edge for span in self.roles for edge in (span.start, span.stop)]
        if edges != sorted(edges) or (edges and not 0 <= edges[0] <= edges[-1] <= len(self)):
            raise ValueError(f"{self.item}: role spans must rise and stay within {len(self)} tokens")

    def __len__(self) -> int:
        return len(self.input_ids)

    @property
    def num_trained(self) -> int:
        return int(np.count_nonzero(self.loss_mask))


@dataclass(frozen=True, eq=False)
class PreviewWindow:
    """One row of the dataset; a segment with source "" is padding."""

    row: int
    kind: Kind
    seq_lens: list[int]  # [num_segments]  adds up to the row's length, padding included
    segments: list[Segment]  # [num_segments]
    loss_mask: BoolArray  # bool [window]
    input_ids: Ids  # integer [window]

    def __post_init__(self) -> None:
        if len(self.seq_lens) != len(self.segments):
            raise ValueError(
                f"row {self.row}: {len(self.seq_lens)} lengths for {len(self.segments)} segments"
            )
        if sum(self.seq_lens) != len(self.loss_mask) or len(self.loss_mask) != len(self.input_ids):
            raise ValueError(
                f"row {self.row}: segments hold {sum(self.seq_lens)} tokens, "
                f"loss_mask {len(self.loss_mask)}, input_ids {len(self.input_ids)}"
            )

    @property
    def is_padding(self) -> list[bool]:
        """One flag a segment."""
        return [source == "" for source, *_ in self.segments]


@dataclass(frozen=True)
class SetAside:
    """A row that did not go into the build, as it came."""

    source: str
    item: str
    file: str
    place: int  # 1-based line or row, 0 = the whole file
    reason: str  # a snake_case word
    detail: str  # one helpful sentence
    row_text: str


@dataclass(frozen=True)
class PreviewPage:
    """Everything on one page, in the order in which it is shown."""

    title: str
    facts: list[tuple[str, str]]
    sequences: list[PreviewSequence]
    windows: list[PreviewWindow] = field(default_factory=list)
    set_aside: list[SetAside] = field(default_factory=list)
