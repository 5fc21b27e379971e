"""The masks of a whole build, proved from the build directory alone.

Sessions: every one of items.parquet stands once in its split, and its ids, mask and spans are what `proof` derives
from its messages, the served template and the recipe. Texts: every token is a target but the first of each segment;
padding is none. Every segment weighs what it must (see weight_check). The manifest's number of targets is the
dataset's.

Price: one pass over the dataset; about 20 µs a session, about 1 ns a token of text.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from tokenization.build.contents import SPLITS, Build, Rows
from tokenization.build.proof import Prover
from tokenization.build.proving import demands_of, prove_table, served_template
from tokenization.build.weight_check import Weights, weight_problems
from tokenization.chat.templates import NAMED_TOKENS, builtin_names
from tokenization.recipe.model import ChatSpec
from tokenization.sequences import TokenSequences, offsets_of
from tokenization.tokenizer.definition import Definition
from tokenization.tokenizer.vocabulary import vocabulary_of
from tokenization.windows.plan import ranges

MOST_PROBLEMS = 200  # more would not be read


class BuildTokenizer:
    """The build's own tokenizer.json, as the prover asks for it."""

    def __init__(self, folder: Path) -> None:
        self.definition = Definition.read(folder / "tokenizer.json")
        self._vocabulary = vocabulary_of(self.definition)
        config = orjson.loads((folder / "tokenizer_config.json").read_bytes())
        self.chat_template: str = config.get("chat_template") or ""
        self.named_tokens = {name: config[name] for name in NAMED_TOKENS if isinstance(config.get(name), str)}

    @property
    def added_tokens(self) -> dict[str, int]:
        return self.definition.added_tokens

    def token_bytes(self, token_id: int) -> bytes:
        return self._vocabulary.token_bytes(token_id)

    @property
    def byte_table(self) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        """The bytes of every id laid end to end, and where each one's begin."""
        return self._vocabulary.byte_table


def mask_problems(build: Build) -> tuple[str, list[str]]:
    """What was looked at, and every session or text whose mask is not what it must be."""
    problems: list[str] = []
    sessions = windows = 0
    prover = prover_of(build) if (build.path / "items.parquet").is_file() else None
    weights = Weights(build)
    for split in SPLITS:
        wanted = Sessions(build, split)
        if wanted.repeated:
            problems.append(f"{split}: items.parquet names a session twice")
        session = wanted.session if weights.are_per_message(wanted.table) else None
        targets = 0
        for rows in build.batches(split):
            targets += int(rows.mask_bits.true_count)
            windows += int(rows.pretrain.sum())
            problems += text_problems(rows, split)
            problems += weight_problems(rows, weights, session, split)
            if prover is not None:
                found, looked = session_problems(rows, wanted, prover, split)
                problems += found
                sessions += looked
        problems += [
            f"{split}: session {item!r} of {source} is in items.parquet and not in the dataset"
            for source, item in wanted.left()
        ]
        told = build.manifest["splits"][split]["num_target_tokens"]
        if told != targets:
            problems.append(f"{split}: the manifest says num_target_tokens {told}, the dataset has {targets}")
    return f"{sessions} sessions and {windows} windows of text", problems[:MOST_PROBLEMS]


def prover_of(build: Build) -> Prover | None:
    """The prover that the build's recipe, template and tokenizer give; None where there are no chats."""
    recipe = build.manifest["recipe"]
    if not any(source["kind"] == "chat" for source in recipe["sources"]):
        return None
    chat = ChatSpec.model_validate(recipe["chat"])
    tokenizer = BuildTokenizer(build.path / "tokenizer")
    markers = tokenizer.definition.markers
    return Prover(
        served_template(
            chat,
            tokenizer.chat_template,
            {**tokenizer.named_tokens, **build.manifest["template"].get("named_tokens", {})},
            builtin=chat.template in builtin_names(),
        ),
        tokenizer,
        demands_of(chat),
        num_ids=max([*tokenizer.definition.model_vocab.values(), *markers.values()]) + 1,
        control=markers,
        stop_ids=frozenset(build.manifest["tokenizer"]["stop_token_ids"]),
        prefix_scope=tokenizer.definition.prefix_scope,
        encode=encoder_of(build.path / "tokenizer"),
    )


def encoder_of(folder: Path) -> Any:
    """Text to ids by the reference library, for texts that the tokenizer normalises."""
    reference: dict[bool, Any] = {}

    def encode(text: str, goes_on: bool) -> list[int]:
        from tokenization.tokenizer.engines import OracleEncoder

        if goes_on not in reference:
            definition = Definition.read(folder / "tokenizer.json")
            reference[goes_on] = OracleEncoder(definition.text_view(continuing=goes_on))
        ids: list[int] = reference[goes_on].encode([text])[0].tolist()
        return ids

    return encode


class Sessions:
    """The sessions of items.parquet in one split; each may be taken once."""

    def __init__(self, build: Build, split: str) -> None:
        self.table = pq.read_table(
            build.path / "items.parquet",
            columns=["source", "item", "messages", "tools", "spans", "cut", "actions"],
            filters=[("kind", "=", "sft"), ("split", "=", split)],
        )
        sources, items = (self.table.column(name).to_pylist() for name in ("source", "item"))
        self._row = {name: row for row, name in enumerate(zip(sources, items, strict=True))}
        self.repeated = len(self._row) < len(sources)
        self._taken = np.zeros(len(sources), bool)

    def number(self, name: tuple[str, str]) -> int | str:
        """The row of this session; why it has none, where it has not."""
        row = self._row.get(name)
        if row is None:
            return "is in the dataset and not in items.parquet"
        if self._taken[row]:
            return "stands twice in the dataset"
        self._taken[row] = True
        return row

    def session(self, name: tuple[str, str]) -> dict[str, Any] | None:
        """The row of this session, where it has one."""
        row = self._row.get(name)
        return None if row is None else self.rows([row])[0]

    def rows(self, numbers: list[int]) -> list[dict[str, Any]]:
        return list(self.table.take(pa.array(numbers, pa.int64())).to_pylist())

    def left(self) -> Iterator[tuple[str, str]]:
        """Those that the dataset lacks."""
        return (name for name, row in self._row.items() if not self._taken[row])


def text_problems(rows: Rows, split: str) -> Iterator[str]:
    """Texts whose mask is not all ones but the first of each segment; padding that is trained."""
    counts = np.diff(rows.segment_offsets)
    of_text = np.repeat(rows.pretrain, counts)
    padding = rows.is_padding
    begins = rows.begins
    lengths = rows.seq_lens.astype(np.int64)
    text, judged = of_text & ~padding, of_text | padding
    if int(lengths.sum()) != len(
        rows.input_ids
    ):  # windows_full refuses these lengths and tells what they claim
        return
    if not judged.any() or (judged.all() and _only_masked(rows.mask_bits, begins, lengths, padding)):
        return
    expected = np.repeat(text, lengths)
    expected[begins[text]] = False
    wrong = rows.loss_mask != expected
    if not judged.all():
        wrong &= np.repeat(judged, lengths)
    wrong = np.flatnonzero(wrong)
    for segment in np.unique(np.searchsorted(begins, wrong, side="right") - 1).tolist():
        name = rows.items[segment].as_py() or "padding"
        yield f"{split}: the mask of {rows.sources[segment].as_py()} {name} is not that of a text"


def _only_masked(
    mask: pa.BooleanArray, begins: NDArray[np.int64], lengths: NDArray[np.int64], padding: NDArray[np.bool_]
) -> bool:
    """Whether nothing is masked but the first token of each segment and padding: few places, so that bytes of ones
    are passed over."""
    expected = np.sort(np.concatenate([begins[~padding], ranges(begins[padding], lengths[padding])]))
    return np.array_equal(zeros_of(mask), expected)


def zeros_of(flags: pa.BooleanArray) -> NDArray[np.int64]:
    """Where flags are not set, ascending, int64 [num_unset]; the price is that of the bytes that are not all ones."""
    before = flags.offset % 8  # flags of the first byte that belong to what stands before
    stored = np.frombuffer(flags.buffers()[1], np.uint8)
    content = stored[flags.offset // 8 : -(-(flags.offset + len(flags)) // 8)]
    mixed = np.flatnonzero(content != 0xFF)
    which, bit = np.nonzero(np.unpackbits(content[mixed, None], axis=1, bitorder="little") == 0)
    places: NDArray[np.int64] = 8 * mixed[which] + bit - before
    return places[(places >= 0) & (places < len(flags))]


def session_problems(rows: Rows, wanted: Sessions, prover: Prover, split: str) -> tuple[list[str], int]:
    """The sessions of these rows, each proved."""
    counts = np.diff(rows.segment_offsets)
    segments = np.flatnonzero(~np.repeat(rows.pretrain, counts) & ~rows.is_padding)
    sources, items = (pc.take(names, segments).to_pylist() for names in (rows.sources, rows.items))
    problems: list[str] = []
    numbers: list[int] = []
    places: list[int] = []
    for place, name in enumerate(zip(sources, items, strict=True)):
        found = wanted.number(name)
        if isinstance(found, str):
            problems.append(f"{split}: session {name[1]!r} of {name[0]} {found}")
        else:
            numbers.append(found)
            places.append(place)
    begins = rows.begins
    ones = np.concatenate([[0], np.cumsum(rows.loss_mask)])
    targets = ones[np.minimum(begins + rows.seq_lens, len(rows.loss_mask))] - ones[begins]
    claims = wanted.table.take(pa.array(numbers, pa.int64()))
    spans = pc.fill_null(pc.list_value_length(claims.column("spans")), 0).to_numpy()
    # One without any target is another check's business.
    judged = (spans > 0) | (targets[segments[places]] > 0)
    claims = claims.filter(pa.array(judged))
    chosen = segments[places][judged]
    lengths = rows.seq_lens[chosen].astype(np.int64)
    tokens = ranges(begins[chosen], lengths)
    sequences = TokenSequences(
        rows.input_ids[tokens].astype(np.uint32), rows.loss_mask[tokens], offsets_of(lengths)
    )
    for number, problem in enumerate(prove_table(prover, claims, sequences)):
        if problem is not None:
            item, source = (claims.column(name)[number].as_py() for name in ("item", "source"))
            problems.append(f"{split}: session {item!r} of {source}: {problem}")
    return problems, len(segments)
