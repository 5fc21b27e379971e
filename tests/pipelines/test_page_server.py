"""The pages beside Dagster's: HTML and SVG below one folder, to this machine, nothing else."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from assets.links import link, page_url, remember, remembered
from pipelines.page import serve_pages


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    inside = tmp_path / "inside"
    (inside / "builds").mkdir(parents=True)
    (inside / "builds" / "preview.html").write_text("<p>masks</p>")
    (inside / "secret.txt").write_text("no page")
    (tmp_path / "outside.html").write_text("not below the folder")
    (inside / "way-out.html").symlink_to(tmp_path / "outside.html")
    server = serve_pages(inside)
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_a_page_below_the_folder_is_shown(address: str) -> None:
    with urllib.request.urlopen(f"{address}/builds/preview.html", timeout=10) as answer:
        assert answer.read() == b"<p>masks</p>"


@pytest.mark.parametrize(
    "path", ["/secret.txt", "/../outside.html", "/way-out.html", "/builds/", "/", "/no.html"]
)
def test_nothing_else_is(address: str, path: str) -> None:
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(address + path, timeout=10)
    assert caught.value.code == 404
    caught.value.close()


def test_links_are_for_what_is_served_and_paths_for_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TOKENMILL_PAGES", raising=False)
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    assert page_url(tmp_path / "a.html") is None and link(tmp_path / "a.html").value == str(
        tmp_path / "a.html"
    )
    monkeypatch.setenv("TOKENMILL_PAGES", "http://127.0.0.1:5/")
    assert page_url(tmp_path / "a b.html") == "http://127.0.0.1:5/a%20b.html"
    assert page_url(tmp_path.parent / "other.html") is None


def test_links_stay_good_after_the_server_ended_because_the_next_one_takes_its_port(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TOKENMILL_PAGES", raising=False)
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    first = serve_pages(tmp_path)
    remember(tmp_path, f"http://127.0.0.1:{first.server_port}")
    by_command = page_url(
        tmp_path / "a.html"
    )  # a build from the command line knows of no server but this note
    first.shutdown()
    first.server_close()
    second = serve_pages(tmp_path, 0, first.server_port)
    assert by_command == f"http://127.0.0.1:{second.server_port}/a.html"
    third = serve_pages(tmp_path, 0, first.server_port)
    assert third.server_port != second.server_port, "where it is taken, any other"
    for server in (second, third):
        server.shutdown()
        server.server_close()
    monkeypatch.chdir(tmp_path.parent)
    assert remembered(tmp_path) is None, "it serves another folder"
