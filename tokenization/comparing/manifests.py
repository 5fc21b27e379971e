"""What two manifests say: recipe keys, versions and totals that differ, and which of them can have caused a change."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

TOTALS = ("num_windows", "num_tokens", "num_target_tokens", "num_pad_tokens")
_CLEANING = ("cleaning.exact_dedup", "cleaning.near_dedup", "cleaning.rules", "cleaning.dry",
             "cleaning.min_characters", "cleaning.decontamination")  # fmt: skip
_RENDERED = ("tokenizer", "chat.template", "chat.template_kwargs", "chat.default_system", "chat.history",
             "chat.overlong", "chat.roles", "chat.reasoning", "chat.loss_on", "chat.train_on_prompt",
             "chat.around_answers", "window")  # fmt: skip
# What can have caused a change of each kind: recipe keys and their parts, and facts of the manifest.
CAUSES: dict[str, tuple[str, ...]] = {
    "removed": ("sources", *_CLEANING, *_RENDERED),
    "added": ("sources", *_CLEANING, *_RENDERED),
    "not_drawn_now": (
        "mixture",
        "seed",
        "window",
        "validation",
        "encode_all",
        "pretrain",
        "sources",
        *_RENDERED,
    ),
    "drawn_now": ("mixture", "seed", "window", "validation", "encode_all", "pretrain", "sources", *_RENDERED),
    "renamed": ("sources",),
    "content": ("sources", "cleaning.unicode", "cleaning.personal_data"),
    "split": ("seed", "validation", "cleaning", "sources"),
    "cuts": _RENDERED,
    "ids": _RENDERED,
    "mask": _RENDERED,
    "weight": ("sources", "chat.roles"),
    "shown": ("mixture", "seed", "window", "validation", "encode_all", "pretrain", "sources", *_RENDERED),
}


@dataclass(frozen=True)
class Difference:
    """One value that differs; None where a side has none."""

    key: str
    before: Any
    after: Any


def recipe_differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Difference]:
    """Recipe keys that differ, sources by their names."""
    return differences(_flat(before["recipe"]), _flat(after["recipe"]))


def facts(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Difference]:
    """What is no recipe key and names what a build was made with: tokenizer, template, versions."""
    return differences(_facts(before), _facts(after))


def totals(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, dict[str, tuple[int, int]]]:
    """Of each split the counts before and after."""
    return {
        split: {name: (before["splits"][split][name], after["splits"][split][name]) for name in TOTALS}
        for split in before["splits"]
    }


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Difference]:
    """Keys of either side whose values differ, in the order of the sides."""
    keys = dict.fromkeys([*before, *after])
    return [
        Difference(key, before.get(key), after.get(key)) for key in keys if before.get(key) != after.get(key)
    ]


def why(change: str, recipe: Sequence[Difference], made_with: Sequence[Difference]) -> list[str]:
    """The keys and facts that differ and can have caused this change; what is left, where none can."""
    causes = CAUSES[change]
    keys = [
        each.key
        for each in recipe
        if any(each.key == cause or each.key.startswith((f"{cause}.", f"{cause}[")) for cause in causes)
    ]
    told = [each.key for each in made_with if _counts(each.key, causes)]
    if keys or told:
        return [*keys, *told]
    versions = [each.key for each in made_with if each.key.startswith("versions.")]
    return versions or [
        "the sources' own content, or the version of tokenmill: no key that decides it differs"
    ]


def _counts(fact: str, causes: Sequence[str]) -> bool:
    wanted = {"tokenizer.fingerprint": "tokenizer", "template_fingerprint": "chat.template"}
    return wanted.get(fact) in causes


def _facts(manifest: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "tokenizer.fingerprint": manifest["tokenizer"]["fingerprint"],
        "template_fingerprint": manifest["template_fingerprint"],
        **{f"versions.{name}": version for name, version in manifest["versions"].items()},
    }


def _flat(recipe: Mapping[str, Any]) -> dict[str, Any]:
    whole = {key: value for key, value in recipe.items() if key != "sources"}
    sources = {f"sources[{source['name']}]": source for source in recipe["sources"]}
    return dict(_leaves("", {**whole, **sources}))


def _leaves(path: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from _leaves(f"{path}.{key}" if path else key, inner)
    else:
        yield path, value
