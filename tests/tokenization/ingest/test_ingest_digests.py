"""Digests are remembered as long as that is safe, and no longer."""

from __future__ import annotations

import hashlib
import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import fsspec
import pytest
from ingest_sources import list_files, write

from tokenization.ingest.digests import RACY_NS, InputDigests

OLD = 1_600_000_000_000_000_000  # a modification time long past, ns


def _aged(path: Path, data: str, mtime_ns: int = OLD) -> Path:
    write(path, data)
    os.utime(path, ns=(mtime_ns, mtime_ns))
    return path


def test_a_digest_is_the_sha256_of_the_bytes(tmp_path: Path) -> None:
    file = list_files(_aged(tmp_path / "a.md", "words"))[0]
    assert InputDigests(tmp_path / "memory.db").digest(file) == hashlib.sha256(b"words").hexdigest()


def test_a_remembered_file_is_not_read_again_until_rehash_asks(tmp_path: Path) -> None:
    path = _aged(tmp_path / "a.md", "words")
    digests = InputDigests(tmp_path / "deep/memory.db")
    before = digests.digest(list_files(path)[0])
    path.write_text("other")  # same size, same inode
    os.utime(path, ns=(OLD, OLD))
    file = list_files(path)[0]
    assert digests.digest(file) == before, "the memory answered"
    assert digests.digest(file, rehash=True) == hashlib.sha256(b"other").hexdigest()
    assert digests.digest(file) == hashlib.sha256(b"other").hexdigest(), "and learnt"


@pytest.mark.parametrize("change", ["size", "time", "inode"])
def test_a_change_of_size_time_or_inode_reads_the_file_again(tmp_path: Path, change: str) -> None:
    path = _aged(tmp_path / "a.md", "words")
    digests = InputDigests(tmp_path / "memory.db")
    digests.digest(list_files(path)[0])
    if change == "inode":
        _aged(tmp_path / "b.md", "other").replace(path)
    else:
        _aged(path, "other!" if change == "size" else "other", OLD + (change == "time"))
    assert digests.digest(list_files(path)[0]) == hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_file_modified_just_before_it_was_recorded_is_not_trusted(tmp_path: Path) -> None:
    now = time.time_ns() - RACY_NS // 4
    path = _aged(tmp_path / "a.md", "words", now)
    digests = InputDigests(tmp_path / "memory.db")
    digests.digest(list_files(path)[0])
    _aged(path, "other", now)  # within the time stamp's resolution
    assert digests.digest(list_files(path)[0]) == hashlib.sha256(b"other").hexdigest()


def test_a_damaged_memory_is_started_afresh(tmp_path: Path) -> None:
    write(tmp_path / "memory.db", "this is no database, and longer than a header of one hundred bytes" * 4)
    file = list_files(_aged(tmp_path / "a.md", "words"))[0]
    assert InputDigests(tmp_path / "memory.db").digest(file) == hashlib.sha256(b"words").hexdigest()


def test_writers_at_the_same_time_do_not_disturb_each_other(tmp_path: Path) -> None:
    files = [list_files(_aged(tmp_path / f"{n}.md", f"words {n}"))[0] for n in range(40)]
    with ThreadPoolExecutor(8) as pool:
        taken = list(pool.map(lambda file: InputDigests(tmp_path / "memory.db").digest(file), files))
    assert taken == InputDigests(tmp_path / "memory.db").digests(files)
    assert len(set(taken)) == 40


def test_a_url_is_named_by_its_bytes_or_the_storages_tag(tmp_path: Path) -> None:
    fsspec.filesystem("memory").pipe_file("/digests/a.md", b"words")
    digests = InputDigests(tmp_path / "memory.db")
    first = digests.digest(list_files("memory://digests/a.md")[0])
    assert first == hashlib.sha256(b"words").hexdigest()
    fsspec.filesystem("memory").pipe_file("/digests/a.md", b"other")
    assert digests.digest(list_files("memory://digests/a.md")[0]) != first
