"""Places behind URLs and their mirrors, on fsspec's file system in memory; a real S3 server is in pipelines/."""

from __future__ import annotations

from pathlib import Path

import fsspec
import orjson
import pytest

from tokenization import object_store
from tokenization.build.layout import (
    check_place,
    publish,
    published,
    readable,
    version_folder,
    version_manifest,
    versions_folder,
)
from tokenization.errors import BuildError, RecipeError
from tokenization.object_store import located, origin_of, shown
from tokenization.store import Store


@pytest.fixture
def url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A place of this test's own, with an empty mirror."""
    monkeypatch.setenv("TOKENMILL_CACHE", str(tmp_path / "cache"))
    return f"memory://{tmp_path.name}"


def candidate(out: Path, fingerprint: str, note: str = "") -> Path:
    """A whole version in the mirror, not yet published."""
    folder = versions_folder(out) / fingerprint
    (folder / "dataset" / "train").mkdir(parents=True)
    (folder / "dataset" / "train" / "a.arrow").write_bytes(fingerprint.encode() * 100)
    (folder / "manifest.json").write_bytes(orjson.dumps({"fingerprint": fingerprint, "note": note}))
    return folder


def another_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TOKENMILL_CACHE", str(tmp_path / "another"))


def test_a_local_path_is_itself_and_a_url_has_one_mirror_that_knows_it(url: str, tmp_path: Path) -> None:
    assert located(tmp_path / "x") == tmp_path / "x" == located(f"file://{tmp_path}/x")
    assert origin_of(tmp_path / "x") == "" and shown(tmp_path / "x") == str(tmp_path / "x")
    mirror = located(f"{url}/builds/small/")
    assert mirror == located(f"{url}/builds/small") != located(f"{url}/other/small")
    assert mirror.name == "small" and mirror.is_relative_to(tmp_path / "cache")
    assert origin_of(mirror) == shown(mirror) == f"{url}/builds/small"


def test_a_url_that_nothing_opens_is_told_as_one() -> None:
    with pytest.raises(RecipeError, match="nosuch://a/b"):
        object_store.read("nosuch://a/b")


def test_a_store_behind_a_url_gives_another_machine_what_was_made_here(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(located(f"{url}/store"))
    for key in ("ab-1", "ab-2", "cd-1"):
        with store.writing("tokens", key) as folder:
            (folder / "deep").mkdir()
            (folder / "deep" / "ids.bin").write_bytes(key.encode())
            (folder / "meta.json").write_bytes(orjson.dumps({"key": key}))
    store.save_result("windows", "k", {"fingerprint": "f"})
    another_machine(monkeypatch, tmp_path)
    other = Store(located(f"{url}/store"))
    assert not other.root.exists()
    assert other.members("tokens", "ab") == ["ab-1", "ab-2"] and other.has("tokens", "cd-1")
    assert not other.has("tokens", "ef-1") and not other.path("tokens", "ef-1").exists()
    assert (other.path("tokens", "ab-2") / "deep" / "ids.bin").read_bytes() == b"ab-2"
    assert other.meta("tokens", "cd-1") == {"key": "cd-1"} and other.load_result("windows", "k")
    assert list((other.root / "writing").iterdir()) == []
    other.drop_result("windows", "k")
    assert other.load_result("windows", "k") is None and other.load_result("windows", "never") is None


def test_what_cannot_be_put_is_not_here_either(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(located(f"{url}/store"))

    def broken(*_: object) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr(type(fsspec.filesystem("memory")), "put_file", broken)
    with pytest.raises(BuildError, match="no route to host"), store.writing("rows", "k") as folder:
        (folder / "meta.json").write_text("{}")
    assert not store.has("rows", "k") and list((store.root / "writing").iterdir()) == []


def test_publishing_puts_the_manifest_last_and_then_the_pointer(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = located(f"{url}/small")
    check_place(out)
    assert published(out) is None and version_manifest(out, "f1") is None
    candidate(out, "f1")
    order: list[str] = []
    put = object_store.push
    monkeypatch.setattr(object_store, "push", lambda file, to: (order.append(to), put(file, to))[0])
    write = object_store.write
    monkeypatch.setattr(object_store, "write", lambda to, content: (order.append(to), write(to, content))[0])
    publish(out, "f1")
    assert [name.removeprefix(url) for name in order] == [
        "/small.versions/f1/dataset/train/a.arrow",
        "/small.versions/f1/manifest.json",
        "/small",
    ]
    assert published(out) == "f1" and out.resolve().name == "f1"
    another_machine(monkeypatch, tmp_path)
    fetched = readable(f"{url}/small")
    assert (fetched / "dataset" / "train" / "a.arrow").read_bytes() == b"f1" * 100
    assert readable(f"{url}/small.versions/f1") == fetched == version_folder(located(f"{url}/small"), "f1")
    with pytest.raises(RecipeError, match="is no published build"):
        readable(f"{url}/other")


def test_the_newest_three_stay_and_stray_files_of_a_version_go(url: str) -> None:
    out = located(f"{url}/small")
    for number in range(5):
        candidate(out, f"f{number}")
        publish(out, f"f{number}")
    left = {name.partition("/")[0] for name in object_store.tree(f"{url}/small.versions")}
    assert left == {"f2", "f3", "f4"}
    assert sorted(path.name for path in versions_folder(out).iterdir()) == ["f2", "f3", "f4"]
    object_store.write(f"{url}/small.versions/f4/stray", b"x")
    (versions_folder(out) / "f4" / "manifest.json").write_bytes(orjson.dumps({"note": "newer"}))
    publish(out, "f4")
    assert set(object_store.tree(f"{url}/small.versions/f4")) == {"manifest.json", "dataset/train/a.arrow"}


def test_a_pointer_that_is_no_pointer_is_refused(url: str) -> None:
    object_store.write(f"{url}/thesis", b"years of work")
    with pytest.raises(RecipeError, match="is no build of tokenmill"):
        check_place(located(f"{url}/thesis"))
