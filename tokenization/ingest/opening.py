"""Opens an input's bytes: local or behind an fsspec URL, plain or compressed.

Guarantees: what is read is what was listed: a local file whose size or time changed since raises
`BuildError`, because its digest would name other bytes. Broken compressed data raises `UnreadableInput`;
trouble with the disk or the network stays an `OSError`.
"""

from __future__ import annotations

import contextlib
import io
import os
import zlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, BinaryIO, cast

from tokenization.errors import BuildError, RecipeError
from tokenization.object_store import filesystem, is_url

if TYPE_CHECKING:
    from tokenization.ingest.files import InputFile


class UnreadableInput(Exception):
    """The bytes are not what the file's format promises; becomes a row with reason `unreadable_file`."""


@contextlib.contextmanager
def open_bytes(file: InputFile) -> Iterator[BinaryIO]:
    """The file's bytes as stored, seekable where the storage can seek."""
    if is_url(file.path):
        system, path = filesystem(file.path)
        with system.open(path, "rb") as remote:
            if getattr(remote, "size", file.size) != file.size:
                raise BuildError(f"{file.path} changed after it was listed; run the build again")
            yield cast(BinaryIO, remote)
        return
    with open(file.path, "rb") as local:
        status = os.fstat(local.fileno())
        if (status.st_size, status.st_mtime_ns) != (file.size, file.mtime_ns):
            raise BuildError(f"{file.path} changed after it was listed; run the build again")
        yield local


@contextlib.contextmanager
def open_content(file: InputFile) -> Iterator[BinaryIO]:
    """The file's decompressed bytes, as a buffered stream."""
    with open_bytes(file) as stored, decoding_errors(file):
        if file.compression is None:
            yield stored
            return
        with decompressed(stored, file.compression) as stream:
            yield stream


def decompressed(stored: BinaryIO, compression: str) -> BinaryIO:
    """A stream of what was compressed; several members or frames in a row are read as one."""
    if compression == "gz":
        import gzip

        return cast(BinaryIO, gzip.GzipFile(fileobj=stored, mode="rb"))
    if compression == "bz2":
        import bz2

        return cast(BinaryIO, bz2.BZ2File(stored))
    if compression == "xz":
        import lzma

        return cast(BinaryIO, lzma.LZMAFile(stored))
    if compression == "zst":
        import zstandard

        reader = zstandard.ZstdDecompressor().stream_reader(stored, read_across_frames=True, closefd=False)
        return cast(BinaryIO, io.BufferedReader(reader, 1 << 20))
    raise RecipeError(f"compression {compression!r} is not known; use gz, zst, bz2 or xz")


@contextlib.contextmanager
def decoding_errors(file: InputFile) -> Iterator[None]:
    """Turns what decompressors raise on broken data into `UnreadableInput`."""
    import lzma

    import zstandard

    try:
        yield
    except (EOFError, zlib.error, lzma.LZMAError, zstandard.ZstdError) as error:
        raise UnreadableInput(f"{file.relative} is not valid {file.compression}: {error}") from error
    except OSError as error:
        if error.errno is not None:  # the disk or the network, not the data
            raise
        raise UnreadableInput(f"{file.relative} cannot be read: {error}") from error


def read_head(file: InputFile, size: int) -> bytes:
    """The first `size` decompressed bytes, or all there are."""
    with open_content(file) as stream:
        return stream.read(size)
