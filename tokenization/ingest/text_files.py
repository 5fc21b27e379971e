"""A plain text file as documents: one, or where it is long one for each part of it.

A file of up to `LONGEST` bytes is one document. A longer one is read in parts of `PART` bytes, each a document of its
own that begins at a known line: the last blank line within the part's bytes ends it, else the last line end, else the
last space. So a file of any size passes in bounded memory, with any tokenizer, and no token spans a cut; the build says
how many parts were made (`long_text_parts` under `changed`).

Guarantees: the parts laid end to end are the file; where it is cut depends on its bytes alone. A part whose bytes are
no text is set aside, and the others stay. UTF-16 and UTF-32 are cut as UTF-8.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from tokenization.ingest.decoding import UndecodableText, decode_text, normalise_newlines
from tokenization.ingest.files import InputFile
from tokenization.ingest.opening import UnreadableInput, open_content
from tokenization.ingest.set_aside import SetAsideRows

LONGEST = 16 << 20  # bytes; the longest novel has 2.6 million characters
PART = 4 << 20  # bytes; several go into one call of the encoder, so that all cores have work
BLANK_LINES = (b"\n\n", b"\n\r\n", b"\r\r")
WIDE = ("utf-16", "utf-32")
SAMPLE = 1 << 20  # bytes that tell the encoding of a long file


class Readable(Protocol):
    """What gives bytes."""

    def read(self, size: int, /) -> bytes:
        """Up to so many; none at the end."""
        ...


@dataclass(frozen=True)
class TextPart:
    """A document out of a text file."""

    text: str  # "" where it was set aside
    place: int  # 1-based line it begins with, 0 = the whole file
    encoding: str
    raw: bytes
    sound: bool = True  # False where it was set aside


def iter_parts(file: InputFile, set_aside: SetAsideRows) -> Iterator[TextPart]:
    """The file's documents; what can't be read or decoded goes into `set_aside`, one row a part."""
    place, data = 0, b""
    try:
        with open_content(file) as stream:
            data = stream.read(LONGEST + 1)
            if len(data) <= LONGEST:
                yield _decoded(file, data, 0, None, set_aside)
                return
            place = 1
            known, data, more = _as_narrow(data, stream)
            while True:
                while len(data) <= PART and (block := more.read(PART + 1 - len(data))):
                    data += block
                if not data:
                    return
                cut = _cut(data) if len(data) > PART else len(data)
                part, data = data[:cut], data[cut:]
                yield _decoded(file, part, place, known, set_aside)
                place += part.count(b"\n")
    except UnreadableInput as error:
        set_aside.add(file.relative, place, "unreadable_file", str(error), data)
        yield TextPart("", place, "", data, sound=False)


def _decoded(
    file: InputFile, data: bytes, place: int, known: str | None, set_aside: SetAsideRows
) -> TextPart:
    """A part by the file's encoding where that fits, else by its own; the file's mark stands in the first."""
    try:
        if known is not None:
            try:
                return TextPart(normalise_newlines(data.decode(known)), place, known, data)
            except UnicodeDecodeError:
                pass
        text, encoding = decode_text(data)
    except UndecodableText as error:
        set_aside.add(file.relative, place, "undecodable", str(error), data)
        return TextPart("", place, "", data, sound=False)
    return TextPart(text, place, encoding, data)


def _as_narrow(head: bytes, stream: Readable) -> tuple[str | None, bytes, Readable]:
    """(encoding of the whole where its beginning tells it, the beginning, the rest), in bytes that can be cut at line
    ends."""
    encoding = _encoding(head[:SAMPLE])
    if encoding is not None and encoding.startswith(WIDE):
        return "utf-8", b"", _Narrowed(encoding, head, stream)
    known = _encoding(head[: head.rfind(b"\n", 0, SAMPLE) + 1] or head[:SAMPLE])
    return known and known.removesuffix(" (damaged)"), head, stream


def _encoding(sample: bytes) -> str | None:
    try:
        return decode_text(sample)[1]
    except UndecodableText:
        return None


class _Narrowed:
    """A stream of UTF-16 or UTF-32, read as UTF-8."""

    def __init__(self, encoding: str, head: bytes, stream: Readable) -> None:
        self._decoder = codecs.getincrementaldecoder(encoding)(errors="replace")
        self._stream = stream
        self._ready = self._decoder.decode(head).encode("utf-8", "replace")

    def read(self, size: int) -> bytes:
        """The next bytes: as many as asked for, fewer at the end only."""
        while len(self._ready) < size:
            more = self._stream.read(size)
            self._ready += self._decoder.decode(more, final=not more).encode("utf-8", "replace")
            if not more:
                break
        given, self._ready = self._ready[:size], self._ready[size:]
        return given


def _cut(data: bytes) -> int:
    """Where the part that begins `data`, which is longer than a part, ends."""
    for ends in (BLANK_LINES, (b"\n", b"\r"), (b" ",)):
        cut = max(data.rfind(end, 0, PART) + len(end) if end in data[:PART] else 0 for end in ends)
        if cut:
            return cut
    cut = PART
    while cut > PART - 4 and data[cut] & 0xC0 == 0x80:  # within a character of UTF-8
        cut -= 1
    return cut
