"""JSON Lines in blocks of whole lines: of a byte range, or of a whole (compressed) file.

Guarantees: a line belongs to the range that holds its first byte, so ranges that cover a file give each
line once, wherever they were cut. Memory: one block, or one line that is longer.
"""

from __future__ import annotations

from collections.abc import Iterator
from io import BufferedReader
from typing import BinaryIO

import numpy as np

UTF8_MARK = b"\xef\xbb\xbf"


def iter_blocks(stream: BinaryIO, start: int, stop: int, block_bytes: int) -> Iterator[bytes]:
    """Blocks of whole lines with their line feeds, without the file's byte order mark.

    `stop` -1 reads a stream that need not seek to its end.
    """
    position = _seek_first_line(stream, start) if stop >= 0 else 0
    while stop < 0 or position < stop:
        if stop < 0 or not isinstance(stream, BufferedReader):
            block = stream.read(block_bytes if stop < 0 else min(block_bytes, stop - position))
            if not block.endswith(b"\n"):
                block += stream.readline()
        else:  # a local file: where the line ends is looked up first, so no block is copied for its last line
            end = _seek_first_line(stream, min(position + block_bytes, stop))
            stream.seek(position)
            block = stream.read(end - position)
        if not block:
            return
        yield block.removeprefix(UTF8_MARK) if position == 0 else block
        position += len(block)


def count_lines(block: bytes) -> int:
    """How many lines a block has, the last with or without a line feed; `bytes.count` takes three times as long, and
    the GIL."""
    return int(np.count_nonzero(np.frombuffer(block, np.uint8) == ord("\n"))) + (not block.endswith(b"\n"))


def lines_of(block: bytes) -> list[bytes]:
    """A block's lines without their line feeds; blank lines are in, so that places can be counted."""
    lines = block.split(b"\n")
    if not lines[-1]:
        lines.pop()
    return lines


def _seek_first_line(stream: BinaryIO, start: int) -> int:
    """Where the first line that begins at `start` or later begins."""
    if start == 0:
        return 0
    stream.seek(start - 1)
    return start - 1 + len(stream.readline())
