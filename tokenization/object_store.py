"""Places behind a URL: a store or a build directory on S3 or anything else that fsspec opens, with a local mirror.

The stages read memory-mapped files, so they work on local folders only. A place behind a URL has one here,
`CACHE/HASH/NAME`, and beside it `NAME.origin` with the URL, as a clone knows where it came from. `located` turns
what people write into a local path, and `origin_of` tells from a path whether there is an origin to ask and to feed.
CACHE is `TOKENMILL_CACHE`, or `.tokenmill/cache` here; between builds it may be deleted, all of it comes back.

Guarantees: `write` and `push` put an object in one piece (S3 shows an object when its last byte is there), and
listings are never remembered: what another machine wrote is seen. Price: one request a question.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

from tokenization.errors import BuildError, RecipeError, TokenmillError
from tokenization.hashing import key_of

CACHE_VARIABLE = "TOKENMILL_CACHE"
AT_ONCE = 8  # transfers side by side; one alone is bound by the round trip
LOCAL = ("file://", "local://")


def is_url(text: str) -> bool:
    """Whether fsspec opens it; `file://` is a local path in other words."""
    return "://" in text


def filesystem(url: str) -> tuple[Any, str]:
    """(fsspec file system, path in it); listings are asked for each time, since others write too."""
    from fsspec.core import url_to_fs

    try:
        system, path = url_to_fs(url, use_listings_cache=False)
    except ImportError as error:
        extra = "pip install 'tokenmill[s3]'" if url.startswith(("s3://", "s3a://")) else str(error)
        raise RecipeError(f"{url} needs a package that is not installed: {extra}") from error
    except ValueError as error:
        raise RecipeError(f"{url}: {error}; give a local path or a URL that fsspec knows") from error
    return system, path


def cache_folder() -> Path:
    """Where places behind URLs have their mirrors."""
    return Path(os.environ.get(CACHE_VARIABLE) or ".tokenmill/cache").absolute()


def located(place: str | Path) -> Path:
    """The absolute local path of a place; for a URL that of its mirror, which then knows its origin."""
    text = str(place)
    for prefix in LOCAL:
        text = text.removeprefix(prefix)
    if not is_url(text):
        return Path(text).absolute()
    url = text.rstrip("/")
    mirror = cache_folder() / key_of("origin", url)[:16] / url.rpartition("/")[2]
    sidecar = _sidecar(mirror)
    if not sidecar.is_file():
        sidecar.parent.mkdir(parents=True, exist_ok=True)
        part = sidecar.with_name(f".{sidecar.name}.{uuid.uuid4().hex[:8]}")
        part.write_text(f"{url}\n", encoding="utf-8")
        part.replace(sidecar)
        origin_of.cache_clear()
    return mirror


@lru_cache(maxsize=256)
def origin_of(path: Path) -> str:
    """The URL behind a mirror, without a slash at its end; "" for a place that is only here."""
    try:
        return _sidecar(path).read_text(encoding="utf-8").strip()
    except (FileNotFoundError, NotADirectoryError):
        return ""


def shown(path: Path) -> str:
    """The place in the words of the person who chose it."""
    return origin_of(path) or str(path)


def _sidecar(path: Path) -> Path:
    return path.with_name(f"{path.name}.origin")


@contextmanager
def reaching(url: str) -> Iterator[None]:
    """Trouble with the network or the rights as one message that says what to look at."""
    try:
        yield
    except TokenmillError:
        raise
    except Exception as error:  # each storage raises kinds of its own
        raise BuildError(
            f"{url} cannot be read or written: {type(error).__name__}: {error}; check that the bucket is there and "
            f"the credentials may use it (for S3: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_ENDPOINT_URL)"
        ) from error


def read(url: str) -> bytes | None:
    """The object's bytes, or None where there is none."""
    system, path = filesystem(url)
    with reaching(url):
        try:
            return bytes(system.cat_file(path))
        except FileNotFoundError:
            return None


def write(url: str, content: bytes) -> None:
    """Put a small object, in one piece."""
    system, path = filesystem(url)
    with reaching(url):
        system.pipe_file(path, content)


def exists(url: str) -> bool:
    system, path = filesystem(url)
    with reaching(url):
        return bool(system.isfile(path))


def push(file: Path, url: str) -> None:
    """Put a local file; a reader sees all of it or none."""
    system, path = filesystem(url)
    with reaching(url):
        system.put_file(str(file), path)


def pull(url: str, file: Path) -> bool:
    """Get an object into a local file; False where there is none."""
    system, path = filesystem(url)
    with reaching(url):
        try:
            system.get_file(path, str(file))
        except FileNotFoundError:
            file.unlink(missing_ok=True)
            return False
    return True


def push_all(files: dict[Path, str]) -> None:
    """Put many files, several at a time; each of them in one piece."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(push, files.keys(), files.values()))


def pull_all(files: dict[str, Path]) -> None:
    """Get many objects, several at a time; BuildError where one of them is gone."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for url, found in zip(files, pool.map(pull, files.keys(), files.values()), strict=True):
            if not found:
                raise BuildError(f"{url} vanished while it was read; try again")


def remove(url: str) -> None:
    """Take an object away, if it is there."""
    system, path = filesystem(url)
    with reaching(url):
        if system.isfile(path):
            system.rm_file(path)


def names(url: str) -> list[str]:
    """The names of the objects right under this URL, sorted."""
    system, path = filesystem(url)
    with reaching(url):
        try:
            listed = system.ls(path, detail=False)
        except FileNotFoundError:
            return []
    return sorted(str(name).rstrip("/").rpartition("/")[2] for name in listed)


def tree(url: str) -> dict[str, float]:
    """Every object under this URL: its name relative to it, and when it was written (seconds since 1970)."""
    system, path = filesystem(url)
    with reaching(url):
        found = system.find(path, detail=True)
        return {
            name.removeprefix(path).lstrip("/"): _written(system, name, info) for name, info in found.items()
        }


def _written(system: Any, name: str, info: dict[str, Any]) -> float:
    told = info.get("LastModified") or info.get("mtime")
    if told is None:
        told = system.modified(name)
    return float(told) if isinstance(told, (int, float)) else float(told.timestamp())
