"""Files that do not stay in the page cache: the same bytes as ever, whatever the system says to it."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tokenization import uncached
from tokenization.hashing import file_digest
from tokenization.uncached import RWF_DONTCACHE, UncachedFile, read_uncached, uncached_digest

LARGE, PIECE = 64, 100  # so small that a test has many of each
SIZES = st.lists(
    st.one_of(st.integers(0, 400), st.sampled_from([LARGE - 1, LARGE, PIECE, PIECE + 1])), max_size=8
)


@dataclass
class System:
    """A system that takes the flag, or one that refuses it with this error; how often it was asked."""

    refusal: int | None = None
    asked: list[int] = field(default_factory=list)  # bytes of each call with the flag

    def pwritev(self, file: int, buffers: Sequence[Any], place: int, flags: int) -> int:
        return self._call(buffers, flags, lambda: os.pwrite(file, buffers[0], place))

    def preadv(self, file: int, buffers: Sequence[Any], place: int, flags: int) -> int:
        return self._call(buffers, flags, lambda: really_preadv(file, buffers, place))

    def _call(self, buffers: Sequence[Any], flags: int, call: Callable[[], int]) -> int:
        assert flags == RWF_DONTCACHE
        self.asked.append(len(buffers[0]))
        if self.refusal is not None:
            raise OSError(self.refusal, os.strerror(self.refusal))
        return call()


really_preadv = os.preadv


def on(system: System, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uncached, "_flags", lambda: RWF_DONTCACHE)
    monkeypatch.setattr(os, "pwritev", system.pwritev)
    monkeypatch.setattr(os, "preadv", system.preadv)
    monkeypatch.setattr(uncached, "WRITTEN", PIECE)


def buffers_of(sizes: Sequence[int]) -> list[bytes]:
    return [np.random.default_rng(size).bytes(size) for size in sizes]


@pytest.mark.parametrize("refusal", [None, errno.EOPNOTSUPP, errno.EINVAL])
@given(sizes=SIZES)
@example(sizes=[0])
@example(sizes=[10, 3 * PIECE + 1, 5, LARGE])
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_file_holds_what_was_written_on_every_system(
    tmp_path: Path, refusal: int | None, sizes: list[int]
) -> None:
    buffers = buffers_of(sizes)
    with pytest.MonkeyPatch.context() as patch:
        system = System(refusal)
        on(system, patch)
        with UncachedFile(tmp_path / "file", large=LARGE) as file:
            written = [file.write(buffer) for buffer in buffers]
        large = [size for size in sizes if size >= LARGE]
        assert sum(system.asked) == (
            sum(large) if refusal is None else min([PIECE, *large[:1]]) * bool(large)
        )
        pieces = [bytes(piece) for piece in read_uncached(tmp_path / "file", PIECE)]
    content = b"".join(buffers)
    assert written == sizes and (tmp_path / "file").read_bytes() == content
    assert b"".join(pieces) == content and all(0 < len(piece) <= PIECE for piece in pieces)


def test_small_buffers_go_through_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    system = System()
    on(system, monkeypatch)
    with UncachedFile(tmp_path / "file", large=LARGE) as file:
        for size in (LARGE - 1, LARGE, 1):
            file.write(bytes(size))
    assert system.asked == [LARGE]


def test_what_this_system_does_is_the_same_bytes(tmp_path: Path) -> None:
    content = np.random.default_rng(0).bytes(5 << 20)
    with UncachedFile(tmp_path / "file") as file:
        file.write(b"head")
        file.write(np.frombuffer(content, np.int32))
    assert (tmp_path / "file").read_bytes() == b"head" + content
    assert uncached_digest(tmp_path / "file") == file_digest(tmp_path / "file")


def test_a_buffer_is_its_owners_again(tmp_path: Path) -> None:
    buffer = bytearray(b"a" * (2 << 20))
    with UncachedFile(tmp_path / "file") as file:
        for letter in b"abc":
            buffer[:] = bytes([letter]) * len(buffer)
            file.write(buffer)
    content = (tmp_path / "file").read_bytes()
    assert content == b"".join(bytes([letter]) * len(buffer) for letter in b"abc")


@pytest.mark.parametrize("size", [10, 2 << 20])
def test_a_full_disk_is_told_as_such(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    def full(*_: Any) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "pwrite", full)
    monkeypatch.setattr(os, "pwritev", full)
    with pytest.raises(OSError, match="No space left") as told, UncachedFile(tmp_path / "file") as file:
        file.write(bytes(size))
    assert told.value.errno == errno.ENOSPC


def test_a_file_that_cannot_be_read_is_told_as_such(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_bytes(b"content")
    on(System(errno.EIO), monkeypatch)
    with pytest.raises(OSError, match="Input/output error"):
        uncached_digest(tmp_path / "file")
