"""`tokenmill trace`: from a token of a row back to source, item, file, line and character."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import click
import orjson

from tokenization.preview.characters import NEWLINE, one_line
from tokenization.tracing.documents import InDocument
from tokenization.tracing.sources import Found
from tokenization.tracing.spelling import Characters
from tokenization.tracing.token import PADDING, Traced, trace

SHOWN = 60  # characters of text on each side of the token
UNDERLINE = "\x1b[1;7m"
RESET = "\x1b[0m"
TEXTS = {"content": "its content", "reasoning_content": "its reasoning"}
PARTS = {
    "inserted": "a system prompt that the template or the recipe puts in front",
    "header": "the header of its turn",
    "supplied": "what the prompt supplies before the answer",
    "template": "what the template writes into its answer",
    "stop": "the stop of its answer",
    "behind_stop": "what follows the stop",
    "end": "what the template writes behind its text",
}


def trace_token(
    directory: Path, *, row: int, token: int, split: str, recipe: Path | None, as_json: bool
) -> None:
    """Everything that is known of the token, for people or as one JSON line."""
    traced = trace(directory, split, row, token, folders_of(recipe))
    if as_json:
        click.echo(orjson.dumps(traced.as_json()).decode())
        return
    for line in lines(traced, colour=sys.stdout.isatty()):
        click.echo(line, color=True)


def folders_of(recipe: Path | None) -> list[Path]:
    """The folders that the recipe's relative paths may start from."""
    if recipe is None:
        return [Path.cwd(), Path.cwd() / "recipes"]
    return [(recipe if recipe.is_dir() else recipe.parent).absolute()]


def lines(traced: Traced, *, colour: bool) -> Iterator[str]:
    """For people: the token, its neighbours, where it came from, why it is trained."""
    yield (
        f"{traced.split} row {traced.row}, token {traced.token} of a {traced.kind} window: id {traced.id}, "
        f"{spelled(traced)}"
    )
    if traced.part != PADDING:
        mark = (UNDERLINE, RESET) if colour else ("⟦", "⟧")
        before, text, after = (
            on_one_line(t) for t in (traced.before[-SHOWN:], traced.text, traced.after[:SHOWN])
        )
        yield f"  text      …{before}{mark[0]}{text}{mark[1]}{after}…"
    word = "trained" if traced.trained else "masked"
    weight = "" if traced.weight is None or not traced.trained else f", weight {traced.weight:g}"
    yield f"  {word:9} {traced.why}{weight}"
    segment = traced.segment
    yield (
        f"  segment   {segment.number + 1} of {segment.of} in its row: tokens {segment.begin} to "
        f"{segment.begin + segment.length - 1}"
        + (f"; token {traced.token_in_item} of the item" if traced.item else "")
    )
    if traced.item is not None:
        yield from origin(traced)


def on_one_line(visible: str) -> str:
    return visible.replace("\n", NEWLINE)


def spelled(traced: Traced) -> str:
    """The token's own bytes in words."""
    found = traced.characters
    if traced.is_control:
        return f"the control token {traced.text}"
    if not (found.first_byte or found.missing):
        return f"{one_line(traced.bytes.decode('utf-8', 'surrogateescape'))!r}"
    last = found.num_bytes - found.missing
    which = (
        f"byte {found.first_byte + 1}"
        if last == found.first_byte + 1
        else f"bytes {found.first_byte + 1} to {last}"
    )
    first, end = traced.tokens
    return (
        f"{which} of the {found.num_bytes} of {traced.text!r} ({traced.bytes.hex(' ')}), "
        f"which tokens {first} to {end - 1} spell together"
    )


def origin(traced: Traced) -> Iterator[str]:
    """Source, item, file; then the place in the session or in the document."""
    item = traced.item
    assert item is not None
    place = f"{item['file']}:{item['place']}" if item["place"] else item["file"]
    acted = f" ({', '.join(item['actions'])})" if item.get("actions") else ""
    yield f"  source    {item['source']}: item {item['item']}{acted}, from {place}"
    if traced.session is not None:
        session = traced.session
        where = TEXTS.get(session.part)
        told = (
            f"{where}, {characters(session.characters)}"
            if where and session.characters
            else where or PARTS[session.part]
        )
        number = "none" if session.number is None else session.number
        yield f"  message   {number} ({session.role}): {told}"
        yield f"  rendered  {characters(traced.characters)} of the session as rendered"
    elif traced.document is not None:
        yield f"  document  {in_document(traced.document, traced.source, item['place'])}"
    if traced.source is not None:
        yield f"  file      {whereabouts(traced.source)}"
        if traced.document is None:
            yield f"  document  character unknown: {reason(traced.source)}"


def characters(found: Characters) -> str:
    if found.stop <= found.start:
        return f"behind character {found.start}"
    if found.stop == found.start + 1:
        return f"character {found.start}"
    return f"characters {found.start} to {found.stop - 1}"


def in_document(found: InDocument, source: Found | None, place: int) -> str:
    """Characters of the document; the line of the file where the document is one, or a part of one."""
    is_file = source is not None and source.is_text_file
    line = found.line + max(place - 1, 0) if is_file else found.line
    whole = "the file" if is_file else "its text"
    where = f"{characters(found.characters)}: line {line}, column {found.column} of {whole}"
    if found.counted_in == "tokens":
        where += ", counted in the document's own tokens"
    if not found.exact:
        where += " (this tokenizer rewrites text: these are characters of what its tokens spell)"
    return where


def whereabouts(source: Found) -> str:
    """Whether the text is still in its source."""
    return {
        "agrees": f"{source.path} still holds this text (its content hash agrees)",
        "changed": f"{source.path} holds another text there now: it changed after the build",
        "missing": "not found from here; --recipe names the recipe that its path starts from",
        "remote": f"{source.path} is behind a URL and was not read",
    }[source.state]


def reason(source: Found) -> str:
    if source.state == "agrees":
        return "its text gives other tokens than the dataset holds; run tokenmill verify"
    return "the build does not show this document from its beginning, and its source cannot tell"
