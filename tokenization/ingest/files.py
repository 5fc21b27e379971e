"""Finds the files that a source's `path` names, in one order on every machine.

A path is a file, a folder (all files of known formats below it), a glob (`**` too), an fsspec URL of any of
these, a local Hugging Face dataset folder, or `hf://owner/name`. The last two come as the Arrow files that
hold the rows, so that nothing further on knows about them.

Guarantees: sorted by `relative`, which is unique in a source and does not depend on where the data lies: it
is relative to the longest folder of the path without a wildcard. Hidden files and folders are passed over,
as a shell's glob does. Nothing is opened but `.json`, `.jsonl` and files of unknown ending that were named
outright.
"""

from __future__ import annotations

import dataclasses
import glob
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tokenization.errors import RecipeError
from tokenization.ingest import formats
from tokenization.ingest.opening import UnreadableInput, read_head
from tokenization.object_store import filesystem, is_url

HF_MARKERS = ("dataset_dict.json", "state.json")


@dataclass(frozen=True)
class InputFile:
    """One file of a source, as it was when it was listed."""

    path: str  # absolute local path, or URL
    relative: str  # with forward slashes, unique in its source
    size: int  # stored bytes
    mtime_ns: int  # 0 for URLs
    inode: int  # 0 for URLs
    format: str  # text | jsonl | json | csv | tsv | parquet | arrow
    compression: str | None  # gz | zst | bz2 | xz


@dataclass(frozen=True)
class _Listed:
    path: str
    relative: str
    size: int
    mtime_ns: int
    inode: int
    named: bool  # by its own name or ending, rather than found in a folder


def resolve_files(
    path: str,
    base: Path,
    *,
    source: str,
    config: str | None = None,
    split: str | None = None,
    skipped: list[str] | None = None,
) -> list[InputFile]:
    """The files of `path`, taken relative to `base`, in order of their relative paths.

    `config` and `split` choose within Hugging Face datasets. Files of unknown ending found in a folder are
    left out and named in `skipped`. Raises `RecipeError` where nothing matches.
    """
    left_out: list[str] = []
    files: list[InputFile] = []
    for listed in sorted(_list(path, base, source, config, split), key=lambda each: each.relative):
        file = _described(listed)
        if file is None:
            left_out.append(listed.relative)
        else:
            files.append(file)
    if skipped is not None:
        skipped.extend(left_out)
    if not files:
        raise RecipeError(_nothing_found(path, base, source, left_out))
    return files


def _list(path: str, base: Path, source: str, config: str | None, split: str | None) -> Iterator[_Listed]:
    if path.startswith("hf://"):
        from tokenization.ingest.hub import hub_files

        yield from (_local(*each) for each in hub_files(path, config, split, source=source))
    elif is_url(path) and not path.startswith(("file://", "local://")):
        yield from _list_url(path)
    else:
        yield from _list_local(_local_path(path, base), source, split)


def _local_path(path: str, base: Path) -> Path:
    return base / os.path.expanduser(path.removeprefix("file://").removeprefix("local://"))


def _list_local(full: Path, source: str, split: str | None) -> Iterator[_Listed]:
    if full.is_file():
        yield _local(full, full.name, named=True)
    elif full.is_dir():
        if any((full / marker).is_file() for marker in HF_MARKERS):
            from tokenization.ingest.hub import saved_dataset_files

            yield from (_local(*each) for each in saved_dataset_files(full, split, source=source))
        else:
            yield from (_local(each, each.relative_to(full).as_posix()) for each in _walk(full))
    elif glob.has_magic(str(full)):
        root = fixed_folder(full)
        named = _ending_is_literal(full.name)
        for match in sorted(set(glob.iglob(str(full), recursive=True))):
            if os.path.isfile(match):
                yield _local(Path(match), Path(match).relative_to(root).as_posix(), named=named)


def _walk(folder: Path) -> Iterator[Path]:
    """Files below `folder`; links to folders are followed, each real folder once."""
    seen: set[str] = set()
    for root, folders, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(root)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(root, name) for name in sorted(names) if not name.startswith("."))


def fixed_folder(pattern: Path) -> Path:
    """The longest leading folder of a glob that has no wildcard."""
    parts = pattern.parts[:-1]
    for index, part in enumerate(parts):
        if glob.has_magic(part):
            return Path(*parts[:index])
    return Path(*parts)


def _ending_is_literal(name: str) -> bool:
    """`*.html` asks for that ending; `*` and `a.*` take what they find."""
    ending = name.rpartition(".")[2] if "." in name else "*"
    return bool(ending) and not glob.has_magic(ending)


def _local(path: Path, relative: str, named: bool = False) -> _Listed:
    status = path.stat()
    full = os.path.abspath(path)
    return _Listed(full, as_text(relative), status.st_size, status.st_mtime_ns, status.st_ino, named)


def as_text(path: str) -> str:
    """A path whose bytes aren't UTF-8 with these written out (`\\xff`), so that a table can hold it."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def _list_url(url: str) -> Iterator[_Listed]:
    system, root = filesystem(url)
    if system.isfile(root):
        found, fixed, named = {root: system.info(root)}, root.rpartition("/")[0], True
    elif glob.has_magic(root):
        found = system.glob(root, detail=True)
        fixed, named = fixed_folder(Path(root)).as_posix(), _ending_is_literal(root.rpartition("/")[2])
    elif system.isdir(root):
        found, fixed, named = system.find(root, detail=True), root, False
    else:
        return
    for name, info in found.items():
        relative = name.removeprefix(fixed).lstrip("/")
        hidden = any(part.startswith(".") for part in relative.split("/"))
        if info["type"] == "file" and (named or not hidden):
            yield _Listed(system.unstrip_protocol(name), relative, int(info["size"] or 0), 0, 0, named)


def _described(listed: _Listed) -> InputFile | None:
    """With its format; None where the ending is unknown and nobody named the file."""
    kind, compression = formats.format_by_name(listed.relative)
    file = InputFile(
        listed.path,
        listed.relative,
        listed.size,
        listed.mtime_ns,
        listed.inode,
        kind or "text",
        compression,
    )
    if kind is None:
        return _sniffed(file) if listed.named else None
    if kind in ("json", "jsonl"):
        return dataclasses.replace(file, format=_json_form(file, named_lines=kind == "jsonl"))
    return file


def _sniffed(file: InputFile) -> InputFile:
    if file.compression is None:
        file = dataclasses.replace(file, compression=formats.compression_by_magic(read_head(file, 16)))
    try:
        head = read_head(file, formats.HEAD_BYTES)
    except UnreadableInput:  # told when the file is read
        return file
    kind = formats.format_by_content(head, whole=len(head) < formats.HEAD_BYTES)
    return dataclasses.replace(file, format=kind)


def _json_form(file: InputFile, *, named_lines: bool) -> str:
    try:
        head = read_head(file, formats.HEAD_BYTES)
    except UnreadableInput:
        return "jsonl"
    return formats.json_form(head, whole=len(head) < formats.HEAD_BYTES, named_lines=named_lines)


def _nothing_found(path: str, base: Path, source: str, left_out: list[str]) -> str:
    if left_out:
        names = ", ".join(left_out[:5]) + (", …" if len(left_out) > 5 else "")
        return (
            f"source {source!r}: {path} holds no file of a known format ({formats.KNOWN_ENDINGS}); "
            f"it holds {names}. Name an ending outright (for example *.html) to read such files as text"
        )
    if is_url(path) and not path.startswith("file://"):
        return f"source {source!r}: no file matches {path}"
    nearest = fixed_folder(_local_path(path, base) / "x")
    while not nearest.is_dir() and nearest != nearest.parent:
        nearest = nearest.parent
    return f"source {source!r}: no file matches {path}; nearest existing folder is {nearest}"
