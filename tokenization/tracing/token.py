"""One token of one row: everything that the build, and where it helps the source, tells of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from tokenization import shards
from tokenization.build.layout import read_manifest
from tokenization.build.mask_check import encoder_of
from tokenization.build.showing import Words, item_rows, words_of
from tokenization.errors import RecipeError
from tokenization.preview.characters import character_groups
from tokenization.preview.model import PreviewSequence
from tokenization.preview.runs import Run, run_text
from tokenization.tokenizer.definition import Definition
from tokenization.tracing.documents import InDocument, ids_before, in_source, in_tokens
from tokenization.tracing.sessions import InSession, SessionTokens, in_session
from tokenization.tracing.sources import Found, text_again
from tokenization.tracing.spelling import Characters, is_inside, whole_characters

AROUND = 24  # tokens on each side that are shown
PADDING, TEXT, DOCUMENT_END = "padding", "text", "document_end"
_REASONS = {
    PADDING: "padding fills the window; it is never a target",
    TEXT: "pretraining text: every token is a target",
    DOCUMENT_END: "the document end closes its document and is a target",
}
FIRST = "the first token of a segment: nothing in the segment predicts it"


@dataclass(frozen=True)
class Segment:
    """The part of the row that the token is in."""

    number: int  # from 0
    of: int  # segments in the row, padding included
    begin: int  # its first token in the row
    start: int  # the same token, counted from the item's first
    length: int


@dataclass(frozen=True)
class Traced:
    """A token and where it came from; tokens and characters count from 0, lines and columns from 1."""

    split: str
    row: int
    token: int
    kind: str  # pretrain | sft
    id: int
    text: str  # the whole characters that the token touches, everything unseen spelled out
    bytes: bytes  # its own
    is_control: bool
    tokens: tuple[int, int]  # of the row: all that share its characters
    characters: Characters  # of what the segment's tokens spell
    trained: bool
    weight: float | None
    part: str  # padding | text | document_end, or see InSession
    why: str
    segment: Segment
    token_in_item: int | None  # None: padding
    item: dict[str, Any] | None  # source, item, file, place, content_hash, cut, actions
    session: InSession | None
    document: InDocument | None
    source: Found | None  # of a document: whether its text is still there
    before: str
    after: str

    def as_json(self) -> dict[str, Any]:
        """JSON-able, with stable keys."""
        told = asdict(self)
        source = told.pop("source")
        if source is not None:
            source.pop("text")
        return {**told, "source_text": source, "bytes": self.bytes.hex()}


def trace(build: Path, split: str, row: int, token: int, folders: Sequence[Path] = ()) -> Traced:
    """Where the token came from; `folders` are those that the recipe's relative paths may be relative to."""
    manifest = read_manifest(build)
    values = _row(build, manifest, split, row)
    count = len(values["input_ids"])
    if token >= count:
        raise RecipeError(f"--token {token}: row {row} has {count:,} tokens, 0 to {count - 1}")
    segment = _segment(values, token)
    own = slice(segment.begin, segment.begin + segment.length)
    return _Asked(build, manifest, split, row, token, values, segment, own).answer(folders)


def _row(build: Path, manifest: dict[str, Any], split: str, row: int) -> dict[str, Any]:
    try:
        return shards.read_row(build / "dataset" / split, row)
    except IndexError:
        count = manifest["splits"][split]["num_windows"]
        has = f"has {count:,} rows, 0 to {count - 1}" if count else "is empty"
        raise RecipeError(f"--row {row}: the {split} split {has}") from None


def _segment(values: dict[str, Any], token: int) -> Segment:
    begin = 0
    for number, each in enumerate(values["segments"]):
        if token < begin + each["length"]:
            return Segment(number, len(values["segments"]), begin, each["start"], each["length"])
        begin += each["length"]
    raise RecipeError(f"--token {token}: no segment of this row holds it; run tokenmill verify on the build")


@dataclass(frozen=True)
class _Asked:
    """One question, with the row that it is about."""

    build: Path
    manifest: dict[str, Any]
    split: str
    row: int
    token: int
    values: dict[str, Any]
    segment: Segment
    own: slice  # the segment's tokens in the row

    def answer(self, folders: Sequence[Path]) -> Traced:
        words = words_of(self.build, self.manifest)
        ids: list[int] = self.values["input_ids"][self.own]
        token_bytes = words.bytes_of(ids)
        at = self.token - self.segment.begin
        begin = sum(map(len, token_bytes[:at]))
        characters = whole_characters(b"".join(token_bytes), begin, begin + len(token_bytes[at]))
        told = self.values["segments"][self.segment.number]
        item = item_rows(self.build, {(told["source"], told["item"])}).get((told["source"], told["item"]))
        session = document = source = None
        if not told["source"]:
            part = PADDING
        elif self.values["kind"] == "sft":
            session = self._in_session(words, item, token_bytes, at)
            part = session.part
        else:
            part = DOCUMENT_END if self._is_end(ids, item, at) else TEXT
            document, source = self._in_document(words, item, ids, token_bytes, at, folders)
        before, shown, after, tokens = self._around(words, ids, token_bytes, at)
        trained = bool(self.values["loss_mask"][self.token])
        weights = self.values.get("loss_weights")
        masked_first = FIRST if at == 0 and not trained and told["source"] else None
        return Traced(
            split=self.split,
            row=self.row,
            token=self.token,
            kind=self.values["kind"],
            id=ids[at],
            text=shown,
            bytes=token_bytes[at],
            is_control=bool(words.special([ids[at]])[0]),
            tokens=tokens,
            characters=characters,
            trained=trained,
            weight=None if weights is None else weights[self.segment.number],
            part=part,
            why=masked_first or (session.why if session else _REASONS[part]),
            segment=self.segment,
            token_in_item=self.segment.start + at if told["source"] else None,
            item=_named(told, item),
            session=session,
            document=document,
            source=source,
            before=before,
            after=after,
        )

    def _is_end(self, ids: Sequence[int], item: dict[str, Any] | None, at: int) -> bool:
        """Whether token `at` of the segment is the document end, and no text."""
        last = item is not None and self.segment.start + at == item["num_tokens"] - 1
        return last and ids[at] == self.manifest["tokenizer"]["document_end_token_id"]

    def _in_session(
        self, words: Words, item: dict[str, Any] | None, token_bytes: list[bytes], at: int
    ) -> InSession:
        if item is None:
            raise RecipeError(
                f"row {self.row}: its session is not in items.parquet; run tokenmill verify on the build"
            )
        stops = self.manifest["tokenizer"]["stop_token_ids"]
        tokens = SessionTokens(
            item=item,
            token_bytes=token_bytes,
            trained=self.values["loss_mask"][self.own],
            is_stop=np.isin(self.values["input_ids"][self.own], stops).tolist(),
            chat=self.manifest["recipe"]["chat"],
        )
        return in_session(tokens, words.turns.read(token_bytes, item), at)

    def _in_document(
        self,
        words: Words,
        item: dict[str, Any] | None,
        ids: list[int],
        token_bytes: list[bytes],
        at: int,
        folders: Sequence[Path],
    ) -> tuple[InDocument | None, Found | None]:
        if item is None:
            return None, None
        start = self.segment.start
        source = text_again(self.manifest["recipe"], item, folders)
        if source.text is not None:
            end = self.manifest["tokenizer"]["document_end_token_id"]
            whole = [*encoder(self.build / "tokenizer")(source.text, False), end]
            found = in_source(source.text, whole, words.bytes_of(whole), (start, ids), start + at)
            if found is not None:
                return found, source
        before = ids_before(self.build, self.split, item["source"], item["item"], start)
        if before is None:
            return None, source
        definition = Definition.read(self.build / "tokenizer" / "tokenizer.json")
        known = [*words.bytes_of(before), *token_bytes]
        if self._is_end(ids, item, len(ids) - 1):
            known[-1] = b""
        return (
            in_tokens(
                known,
                start + at,
                prefixed=definition.prefix_scope != "never",
                exact=definition.document.get("normalizer") is None and not definition.model.get("unk_token"),
            ),
            source,
        )

    def _around(
        self, words: Words, ids: list[int], token_bytes: list[bytes], at: int
    ) -> tuple[str, str, str, tuple[int, int]]:
        """The text before the token, its whole characters, the text behind, and the row's tokens that share them."""
        first, last = max(0, at - AROUND), min(len(ids), at + AROUND + 1)
        while first < at and goes_on(token_bytes[first]):
            first += 1
        while last < len(ids) and goes_on(token_bytes[last]):
            last += 1
        shown = PreviewSequence(
            source="",
            item="",
            kind="pretrain",
            title="",
            input_ids=np.array(ids[first:last]),
            loss_mask=np.zeros(last - first, bool),
            token_bytes=token_bytes[first:last],
            special=words.special(ids[first:last]),
        )
        groups = character_groups(shown)
        place = next(n for n, group in enumerate(groups) if group.start <= at - first < group.stop)
        here = groups[place]
        before, mine, after = (
            run_text(Run(part, False), "\n") if part else ""
            for part in (groups[:place], groups[place : place + 1], groups[place + 1 :])
        )
        shift = self.segment.begin + first
        return before, mine, after, (here.start + shift, here.stop + shift)


@lru_cache(maxsize=2)
def encoder(folder: Path) -> Any:
    """The reference encoder of a build's tokenizer, opened once."""
    return encoder_of(folder)


def goes_on(token: bytes) -> bool:
    """Whether the token begins inside a character."""
    return bool(token) and is_inside(token, 0)


def _named(segment: dict[str, Any], item: dict[str, Any] | None) -> dict[str, Any] | None:
    """Which item it is, as items.parquet has it."""
    if not segment["source"]:
        return None
    names = ("source", "item", "file", "place", "content_hash", "cut", "actions")
    return {name: (item or segment).get(name) for name in names}
