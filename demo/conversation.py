"""One chat session about one documented name, grown exchange by exchange.

`session` draws how it opens (what does it do, how is it called, what are the defaults, which function does
this), then adds up to two follow-ups on what was just said, and shows how it is written where that is short.
A session remembers what it has told, so nothing
is asked or answered twice. Guarantees: every draw is a stable hash of the name, the same on every machine;
an answer is never empty, ends at the end of a paragraph and holds about `ANSWER_LIMIT` characters of
documentation at the most. Price: about 30 µs a session.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from demo.docstrings import Entry
from demo.frames import CHINESE, ENGLISH, IMPERATIVES, SYSTEM_PROMPTS, Frames

Session = dict[str, Any]

ANSWER_LIMIT = 900  # characters; a paragraph that the one before announces with ":" may exceed it


def session(entry: Entry, library: Library) -> Session:
    """The session about this name."""
    frames = CHINESE if draw(entry.name, "language", 5) == 0 else ENGLISH
    talk = _Talk(entry, frames, library)
    if draw(entry.name, "system", 8) == 0:
        prompts = SYSTEM_PROMPTS if frames is CHINESE else SYSTEM_PROMPTS[:-1]
        talk.messages.append({"role": "system", "content": talk.pick(prompts, "prompt")})
    _open(talk, talk.pick(_openings(entry, library), "opening"))
    for turn in range(draw(entry.name, "turns", 3)):
        _follow_up(talk, turn)
    if entry.code and "neighbours" not in talk.said:
        talk.say(talk.pick(talk.frames.then_code, "then code"), f"```python\n{entry.code}\n```", "code")
    return {"id": f"python/{entry.name}", "messages": talk.messages}


def draw(name: str, purpose: str, sides: int) -> int:
    """A die that always falls the same way for this name and purpose."""
    digest = hashlib.blake2b(f"{purpose}\0{name}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") % sides


def _choose(name: str, purpose: str, options: Sequence[str]) -> str:
    return options[draw(name, purpose, len(options))]


def _owner(entry: Entry) -> str:
    """The class of a method, the module of a class or function, the package of a module ("" at the top)."""
    return entry.name.rpartition(".")[0]


def _circle(entry: Entry) -> str:
    """Whose members are worth naming beside this: what a module holds, else what shares its owner."""
    return entry.name if entry.kind == "module" else _owner(entry)


def fitting(paragraphs: Sequence[str]) -> int:
    """How many leading paragraphs make one answer; 0 where even the first says too much."""
    total = 0
    for count, paragraph in enumerate(paragraphs):
        total += len(paragraph) + 2
        introduces = count > 0 and paragraphs[count - 1].endswith(":")
        if total > (2 if introduces else 1) * ANSWER_LIMIT:
            while count > 0 and paragraphs[count - 1].endswith(":"):  # announces what was cut off
                count -= 1
            return count
    return len(paragraphs)


def _documentation(paragraphs: Sequence[str]) -> str:
    """Paragraphs as an answer, interactive examples in a block of code."""
    parts: list[str] = []
    for paragraph in paragraphs:
        example = paragraph.lstrip().startswith(">>>")
        if example and parts and parts[-1].endswith("\n```"):
            parts[-1] = f"{parts[-1].removesuffix('```')}\n{paragraph}\n```"
        else:
            parts.append(f"```pycon\n{paragraph}\n```" if example else paragraph)
    text = "\n\n".join(parts)
    text += "." if text[-1].isalnum() and "\n" not in parts[-1] else ""
    return text[0].upper() + text[1:] if text.split(" ")[0].isalpha() else text


@dataclass(frozen=True)
class Library:
    """What is known across entries: how often a summary occurs, and who lives beside whom."""

    summaries: Counter[str]
    members: dict[str, list[str]]  # owner -> its names, sorted

    @classmethod
    def of(cls, found: list[Entry]) -> Library:
        members: dict[str, list[str]] = defaultdict(list)
        for entry in found:
            members[_owner(entry)].append(entry.name)
        return cls(Counter(entry.summary for entry in found), dict(members))


@dataclass
class _Talk:
    """One session as it grows; remembers what has been said, so that nothing is asked twice."""

    entry: Entry
    frames: Frames
    library: Library
    messages: list[dict[str, str]] = field(default_factory=list)
    said: set[str] = field(default_factory=set)
    told: int = 0  # paragraphs of the documentation given so far

    def say(self, frame: str, answer: str, *topics: str, task: str = "") -> None:
        """One exchange."""
        kind = self.frames.kinds[self.entry.kind]
        words = {"name": self.entry.name, "module": self.entry.module, "owner": _circle(self.entry)}
        question = frame.format(kind=kind, task=task, **words)
        self.messages += [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
        self.said |= set(topics)

    def pick(self, options: Sequence[str], purpose: str) -> str:
        """One of these, by the entry's name."""
        return _choose(self.entry.name, purpose, options)

    def explain(self, frame: str) -> None:
        """The documentation, from where it was left."""
        rest = self.entry.paragraphs[self.told :]
        count = fitting(rest)
        lead = self.pick(self.frames.lead, f"lead{self.told}").format(name=self.entry.name)
        answer = _documentation(rest[:count])
        self.told += count
        self.say(frame, f"{lead}\n\n{answer}" if lead else answer, "purpose")

    def show_signature(self, frame: str) -> None:
        self.say(frame, _code(self.entry.signature), "signature")

    def show_defaults(self, frame: str) -> None:
        self.say(frame, _parameters(self.entry, self.frames), "signature", "defaults")

    def find(self) -> None:
        """Asks for the name by what it does."""
        task, imperative = _task(self.entry)
        frames = self.frames.finder if imperative else self.frames.finder_quoted
        found = self.pick(self.frames.found, "found").format(name=self.entry.name)
        answer = f"{found}\n\n{_code(self.entry.signature)}"
        self.say(self.pick(frames, "finder"), answer, "signature", "finder", task=task)

    def name_neighbours(self, frame: str) -> None:
        names = [name for name in self.library.members[_circle(self.entry)] if name != self.entry.name]
        start = draw(self.entry.name, "neighbours", len(names))
        shown = sorted((names[start:] + names[:start])[:6])
        opening = self.frames.neighbours.format(owner=_circle(self.entry))
        self.say(frame, "\n".join([opening, "", *(f"- `{name}`" for name in shown)]), "neighbours")


def _code(line: str) -> str:
    return f"```python\n{line}\n```"


def _parameters(entry: Entry, frames: Frames) -> str:
    lines = []
    for name, default in entry.defaults:
        form = "stars" if name.startswith("**") else "star" if name.startswith("*") else ""
        form = form or ("default" if default else "required")
        lines.append(frames.parameter[form].format(name=name, default=default))
    return "\n".join(lines)


def _task(entry: Entry) -> tuple[str, bool]:
    """The summary's first sentence as a task, and whether it reads as an imperative."""
    sentence = entry.summary.split(". ")[0].rstrip(".").strip()
    verb, _, rest = sentence.partition(" ")
    imperative = verb.lower() in IMPERATIVES
    return (f"{verb.lower()} {rest}" if imperative else sentence), imperative


def _says_it_all(entry: Entry) -> bool:
    """True where the documentation is one sentence: whoever quoted it needn't be told it."""
    return len(entry.paragraphs) == 1 and ". " not in entry.summary


def _can_be_found(entry: Entry, library: Library) -> bool:
    """True where the summary leads to this name alone and does not give it away."""
    task, _ = _task(entry)
    return (
        entry.kind in ("function", "method")
        and library.summaries[entry.summary] == 1
        and 4 <= len(task.split()) <= 24
        and "\n" not in task
        and '"' not in task
        and entry.name.rpartition(".")[2].lower().strip("_") not in task.lower()
    )


def _openings(entry: Entry, library: Library) -> list[str]:
    """What a session about this may begin with, the likelier more often in the list."""
    if entry.kind == "module":
        return ["module"]
    ways = ["purpose"] * 9
    if entry.defaults:
        ways += ["signature"] * 2
    if any(default for _, default in entry.defaults):
        ways += ["defaults"]
    if _can_be_found(entry, library):
        ways += ["finder"] * 4
    return ways


def _open(talk: _Talk, way: str) -> None:
    frames = talk.frames
    if way == "module":
        talk.explain(talk.pick(frames.about_module, "frame"))
    elif way == "purpose":
        talk.explain(talk.pick(frames.purpose, "frame"))
    elif way == "signature":
        talk.show_signature(talk.pick(frames.signature, "frame"))
    elif way == "defaults":
        talk.show_defaults(talk.pick(frames.defaults, "frame"))
    else:
        talk.find()


def _follow_up(talk: _Talk, turn: int) -> None:
    """One more exchange about the same name, if there is anything left to say."""
    entry, frames, said = talk.entry, talk.frames, talk.said
    rest = entry.paragraphs[talk.told :]
    ways: dict[str, bool] = {
        "purpose": "purpose" not in said and not ("finder" in said and _says_it_all(entry)),
        "signature": bool(entry.defaults) and "signature" not in said,
        "defaults": len(entry.defaults) > 1
        and any(default for _, default in entry.defaults)
        and "signature" in said
        and "defaults" not in said,
        "more": "purpose" in said and bool(fitting(rest)),
        "neighbours": draw(entry.name, "sociable", 2) == 0
        and len(talk.library.members.get(_circle(entry), ())) > 3,
    }
    open_ways = [way for way, possible in ways.items() if possible]
    if not open_ways or "neighbours" in said:  # after a list of others, "it" could be any of them
        return
    way = talk.pick(open_ways, f"way{turn}")
    frame = talk.pick(getattr(frames, f"then_{way}"), f"then{turn}")
    if way in ("purpose", "more"):
        talk.explain(frame)
    elif way == "signature":
        talk.show_signature(frame)
    elif way == "defaults":
        talk.show_defaults(frame)
    else:
        talk.name_neighbours(frame)
