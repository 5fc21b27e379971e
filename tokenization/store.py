"""The content-addressed store: what was computed once is never computed again.

Map: `objects/STAGE/KE/KEY/` is one result, a small directory of files; `results/STAGE/KE/KEY.json` is a
stage's own summary, named by everything that went into it. KEY hashes input content, parameters and the
stage's code version, so a result is right for its name for ever and nothing needs invalidating.

Guarantees: an object appears whole or not at all (written beside its place, then renamed); two builds
may use one store at once (the first to finish wins, the other's equal copy is dropped).
A store may mirror one behind a URL (see object_store, store_origin): then what is not here is looked for there.
Price: one rename an object, a few stat calls a look-up.
"""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from tokenization import object_store, store_origin

META = "meta.json"


@dataclass(frozen=True)
class Store:
    """A folder of results; cheap to make and to pass to workers."""

    root: Path

    @property
    def origin(self) -> str:
        """The URL that this folder mirrors; "" where the folder is the store."""
        return object_store.origin_of(self.root)

    def path(self, stage: str, key: str) -> Path:
        """Where the object is, or would be; fetched where only the origin has it."""
        place = self._place(stage, key)
        if self.origin and not place.is_dir():
            store_origin.fetch(self.origin, stage, key, place, self.root / "writing")
        return place

    def _place(self, stage: str, key: str) -> Path:
        return self.root / "objects" / stage / key[:2] / key

    def has(self, stage: str, key: str) -> bool:
        there = self._place(stage, key).is_dir()
        return there or (bool(self.origin) and store_origin.has(self.origin, stage, key))

    def members(self, stage: str, group: str) -> list[str]:
        """The keys `GROUP-…` of the stage's objects, sorted."""
        there = set(store_origin.members(self.origin, stage, group)) if self.origin else set()
        try:
            with os.scandir(self._place(stage, group).parent) as entries:
                return sorted(there | {entry.name for entry in entries if entry.name.startswith(f"{group}-")})
        except FileNotFoundError:
            return sorted(there)

    @contextmanager
    def writing(self, stage: str, key: str) -> Iterator[Path]:
        """A fresh folder to fill; it becomes the object when the block ends well, and vanishes otherwise."""
        final = self._place(stage, key)
        folder = self.root / "writing" / f"{stage}-{key[:12]}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
        folder.mkdir(parents=True)
        try:
            yield folder
            if self.origin:
                store_origin.put(self.origin, stage, key, folder)
            final.parent.mkdir(parents=True, exist_ok=True)
            try:
                folder.rename(final)
            except OSError:
                if not final.is_dir():  # not the other build's equal copy: a real failure
                    raise
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def meta(self, stage: str, key: str) -> dict[str, Any]:
        """The object's own small summary (`meta.json`)."""
        return dict(orjson.loads((self.path(stage, key) / META).read_bytes()))

    def result_path(self, stage: str, key: str) -> Path:
        return self.root / "results" / stage / key[:2] / f"{key}.json"

    def load_result(self, stage: str, key: str) -> dict[str, Any] | None:
        """A stage's summary, or None where it has not run on these inputs."""
        try:
            return dict(orjson.loads(self.result_path(stage, key).read_bytes()))
        except FileNotFoundError:
            return self._fetched_result(stage, key) if self.origin else None

    def _fetched_result(self, stage: str, key: str) -> dict[str, Any] | None:
        content = object_store.read(store_origin.result_url(self.origin, stage, key))
        if content is None:
            return None
        value = dict(orjson.loads(content))
        write_json(self.result_path(stage, key), value)
        return value

    def save_result(self, stage: str, key: str, value: dict[str, Any]) -> None:
        if self.origin:
            object_store.write(store_origin.result_url(self.origin, stage, key), json_bytes(value))
        write_json(self.result_path(stage, key), value)

    def drop_result(self, stage: str, key: str) -> None:
        """Forget a summary, here and at the origin; the objects stay."""
        if self.origin:
            object_store.remove(store_origin.result_url(self.origin, stage, key))
        self.result_path(stage, key).unlink(missing_ok=True)


def write_json(path: Path, value: Any, *, indent: bool = False) -> None:
    """Write beside the place and rename: readers see the old file or the new one, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}-{uuid.uuid4().hex[:8]}")
    try:
        part.write_bytes(json_bytes(value, indent=indent))
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def json_bytes(value: Any, *, indent: bool = False) -> bytes:
    """One line of JSON, or an indented text; NumPy's numbers count as numbers."""
    options = orjson.OPT_SERIALIZE_NUMPY | (orjson.OPT_INDENT_2 if indent else 0)
    return orjson.dumps(value, option=options) + b"\n"
