"""What a store holds, who needs it, and how it is kept within a limit.

Each published build leaves a note in `uses/`: its OUT, its fingerprint and the objects that its stages rest on. While
OUT shows that fingerprint, those objects are *needed*: with them a rebuild pays for what changed and no more.
Everything else is unused: other seeds, older texts, a recipe's first try. An object's time is that of its last use.

`prune` takes unused objects, the oldest first, never what is needed or what a running build holds (see leases). A build
whose objects are gone makes them again.

Price: one stat call a file to look, one rename an object to prune.
"""

from __future__ import annotations

import os
import re
import shutil
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from tokenization.build.layout import published
from tokenization.errors import RecipeError
from tokenization.hashing import key_of
from tokenization.leases import gate, running
from tokenization.store import Store, write_json

LIMIT_VARIABLE = "TOKENMILL_STORE_LIMIT"
RESULTS = "results"  # the stages' summaries, which are files and not folders
DAY_S = 86400.0
LEFT_OVER_S = 86400.0  # an unfinished folder older than this belongs to no running build
UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]?)(I?)B?\s*", re.IGNORECASE)


@dataclass(frozen=True)
class Held:
    """One object of the store, or one summary."""

    stage: str
    path: Path
    size: int  # bytes of its files
    used_ns: int  # when it was last made or used
    needed: bool  # by a published build


@dataclass(frozen=True)
class Use:
    """What a published build rests on."""

    out: Path
    recipe: str
    fingerprint: str
    keys: frozenset[tuple[str, str]]  # (stage, key)

    @property
    def is_published(self) -> bool:
        return published(self.out) == self.fingerprint


@dataclass
class Inventory:
    """All that a store holds."""

    held: list[Held]
    uses: list[Use]

    @property
    def size(self) -> int:
        return sum(each.size for each in self.held)

    def by_stage(self) -> dict[str, list[Held]]:
        stages: dict[str, list[Held]] = {}
        for each in sorted(self.held, key=lambda each: each.stage):
            stages.setdefault(each.stage, []).append(each)
        return stages


@dataclass
class Pruned:
    """What was taken away, and what stayed."""

    removed: list[Held] = field(default_factory=list)
    size_before: int = 0

    @property
    def freed(self) -> int:
        return sum(each.size for each in self.removed)


def note_use(store: Store, out: Path, recipe: str, fingerprint: str, keys: Iterable[tuple[str, str]]) -> None:
    """Note what the build that OUT now shows rests on, in place of what was noted for OUT before."""
    note = {
        "out": str(out.absolute()),
        "recipe": recipe,
        "fingerprint": fingerprint,
        "keys": sorted(set(keys)),
    }
    write_json(store.root / "uses" / f"{key_of(str(out.absolute()))}.json", note)


def uses(store: Store) -> list[Use]:
    """Every note, whether or not the build is still published."""
    found = []
    for path in sorted((store.root / "uses").glob("*.json")):
        note = orjson.loads(path.read_bytes())
        keys = frozenset((stage, key) for stage, key in note["keys"])
        found.append(Use(Path(note["out"]), note["recipe"], note["fingerprint"], keys))
    return found


def inventory(store: Store) -> Inventory:
    """Look at everything once."""
    notes = uses(store)
    needed = frozenset[tuple[str, str]]().union(*(use.keys for use in notes if use.is_published))
    held = [
        *(described(stage, path, (stage, path.name) in needed) for stage, path in objects(store)),
        *(
            described(RESULTS, path, (f"{RESULTS}/{stage}", path.stem) in needed)
            for stage, path in summaries(store)
        ),
    ]
    return Inventory([each for each in held if each is not None], notes)


def objects(store: Store) -> Iterator[tuple[str, Path]]:
    """(stage, folder) of every object."""
    for path in (store.root / "objects").glob("*/*/*"):
        yield path.parent.parent.name, path


def summaries(store: Store) -> Iterator[tuple[str, Path]]:
    """(stage, file) of every summary."""
    for path in (store.root / "results").glob("*/*/*.json"):
        yield path.parent.parent.name, path


def described(stage: str, path: Path, needed: bool) -> Held | None:
    """The object as it is now; None where another process took it away."""
    try:
        status = path.stat()
        if stage == RESULTS:
            return Held(stage, path, status.st_size, status.st_mtime_ns, needed)
        with os.scandir(path) as entries:
            size = sum(entry.stat().st_size for entry in entries if entry.is_file())
    except FileNotFoundError:
        return None
    return Held(stage, path, size, status.st_mtime_ns, needed)


def prune(
    store: Store, *, limit: int | None = None, older_than_s: float | None = None, dry: bool = False
) -> Pruned:
    """Take away unused objects, oldest first: those older than `older_than_s`, and then as many as the limit asks."""
    found = inventory(store)
    outcome = Pruned(size_before=found.size)
    now = time.time_ns()
    size = found.size
    trash = store.root / "trash" / uuid.uuid4().hex
    for each in sorted((each for each in found.held if not each.needed), key=lambda each: each.used_ns):
        old = older_than_s is not None and now - each.used_ns > older_than_s * 1e9
        if not old and (limit is None or size <= limit):
            break
        if taken(store, each, trash, dry):
            outcome.removed.append(each)
            size -= each.size
    if not dry:
        sweep(store, trash)
    return outcome


def taken(store: Store, each: Held, trash: Path, dry: bool) -> bool:
    """Whether this one could be taken: nobody used it since it was looked at, and no running build may hold it."""
    with gate(store.root, alone=True):
        try:
            used_ns = each.path.stat().st_mtime_ns
        except FileNotFoundError:
            return False
        began = running(store.root)
        if used_ns != each.used_ns or (began and used_ns >= began[0]):
            return False
        if not dry:
            trash.mkdir(parents=True, exist_ok=True)
            each.path.rename(trash / uuid.uuid4().hex)  # at once for every reader; deleted outside the gate
    return True


def sweep(store: Store, trash: Path) -> None:
    """Delete what was taken, and what killed processes left of writing and pruning."""
    shutil.rmtree(trash, ignore_errors=True)
    for folder in ("writing", "trash"):
        for path in (store.root / folder).glob("*"):
            if time.time() - path.stat().st_mtime > LEFT_OVER_S:
                shutil.rmtree(path, ignore_errors=True)


def size_of(text: str) -> int:
    """Bytes of `50GB`, `1.5 GiB` or `1000000`; RecipeError where it is no size."""
    match = _SIZE.fullmatch(text)
    if match is None:
        raise RecipeError(f"{text!r} is no size; write bytes or a unit, such as 50GB or 1.5 GiB")
    number, unit, binary = match.groups()
    power = list(UNITS).index(unit.upper())
    return int(float(number) * (1024**power if binary else UNITS[unit.upper()]))


def limit_of_environment() -> int | None:
    """The store's limit in bytes, from TOKENMILL_STORE_LIMIT; None where there is none."""
    text = os.environ.get(LIMIT_VARIABLE, "").strip()
    return size_of(text) if text else None


def keep_within_limit(store: Store, say: Callable[[str], None]) -> None:
    """Prune to TOKENMILL_STORE_LIMIT, where there is one; say so where what is needed is more."""
    limit = limit_of_environment()
    if limit is None:
        return
    outcome = prune(store, limit=limit)
    left = outcome.size_before - outcome.freed
    if outcome.removed:
        say(f"store: {len(outcome.removed)} unused objects pruned, {outcome.freed / 1e6:.1f} MB")
    if left > limit:
        say(
            f"store: {left / 1e6:.1f} MB are above {LIMIT_VARIABLE}={limit / 1e6:.1f} MB, and all of it is needed by "
            f"published or running builds; raise the limit, or remove builds that are no longer wanted"
        )


def as_json(found: Inventory) -> dict[str, Any]:
    """The inventory for programs."""
    now = time.time_ns()
    return {
        "bytes": found.size,
        "objects": len(found.held),
        "needed_bytes": sum(each.size for each in found.held if each.needed),
        "stages": {
            stage: {
                "objects": len(held),
                "bytes": sum(each.size for each in held),
                "needed_bytes": sum(each.size for each in held if each.needed),
                "newest_use_days": round((now - max(each.used_ns for each in held)) / 1e9 / DAY_S, 3),
                "oldest_use_days": round((now - min(each.used_ns for each in held)) / 1e9 / DAY_S, 3),
            }
            for stage, held in found.by_stage().items()
        },
        "builds": [
            {
                "out": str(use.out),
                "recipe": use.recipe,
                "fingerprint": use.fingerprint,
                "published": use.is_published,
                "objects": len(use.keys),
                "bytes": sum(each.size for each in found.held if key_in(each) in use.keys),
            }
            for use in found.uses
        ],
    }


def key_in(each: Held) -> tuple[str, str]:
    """The object as notes name it."""
    if each.stage == RESULTS:
        return f"{RESULTS}/{each.path.parent.parent.name}", each.path.stem
    return each.stage, each.path.name
