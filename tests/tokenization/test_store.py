"""An object of the store is there whole or not at all."""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest

from tokenization.store import Store, write_json

KEY = "ab" * 16


def files(root: Path) -> list[str]:
    return sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())


def test_an_object_appears_when_its_block_ends_well(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with store.writing("rows", KEY) as folder:
        (folder / "meta.json").write_text('{"n": 1}')
        assert not store.has("rows", KEY)
    assert store.has("rows", KEY)
    assert store.meta("rows", KEY) == {"n": 1}
    assert files(tmp_path) == [f"objects/rows/ab/{KEY}/meta.json"]


def test_an_error_leaves_nothing_behind(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with pytest.raises(KeyboardInterrupt), store.writing("rows", KEY) as folder:
        (folder / "half").write_text("…")
        raise KeyboardInterrupt
    assert not store.has("rows", KEY)
    assert files(tmp_path) == []


def test_the_first_of_two_writers_wins_and_the_second_is_no_error(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with store.writing("rows", KEY) as slow:
        (slow / "meta.json").write_text('{"by": "slow"}')
        with store.writing("rows", KEY) as fast:
            (fast / "meta.json").write_text('{"by": "fast"}')
    assert store.meta("rows", KEY) == {"by": "fast"}
    assert files(tmp_path) == [f"objects/rows/ab/{KEY}/meta.json"]


def test_a_failure_to_put_the_object_in_place_is_told(tmp_path: Path) -> None:
    store = Store(tmp_path)
    final = store.path("rows", KEY)
    final.parent.mkdir(parents=True)
    final.write_text("a file where the folder should be")
    with pytest.raises(OSError), store.writing("rows", KEY) as folder:
        (folder / "x").write_text("")
    assert not list((tmp_path / "writing").iterdir())


def test_a_result_comes_back_as_it_was_saved_and_none_where_there_is_none(tmp_path: Path) -> None:
    store = Store(tmp_path)
    assert store.load_result("windows", KEY) is None
    store.save_result("windows", KEY, {"fingerprint": "x", "nested": {"a": [1, 2]}})
    assert store.load_result("windows", KEY) == {"fingerprint": "x", "nested": {"a": [1, 2]}}


def test_json_is_replaced_in_one_step_and_an_unwritable_value_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "x.json"
    write_json(path, {"a": 1})
    with pytest.raises(TypeError):
        write_json(path, {"a": object()})
    assert path.read_text() == '{"a":1}\n'
    assert files(tmp_path) == ["deep/x.json"]


def write_many(root: str) -> int:
    store = Store(Path(root))
    for number in range(40):
        with store.writing("rows", f"{number:032x}") as folder:
            (folder / "meta.json").write_text(f'{{"n": {number}}}')
    return 40


def test_two_processes_may_fill_one_store(tmp_path: Path) -> None:
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
        assert list(pool.map(write_many, [str(tmp_path)] * 2)) == [40, 40]
    store = Store(tmp_path)
    assert [store.meta("rows", f"{number:032x}")["n"] for number in range(40)] == list(range(40))
    assert len(files(tmp_path)) == 40
