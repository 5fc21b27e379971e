"""Questions from the library: read and not run, the same every time, each with an answer."""

from __future__ import annotations

import ast
import string
from collections import Counter
from pathlib import Path

import pytest

from demo import questions
from demo.conversation import ANSWER_LIMIT, Session, fitting
from demo.docstrings import entries, paragraphs_of
from demo.frames import CHINESE, ENGLISH, Frames
from demo.stdlib import SourceFile, files


@pytest.fixture(scope="module")
def sessions() -> list[Session]:
    return questions.sessions(files())


def a_module(tmp_path: Path, name: str, text: str) -> SourceFile:
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return SourceFile(name, path)


def test_there_are_some_thousands_sorted_and_unique(sessions: list[Session]) -> None:
    ids = [session["id"] for session in sessions]
    assert 3_000 <= len(ids) <= 6_000
    assert ids == sorted(ids)
    assert len(set(ids)) == len(ids)
    firsts = [questions.first_exchange(session) for session in sessions]
    assert len({question for question, _ in firsts}) == len(firsts)
    assert len({answer for _, answer in firsts}) == len(firsts)


def test_every_question_has_an_answer_and_no_frame_shows_through(sessions: list[Session]) -> None:
    for session in sessions:
        talk = [message for message in session["messages"] if message["role"] != "system"]
        assert [message["role"] for message in talk] == ["user", "assistant"] * (len(talk) // 2)
        for message in talk:
            text = message["content"].strip()
            assert len(text) >= 4, session["id"]
            assert text not in ("```python\n```", "```python\n\n```"), session["id"]
        for question in talk[::2]:
            assert not any(f"{{{word}}}" in question["content"] for word in ("name", "owner", "kind", "task"))
        assert len({message["content"] for message in talk[1::2]}) == len(talk) // 2, "nothing is said twice"


def test_the_same_sources_give_the_same_sessions_in_any_order() -> None:
    some = [
        file for file in files() if file.module in ("textwrap", "shutil", "queue", "heapq", "json.decoder")
    ]
    assert len(some) == 5
    assert questions.sessions(some) == questions.sessions(some[::-1]) != []


def test_every_frame_can_be_filled_and_there_are_enough_of_them() -> None:
    assert len(ENGLISH.openings()) >= 25
    assert len(CHINESE.openings()) >= 8
    for frames in (ENGLISH, CHINESE):
        assert len(set(frames.openings())) == len(frames.openings())
        for frame in frames.openings():
            fields = {field for _, field, _, _ in string.Formatter().parse(frame) if field}
            assert fields <= {"name", "module", "owner", "kind", "task"}
            assert fields & {"name", "task"}, frame


def test_all_openings_are_used_and_none_dominates(sessions: list[Session]) -> None:
    def used(frames: Frames) -> Counter[str]:
        starts = {frame: frame.split("{")[0] for frame in frames.openings()}
        first = [questions.first_exchange(session)[0] for session in sessions]
        return Counter(
            {frame: sum(text.startswith(start) for text in first) for frame, start in starts.items()}
        )

    assert min(used(ENGLISH).values()) > 0
    assert min(used(CHINESE).values()) > 0
    mentions = Counter(session["id"].removeprefix("python/").split(".")[0] for session in sessions)
    assert max(mentions.values()) <= questions.MOST_A_PACKAGE


def test_nothing_is_imported_or_run(tmp_path: Path) -> None:
    text = 'raise SystemExit("run!")\ndef weigh(stone):\n    """Return the weight of a stone in grams."""\n'
    found = questions.sessions([a_module(tmp_path, "quarry.py", text)])
    assert [session["id"] for session in found] == ["python/quarry.weigh"]


@pytest.mark.parametrize(
    "documentation",
    ["", "   ", "Weigh.", "See the other one for this.", "Weigh it. XXX is this right, anyone?"],
)
def test_a_name_with_nothing_to_tell_is_not_asked_about(tmp_path: Path, documentation: str) -> None:
    text = f"def weigh(stone):\n    {documentation!r}\n"
    assert questions.sessions([a_module(tmp_path, "quarry.py", text)]) == []


def test_private_names_and_overloads_stay_private_and_reexports_get_their_public_name() -> None:
    inner = '''
__all__ = ("run",)
def run(main, *, debug=None): """Execute the coroutine and return the result."""
def _hidden(): """Should not be seen by anybody at all."""
def undeclared(): """Not in the list of public names either."""
'''
    found = entries([("pack", True, "from .inner import *"), ("pack.inner", False, inner)])
    assert [(entry.name, entry.signature) for entry in found] == [
        ("pack.run", "pack.run(main, *, debug=None)")
    ]
    assert found[0].defaults == (("main", ""), ("debug", "None"))


def test_signatures_are_calls_that_python_accepts() -> None:
    some = [file for file in files() if file.module in ("subprocess", "shutil", "argparse", "asyncio.tasks")]
    found = entries((file.module, False, file.path.read_text("utf-8")) for file in some)
    with_signature = [entry for entry in found if entry.signature]
    assert len(with_signature) > 40
    for entry in with_signature:
        parameters = entry.signature.removeprefix("await ").removeprefix(entry.name)
        ast.parse(f"def f{parameters}: ...")
        assert "self" not in dict(entry.defaults), entry.name


def test_prose_is_reflowed_and_code_is_left_alone() -> None:
    documentation = "First line\n    of prose.\n\n    >>> f(1)\n    2\n\n    - a list\n    - of two"
    assert paragraphs_of(documentation) == ("First line of prose.", ">>> f(1)\n2", "- a list\n- of two")


def test_an_answer_ends_at_a_paragraph_and_never_with_an_announcement() -> None:
    long = "x" * (ANSWER_LIMIT - 10)
    assert fitting(["One.", "Two."]) == 2
    assert fitting([long, "Two, which no longer fits."]) == 1
    assert fitting(["One.", "As follows:", long * 3]) == 1
    assert fitting([long * 2]) == 0
