"""Questions about the standard library and their answers, made from its own signatures and docstrings.

`sessions` reads the sources, picks the names worth asking about and gives each one a chat session of two to
nine messages; the answers are the library's own words. Guarantees: the same sources give the same sessions
in the same order; no two sessions begin with the same question or rest on the same answer; no package
takes more than `MOST_A_PACKAGE` of them. Price: about 4 s for the whole library, nearly all of it parsing.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from demo.conversation import Library, Session, draw, fitting, session
from demo.docstrings import Entry, entries
from demo.stdlib import SourceFile, read

MOST_A_PACKAGE = 250  # so that tkinter does not crowd out the rest
# Deprecated, generated or internal packages, whose documentation answers nobody's question.
_NOT_ASKED = "antigravity distutils encodings ensurepip idlelib lib2to3 pydoc_data this turtledemo"
NOT_ASKED = frozenset(_NOT_ASKED.split())
EMPTY_PHRASES = ("see ", "same as", "alias", "internal", "helper", "undocumented", "deprecated")
UNFINISHED = ("XXX", "TODO", "FIXME")  # notes between the authors


def sessions(sources: Iterable[SourceFile]) -> list[Session]:
    """Every session these sources give, sorted by id."""
    asked = [file for file in sources if _is_asked(file.module)]
    found = entries((file.module, file.name.endswith("__init__.py"), read(file)) for file in asked)
    good = _at_most_a_package([entry for entry in found if _is_worth_asking(entry)])
    library = Library.of(good)
    seen: set[str] = set()
    kept: list[Session] = []
    for entry in good:
        made = session(entry, library)
        question, answer = first_exchange(made)
        if question not in seen and answer not in seen:
            seen |= {question, answer}
            kept.append(made)
    return kept


def _is_asked(module: str) -> bool:
    parts = module.split(".")
    return parts[0] not in NOT_ASKED and parts[-1] != "__main__"


def _is_worth_asking(entry: Entry) -> bool:
    summary = entry.summary
    text = "\n".join(entry.paragraphs)
    return (
        len(summary.split()) >= 4
        and not summary.lower().startswith(EMPTY_PHRASES)
        and not any(word in text for word in UNFINISHED)
        and bool(fitting(entry.paragraphs))
    )


def _at_most_a_package(found: list[Entry]) -> list[Entry]:
    packages: dict[str, list[Entry]] = defaultdict(list)
    for entry in found:
        packages[entry.name.split(".")[0]].append(entry)
    kept = [
        entry
        for group in packages.values()
        for entry in sorted(group, key=lambda item: draw(item.name, "keep", 1 << 32))[:MOST_A_PACKAGE]
    ]
    return sorted(kept, key=lambda entry: entry.name)


def first_exchange(made: Session) -> tuple[str, str]:
    """The question a session begins with, and its answer."""
    turns = [message["content"] for message in made["messages"] if message["role"] != "system"]
    return turns[0], turns[1]
