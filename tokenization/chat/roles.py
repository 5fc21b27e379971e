"""Who speaks in a session: the four usual roles and those that a recipe declares.

A role says what stands in its turn's header, whether what it says is a target, and where it may stand.
Guarantees: every role of a session is declared, or the session is set aside; nothing is rendered for an
undeclared role by accident (many templates silently render nothing for one they do not know).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

ASSISTANT = "assistant"
SYSTEM = "system"
USER = "user"
TOOL = "tool"


@dataclass(frozen=True)
class Role:
    """One role's policy; field for field what a recipe says under `chat.roles`."""

    header: str  # what stands in the turn's header: plain text or one special token
    trained: bool = False  # True: what this role says is a target, like an answer
    visible_in_generation: bool = True  # False: its messages are left out of what the model is shown
    may_open: bool = True  # may it speak first?
    may_close: bool = True  # may it speak last?
    successors: tuple[str, ...] | None = None  # the roles that may speak next; None = any
    weight: float = 1.0  # loss weight of its targets; rendering only hands it on


USUAL_ROLES: Mapping[str, Role] = {
    SYSTEM: Role(SYSTEM),
    USER: Role(USER),
    ASSISTANT: Role(ASSISTANT, trained=True),
    TOOL: Role(TOOL),
}


def role_policy(declared: Mapping[str, Role]) -> dict[str, Role]:
    """Every role a session may use: the usual four and the declared ones, which may replace a usual one."""
    return {**USUAL_ROLES, **declared}


def is_answer(role: str, policy: Mapping[str, Role]) -> bool:
    """Whether this role's messages are answers: the assistant's and those of trained roles."""
    return role == ASSISTANT or policy[role].trained


def role_fault(roles: Sequence[str], policy: Mapping[str, Role]) -> tuple[str, str] | None:
    """Why this order of roles breaks the policy, as (reason, detail), or None."""
    for place, role in enumerate(roles):
        if role not in policy:
            return "unknown_role", f"message {place} has role {role!r}; declare it under chat.roles"
    if roles and not policy[roles[0]].may_open:
        return "role_order", f"the session opens with {roles[0]!r}, whose role says may_open: false"
    if roles and not policy[roles[-1]].may_close:
        return "role_order", f"the session closes with {roles[-1]!r}, whose role says may_close: false"
    for place, (role, following) in enumerate(pairwise(roles)):
        allowed = policy[role].successors
        if allowed is not None and following not in allowed:
            return "role_order", f"message {place + 1} ({following!r}) may not follow {role!r}"
    return None
