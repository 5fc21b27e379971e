"""Every quality rule by name, and how a recipe configures them.

    rules:
      - gopher                                        # a group: each of its rules, with published thresholds
      - c4_curly_bracket
      - gopher_word_count: {min: 20}                  # a rule with parameters; takes the place of a group's
      - min_length: {min: 200, unit: characters}

`RULES` is the list for people: name, source, what is rejected, parameters. Their order in the recipe decides
which rule a rejection is counted under.

Guarantees: an unknown rule or parameter and a value beyond its limits is a `RecipeError` that names the
place, the limit and what was probably meant.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from tokenization.errors import RecipeError
from tokenization.quality import c4, fineweb, gopher, language, length
from tokenization.quality.rule import Parameters, Rule
from tokenization.recipe.problems import describe

if TYPE_CHECKING:
    import polars as pl

RULES: dict[str, Rule] = {
    rule.name: rule for module in (length, language, gopher, c4, fineweb) for rule in module.RULES
}
GROUPS: dict[str, tuple[str, ...]] = {
    group: tuple(name for name, rule in RULES.items() if rule.family == group and name != "c4_bad_words")
    for group in ("gopher", "c4", "fineweb")
}

Entry = str | Mapping[str, Any]


@dataclass(frozen=True)
class ConfiguredRule:
    """A rule with its parameters, as a recipe has it; it can be sent to another process."""

    rule: Rule
    parameters: Parameters

    def __reduce__(self) -> tuple[Any, ...]:
        return _restored, (self.name, self.parameters)

    @property
    def name(self) -> str:
        """The rule's name; in a recipe it stands once."""
        return self.rule.name

    @cached_property
    def figure(self) -> pl.Expr:
        """The number that is looked at, as a float."""
        import polars as pl

        return self.rule.figure(self.parameters).cast(pl.Float64)

    @cached_property
    def keep(self) -> pl.Expr:
        """True where the document stays."""
        return self.rule.keep(self.parameters)

    def key(self) -> list[Any]:
        """JSON-able: all that the outcome depends on beside the texts and the code."""
        return [self.name, self.parameters.model_dump(mode="json")]


def _restored(name: str, parameters: Parameters) -> ConfiguredRule:
    return ConfiguredRule(RULES[name], parameters)


def parse_rules(entries: Sequence[Entry], base: Path | None = None) -> tuple[ConfiguredRule, ...]:
    """The rules of a recipe, in its order; files they name are relative to `base`."""
    found: dict[str, ConfiguredRule] = {}
    from_group: set[str] = set()
    for place, entry in enumerate(entries):
        name, given = _name_and_parameters(entry, f"cleaning.rules[{place}]")
        names = GROUPS.get(name, (name,))
        for each in names:
            if name in GROUPS:
                if each not in found:
                    found[each] = _configured(RULES[each], {}, f"cleaning.rules[{place}]", base)
                    from_group.add(each)
                continue
            if each in found and each not in from_group:
                raise RecipeError(f"cleaning.rules[{place}]: {each} is there twice; leave one of them out")
            found[each] = _configured(RULES[each], given, f"cleaning.rules[{place}]", base)
            from_group.discard(each)
    return tuple(found.values())


def _name_and_parameters(entry: Entry, where: str) -> tuple[str, Mapping[str, Any]]:
    if isinstance(entry, str):
        name, given = entry, None
    elif isinstance(entry, Mapping) and len(entry) == 1:
        name, given = next(iter(entry.items()))
    else:
        raise RecipeError(
            f"{where} is {entry!r}; it must be a rule's name, or one name with its parameters, "
            "as in gopher_word_count: {min: 50}"
        )
    if name not in RULES and name not in GROUPS:
        raise RecipeError(f"{where} names {name!r}, which is no rule; {_nearest(str(name))}")
    if given is not None and not isinstance(given, Mapping):
        raise RecipeError(
            f"{where}: {name} has {given!r} as parameters; it must be a mapping, with the keys {_keys(name)}"
        )
    if given and name in GROUPS:
        raise RecipeError(
            f"{where}: {name} is a group and takes no parameters; name a rule of it after it, such as "
            f"{GROUPS[name][0]}, with its own"
        )
    return name, given or {}


def _keys(name: str) -> str:
    return ", ".join(RULES[name].parameters.model_fields) if name in RULES else "of its rules"


def _nearest(name: str) -> str:
    names = [*GROUPS, *RULES]
    near = difflib.get_close_matches(name.lower(), names, 1)
    if not near:
        endings = [known for known in names if known.endswith(f"_{name.lower()}")]
        near = endings[:1]
    if near:
        return f"did you mean {near[0]!r}?"
    return f"it can be {', '.join(names)}"


def _configured(rule: Rule, given: Mapping[str, Any], where: str, base: Path | None) -> ConfiguredRule:
    try:
        parameters: Parameters = rule.parameters.model_validate(dict(given))
    except ValidationError as error:
        told = describe(error, given, rule.parameters, f"{where} {rule.name}", {}, {})
        raise RecipeError(told) from None
    return ConfiguredRule(rule, parameters.prepared(base or Path()))
