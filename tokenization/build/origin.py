"""A build directory behind a URL: the same layout on an object store, where there are no links.

    OUT                          the pointer, a small JSON object: {"fingerprint", "path"}
    OUT.versions/FINGERPRINT/…   the build's files, as in a local build

A candidate is made and checked in the local mirror. Publishing puts its files, the manifest last, then the pointer.

Atomic: each object, so the pointer as well; a reader who takes the pointer first sees one whole build. Not atomic: the
files of a version while they are put, which is why nothing points to them yet and the manifest comes last. A publisher
that is killed leaves the pointer where it was; what it had put is taken away a day later. The newest three stay.
"""

from __future__ import annotations

import shutil
import time
import uuid
from pathlib import Path
from typing import Any

import orjson

from tokenization import object_store
from tokenization.errors import BuildError, RecipeError
from tokenization.store import json_bytes

MANIFEST = "manifest.json"


def versions_url(origin: str) -> str:
    return f"{origin}.versions"


def pointer(origin: str) -> str | None:
    """The fingerprint that is published, or None where nothing is; RecipeError where OUT is somebody else's."""
    content = object_store.read(origin)
    if content is None:
        return None
    try:
        return str(orjson.loads(content)["fingerprint"])
    except (ValueError, KeyError, TypeError) as error:
        raise RecipeError(
            f"{origin} is there already and is no build of tokenmill (a build is a small JSON object that names a "
            f"version below {versions_url(origin)}); give another --out"
        ) from error


def manifest(origin: str, fingerprint: str) -> dict[str, Any] | None:
    """The version's manifest, or None where there is no whole build of that name."""
    content = object_store.read(f"{versions_url(origin)}/{fingerprint}/{MANIFEST}")
    return None if content is None else dict(orjson.loads(content))


def push(folder: Path, origin: str) -> None:
    """Put a whole version, then point to it."""
    url = f"{versions_url(origin)}/{folder.name}"
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != MANIFEST)
    names = {path.relative_to(folder).as_posix() for path in files} | {MANIFEST}
    known = object_store.read(f"{url}/{MANIFEST}")
    if known != (folder / MANIFEST).read_bytes():
        for stray in object_store.tree(url).keys() - names:
            object_store.remove(f"{url}/{stray}")
        object_store.push_all({path: f"{url}/{path.relative_to(folder).as_posix()}" for path in files})
    object_store.push(folder / MANIFEST, f"{url}/{MANIFEST}")  # again where it was: the newest are kept
    told = {"fingerprint": folder.name, "path": f"{versions_url(origin).rpartition('/')[2]}/{folder.name}"}
    object_store.write(origin, json_bytes(told))


def pull(origin: str, fingerprint: str, folder: Path) -> None:
    """Get a version into a local folder, which appears when all of it is there."""
    url = f"{versions_url(origin)}/{fingerprint}"
    names = object_store.tree(url)
    if MANIFEST not in names:
        raise BuildError(f"{url} has no {MANIFEST}: it is no whole build; build again")
    part = folder.with_name(f".writing-{uuid.uuid4().hex[:12]}")
    try:
        for name in names:
            (part / name).parent.mkdir(parents=True, exist_ok=True)
        object_store.pull_all({f"{url}/{name}": part / name for name in names})
        try:
            part.rename(folder)
        except OSError:
            if not folder.is_dir():  # not an equal copy that somebody else fetched: a real failure
                raise
    finally:
        shutil.rmtree(part, ignore_errors=True)


def prune(origin: str, keep: int, stale_seconds: float) -> None:
    """Keep the newest versions and the published one; drop the rest and what killed publishers left a day ago."""
    url = versions_url(origin)
    versions: dict[str, dict[str, float]] = {}
    for name, written in object_store.tree(url).items():
        version, _, rest = name.partition("/")
        versions.setdefault(version, {})[rest] = written
    whole = sorted(
        (name for name, files in versions.items() if MANIFEST in files),
        key=lambda name: versions[name][MANIFEST],
        reverse=True,
    )
    unfinished = [
        name
        for name, files in versions.items()
        if MANIFEST not in files and time.time() - max(files.values()) > stale_seconds
    ]
    published = pointer(origin)
    for version in [*whole[keep:], *unfinished]:
        if version != published:
            for name in sorted(versions[version], key=lambda name: name != MANIFEST):  # the manifest first
                object_store.remove(f"{url}/{version}/{name}")
