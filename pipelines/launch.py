"""What a build may be given in the launchpad: the recipe's usual changes, typed, and where to work.

Dagster checks types and choices while one types. Limits it does not check (pydantic's `ge` and `le` are looked at when
a step runs), and what fits together only the recipe knows. So the changes pass through a config mapping, which Dagster
runs when a run is asked for: the recipe is read with its changes, and what it refuses never becomes a run.

Launched past this job (Materialize on an asset's own page, with resource config), `overrides` are read by the first
step, which then fails before it does any work.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import dagster as dg

from assets.settings import Settings
from tokenization.recipe.load import load_recipe

QUIET = {"console": {"config": {"log_level": "CRITICAL"}}}
WINDOWS = ("512", "1024", "2048", "4096", "8192", "16384", "32768")  # Dagster knows choices of words alone
_CHOICES: dict[str, tuple[str, tuple[str, ...], str]] = {
    "window": ("window", WINDOWS, "tokens per window"),
    "share_unit": ("mixture.unit", ("total_tokens", "target_tokens"), "what the share is counted in"),
    "packing": ("pretrain.packing", ("concat", "best_fit"), "how documents become windows"),
    "layout": ("sft.layout", ("packed", "rows"), "how sessions become windows"),
    "loss_on": ("chat.loss_on", ("all_answers", "last_answer"), "which answers are trained"),
    "history": ("chat.history", ("cut", "last", "error"), "for templates that rewrite earlier turns"),
    "overlong": ("chat.overlong", ("drop_turns", "set_aside", "split"), "for sessions above the window"),
    "train_on_prompt": ("chat.train_on_prompt", ("false", "true", "auto"), "whether prompts are trained too"),
}
_NUMBERS: dict[str, tuple[str, Any, str]] = {
    "pretrain_share": (
        "mixture.pretrain_share",
        float,
        "the pretraining windows' part of an epoch, 0.10 to 0.20",
    ),
    "max_repetition": (
        "mixture.max_repetition",
        float,
        "how often a pretraining window may be seen, at least 1",
    ),
    "validation": ("validation", float, "the part that is kept from training, 0 to below 1"),
    "seed": ("seed", int, "decides what is drawn, split off and in which order"),
    "near_dedup": ("cleaning.near_dedup", float, "how alike two documents are one, such as 0.8"),
}


def choice(name: str, values: tuple[str, ...]) -> dg.Enum:
    """The launchpad's list of values."""
    word = "".join(part.capitalize() for part in name.split("_"))
    return dg.Enum(f"Recipe{word}", [dg.EnumValue(value, value) for value in values])


def schema() -> dict[str, dg.Field]:
    """The launchpad's form; everything may be left out."""
    changes = {
        name: dg.Field(choice(name, values), is_required=False, description=f"{what} ({key})")
        for name, (key, values, what) in _CHOICES.items()
    }
    changes |= {
        name: dg.Field(kind, is_required=False, description=f"{what} ({key})")
        for name, (key, kind, what) in _NUMBERS.items()
    }
    where = {
        "store": dg.Field(str, default_value="", description="results are kept here; empty: the usual place"),
        "out": dg.Field(str, default_value="", description="the build is published here; empty: builds/NAME"),
        "engine": dg.Field(
            choice("engine", ("local", "ray")), default_value="local", description="who works"
        ),
        "workers": dg.Field(int, default_value=0, description="processes; 0: as many as pay"),
        "rehash": dg.Field(bool, default_value=False, description="read every input again"),
        "quiet": dg.Field(bool, default_value=False, description="nothing on the console"),
    }
    return {
        "recipe": dg.Field(
            changes, is_required=False, description="The recipe's usual keys, for this run alone."
        ),
        "set": dg.Field([str], is_required=False, description="Any other key, as key.path=value."),
        **where,
    }


def overrides_of(config: Mapping[str, Any]) -> list[str]:
    """The form's changes as `key.path=value`, those written out by hand last."""
    changed = config.get("recipe", {})
    keys = {name: key for name, (key, *_) in (_CHOICES | _NUMBERS).items()}
    return [f"{keys[name]}={value}" for name, value in changed.items()] + list(config.get("set", ()))


def build_config(path: str) -> dg.ConfigMapping:
    """The form of the build job of the recipe at `path`; RecipeError where the changes are not allowed."""

    def checked(config: Mapping[str, Any]) -> dict[str, Any]:
        overrides = overrides_of(config)
        load_recipe(path, overrides)
        settings = {name: config[name] for name in ("store", "out", "engine", "workers", "rehash")}
        mapped: dict[str, Any] = {"resources": {"settings": {"config": {**settings, "overrides": overrides}}}}
        return {**mapped, "loggers": QUIET} if config["quiet"] else mapped

    return dg.ConfigMapping(config_fn=checked, config_schema=schema())


def launch_config(settings: Settings) -> dict[str, Any]:
    """The form filled in by the command line."""
    values = settings.model_dump(include={"store", "out", "engine", "workers", "rehash"})
    return {**values, "set": list(settings.overrides), "quiet": True}
