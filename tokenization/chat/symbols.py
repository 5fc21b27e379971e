"""Symbolic strings: a template runs once on stand-ins for text and says how it treats any text.

A `SymbolicText` is a string whose private-use characters are *slots*: places for a content string, perhaps
stripped or written as JSON on the way. It goes through a template like any string. What the template does
to it is either exact for every text (concatenation, `trim`, `tojson`), or exact for texts that meet a
condition which is written down (`'x' in content` is false: only where x is not in it), or supposed (its length, a part
of it, and what else is asked of it: answered for one session's text, so that each other session must be rendered to see
whether it holds), or refused (`NotSymbolic`: as a format string, or as a key): such sessions are rendered one by one.

Guarantees: if the conditions hold, and nothing is supposed, filling the slots gives what the template renders for
those texts.
Slots stand for texts with at least one character that is not white space.
Price: a few Python calls for each string operation of the template, once a shape. See symbolic_environment for the
sandbox in which they stay what they are.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn

from tokenization.chat.control import FIRST_SLOT, LAST_SLOT, SLOT_PATTERN
from tokenization.chat.sandbox import to_json

Step = tuple[Any, ...]  # ("strip", chars) | ("lstrip", chars) | ("rstrip", chars) | ("json", options)


class NotSymbolic(Exception):
    """The template looks into a text in a way that differs from text to text."""


@dataclass(frozen=True)
class Slot:
    """A place for one string of a session: which, and what is done to it on the way."""

    message: int  # -1: a tool definition
    path: tuple[str | int, ...]  # keys into the message, or the index of the tool
    steps: tuple[Step, ...] = ()

    def fill(self, value: Any) -> str:
        """The text that stands in this slot for a session whose string (or JSON value) is `value`."""
        for step, option in self.steps:
            if step == "json":
                value = to_json(value, **dict(option))
            elif step == "strip":
                value = value.strip(option)
            elif step == "lstrip":
                value = value.lstrip(option)
            else:
                value = value.rstrip(option)
        text: str = value
        return text


@dataclass(frozen=True)
class Condition:
    """What must be so for a rendering to hold: the slot's text does not contain, begin with, … `text`."""

    kind: str  # absent | not_prefix | not_suffix | not_equal | distinct | supposed: only rendering tells
    slot: Slot
    text: str = ""
    other: Slot | None = None  # for distinct

    def holds(self, value: str, other: str = "") -> bool:
        if self.kind == "absent":
            return self.text not in value
        if self.kind == "not_prefix":
            return not value.startswith(self.text)
        if self.kind == "not_suffix":
            return not value.endswith(self.text)
        if self.kind == "not_equal":
            return value != self.text
        return self.kind == "supposed" or value != other

    def hold_in(self, values: Sequence[str]) -> list[bool]:
        """The same for many texts, where no other one matters."""
        text = self.text
        if self.kind == "absent":
            return [text not in value for value in values]
        return [self.holds(value) for value in values]


@dataclass
class Ledger:
    """Which private-use character stands for which slot; conditions met since `begin`."""

    protects: Callable[[str], bool]  # whether a text holds what escaped content never holds
    slots: list[Slot] = field(default_factory=list)
    conditions: set[Condition] = field(default_factory=set)
    example: Callable[[Slot], str] | None = None  # one session's text for a slot
    _characters: dict[Slot, str] = field(default_factory=dict)
    _of_string: dict[tuple[int, tuple[str | int, ...]], list[str]] = field(default_factory=dict)

    def begin(self) -> None:
        self.conditions = set()

    def character(self, slot: Slot) -> str:
        known = self._characters.get(slot)
        if known is None:
            if FIRST_SLOT + len(self.slots) > LAST_SLOT:
                raise NotSymbolic("more distinct slots than characters for them")
            known = self._characters[slot] = chr(FIRST_SLOT + len(self.slots))
            self.slots.append(slot)
            self._of_string.setdefault((slot.message, slot.path), []).append(known)
        return known

    def stands_in(self, text: str, slot: Slot) -> bool:
        """Whether this string of a session stands in the text, whatever was done to it on the way."""
        return any(character in text for character in self._of_string.get((slot.message, slot.path), ()))

    def places_in(self, text: str, slot: Slot) -> list[int]:
        """Where this string of a session stands in the text, whatever was done to it on the way."""
        own = self._of_string.get((slot.message, slot.path), ())
        return [place for place, character in enumerate(text) if character in own]

    def slot(self, character: str) -> Slot:
        return self.slots[ord(character) - FIRST_SLOT]

    def text(self, slot: Slot) -> SymbolicText:
        return SymbolicText.of(self.character(slot), self)

    def value(self, slot: Slot) -> OpaqueJson:
        return OpaqueJson(slot, self)

    def derive(self, character: str, step: Step) -> str:
        slot = self.slot(character)
        if slot.steps and slot.steps[-1] == step:
            return character
        return self.character(Slot(slot.message, slot.path, (*slot.steps, step)))

    def require(self, kind: str, character: str, text: str) -> None:
        if self.protects(text) or (kind == "not_equal" and not text.strip()):
            return
        self.conditions.add(Condition(kind, self.slot(character), text))

    def supposed(self, text: str) -> str:
        """The text with one session's strings in its slots, of each of which more is supposed than conditions say."""
        if self.example is None:
            raise NotSymbolic("the template measures a text")
        for character in set(SLOT_PATTERN.findall(text)):
            slot = self.slot(character)
            self.conditions.add(Condition("supposed", slot))
            text = text.replace(character, self.example(slot))
        return text


def _refuse(name: str) -> Callable[..., NoReturn]:
    def refused(*_: Any, **__: Any) -> NoReturn:
        raise NotSymbolic(f"the template uses {name} of a text")

    return refused


class SymbolicText(str):
    """A string with slots; its own characters are constants of the template."""

    ledger: Ledger

    @classmethod
    def of(cls, text: str, ledger: Ledger) -> SymbolicText:
        made = cls(text)
        made.ledger = ledger
        return made

    @property
    def plain(self) -> str:
        return str.__str__(self)

    def __bool__(self) -> bool:
        return str.__len__(self) > 0

    __hash__ = str.__hash__

    # -- exact for every text ---------------------------------------------------------------------------

    def __add__(self, other: Any) -> SymbolicText:
        if not isinstance(other, str):
            raise TypeError(f'can only concatenate str (not "{type(other).__name__}") to str')
        return self.of(str.__add__(self, other), self.ledger)

    def __radd__(self, other: Any) -> SymbolicText:
        if not isinstance(other, str):
            raise TypeError(f'can only concatenate str (not "{type(other).__name__}") to str')
        return self.of(str.__add__(other, self), self.ledger)

    def strip(self, chars: str | None = None, /) -> SymbolicText:
        only = self._only_slot()
        if only:
            return self._stripped(only, "strip", chars)
        return self.lstrip(chars).rstrip(chars)

    def lstrip(self, chars: str | None = None, /) -> SymbolicText:
        text = str.lstrip(self, chars)
        if SLOT_PATTERN.match(text):
            return self._stripped(text[0], "lstrip", chars) + text[1:]
        return self.of(text, self.ledger)

    def rstrip(self, chars: str | None = None, /) -> SymbolicText:
        text = str.rstrip(self, chars)
        if text and SLOT_PATTERN.match(text[-1]):
            return text[:-1] + self._stripped(text[-1], "rstrip", chars)
        return self.of(text, self.ledger)

    def _only_slot(self) -> str:
        return self.plain if str.__len__(self) == 1 and SLOT_PATTERN.match(self) else ""

    def _stripped(self, character: str, step: str, chars: str | None) -> SymbolicText:
        if chars is not None and chars.strip():
            raise NotSymbolic(f"the template strips {chars!r} from a text")
        return self.of(self.ledger.derive(character, (step, chars)), self.ledger)

    # -- exact for texts that meet a condition ----------------------------------------------------------

    def __contains__(self, text: Any) -> bool:
        if str.__contains__(self, text):
            return True
        self._require_absent(text)
        return False

    def startswith(self, prefix: Any, *bounds: Any) -> bool:
        if bounds:
            raise NotSymbolic("the template looks for a prefix inside a text")
        return any(self._begins(one) for one in ((prefix,) if isinstance(prefix, str) else prefix))

    def endswith(self, suffix: Any, *bounds: Any) -> bool:
        if bounds:
            raise NotSymbolic("the template looks for a suffix inside a text")
        return any(self._ends(one) for one in ((suffix,) if isinstance(suffix, str) else suffix))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, str):
            return False
        mine, theirs = self.plain, str.__str__(other)
        if mine == theirs:
            return True
        if self._only_slot() and not SLOT_PATTERN.search(theirs):
            self.ledger.require("not_equal", mine, theirs)
            return False
        if self._only_slot() and len(theirs) == 1:
            slots = sorted((self.ledger.slot(mine), self.ledger.slot(theirs)), key=repr)
            self.ledger.conditions.add(Condition("distinct", slots[0], other=slots[1]))
            return False
        raise NotSymbolic("the template compares composed texts")

    def __ne__(self, other: object) -> bool:
        return not self == other

    def split(self, sep: Any = None, maxsplit: Any = -1) -> list[Any]:
        if not sep:
            raise NotSymbolic("the template splits a text at white space")
        self._require_absent(sep)
        return [self.of(part, self.ledger) for part in str.split(self, sep, maxsplit)]

    def rsplit(self, sep: Any = None, maxsplit: Any = -1) -> list[Any]:
        if not sep:
            raise NotSymbolic("the template splits a text at white space")
        self._require_absent(sep)
        return [self.of(part, self.ledger) for part in str.rsplit(self, sep, maxsplit)]

    def replace(self, old: Any, new: Any, count: Any = -1) -> SymbolicText:
        self._require_absent(old)
        return self.of(str.replace(self, old, new, count), self.ledger)

    def _begins(self, prefix: str) -> bool:
        return self._at_edge("not_prefix", prefix, self.plain[: len(prefix)], 0)

    def _ends(self, suffix: str) -> bool:
        return self._at_edge("not_suffix", suffix, self.plain[-len(suffix) :] if suffix else "", -1)

    def _at_edge(self, kind: str, sought: str, edge: str, outermost: int) -> bool:
        if edge == sought or not edge:
            return edge == sought
        if SLOT_PATTERN.match(edge[outermost]):
            if self._only_slot():
                self.ledger.require(kind, edge[outermost], sought)
                return False
            if self.ledger.protects(sought):
                return False
        constants = SLOT_PATTERN.split(edge)
        constant = constants[outermost]
        matches = sought.startswith(constant) if outermost == 0 else sought.endswith(constant)
        if matches and len(constants) > 1:
            raise NotSymbolic("the template compares the edge of a composed text")
        return False

    def _require_absent(self, text: str) -> None:
        """`text` is looked for: no slot may hold it, nor a part of it that a neighbour completes."""
        for match in SLOT_PATTERN.finditer(self):
            before, after = self.plain[: match.start()], self.plain[match.end() :]
            sizes = range(1, len(text))
            if any(before.endswith(text[:k]) for k in sizes) or any(
                after.startswith(text[-k:]) for k in sizes
            ):
                raise NotSymbolic(f"the template looks for {text!r} across the edge of a text")
            self.ledger.require("absent", match[0], text)


def _suppose(name: str) -> Callable[..., Any]:
    def supposed(text: SymbolicText, *others: Any) -> Any:
        if any(isinstance(other, SymbolicText) for other in others):
            raise NotSymbolic(f"the template uses {name} of two texts")
        return getattr(text.ledger.supposed(text.plain), name)(*others)

    return supposed


_SUPPOSED_OF_TEXT = (
    "__len__ count find index isalnum isalpha isascii isdecimal isdigit isidentifier islower isnumeric isprintable "
    "isspace istitle isupper rfind rindex __lt__ __le__ __gt__ __ge__ __getitem__ __iter__ capitalize casefold lower "
    "partition removeprefix removesuffix rpartition splitlines swapcase title upper"
)
_REFUSED_OF_TEXT = (
    "__mod__ __rmod__ __mul__ __rmul__ center encode expandtabs format format_map join ljust maketrans rjust translate "
    "zfill __format__ __html__"
)
for _name in _SUPPOSED_OF_TEXT.split(" "):
    setattr(SymbolicText, _name, _suppose(_name))
for _name in _REFUSED_OF_TEXT.split(" "):
    setattr(SymbolicText, _name, _refuse(_name))


class OpaqueJson(dict[str, Any]):
    """A non-empty JSON object that a template may only write out whole (`tojson`)."""

    def __init__(self, slot: Slot, ledger: Ledger) -> None:
        super().__init__()
        self.slot, self.ledger = slot, ledger

    def __bool__(self) -> bool:
        return True

    def __eq__(self, other: object) -> bool:
        return self is other or _refuse("==")()

    __hash__ = None


_REFUSED_OF_OBJECTS = (
    "__len__ __getitem__ __iter__ __contains__ get items keys values __or__ __ror__ __add__ __radd__ copy"
)
for _name in _REFUSED_OF_OBJECTS.split(" "):
    setattr(OpaqueJson, _name, _refuse(f"a member ({_name})"))


def constant_parts(text: str) -> list[str]:
    """Constants and slot characters in turn: constant, slot, constant, …, constant."""
    return re.split(f"({SLOT_PATTERN.pattern})", text)
