"""Where a build lies: `OUT` is a link to `OUT.versions/FINGERPRINT`, an immutable folder beside it.

Publishing switches the link in one rename, so a reader sees the old build or the new one, never a mixture; the newest
three versions are kept. A failed check or a killed run leaves the link where it was.

Where OUT is behind a URL, these functions are given its local mirror (see object_store) and keep the origin in step:
a version is put there before anything points to it (see origin), and fetched from there where it is not here.
"""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
import sys
import time
import uuid
from pathlib import Path
from typing import Any

import orjson

from tokenization.build import origin
from tokenization.errors import BuildError, RecipeError
from tokenization.object_store import is_url, located, origin_of

KEPT_VERSIONS = 3
ATTEMPTS = 5
AT_FDCWD, RENAME_EXCHANGE = -100, 2  # linux/fcntl.h, linux/fs.h
STALE_SECONDS = 24 * 3600  # an unfinished folder older than this belongs to no running build


def versions_folder(out: Path) -> Path:
    """The folder beside OUT that holds its versions."""
    out = out.absolute()
    return out.with_name(f"{out.name}.versions")


def version_folder(out: Path, fingerprint: str) -> Path:
    """The folder of one version, whole; fetched where only the origin has it."""
    folder = versions_folder(out) / fingerprint
    url = origin_of(out)
    if url and not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        origin.pull(url, fingerprint, folder)
    return folder


def version_manifest(out: Path, fingerprint: str) -> dict[str, Any] | None:
    """The manifest of a version that is whole, here or at the origin; else None."""
    folder = versions_folder(out) / fingerprint
    if (folder / "manifest.json").is_file():
        return read_manifest(folder)
    url = origin_of(out)
    return origin.manifest(url, fingerprint) if url else None


def readable(place: str | Path) -> Path:
    """A local folder with the build at this path or URL; RecipeError where a URL has none."""
    if not is_url(str(place)):
        return Path(place)
    text = str(place).rstrip("/")
    parent, _, name = text.rpartition("/")
    if parent.endswith(".versions"):  # this version, whatever is published now
        return version_folder(located(parent.removesuffix(".versions")), name)
    out = located(text)
    shown = published(out)
    if shown is None:
        raise RecipeError(f"{text} is no published build; give the --out that tokenmill build was given")
    return version_folder(out, shown)


def check_place(out: Path) -> None:
    """Refuse an OUT that is something else than a link of ours, before anything runs."""
    url = origin_of(out)
    if url:
        try:
            origin.pointer(url)
        except BuildError as error:
            raise RecipeError(str(error)) from error
    if out.exists() and not out.is_symlink():
        raise RecipeError(
            f"{out} is there already and is no build of tokenmill (a build is a link to a folder in "
            f"{versions_folder(out).name}); move it away or give another --out"
        )


def published(out: Path) -> str | None:
    """The fingerprint that OUT shows, or None where there is no build."""
    url = origin_of(out)
    if url:
        shown = origin.pointer(url)
        return shown if shown and origin.manifest(url, shown) else None
    return _linked(out)


def _linked(out: Path) -> str | None:
    if out.is_symlink() and (out / "manifest.json").is_file():
        return out.resolve().name
    return None


def publish(out: Path, fingerprint: str) -> None:
    """Switch OUT to this version, atomically, and drop versions beyond the newest three."""
    check_place(out)
    folder = versions_folder(out)
    if not (folder / fingerprint / "manifest.json").is_file():
        raise BuildError(
            f"{folder / fingerprint} has no manifest.json: it is no whole build and is not published"
        )
    url = origin_of(out)
    if url:
        origin.push(folder / fingerprint, url)
    link = out.absolute().with_name(f".{out.name}.{uuid.uuid4().hex[:8]}")
    os.symlink(Path(folder.name) / fingerprint, link, target_is_directory=True)
    os.replace(link, out.absolute())
    os.utime(folder / fingerprint)
    prune(out)
    if url:
        origin.prune(url, KEPT_VERSIONS, STALE_SECONDS)


def prune(out: Path) -> None:
    """Keep the newest three versions and the published one; drop the rest and what killed runs left."""
    folder = versions_folder(out)
    shown = _linked(out)
    whole = [path for path in folder.iterdir() if not path.name.startswith(".")]
    whole.sort(key=lambda path: path.stat().st_mtime, reverse=True)
    for path in whole[KEPT_VERSIONS:]:
        if path.name != shown:
            shutil.rmtree(path, ignore_errors=True)
    for path in folder.glob(".writing-*"):
        if time.time() - path.stat().st_mtime > STALE_SECONDS:
            shutil.rmtree(path, ignore_errors=True)


def read_manifest(build: Path) -> dict[str, Any]:
    """The build's manifest; RecipeError where the folder is no build."""
    path = build / "manifest.json"
    if not build.is_dir():
        raise RecipeError(f"{build} is not there; give the folder that tokenmill build wrote (its --out)")
    if not path.is_file():
        raise RecipeError(
            f"{build} has no manifest.json: it is no tokenmill build, or one that was never finished"
        )
    try:
        return dict(orjson.loads(path.read_bytes()))
    except ValueError as error:
        raise RecipeError(f"{path} is not JSON ({error}); build again") from error


def replace_folder(part: Path, final: Path) -> None:
    """Put a finished folder in its place; one that is there already goes, and at no moment is there none.

    Two builds of one recipe may come here at once with equal folders: whichever is second takes the other's place.
    """
    for _ in range(ATTEMPTS):
        try:
            os.rename(part, final)
            return
        except OSError as error:
            if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                raise
        if exchanged(part, final):
            return
        old = part.with_name(f"{part.name}-old")
        try:
            os.rename(final, old)
        except FileNotFoundError:  # another build is just there
            continue
        shutil.rmtree(old, ignore_errors=True)
    raise BuildError(f"{final} is replaced by other builds all the time; end them and build again")


def exchanged(one: Path, other: Path) -> bool:
    """Let two folders change places in one step; False where the system or its file system cannot."""
    if sys.platform != "linux":
        return False
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    return rename is not None and (
        rename(AT_FDCWD, os.fsencode(one), AT_FDCWD, os.fsencode(other), RENAME_EXCHANGE) == 0
    )
