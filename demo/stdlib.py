"""The standard library of the running Python as a corpus: which files, in which order, decoded how.

`files` gives every source file that a reader would call the library: no tests, no installed packages, no
files that only record how this Python was built. `read` decodes one as Python itself does (PEP 263).
Nothing is imported, only read. Guarantees: sorted by relative path, so the same Python gives the same list;
paths use "/" on every system. Price: about 15 ms to list, 0.2 s to read all 12 MB.
"""

from __future__ import annotations

import hashlib
import os
import sysconfig
import tokenize
from dataclasses import dataclass
from pathlib import Path

from tokenization.errors import BuildError

# Directories that hold no library code: tests and their data, installed packages, compiled files.
NOT_LIBRARY = frozenset({"site-packages", "dist-packages", "__pycache__", "test", "tests", "idle_test"})
# Names that begin so record this machine's build: compiler flags and paths, different on every computer.
BUILD_RECORDS = ("config-", "_sysconfigdata")


@dataclass(frozen=True)
class SourceFile:
    """One file of the library."""

    name: str  # relative to the library's root, with "/": "json/decoder.py"
    path: Path

    @property
    def module(self) -> str:
        """The dotted name it is imported by: "json.decoder", and "json" for "json/__init__.py"."""
        return self.name.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def root() -> Path:
    """Where the library's sources lie."""
    path = Path(sysconfig.get_paths()["stdlib"])
    if not (path / "textwrap.py").is_file():
        raise BuildError(
            f"{path} has no .py files: this Python keeps its library compiled or zipped, and the "
            "demonstration reads its sources; run it with a Python that ships them"
        )
    return path


def files(library: Path | None = None) -> list[SourceFile]:
    """Every library source, sorted by name."""
    base = library or root()
    found = []
    for folder, folders, names in os.walk(base):
        folders[:] = [name for name in folders if _is_library(name)]  # walk changes course by this
        for name in names:
            if name.endswith(".py") and _is_library(name):
                path = Path(folder, name)
                found.append(SourceFile(path.relative_to(base).as_posix(), path))
    return sorted(found, key=lambda file: file.name)


def _is_library(name: str) -> bool:
    return name not in NOT_LIBRARY and not name.startswith(BUILD_RECORDS)


def read(file: SourceFile) -> str:
    """The file's text, decoded by its own coding line or as UTF-8, with "\\n" line ends."""
    with tokenize.open(file.path) as source:
        return source.read()


def listing_digest(sources: list[SourceFile]) -> str:
    """Names this list by path, size and modification time: changes when any file may have."""
    digest = hashlib.blake2b(digest_size=16)
    for file in sources:
        status = file.path.stat()
        digest.update(f"{file.name}\0{status.st_size}\0{status.st_mtime_ns}\n".encode())
    return digest.hexdigest()
