"""The sandbox in which a template runs on symbolic strings: they stay symbolic through macros, blocks, `~` and filters.

Guarantees: what would make a symbolic string plain unseen (a key, a printed object) raises `NotSymbolic`; what takes it
apart (a filter, a slice) sees one session's text, which is noted as supposed; `tojson` of a value writes each symbolic
string in it as a slot of its own.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterable
from functools import wraps
from typing import Any

from jinja2 import nodes
from jinja2.compiler import CodeGenerator, Frame

from tokenization.chat.control import SLOT_PATTERN
from tokenization.chat.sandbox import ChatEnvironment, to_json
from tokenization.chat.symbols import Ledger, NotSymbolic, OpaqueJson, Slot, Step, SymbolicText


class SymbolicEnvironment(ChatEnvironment):
    """The sandbox in which strings stay symbolic through macros, blocks, `~` and `join`."""

    def __init__(self, date: datetime.date, ledger: Ledger) -> None:
        super().__init__(date)
        self.code_generator_class = _SymbolicCode
        self.concat = self.joined  # type: ignore[method-assign]
        self.ledger = ledger
        for name, function in self.filters.items():
            if name not in _TRANSPARENT_FILTERS.split(" "):
                self.filters[name] = self._supposing(name, function)
        self.filters |= {"tojson": self._to_json, "join": self._join, "string": self.text_of}
        self.tests["iterable"] = self.tests["sequence"] = _is_iterable

    def _supposing(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """A filter that would make a symbolic string plain is given one session's text for it."""

        @wraps(function)
        def supposing(*arguments: Any, **options: Any) -> Any:
            if any(isinstance(value, OpaqueJson) for value in (*arguments, *options.values())):
                raise NotSymbolic(f"the template uses the filter {name} on an object")
            plain = [self._supposed(value) for value in arguments]
            return function(*plain, **{key: self._supposed(value) for key, value in options.items()})

        return supposing

    def _supposed(self, value: Any) -> Any:
        return self.ledger.supposed(value.plain) if isinstance(value, SymbolicText) else value

    def begin(self) -> None:
        super().begin()
        self.ledger.begin()

    @staticmethod
    def text_of(value: Any) -> str:
        if isinstance(value, OpaqueJson):
            raise NotSymbolic("the template prints an object")
        return value if isinstance(value, str) else str(value)

    def joined(self, parts: Iterable[Any]) -> str:
        """The parts as one text, symbolic where one of them holds a slot."""
        text = "".join([self.text_of(part) for part in parts])
        return SymbolicText.of(text, self.ledger) if SLOT_PATTERN.search(text) else text

    def _join(self, value: Iterable[Any], d: str = "", attribute: str | None = None) -> str:
        items = [self.getitem(item, attribute) for item in value] if attribute is not None else list(value)
        text = str(d).join([self.text_of(item) for item in items])
        return SymbolicText.of(text, self.ledger) if SLOT_PATTERN.search(text) else text

    def _to_json(self, value: Any, **options: Any) -> str:
        """`tojson` of a value that may hold symbolic strings: each becomes a slot written as JSON."""
        stand_ins: dict[str, str] = {}
        plain = self._without_symbols(value, tuple(sorted(options.items())), stand_ins)
        text = to_json(plain, **options)
        for stand_in, character in stand_ins.items():
            text = text.replace(f'"{stand_in}"', character)
        return SymbolicText.of(text, self.ledger) if stand_ins else text

    def _without_symbols(self, value: Any, options: Step, stand_ins: dict[str, str]) -> Any:
        if isinstance(value, SymbolicText | OpaqueJson):
            stand_in = f"slot {len(stand_ins)} of this JSON"
            stand_ins[stand_in] = self._json_slot(value, options)
            return stand_in
        if isinstance(value, dict):
            if dict(options).get("indent") is not None and value:
                options = (*options, ("nested", True))
            return {
                _constant_key(key): self._without_symbols(item, options, stand_ins)
                for key, item in value.items()
            }
        if isinstance(value, list | tuple):
            return [self._without_symbols(item, options, stand_ins) for item in value]
        return value

    def _json_slot(self, value: SymbolicText | OpaqueJson, options: Step) -> str:
        named = dict(options)
        nested = named.pop("nested", False)
        step = ("json", tuple(sorted(named.items())))
        if isinstance(value, OpaqueJson):
            if nested:
                raise NotSymbolic("the template indents an object inside another")
            return self.ledger.character(Slot(value.slot.message, value.slot.path, (*value.slot.steps, step)))
        if not value._only_slot():
            raise NotSymbolic("the template writes a composed text as JSON")
        slot = self.ledger.slot(value.plain)
        return self.ledger.character(Slot(slot.message, slot.path, (*slot.steps, step)))


# Filters that hand a symbolic string on as it is, or ask it through its own methods.
_TRANSPARENT_FILTERS = (
    "trim default d map select reject selectattr rejectattr list first last length count items"
)


def _is_iterable(value: Any) -> bool:
    """Jinja's tests ask for a length or an iterator, which a symbolic string refuses to give."""
    if isinstance(value, SymbolicText | OpaqueJson):
        return True
    try:
        iter(value)
    except TypeError:
        return False
    return True


def _constant_key(key: Any) -> Any:
    if isinstance(key, SymbolicText):
        raise NotSymbolic("the template uses a text as a key")
    return key


class _SymbolicCode(CodeGenerator):
    """Generated code that keeps strings symbolic where Jinja would make them plain."""

    def _output_child_pre(self, node: nodes.Expr, frame: Frame, finalize: Any) -> None:
        self.write("environment.text_of(")

    def visit_Concat(self, node: nodes.Concat, frame: Frame) -> None:
        self.write("environment.joined((")
        for part in node.nodes:
            self.visit(part, frame)
            self.write(", ")
        self.write("))")
