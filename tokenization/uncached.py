"""Big files that nobody reads soon, written and read without filling the page cache.

What goes through the cache stays in it, and a page that was not used before is dear: on a virtual machine, whose host
gives it memory page by page, 578 MB took 1.3 s of a core to write and 1.2 s to hash. Since Linux 6.14 a call may say
that its pages are to be given up as soon as they are on the disk or have been read (RWF_DONTCACHE); a few pages then
serve the whole file: 0.16 s to write, 0.34 s to hash (benchmarks/page_cache.py). A page that was in the cache before
stays there.

Other systems, older kernels and file systems that refuse it (tmpfs) do as they always did.

Guarantees: the same bytes either way. Price: who reads the file soon reads it from the disk; so small buffers, which
are what readers look at first (names, lengths), go through the cache as ever.
"""

from __future__ import annotations

import errno
import hashlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

RWF_DONTCACHE = 0x80  # of linux/fs.h; Python has no name for it
LARGE = 1 << 20  # bytes: a buffer that is worth it
WRITTEN = 1 << 20  # bytes a call: 3.9 GB a second; 4 MB at a time 2.8, and more pages in use at once
READ = 4 << 20  # bytes a call: 3.4 GB a second; 1 MB at a time 2.1
_REFUSED = {errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS}


class UncachedFile:
    """A new file, written front to back within a `with` block; its large buffers do not stay in the cache."""

    def __init__(self, path: Path, *, large: int = LARGE) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
        self._large = large
        self._size = 0
        self._flags = _flags()

    def write(self, content: Any) -> int:
        """Append all of a buffer of bytes (anything that has one); how many that is."""
        left = memoryview(content).cast("B")
        size = len(left)
        while left:
            written = self._written(left[:WRITTEN], size >= self._large)
            self._size += written
            left = left[written:]
        return size

    def _written(self, part: memoryview, is_large: bool) -> int:
        if is_large and self._flags:
            try:
                return os.pwritev(self._file, [part], self._size, self._flags)
            except OSError as refused:
                if refused.errno not in _REFUSED:
                    raise
                self._flags = 0
        return os.pwrite(self._file, part, self._size)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._file)


def read_uncached(path: Path, piece: int = READ) -> Iterator[memoryview]:
    """A file's bytes in pieces, from the cache where they are in it; a piece is overwritten by the next."""
    flags = _flags()
    room = memoryview(bytearray(piece))
    with open(path, "rb", buffering=0) as file:
        place = 0
        while True:
            try:
                count = os.preadv(file.fileno(), [room], place, flags) if flags else file.readinto(room)
            except OSError as refused:
                if not flags or refused.errno not in _REFUSED:
                    raise
                flags = 0
                file.seek(place)
                continue
            if not count:
                return
            place += count
            yield room[:count]


def uncached_digest(path: Path) -> str:
    """SHA-256 of a file that was written and is not read again soon, 64 hex digits."""
    digest = hashlib.sha256()
    for piece in read_uncached(path):
        digest.update(piece)
    return digest.hexdigest()


def _flags() -> int:
    """What this system's calls may be told."""
    return RWF_DONTCACHE if sys.platform == "linux" else 0
