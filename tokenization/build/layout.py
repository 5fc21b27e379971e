"""Where a build lies: `OUT` is a link to `OUT.versions/FINGERPRINT`, an immutable folder beside it.

Publishing switches the link in one rename, so a reader sees the old build or the new one, never a mixture; the newest
three versions are kept. A failed check or a killed run leaves the link where it was.
"""

from __future__ import annotations

import os
import shutil
import time
import uuid
from pathlib import Path
from typing import Any

import orjson

from tokenization.errors import BuildError, RecipeError

KEPT_VERSIONS = 3
STALE_SECONDS = 24 * 3600  # an unfinished folder older than this belongs to no running build


def versions_folder(out: Path) -> Path:
    """The folder beside OUT that holds its versions."""
    out = out.absolute()
    return out.with_name(f"{out.name}.versions")


def check_place(out: Path) -> None:
    """Refuse an OUT that is something else than a link of ours, before anything runs."""
    if out.exists() and not out.is_symlink():
        raise RecipeError(
            f"{out} is there already and is no build of tokenmill (a build is a link to a folder in "
            f"{versions_folder(out).name}); move it away or give another --out"
        )


def published(out: Path) -> str | None:
    """The fingerprint that OUT shows, or None where there is no build."""
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
    link = out.absolute().with_name(f".{out.name}.{uuid.uuid4().hex[:8]}")
    os.symlink(Path(folder.name) / fingerprint, link, target_is_directory=True)
    os.replace(link, out.absolute())
    os.utime(folder / fingerprint)
    prune(out)


def prune(out: Path) -> None:
    """Keep the newest three versions and the published one; drop the rest and what killed runs left."""
    folder = versions_folder(out)
    shown = published(out)
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
