"""Sources, store and build on S3, against a real server: the same bytes as a local build, and the same promises."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from servers import s3_server
from small_recipes import Project, text_source

from tokenization import object_store
from tokenization.build import origin
from tokenization.build.layout import published, readable, version_folder
from tokenization.build.verify import verify
from tokenization.errors import BuildError
from tokenization.object_store import located
from tokenization.store import Store

pytest.importorskip("s3fs")
pytest.importorskip("moto")
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    with s3_server(tmp_path_factory.mktemp("s3")) as environment:
        yield environment


@pytest.fixture
def bucket(
    server: dict[str, str], request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> str:
    """`s3://…` of a bucket of this test's own, with an empty mirror here."""
    for name, value in server.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("TOKENMILL_CACHE", str(tmp_path / "cache"))
    name = f"b{abs(hash(request.node.name)) % 10**10}"
    system, _ = object_store.filesystem(f"s3://{name}")
    system.mkdir(name)
    return f"s3://{name}"


@pytest.fixture
def project(new_project: Callable[..., Project]) -> Project:
    return new_project()


def on_s3(project: Project, bucket: str, *options: object) -> dict[str, Any]:
    """Built with store and OUT on S3; what `--json` says."""
    result = project.run(
        "build",
        project.path,
        "--json",
        "--store",
        f"{bucket}/store",
        "--out",
        f"{bucket}/builds/small",
        *options,
    )
    assert result.exit_code == 0, f"{result.output}{result.exception!r}"
    return dict(json.loads(result.stdout))


def another_machine(monkeypatch: pytest.MonkeyPatch, project: Project, tmp_path: Path, empty: Path) -> None:
    """Nothing is left here of what was built: neither mirror nor instance."""
    monkeypatch.setenv("TOKENMILL_CACHE", str(tmp_path / "another"))
    shutil.rmtree(project.folder / "dagster")
    shutil.copytree(empty, project.folder / "dagster")


def version_of(url: str) -> str:
    """The version that the pointer names, as a URL."""
    return f"{url.rpartition('/')[0]}/{json.loads(object_store.read(url) or b'')['path']}"


def test_a_build_on_s3_is_the_local_one_byte_for_byte(project: Project, bucket: str) -> None:
    here = project.built()
    there = on_s3(project, bucket)
    assert there["out"] == f"{bucket}/builds/small" and not there["reused"]
    assert there["fingerprint"] == here["fingerprint"]
    fetched = readable(f"{bucket}/builds/small")
    names = {path.relative_to(project.out.resolve()) for path in project.out.resolve().rglob("*")}
    assert {path.relative_to(fetched) for path in fetched.rglob("*")} == names and len(names) > 10
    for name in names:
        if (fetched / name).is_file():
            assert (fetched / name).read_bytes() == (project.out / name).read_bytes(), name


def test_another_machine_reuses_what_is_on_s3_and_reads_the_build_from_there(
    project: Project, bucket: str, tmp_path: Path, empty_instance: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = on_s3(project, bucket)
    another_machine(monkeypatch, project, tmp_path, empty_instance)
    again = on_s3(project, bucket)
    assert again["fingerprint"] == first["fingerprint"]
    with_steps = project.steps()[-1]
    assert "dataset" in with_steps  # a new instance is told of it
    assert on_s3(project, bucket)["reused"] is True

    another_machine(monkeypatch, project, tmp_path / "third", empty_instance)
    url = f"{bucket}/builds/small"
    told = project.run("verify", url, "--json")
    assert told.exit_code == 0 and json.loads(told.stdout)["passed"] is True
    assert (
        project.run("preview", url, "--row", "0").output
        == project.run("preview", version_of(url), "--row", "0").output
    )
    page = tmp_path / "page.html"
    assert project.run("preview", url, "--html", page).exit_code == 0 and page.stat().st_size > 10_000
    assert project.run("verify", version_of(url)).exit_code == 0 and version_of(url).endswith(
        first["fingerprint"]
    )


def test_a_changed_source_on_s3_is_noticed_and_only_its_part_is_made_again(
    project: Project, bucket: str
) -> None:
    for path in (project.folder / "data" / "books").iterdir():
        object_store.push(path, f"{bucket}/raw/books/{path.name}")
    sources = [text_source("books", f"{bucket}/raw/books/*.txt"), *project.recipe["sources"][1:]]
    local = project.built()
    project.save(sources=sources)
    first = on_s3(project, bucket)
    assert first["splits"] == local["splits"]
    assert on_s3(project, bucket)["reused"] is True
    object_store.write(f"{bucket}/raw/books/new.txt", b"A new book about a lantern and a river.\n")
    second = on_s3(project, bucket)
    assert second["fingerprint"] != first["fingerprint"]
    steps = [step for run in project.steps()[2:] for step in run]
    assert "documents/books" in steps and "documents/web" not in steps and "sessions/talks" not in steps


def test_a_failed_publication_leaves_the_last_good_build(
    project: Project, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = on_s3(project, bucket)
    out = located(f"{bucket}/builds/small")
    push = object_store.push
    sent = 0

    def broken(file: Path, url: str) -> None:
        nonlocal sent
        if "small.versions" in url and (sent := sent + 1) > 3:
            raise BuildError(f"{url} cannot be written: the network is gone")
        push(file, url)

    with monkeypatch.context() as patch:
        patch.setattr(object_store, "push", broken)
        result = project.run(
            "build",
            project.path,
            "--store",
            f"{bucket}/store",
            "--out",
            f"{bucket}/builds/small",
            "--set",
            "seed=3",
        )
    assert result.exit_code == 1 and "the network is gone" in result.stderr
    assert "Traceback" not in result.stderr
    assert published(out) == first["fingerprint"]
    assert all(finding.passed for finding in verify(readable(f"{bucket}/builds/small")))
    begun = {name.partition("/")[0] for name in object_store.tree(f"{bucket}/builds/small.versions")}
    assert len(begun) == 2  # it stopped in the middle of the second version
    second = on_s3(project, bucket, "--set", "seed=3")
    assert published(out) == second["fingerprint"] != first["fingerprint"]


def test_the_newest_three_versions_stay_and_what_a_killed_publisher_left_goes_after_a_day(
    project: Project, bucket: str
) -> None:
    object_store.write(f"{bucket}/builds/small.versions/unfinished/dataset/train/a.arrow", b"half")
    made = [on_s3(project, bucket, "--set", f"seed={seed}")["fingerprint"] for seed in (1, 2, 3, 4)]
    url = f"{bucket}/builds/small.versions"
    assert set(object_store.names(url)) == {*made[1:], "unfinished"}
    origin.prune(f"{bucket}/builds/small", keep=3, stale_seconds=-1)
    assert set(object_store.names(url)) == set(made[1:])
    on_s3(project, bucket, "--set", "seed=2")  # an older one again: it is the newest now
    on_s3(project, bucket, "--set", "seed=5")
    assert made[1] in object_store.names(url) and made[2] not in object_store.names(url)


def test_a_place_that_is_somebody_else_s_or_not_there_is_refused_before_anything_runs(
    project: Project, bucket: str
) -> None:
    object_store.write(f"{bucket}/thesis", b"years of work")
    result = project.run("build", project.path, "--out", f"{bucket}/thesis")
    assert result.exit_code == 2 and "is no build of tokenmill" in result.stderr
    assert object_store.read(f"{bucket}/thesis") == b"years of work" and project.steps() == []
    result = project.run("verify", f"{bucket}/nothing")
    assert result.exit_code == 2 and "is no published build" in result.stderr


def test_an_object_is_put_whole_before_it_is_here_and_comes_back_on_another_machine(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(located(f"{bucket}/store"))
    with store.writing("rows", "abc-1") as folder:
        (folder / "deep").mkdir()
        (folder / "deep" / "data.bin").write_bytes(b"\x00" * 1000)
        (folder / "meta.json").write_text('{"rows": 3}')
    store.save_result("documents", "k", {"fingerprint": "f"})
    monkeypatch.setenv("TOKENMILL_CACHE", str(tmp_path / "another"))
    other = Store(located(f"{bucket}/store"))
    assert other.root != store.root and not other.root.exists()
    assert other.has("rows", "abc-1") and not other.has("rows", "abc-2")
    assert other.members("rows", "abc") == ["abc-1"]
    assert other.meta("rows", "abc-1") == {"rows": 3}
    assert (other.path("rows", "abc-1") / "deep" / "data.bin").read_bytes() == b"\x00" * 1000
    assert other.load_result("documents", "k") == {"fingerprint": "f"}
    assert list((other.root / "writing").iterdir()) == []
    other.drop_result("documents", "k")
    assert Store(located(f"{bucket}/store")).load_result("documents", "k") is None

    def broken(*_: Any) -> None:
        raise BuildError("no network")

    monkeypatch.setattr(object_store, "push", broken)
    with pytest.raises(BuildError, match="no network"), other.writing("rows", "abc-3") as folder:
        (folder / "meta.json").write_text("{}")
    assert not other.path("rows", "abc-3").exists() and list((other.root / "writing").iterdir()) == []


def test_a_version_is_fetched_whole_or_not_at_all(
    project: Project, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fingerprint = on_s3(project, bucket)["fingerprint"]
    monkeypatch.setenv("TOKENMILL_CACHE", str(tmp_path / "another"))
    out = located(f"{bucket}/builds/small")

    def broken(*_: Any) -> bool:
        return False

    with monkeypatch.context() as patch:
        patch.setattr(object_store, "pull", broken)
        with pytest.raises(BuildError, match="vanished while it was read"):
            version_folder(out, fingerprint)
    assert [path.name for path in out.parent.rglob("*") if "versions" not in path.name] == ["small.origin"]
    assert all(finding.passed for finding in verify(version_folder(out, fingerprint)))
