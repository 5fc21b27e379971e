"""Publishing is one switch of a link: readers see the old build or the new one."""

from __future__ import annotations

import os
import shutil
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tokenization.build import layout
from tokenization.build.layout import check_place, prune, publish, published, read_manifest, versions_folder
from tokenization.errors import BuildError, RecipeError


def version(out: Path, fingerprint: str, *, age: float = 0.0) -> Path:
    """A whole version, written `age` seconds ago."""
    folder = versions_folder(out) / fingerprint
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text("{}")
    when = folder.stat().st_mtime - age
    os.utime(folder, (when, when))
    return folder


def test_publishing_makes_a_relative_link_that_survives_a_move(tmp_path: Path) -> None:
    out = tmp_path / "here" / "out"
    version(out, "a")
    publish(out, "a")
    assert os.readlink(out) == os.path.join("out.versions", "a")
    (tmp_path / "here").rename(tmp_path / "there")
    assert published(tmp_path / "there" / "out") == "a"


def test_publishing_again_switches_to_the_new_version_and_leaves_nothing_beside(tmp_path: Path) -> None:
    out = tmp_path / "out"
    for name in ("a", "b"):
        version(out, name)
        publish(out, name)
        assert published(out) == name
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "out.versions"]


def test_the_newest_three_versions_are_kept_and_the_published_one_whatever_its_age(tmp_path: Path) -> None:
    out = tmp_path / "out"
    for age, name in enumerate("abcdef"):
        version(out, name, age=100.0 * (age + 1))
    publish(out, "f")  # the oldest becomes the newest by being published
    kept = sorted(path.name for path in versions_folder(out).iterdir())
    assert kept == ["a", "b", "f"]
    os.utime(versions_folder(out) / "f", (1, 1))
    for name in "gh":
        version(out, name)
    prune(out)
    assert "f" in {path.name for path in versions_folder(out).iterdir()}
    assert published(out) == "f"


def test_what_a_killed_run_left_is_dropped_once_it_is_a_day_old_and_not_before(tmp_path: Path) -> None:
    out = tmp_path / "out"
    version(out, "a")
    young, old = (versions_folder(out) / f".writing-{age}" for age in ("young", "old"))
    for folder in (young, old):
        folder.mkdir()
    when = old.stat().st_mtime - layout.STALE_SECONDS - 1
    os.utime(old, (when, when))
    publish(out, "a")
    assert young.is_dir() and not old.exists()


@pytest.mark.parametrize("kind", ["folder", "file"])
def test_an_out_that_is_no_link_is_refused_and_left_alone(tmp_path: Path, kind: str) -> None:
    out = tmp_path / "out"
    version(out, "a")
    out.mkdir() if kind == "folder" else out.write_text("mine")
    for refused in (lambda: check_place(out), lambda: publish(out, "a")):
        with pytest.raises(RecipeError, match="no build of tokenmill"):
            refused()
    assert not out.is_symlink() and out.exists()
    assert published(out) is None


def test_a_version_without_a_manifest_is_never_published(tmp_path: Path) -> None:
    out = tmp_path / "out"
    version(out, "good")
    publish(out, "good")
    (versions_folder(out) / "half").mkdir()
    with pytest.raises(BuildError, match="not published"):
        publish(out, "half")
    assert published(out) == "good"


def test_a_link_to_nowhere_is_no_build_and_can_be_replaced(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.symlink_to("gone")
    assert published(out) is None
    version(out, "a")
    publish(out, "a")
    assert published(out) == "a"


def test_a_manifest_that_is_no_json_is_explained(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text("{half")
    with pytest.raises(RecipeError, match="build again"):
        read_manifest(tmp_path)


@pytest.mark.parametrize("can_exchange", [True, False])
def test_a_finished_folder_takes_its_place_also_where_an_equal_one_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, can_exchange: bool
) -> None:
    if not can_exchange:
        monkeypatch.setattr(layout, "exchanged", lambda one, other: False)
    final = tmp_path / "f"
    for note in ("older", "newer"):
        part = tmp_path / ".writing-1"
        part.mkdir()
        (part / "note").write_text(note)
        layout.replace_folder(part, final)
        shutil.rmtree(
            part, ignore_errors=True
        )  # as the writer does; with an exchange the old one is in there
        assert (final / "note").read_text() == note
    assert [path.name for path in tmp_path.iterdir()] == ["f"]


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere there is a moment between two renames")
def test_while_a_folder_is_replaced_there_is_always_one(tmp_path: Path) -> None:
    final, seen, done = tmp_path / "f", [0], threading.Event()

    def look() -> None:
        while not done.is_set():
            (final / "note").read_text()
            seen[0] += 1

    final.mkdir()
    (final / "note").write_text("0")
    with ThreadPoolExecutor(1) as pool:
        reader = pool.submit(look)
        for number in range(200):
            part = tmp_path / f".writing-{number}"
            part.mkdir()
            (part / "note").write_text(str(number))
            layout.replace_folder(part, final)
        done.set()
        reader.result()
    assert seen[0] > 0 and (final / "note").read_text() == "199"
