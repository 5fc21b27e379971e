"""A path finds the same files in the same order, and says what is wrong where it finds none."""

from __future__ import annotations

import os
from pathlib import Path

import fsspec
import pytest
from ingest_sources import lines, list_files, read_text, write

from tokenization.errors import RecipeError
from tokenization.ingest.digests import InputDigests
from tokenization.ingest.files import resolve_files

FILES = {
    "docs/b.md": "b",
    "docs/a.md": "a",
    "docs/sub/c.md": "c",
    "docs/sub/deep/d.txt": "d",
    "docs/page.html": "<p>",
    "docs/.hidden/e.md": "e",
    "docs/.f.md": "f",
}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name, text in FILES.items():
        write(tmp_path / name, text)
    return tmp_path


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("docs", ["a.md", "b.md", "sub/c.md", "sub/deep/d.txt"]),
        ("docs/", ["a.md", "b.md", "sub/c.md", "sub/deep/d.txt"]),
        ("docs/**/*.md", ["a.md", "b.md", "sub/c.md"]),
        ("docs/*/*.md", ["sub/c.md"]),
        ("d*/s*/c.md", ["docs/sub/c.md"]),
        ("docs/*", ["a.md", "b.md"]),
        ("docs/*.html", ["page.html"]),
        ("docs/page.html", ["page.html"]),
        ("docs/[ab].md", ["a.md", "b.md"]),
    ],
)
def test_files_are_sorted_and_named_relative_to_the_fixed_folder(
    tree: Path, pattern: str, found: list[str]
) -> None:
    for path in (pattern, str(tree / pattern), f"file://{tree / pattern}"):
        assert [file.relative for file in resolve_files(path, tree, source="docs")] == found


def test_files_of_unknown_ending_in_a_folder_are_named_as_skipped(tree: Path) -> None:
    skipped: list[str] = []
    resolve_files("docs", tree, source="docs", skipped=skipped)
    assert skipped == ["page.html"]


def test_an_input_file_tells_what_the_disk_says(tree: Path) -> None:
    file = resolve_files("docs/a.md", tree, source="docs")[0]
    status = os.stat(tree / "docs/a.md")
    assert (file.path, file.size, file.mtime_ns, file.inode, file.format, file.compression) == (
        str(tree / "docs/a.md"), 1, status.st_mtime_ns, status.st_ino, "text", None,
    )  # fmt: skip


def test_a_name_with_wildcard_characters_is_a_file_where_it_exists(tmp_path: Path) -> None:
    write(tmp_path / "a[1].md", "x")
    assert [file.relative for file in list_files(tmp_path / "a[1].md")] == ["a[1].md"]


def test_a_name_that_is_not_utf8_is_read_all_the_same(tmp_path: Path) -> None:
    write(Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.md")), "words")
    assert [row["file"] for row in read_text(tmp_path).rows] == ["caf\\xe9.md"]
    assert InputDigests(tmp_path / "memory.db").digest(list_files(tmp_path)[0])


def test_a_loop_of_links_is_walked_once(tree: Path) -> None:
    (tree / "docs/sub/loop").symlink_to(tree / "docs", target_is_directory=True)
    assert len(list_files(tree / "docs")) == 4


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("docs/*.pdf", r"source 'docs': no file matches docs/\*.pdf; nearest existing folder is .*/docs$"),
        ("nowhere/at/all.md", r"no file matches nowhere/at/all.md; nearest existing folder is "),
        ("docs/sub/deep/none", r"nearest existing folder is .*/docs/sub/deep"),
        ("memory://nowhere/*.md", r"no file matches memory://nowhere"),
        ("only", r"only holds no file of a known format .* it holds x.html"),
    ],
)
def test_no_match_says_where_the_search_ended(tree: Path, path: str, message: str) -> None:
    write(tree / "only/x.html", "<p>")
    with pytest.raises(RecipeError, match=message):
        resolve_files(path, tree, source="docs")


@pytest.mark.parametrize(
    ("name", "data", "kind", "compression"),
    [
        ("x.jsonl", b'{"text": 1}\n{"text": 2}', "jsonl", None),
        ("x.jsonl", b'[{"text": 1},\n {"text": 2}]', "json", None),
        ("x.jsonl", b'{\n "text": 1\n}', "json", None),
        ("x.jsonl", b"{broken\n{}", "jsonl", None),
        ("x.jsonl", b"[broken]\n{}", "jsonl", None),
        ("x.jsonl", b"[\n{}\n]", "json", None),
        ("x.jsonl", b"[{},\n{}\n]", "json", None),
        ("x.json", b'{"text": 1}\n{"text": 2}', "jsonl", None),
        ("x.json", b'{"text": 1}', "jsonl", None),
        ("x.json", b'{\n"text": 1}', "json", None),
        ("x.json", b'[{"role": "user"}]', "jsonl", None),
        ("x.json", b'[{"text": 1}]', "json", None),
        ("x.json", b'[[{"role": "user"}]]', "json", None),
        ("x.json", b'  [\n{"role": "user"}]', "json", None),
        ("x.json", b"", "jsonl", None),
        ("x.dump", b'{"text": 1}\n{"text": 2}', "jsonl", None),
        ("x.dump", b'[\n{"text": 1}]', "json", None),
        ("x.dump", b"{not json} but text", "text", None),
        ("x.dump", b"[1] a footnote", "text", None),
        ("README", b"words", "text", None),
        ("x.PY", b"{}", "text", None),
        ("x.csv.gz", b"a", "csv", "gz"),
    ],
)
def test_the_format_is_told_by_ending_and_first_bytes(
    tmp_path: Path, name: str, data: bytes, kind: str, compression: str | None
) -> None:
    file = list_files(write(tmp_path / name, data))[0]
    assert (file.format, file.compression) == (kind, compression)


def test_compressed_bytes_behind_an_unknown_ending_are_told_by_their_magic(tmp_path: Path) -> None:
    write(tmp_path / "x.jsonl.gz", lines({"text": "words"})).rename(tmp_path / "x.dump")
    file = list_files(tmp_path / "x.dump")[0]
    assert (file.format, file.compression) == ("jsonl", "gz")


def test_urls_give_the_same_documents_as_files(tmp_path: Path) -> None:
    memory = fsspec.filesystem("memory")
    for name in ("a.jsonl", "sub/b.jsonl.gz", "c.md"):
        path = write(tmp_path / name, lines({"text": name * 9}) if "json" in name else "words")
        memory.makedirs("/ingest/sub", exist_ok=True)
        memory.pipe_file(f"/ingest/{name}", path.read_bytes())
    local = read_text(tmp_path)
    assert len(local.rows) == 3
    assert read_text("memory://ingest").rows == local.rows
    assert read_text("memory://ingest/**/*.jsonl*").rows == [
        row for row in local.rows if row["file"] != "c.md"
    ]
    assert read_text("memory://ingest/a.jsonl", chunk_bytes=5, group_bytes=0).texts == ["a.jsonl" * 9]
