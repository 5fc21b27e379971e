"""What is behind a store that mirrors a URL: each object as one archive, each summary as one small file.

    ORIGIN/objects/STAGE/KE/KEY.tar.zst     ORIGIN/results/STAGE/KE/KEY.json

Objects are immutable and named by what went into them, so there is nothing to keep in step: an object that is here is
right, one that is not is fetched when somebody wants to read it. An object is put there before it appears here, and a
summary after the objects that it speaks of, so whoever finds a summary finds its objects.

Guarantees: an archive is put in one piece; what is fetched appears whole or not at all. Price: an archive is written
and read once on local disk (zstd level 1, about 0.5 GB/s); one request to ask whether an object is there.
"""

from __future__ import annotations

import os
import shutil
import tarfile
import uuid
from pathlib import Path

import zstandard

from tokenization import object_store

ENDING = ".tar.zst"


def object_url(origin: str, stage: str, key: str) -> str:
    return f"{origin}/objects/{stage}/{key[:2]}/{key}{ENDING}"


def result_url(origin: str, stage: str, key: str) -> str:
    return f"{origin}/results/{stage}/{key[:2]}/{key}.json"


def has(origin: str, stage: str, key: str) -> bool:
    return object_store.exists(object_url(origin, stage, key))


def members(origin: str, stage: str, group: str) -> list[str]:
    """The keys `GROUP-…` of the stage's objects there."""
    listed = object_store.names(f"{origin}/objects/{stage}/{group[:2]}")
    return [name.removesuffix(ENDING) for name in listed if name.startswith(f"{group}-")]


def put(origin: str, stage: str, key: str, folder: Path) -> None:
    """Put the folder's files as one archive."""
    archive = folder.with_name(f"{folder.name}{ENDING}")
    try:
        with (
            archive.open("wb") as file,
            zstandard.ZstdCompressor(level=1).stream_writer(file) as packed,
            tarfile.open(mode="w|", fileobj=packed) as tar,
        ):
            for path in sorted(folder.rglob("*")):
                tar.add(path, path.relative_to(folder).as_posix(), recursive=False)
        object_store.push(archive, object_url(origin, stage, key))
    finally:
        archive.unlink(missing_ok=True)


def fetch(origin: str, stage: str, key: str, final: Path, writing: Path) -> bool:
    """Get the object into its place here; False where there is none."""
    folder = writing / f"fetch-{key[:12]}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
    archive = folder.with_name(f"{folder.name}{ENDING}")
    folder.mkdir(parents=True)
    try:
        if not object_store.pull(object_url(origin, stage, key), archive):
            return False
        with (
            archive.open("rb") as file,
            zstandard.ZstdDecompressor().stream_reader(file) as packed,
            tarfile.open(mode="r|", fileobj=packed) as tar,
        ):
            tar.extractall(folder, filter="data")
        final.parent.mkdir(parents=True, exist_ok=True)
        try:
            folder.rename(final)
        except OSError:
            if not final.is_dir():  # not an equal copy that somebody else fetched: a real failure
                raise
        return True
    finally:
        archive.unlink(missing_ok=True)
        shutil.rmtree(folder, ignore_errors=True)
