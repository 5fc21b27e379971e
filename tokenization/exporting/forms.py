"""The forms: who reads each, its columns, what it keeps, what it has no place for, and how to read it.

The one home of these words: the command, the note in an export and docs/exports.md say them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from tokenization.exporting.huggingface import write_axolotl, write_trl
from tokenization.exporting.mds import write_mds
from tokenization.exporting.megatron import write_megatron
from tokenization.exporting.parquet import write_parquet
from tokenization.exporting.task import Counted, Task

ORIGIN = "which source and item a segment is from, and the window's kind"
WEIGHTS = "loss weights: every target counts as 1"


@dataclass(frozen=True)
class Form:
    """One way to write windows."""

    name: str
    reader: str
    columns: Mapping[str, str]
    keeps: str
    loses: tuple[str, ...]  # what it does not carry
    mind: tuple[str, ...]  # what its reader does beside reading
    use: str  # what its reader is told
    write: Callable[[Task], Counted]
    carries_weights: bool
    is_dataset: bool = False  # whether `datasets.load_from_disk` opens the whole
    writes_empty: bool = False  # whether a split without a window is written


TRL = Form(
    name="trl",
    reader="TRL's SFTTrainer (1.x)",
    columns={
        "input_ids": "int32 list, the window",
        "labels": "int32 list, the token where it is a target, else -100; unshifted",
        "seq_lengths": "int32 list, the segments' lengths, padding a last segment of its own",
    },
    keeps="windows, masks, segments: the collator restarts positions at each segment and passes cu_seq_lens",
    loses=(ORIGIN,),
    mind=("without padding_free the collator drops the segments, and windows are read as one sequence",),
    use=(
        "dataset = datasets.load_from_disk(OUT)\n"
        "SFTConfig(padding_free=True, packing=False, max_length=None,\n"
        '          dataset_kwargs={"skip_prepare_dataset": True})\n'
        'SFTTrainer(..., train_dataset=dataset["train"], eval_dataset=dataset["validation"])'
    ),
    write=write_trl,
    carries_weights=False,
    is_dataset=True,
    writes_empty=True,
)

AXOLOTL = Form(
    name="axolotl",
    reader="axolotl, as a dataset that is tokenized already",
    columns={
        "input_ids": "int32 list, the window",
        "attention_mask": "int8 list, 1 throughout: padding is a segment of its own",
        "labels": "int32 list, the token where it is a target, else -100; unshifted",
        "position_ids": "int32 list, from 0 in each segment",
    },
    keeps="windows, masks, and segments by their positions: one window a micro batch, and flash attention",
    loses=(ORIGIN,),
    mind=(
        "segments are seen by flash attention alone, and in micro batches of one window; otherwise not at all",
    ),
    use=(
        "datasets: [{path: OUT/train, type: }]\n"
        "test_datasets: [{path: OUT/validation, type: }]\n"
        "sequence_len: WINDOW\n"
        "sample_packing: false      # they are packed\n"
        "micro_batch_size: 1        # segments are told by positions, which holds for one row\n"
        "flash_attention: true"
    ),
    write=write_axolotl,
    carries_weights=False,
    is_dataset=True,
    writes_empty=True,
)

MEGATRON = Form(
    name="megatron",
    reader="Megatron-LM (.bin/.idx) and Megatron-Bridge (packed Parquet)",
    columns={
        "tokens.bin/.idx": "uint16 or int32, a sequence a segment, a document a window",
        "loss_mask.bin/.idx": "uint8 in the same sequences, 1 = this token is a target; unshifted",
        "packed-*.idx.parquet": "a row a window: input_ids int32, seq_start_id int32, loss_mask int8",
    },
    keeps=(
        "tokens, masks and segments; in the Parquet the mask of a token says whether the next one is a target, "
        "as its reader takes it"
    ),
    loses=(ORIGIN, "padding, which Megatron adds itself"),
    mind=(
        "Megatron-LM's GPTDataset reads tokens.bin alone: it trains on prompts too, and cuts and shuffles by itself; "
        "use it for texts",
        "Megatron-Bridge trains no label behind the tokenizer's eos: where that is the stop, the line break that "
        "chat.around_answers: trained trains is dropped",
    ),
    use=(
        "texts: --data-path OUT/train/tokens\n"
        "chats: create_gpt_sft_dataset(path='OUT/train', seq_length=WINDOW, answer_only_loss=True)"
    ),
    write=write_megatron,
    carries_weights=False,
)

PARQUET = Form(
    name="parquet",
    reader="DuckDB, polars, pyarrow and loaders of one's own",
    columns={
        "input_ids": "int32 list, the window",
        "loss_mask": "bool list, 1 = this token is a target; unshifted",
        "labels": "int32 list, the token where it is a target, else -100; unshifted",
        "position_ids": "int32 list, from 0 in each segment",
        "seq_lens": "int32 list, the segments' lengths, padding a last segment of its own",
        "segments": "list of {source, item, start, length}",
        "kind": "pretrain | sft",
        "loss_weights": "float32 list, one a segment; only where a build has weights",
    },
    keeps="everything that the dataset has",
    loses=(),
    mind=(),
    use="duckdb.sql(\"select kind, count(*) from 'OUT/train/*.parquet' group by kind\")",
    write=write_parquet,
    carries_weights=True,
    writes_empty=True,
)

MDS = Form(
    name="mds",
    reader="MosaicML's streaming (StreamingDataset)",
    columns={
        "input_ids": "ndarray int32, the window",
        "labels": "ndarray int32, the token where it is a target, else -100; unshifted",
        "position_ids": "ndarray int32, from 0 in each segment",
        "seq_lens": "ndarray int32, the segments' lengths, padding a last segment of its own",
        "segments": "json, a list of {source, item, start, length}",
        "kind": "str, pretrain | sft",
        "loss_weights": "ndarray float32, one a segment; only where a build has weights",
    },
    keeps="everything that the dataset has; the mask as labels",
    loses=(),
    mind=("StreamingDataset deals windows out to ranks and workers by itself, in an order of its own",),
    use="StreamingDataset(local='OUT/train', shuffle=False, batch_size=1)",
    write=write_mds,
    carries_weights=True,
)

FORMS = {form.name: form for form in (TRL, AXOLOTL, MEGATRON, PARQUET, MDS)}
