"""The chat part of a recipe: the template, what is trained, and the roles beside the four usual ones."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, JsonValue, field_validator, model_validator

from tokenization.recipe.section import Problem, Section, refuse

BUILT_IN_ROLES = ("system", "user", "assistant", "tool")


class RoleSpec(Section):
    """A role declares how it is headed, whether it is trained, and where it may stand."""

    header: str | None = Field(
        None, min_length=1, description="what stands in the turn's header; left out, the role's own name"
    )
    trained: bool = Field(False, description="true: what this role says is a target, like an answer")
    visible_in_generation: bool = Field(
        True, description="false: the model does not see this role's messages when it answers"
    )
    may_open: bool = Field(True, description="may this role speak first in a session?")
    may_close: bool = Field(True, description="may this role speak last in a session?")
    successors: tuple[str, ...] | None = Field(
        None, strict=False, description="the roles that may speak next; left out, any role"
    )
    weight: float = Field(1.0, gt=0, description="loss weight of this role's targets")


class ChatSpec(Section):
    """How a session becomes text and which of its tokens are targets."""

    template: str = Field(
        "tokenizer",
        min_length=1,
        description="tokenizer (its own chat template), a built-in name such as chatml, or a .jinja file",
    )
    template_kwargs: dict[str, JsonValue] = Field(
        {}, description="what the template is given beside the messages, such as {enable_thinking: false}"
    )
    default_system: str = Field(
        "template", description="template (whatever the template itself inserts), none, or a text"
    )
    loss_on: Literal["all_answers", "last_answer"] = Field(
        "all_answers", description="which answers of a session are targets"
    )
    reasoning: Literal["trained", "masked"] = Field(
        "trained", description="is the reasoning of a trained answer a target?"
    )
    around_answers: Literal["masked", "trained"] = Field(
        "masked",
        description="are the think tags that the generation prompt supplies and the line break behind the stop "
        "targets too? trained: the labels of minimind and of others that search for markers",
    )
    train_on_prompt: Literal[False, True, "auto"] = Field(
        False,
        description="are prompts targets too (but for tool results and inserted system prompts)? auto: those of "
        "sessions less than half of whose prompt text is repeated in the recipe",
    )
    history: Literal["cut", "last", "error"] = Field(
        "cut",
        description="for templates that rewrite earlier turns: cut (a cut per trained answer), "
        "last (the last answer only) or error",
    )
    overlong: Literal["drop_turns", "set_aside", "split"] = Field(
        "drop_turns", description="what happens to a session longer than the window"
    )
    roles: dict[str, RoleSpec] = Field(
        {}, description="roles beside system, user, assistant and tool, or limits on where those four stand"
    )

    @field_validator("roles")
    @classmethod
    def _complete(cls, roles: dict[str, RoleSpec]) -> dict[str, RoleSpec]:
        """Headers filled in, and the assistant trained, so that a `RoleSpec` needs no second look."""
        problems = [problem for name, role in roles.items() for problem in _role_problems(name, role, roles)]
        refuse(problems)
        return {
            name: role.model_copy(
                update={"header": role.header or name, "trained": role.trained or name == "assistant"}
            )
            for name, role in roles.items()
        }

    @model_validator(mode="after")
    def _think_tags_are_one_thing(self) -> Self:
        if self.around_answers == "trained" and self.reasoning == "masked":
            refuse(
                [
                    Problem(
                        ("around_answers",),
                        "trains the think tags before an answer, and reasoning: masked masks them; leave one out",
                    )
                ]
            )
        return self

    @model_validator(mode="after")
    def _weights_have_targets(self) -> Self:
        refuse(
            [
                Problem(
                    ("roles", name, "weight"),
                    f"is {role.weight:g}, but the role is not trained; set trained: true beside it, "
                    "or leave weight out (prompts that train_on_prompt trains weigh 1)",
                )
                for name, role in self.roles.items()
                if role.weight != 1 and not role.trained
            ]
        )
        return self

    @property
    def role_names(self) -> tuple[str, ...]:
        """Every role a session may use, the four usual ones first."""
        return (*BUILT_IN_ROLES, *(name for name in self.roles if name not in BUILT_IN_ROLES))


def _role_problems(name: str, role: RoleSpec, roles: dict[str, RoleSpec]) -> list[Problem]:
    problems = []
    if not name.strip() or name != name.strip() or not name.isprintable():
        problems.append(
            Problem((name,), "is no name for a role; it must be printable, without spaces at either end")
        )
    if role.header is not None and len(f"{role.header}.".splitlines()) > 1:
        problems.append(Problem((name, "header"), "has a line break; a header must be one line"))
    if name in BUILT_IN_ROLES:
        problems += [
            Problem((name, key), f"cannot be set: {way}")
            for key, way in (
                ("header", f"the template heads {name}; leave header out"),
                ("trained", "what is trained in the usual roles is said by loss_on and train_on_prompt"),
            )
            if key in role.model_fields_set and not _settled(name, key, role)
        ]
    known = (*BUILT_IN_ROLES, *roles)
    problems += [
        Problem((name, "successors"), f"names {other!r}, which is no role; declare it under chat.roles")
        for other in role.successors or ()
        if other not in known
    ]
    return problems


def _settled(name: str, key: str, role: RoleSpec) -> bool:
    """Whether what is said of a usual role is what holds anyway, as it is in a recipe written back."""
    return role.header == name if key == "header" else role.trained == (name == "assistant")
