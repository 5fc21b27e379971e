"""One chunk of sessions as token sequences: what the store keeps of it, and how it is made of what rendering gave.

Guarantees: every sequence that is kept was proved; a session that could not be is set aside as `unproven`; sequences
stand in the order of rows and cuts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tokenization.build.proving import plain_claims, prove_table, whole_claims
from tokenization.chat.outcome import Rendered, SetAside
from tokenization.chat.rendering import Renderer
from tokenization.chat.roles import Role
from tokenization.chat.weights import sequence_weights
from tokenization.recipe.model import ChatSpec
from tokenization.sequences import offsets_of, storage_dtype
from tokenization.stages.chat_tools import prover_of
from tokenization.stages.tables import mapped, open_table, write_table
from tokenization.store import META, Store
from tokenization.tokenizer.encoder import open_tokenizer

SPAN = pa.struct([("start", pa.int32()), ("stop", pa.int32()), ("message", pa.int32())])
SEQUENCE_SCHEMA = pa.schema(
    [
        ("row", pa.int32()),  # of the chunk
        ("cut", pa.int32()),  # -1 where the session was not cut
        ("length", pa.int32()),
        ("targets", pa.int32()),
        ("spans", pa.list_(SPAN)),
        ("actions", pa.list_(pa.string())),
        ("weight", pa.float64()),  # of its targets in the loss, before the source's
        ("messages", pa.large_string()),  # JSON; null where all of the session's messages were rendered
    ]
)
SET_ASIDE_SCHEMA = pa.schema([("row", pa.int32()), ("reason", pa.string()), ("detail", pa.string())])
SEQUENCES, ASIDE = "sequences.arrow", "set_aside.arrow"


@dataclass(frozen=True)
class RenderJob:
    store: Store
    key: str
    chunk: str
    rows: NDArray[np.int32]  # int32 [num_kept]  rows of the chunk to render, ascending
    tokenizer: Path
    chat: ChatSpec
    folder: Path  # where a template's relative path begins
    window: int  # sequences that are longer are fitted, as an object of its own
    base: str = ""  # the whole rendering that a fitting starts from; none: render whole
    prompted: NDArray[np.int32] | None = None  # those of `rows` whose prompts `train_on_prompt: auto` trains


@dataclass(frozen=True)
class Chunk:
    """Sequences of a chunk, in the order of its rows and cuts, and what was set aside."""

    table: pa.Table  # SEQUENCE_SCHEMA
    input_ids: NDArray[Any]
    loss_mask: NDArray[np.bool_]
    set_aside: pa.Table  # SET_ASIDE_SCHEMA
    counts: Mapping[str, Any]  # stop_ids, lossy, mismatches

    @classmethod
    def of(
        cls,
        renderer: Renderer,
        job: RenderJob,
        sessions: pa.Table,
        rendered: Rendered,
        rows: NDArray[np.int32],
    ) -> Chunk:
        """What rendering gave, proved; sessions that cannot be proved are set aside."""
        table = sequence_table(sessions, rendered, rows, renderer.policy)
        prover = prover_of(job.tokenizer, job.chat.model_dump_json(), job.folder)
        lossy_before = prover.counts.lossy
        claims = whole_claims(table, rows_of(sessions.select(["messages", "tools"]), rendered.session))
        plain = plain_claims(rendered.plain, rendered.session, untouched=not rendered.kept)
        problems = prove_table(prover, claims, rendered.sequences, plain)
        unproven = {
            int(row): problem
            for row, problem in zip(rendered.session, problems, strict=True)
            if problem is not None
        }
        aside = [*rendered.set_aside, *(SetAside(row, "unproven", why) for row, why in unproven.items())]
        aside.sort(key=lambda entry: entry.row)
        columns = {
            "row": np.array([rows[entry.row] for entry in aside], np.int32),
            "reason": [entry.reason for entry in aside],
            "detail": [entry.detail for entry in aside],
        }
        counts = {
            "stop_ids": sorted(rendered.stop_ids),
            "lossy": prover.counts.lossy - lossy_before,
            "mismatches": list(renderer.mismatches[:5]),
        }
        ids, mask = rendered.sequences.input_ids, rendered.sequences.loss_mask
        made = cls(table, ids, mask, pa.table(columns, schema=SET_ASIDE_SCHEMA), counts)
        return made.without(np.array([rows[row] for row in unproven], np.int32)) if unproven else made

    @classmethod
    def load(cls, folder: Path) -> Chunk:
        meta = orjson.loads((folder / META).read_bytes())
        return cls(
            open_table(folder / SEQUENCES),
            mapped(folder / "ids.bin", np.dtype(meta["dtype"])),
            mapped(folder / "mask.bin", np.dtype(np.bool_)),
            open_table(folder / ASIDE),
            {name: meta[name] for name in ("stop_ids", "lossy", "mismatches")},
        )

    @property
    def longest(self) -> int:
        """Tokens of the longest sequence, 0 where there is none."""
        return int(self.table.column("length").to_numpy().max(initial=0))

    def chosen(self, order: NDArray[np.int64]) -> Chunk:
        """These sequences in this order; set-asides stay."""
        lengths = self.table.column("length").to_numpy().astype(np.int64)
        begins, lengths = offsets_of(lengths)[:-1][order], lengths[order]
        table = self.table.take(pa.array(order))
        ids, mask = (laid_out(values, begins, lengths) for values in (self.input_ids, self.loss_mask))
        return Chunk(table, ids, mask, self.set_aside, self.counts)

    def without(self, rows: NDArray[np.int32]) -> Chunk:
        """All sequences but those of these rows."""
        return self.chosen(np.flatnonzero(~np.isin(self.table.column("row").to_numpy(), rows)))

    def joined(self, other: Chunk) -> Chunk:
        """Both, in the order of rows and cuts."""
        table = pa.concat_tables([self.table, other.table])
        aside = pa.concat_tables([self.set_aside, other.set_aside]).sort_by("row")
        both = Chunk(
            table,
            np.concatenate([self.input_ids, other.input_ids]),
            np.concatenate([self.loss_mask, other.loss_mask]),
            aside,
            {
                "stop_ids": sorted({*self.counts["stop_ids"], *other.counts["stop_ids"]}),
                "lossy": self.counts["lossy"] + other.counts["lossy"],
                "mismatches": [*self.counts["mismatches"], *other.counts["mismatches"]][:5],
            },
        )
        return both.chosen(np.lexsort((table.column("cut").to_numpy(), table.column("row").to_numpy())))

    def save(self, job: RenderJob) -> None:
        """Write the chunk as the job's object."""
        dtype = storage_dtype(open_tokenizer(job.tokenizer).largest_id)
        rows = self.table.column("row").to_numpy()
        lengths = self.table.column("length").to_numpy()
        actions: Counter[str] = Counter()
        taken = pc.value_counts(self.table.column("actions").combine_chunks().flatten())
        for action, count in zip(
            *(taken.field(part).to_pylist() for part in ("values", "counts")), strict=True
        ):
            actions[action.split(":")[0]] += count
        sessions = len(np.unique(rows))
        meta = {
            **self.counts,
            "sequences": len(rows),
            "sessions": sessions,
            "proven": sessions,
            "cuts": len(rows) - sessions,
            "tokens": int(lengths.sum()),
            "target_tokens": int(self.table.column("targets").to_numpy().sum()),
            "separators": 0,
            "longest": self.longest,
            "dtype": dtype.name,
            "set_aside": dict(Counter(self.set_aside.column("reason").to_pylist())),
            "actions": dict(actions),
        }
        with job.store.writing("tokens", job.key) as folder:
            np.ascontiguousarray(self.input_ids, dtype).tofile(folder / "ids.bin")
            np.ascontiguousarray(self.loss_mask, np.bool_).tofile(folder / "mask.bin")
            write_table(self.table, folder / SEQUENCES)
            write_table(self.set_aside, folder / ASIDE)
            (folder / META).write_bytes(orjson.dumps(meta))


def laid_out(values: NDArray[Any], begins: NDArray[np.int64], lengths: NDArray[np.int64]) -> NDArray[Any]:
    """These ranges of the values end to end; ranges that follow each other are copied in one go."""
    goes_on = begins[1:] == begins[:-1] + lengths[:-1]
    heads = np.flatnonzero(np.append(True, ~goes_on))[: len(begins)]
    ends = np.append(begins[heads[1:] - 1] + lengths[heads[1:] - 1], begins[-1:] + lengths[-1:])
    runs = [values[begin:end] for begin, end in zip(begins[heads].tolist(), ends.tolist(), strict=True)]
    return np.concatenate([values[:0], *runs])


def sequence_table(
    sessions: pa.Table, rendered: Rendered, rows: NDArray[np.int32], policy: Mapping[str, Role]
) -> pa.Table:
    """One row a sequence; `rows` gives each session's row in its chunk."""
    ones = np.concatenate([[0], np.cumsum(rendered.sequences.loss_mask, dtype=np.int64)])
    weights, mixed = sequence_weights(sessions.column("messages"), rendered, policy)
    offsets = rendered.sequences.offsets
    spans = pa.StructArray.from_arrays(
        [
            pa.array(values.astype(np.int32))
            for values in (rendered.span_start, rendered.span_stop, span_messages(rendered))
        ],
        fields=list(SPAN),
    )
    columns = {
        "row": rows[rendered.session].astype(np.int32),
        "cut": rendered.cut.astype(np.int32),
        "length": rendered.sequences.lengths.astype(np.int32),
        "targets": (ones[offsets[1:]] - ones[offsets[:-1]]).astype(np.int32),
        "spans": pa.ListArray.from_arrays(pa.array(rendered.span_offsets.astype(np.int32)), spans),
        "actions": action_lists(rendered, mixed),
        "weight": weights,
        "messages": pa.array(rendered_messages(sessions, rendered), pa.large_string()),
    }
    return pa.table(columns, schema=SEQUENCE_SCHEMA)


def rows_of(table: pa.Table, rows: NDArray[np.int64]) -> pa.Table:
    """These rows; the table itself where they are its rows in turn."""
    if len(rows) == len(table) and (rows == np.arange(len(rows))).all():
        return table
    return table.take(pa.array(rows))


def action_lists(rendered: Rendered, mixed: set[int]) -> pa.Array:
    """What policies did to each sequence; nothing, nearly always."""
    if not rendered.actions and not rendered.cut_actions and not mixed:
        none = pa.array(np.zeros(len(rendered.session) + 1, np.int32))
        return pa.ListArray.from_arrays(none, pa.array([], pa.string()))
    numbers = range(len(rendered.session))
    return pa.array(
        [[*rendered.actions_of(n), *(["mixed_weights"] if n in mixed else [])] for n in numbers],
        pa.list_(pa.string()),
    )


def rendered_messages(sessions: pa.Table, rendered: Rendered) -> list[str | None]:
    """The messages of each sequence where a policy left some out, else None."""
    made: list[str | None] = [None] * len(rendered.session)
    for sequence, kept in rendered.kept.items():
        messages = orjson.loads(sessions.column("messages")[int(rendered.session[sequence])].as_py())
        made[sequence] = orjson.dumps([messages[place] for place in kept]).decode()
    return made


def span_messages(rendered: Rendered) -> NDArray[np.int32]:
    """Each span's message, counted in the messages that its sequence holds."""
    message = np.array(rendered.span_message, np.int32)
    for sequence, kept in rendered.kept.items():
        own = slice(int(rendered.span_offsets[sequence]), int(rendered.span_offsets[sequence + 1]))
        place = {original: number for number, original in enumerate(kept)}
        message[own] = [place[int(original)] for original in message[own]]
    return message
