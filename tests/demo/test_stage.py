"""Staging: whole files, written once, touched only where their content changes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from demo import stage as staging
from demo import stdlib
from demo.stage import STAMP, main, replace_if_changed, stage
from tokenization.errors import BuildError

LIBRARY = stdlib.files()
ALL_FILES = stdlib.files
NAMES = ["library.jsonl", "questions.jsonl", "sessions.jsonl"]


@pytest.fixture(autouse=True, scope="module")
def small_library() -> Iterator[None]:
    """A tenth of the library: staging is the same, and parsing the whole of it is tested elsewhere."""
    some = LIBRARY[::10]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stdlib, "files", lambda: some)
        yield


@pytest.fixture(scope="module")
def staged(small_library: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("demo") / "staged"
    assert [item.written for item in stage(out)] == [True] * 3
    return out


def times(out: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in out.iterdir()}


def test_three_files_and_a_stamp_are_written_and_nothing_is_left_over(staged: Path) -> None:
    assert sorted(path.name for path in staged.iterdir()) == sorted([*NAMES, STAMP])
    for name in NAMES:
        rows = [json.loads(line) for line in (staged / name).read_text("utf-8").splitlines()]
        assert len({row["id"] for row in rows}) == len(rows) > 40


def test_a_second_run_writes_nothing(staged: Path) -> None:
    before = times(staged)
    assert len(before) == 4
    assert [item.written for item in stage(staged)] == [False] * 3
    assert times(staged) == before


def test_a_lost_stamp_costs_the_work_and_still_touches_nothing(staged: Path) -> None:
    (staged / STAMP).unlink()
    before = times(staged)
    assert [item.written for item in stage(staged)] == [False] * 3
    assert {name: times(staged)[name] for name in before} == before


@pytest.mark.parametrize("damage", [b"", b"{}\n"])
def test_a_damaged_file_is_the_only_one_rewritten(staged: Path, damage: bytes) -> None:
    whole = (staged / "sessions.jsonl").read_bytes()
    (staged / "sessions.jsonl").write_bytes(damage)
    assert [item.path.name for item in stage(staged) if item.written] == ["sessions.jsonl"]
    assert (staged / "sessions.jsonl").read_bytes() == whole


def test_a_stamp_that_is_not_ours_is_not_believed(tmp_path: Path) -> None:
    for content in ("", "[]", '{"made_of": {}}', '{"made_of": {}, "files": {"library.jsonl": 3}}'):
        (tmp_path / STAMP).write_text(content)
        assert staging._remembered(tmp_path, {}) is None


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    assert replace_if_changed(path, b"one\n")
    assert not replace_if_changed(path, b"one\n")
    assert replace_if_changed(path, b"two\n")
    assert [item.name for item in tmp_path.iterdir()] == ["rows.jsonl"]
    assert path.read_bytes() == b"two\n"


def test_the_library_holds_sources_and_neither_tests_nor_this_machine() -> None:
    ids = [file.name for file in LIBRARY]
    assert {"json/decoder.py", "textwrap.py", "asyncio/runners.py"} <= set(ids)
    assert ids == sorted(ids)
    assert not [
        name for name in ids if {"test", "tests", "idle_test", "site-packages"} & set(name.split("/"))
    ]
    assert not [name for name in ids if name.split("/")[-1].startswith("_sysconfigdata")]
    assert 8e6 < sum(file.path.stat().st_size for file in LIBRARY) < 20e6


def test_a_source_is_decoded_by_its_own_coding_line(tmp_path: Path) -> None:
    path = tmp_path / "old.py"
    path.write_bytes(b"# -*- coding: latin-1 -*-\r\nname = 'caf\xe9'\r\n")
    assert stdlib.read(stdlib.SourceFile("old.py", path)) == "# -*- coding: latin-1 -*-\nname = 'café'\n"


def test_a_python_without_sources_is_refused_with_the_way_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(stdlib.sysconfig, "get_paths", lambda: {"stdlib": str(tmp_path)})
    with pytest.raises(BuildError, match=r"has no \.py files"):
        stdlib.root()
    monkeypatch.setattr(stdlib, "files", ALL_FILES)
    assert main(["--out", str(tmp_path / "out")]) == 1
    assert "run it with a Python that ships them" in capsys.readouterr().err
