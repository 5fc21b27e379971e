"""Pruning takes what nobody needs, the longest unused first, and never what a published or running build rests on."""

from __future__ import annotations

import multiprocessing
import os
import time
from pathlib import Path
from typing import Any

import pytest

from tokenization.errors import RecipeError
from tokenization.leases import Lease, gate, running
from tokenization.store import Store
from tokenization.store_upkeep import inventory, keep_within_limit, note_use, prune, size_of

NOW = time.time()


def put(store: Store, number: int, *, days_ago: float = 0.0, size: int = 1000, stage: str = "rows") -> Path:
    """An object last used so many days ago."""
    key = f"{number:032x}"
    with store.writing(stage, key) as folder:
        (folder / "data").write_bytes(b"x" * size)
    path = store.path(stage, key)
    when = NOW - 60 - days_ago * 86400
    os.utime(path, (when, when))
    return path


def published_build(folder: Path, fingerprint: str = "f1") -> Path:
    """An OUT that shows this fingerprint."""
    version = folder / "out.versions" / fingerprint
    version.mkdir(parents=True)
    (version / "manifest.json").write_text("{}")
    out = folder / "out"
    out.symlink_to(version)
    return out


def there(*paths: Path) -> list[bool]:
    return [path.exists() for path in paths]


def test_the_limit_takes_the_longest_unused_first_and_stops_when_it_is_met(tmp_path: Path) -> None:
    store = Store(tmp_path)
    paths = [put(store, number, days_ago=number) for number in range(5)]
    assert inventory(store).size == 5000
    outcome = prune(store, limit=2500)
    assert there(*paths) == [True, True, False, False, False]
    assert outcome.freed == 3000 and [each.path for each in outcome.removed] == paths[:1:-1]
    assert prune(store, limit=2500).removed == []
    assert not any((tmp_path / "trash").iterdir())


def test_age_takes_what_is_older_and_a_dry_run_takes_nothing(tmp_path: Path) -> None:
    store = Store(tmp_path)
    paths = [put(store, number, days_ago=number) for number in range(4)]
    assert len(prune(store, older_than_s=1.5 * 86400, dry=True).removed) == 2
    assert all(there(*paths))
    prune(store, older_than_s=1.5 * 86400)
    assert there(*paths) == [True, True, False, False]


def test_what_a_published_build_needs_stays_and_goes_once_the_build_is_gone(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    needed, other = put(store, 1, days_ago=9), put(store, 2)
    store.save_result("tokens", "a" * 32, {"fingerprint": "x"})
    out = published_build(tmp_path)
    note_use(store, out, "mine", "f1", [("rows", needed.name), ("results/tokens", "a" * 32)])
    (use,) = inventory(store).uses
    assert use.is_published and use.recipe == "mine"
    prune(store, limit=0)
    assert there(needed, other) == [True, False]
    assert store.load_result("tokens", "a" * 32) is not None
    out.unlink()
    prune(store, limit=0)
    assert there(needed) == [False] and store.load_result("tokens", "a" * 32) is None


def test_another_version_published_at_out_needs_only_its_own(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    first, second = put(store, 1), put(store, 2)
    out = published_build(tmp_path)
    note_use(store, out, "mine", "f1", [("rows", first.name)])
    note_use(store, out, "mine", "f2", [("rows", second.name)])
    prune(store, limit=0)
    assert there(first, second) == [False, False], "OUT shows neither f2 nor what was noted before"


def test_what_a_running_build_found_or_made_stays_until_it_ends(tmp_path: Path) -> None:
    store = Store(tmp_path)
    found, unseen = put(store, 1, days_ago=3), put(store, 2, days_ago=2)
    lease = Lease(tmp_path)
    assert lease.hold([found])
    with store.writing("rows", "9" * 32) as folder:
        (folder / "data").write_text("new")
    made = store.path("rows", "9" * 32)
    prune(store, limit=0)
    assert there(found, unseen, made) == [True, False, True]
    assert not lease.hold([found, unseen])
    lease.release()
    prune(store, limit=0)
    assert there(found, made) == [False, False]


def test_a_lease_that_lingers_counts_for_a_while_after_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(tmp_path)
    lease = Lease(tmp_path, lingers=True)
    path = put(store, 1)
    lease.hold([path])
    lease.release()
    prune(store, limit=0)
    assert there(path) == [True]
    monkeypatch.setattr("tokenization.leases.LINGERS_S", 0.0)
    prune(store, limit=0)
    assert there(path) == [False] and not any((tmp_path / "running").iterdir())


def hold_for_ever(root: str, path: str, ready: Any) -> None:
    lease = Lease(Path(root))
    lease.hold([Path(path)])
    ready.set()
    time.sleep(600)


def test_a_killed_build_holds_nothing(tmp_path: Path) -> None:
    store = Store(tmp_path)
    path = put(store, 1)
    context = multiprocessing.get_context("spawn")
    ready = context.Event()
    process = context.Process(target=hold_for_ever, args=(str(tmp_path), str(path), ready))
    process.start()
    assert ready.wait(60)
    prune(store, limit=0)
    assert there(path) == [True]
    process.kill()
    process.join()
    with gate(tmp_path, alone=True):
        assert running(tmp_path) == []
    prune(store, limit=0)
    assert there(path) == [False]


def test_the_environment_s_limit_is_kept_and_what_cannot_be_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(tmp_path / "store")
    needed, other = put(store, 1, size=3000), put(store, 2)
    note_use(store, published_build(tmp_path), "mine", "f1", [("rows", needed.name)])
    said: list[str] = []
    keep_within_limit(store, said.append)
    assert there(needed, other) == [True, True] and said == []
    monkeypatch.setenv("TOKENMILL_STORE_LIMIT", "2kB")
    keep_within_limit(store, said.append)
    assert there(needed, other) == [True, False]
    assert len(said) == 2 and "raise the limit" in said[1]


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("1234", 1234),
        ("50GB", 50 * 10**9),
        ("1.5 GiB", 3 << 29),
        ("20k", 20_000),
        ("1TiB", 1 << 40),
    ],
)
def test_sizes_are_read_as_people_write_them(text: str, size: int) -> None:
    assert size_of(text) == size


@pytest.mark.parametrize("text", ["", "many", "5 PB", "-1", "1..5GB"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(RecipeError, match="is no size"):
        size_of(text)
