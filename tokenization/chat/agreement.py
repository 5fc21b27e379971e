"""Plans that only a session's own rendering bears out (see skeleton): each session rendered once, and compared.

A template that measures, slices or rewrites texts is planned on stand-ins; whether the plan is right for a session is
what its rendering says. Here a whole group is asked: no session becomes a case, nothing is escaped where nothing that
looks like a control token was typed, and the template writes no marks, for of the text alone is asked.

Guarantees: the verdict on each session is the one of `Renderer.is_as_planned`.
Price: about 31 µs a session of 2.4 messages, nearly all of it the template's own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from tokenization.chat.cases import Case
from tokenization.chat.sandbox import CompiledTemplate, TemplateFailure
from tokenization.chat.skeleton import Plan
from tokenization.plain_sessions import PlainSessions
from tokenization.sequences import BoolArray, IntArray

if TYPE_CHECKING:
    from tokenization.chat.rendering import Renderer


@dataclass(frozen=True)
class Agreement:
    """Asks sessions of one table."""

    renderer: Renderer
    plain: PlainSessions

    def of(
        self,
        plan: Plan,
        sessions: IntArray,
        case_of: Callable[[int], Case],
        expected: Sequence[list[str]],
    ) -> BoolArray:
        """Which of these sessions, all with the same roles, the template renders as planned: bool [m]. `case_of` makes
        a case of one; `expected` are the whole texts that the plan says, a list for each of its sequences."""

        def alone(session: int) -> bool:
            return self.renderer.is_as_planned(plan, case_of(session))

        if not len(sessions):
            return np.zeros(0, bool)
        headers = self._headers(int(sessions[0]))
        if headers is None or any(sequence.is_spliced for sequence in plan.sequences):
            return np.array([alone(own) for own in sessions.tolist()], bool)
        typed = self._is_typed[sessions].tolist()
        first = self.plain.offsets[:-1][sessions].tolist()
        counts = [sequence.count for sequence in plan.sequences]
        return np.array(
            [
                alone(own)
                if is_typed
                else self._is_rendered(headers, place, list(zip(counts, due, strict=True)))
                for own, is_typed, place, due in zip(
                    sessions.tolist(), typed, first, zip(*expected, strict=True), strict=True
                )
            ],
            bool,
        )

    def _is_rendered(self, headers: list[str], place: int, due: list[tuple[int, str]]) -> bool:
        """Whether the template writes the beginning of what is due for so many messages each, from this place on."""
        said = self.plain.texts[place : place + len(headers)]
        messages = [{"role": role, "content": text} for role, text in zip(headers, said, strict=True)]
        variables = self._variables
        for count, text in due:
            variables["messages"] = messages[:count]
            try:
                if not text.startswith(self._template.text(variables)):
                    return False
            except TemplateFailure:
                return False
        return True

    def _headers(self, session: int) -> list[str] | None:
        """The roles that the template is told; None where it is shown other messages than the session's."""
        bound = self.renderer.bound
        roles = self.plain.roles_of(session)
        if bound.default_system != "template":
            return None
        if not all(bound.policy[role].visible_in_generation for role in roles):
            return None
        return [bound.header_of(role) for role in roles]

    @property
    def _template(self) -> CompiledTemplate:
        return self.renderer.bound.unmarked

    @cached_property
    def _variables(self) -> dict[str, Any]:
        return self._template.with_globals(self.renderer.bound.variables([], None, None))

    @cached_property
    def _is_typed(self) -> BoolArray:
        """Which sessions may hold what looks like a control token: bool [num_sessions]."""
        plain = self.plain
        found = self.renderer.control.may_be_typed(plain)
        edges = np.concatenate([[0], np.cumsum(found)])[plain.offsets]
        typed: BoolArray = edges[1:] > edges[:-1]
        return typed
