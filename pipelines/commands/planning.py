"""`tokenmill plan`: what a recipe would give, before it is built."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click
import orjson

from pipelines.commands.build import progress
from pipelines.preflight import preflight
from tokenization.defaults import default_out, default_store
from tokenization.recipe.load import load_recipe
from tokenization.stages.outlook import Case, Texts, outlook
from tokenization.stages.workspace import Workspace
from tokenization.store import Store


def plan_recipe(recipe: Path, *, store: Path | None, overrides: tuple[str, ...], as_json: bool) -> None:
    """A table of windows and packings, or one JSON line."""
    parsed = load_recipe(recipe, overrides)
    workspace = Workspace(
        recipe=parsed,
        store=Store((store or default_store()).absolute()),
        out=default_out(parsed).absolute(),
        overrides=overrides,
        say=progress(quiet=as_json or not sys.stderr.isatty()),
    )
    preflight(workspace, recipe)
    texts, cases = outlook(workspace)
    if as_json:
        rows = [{"window": case.window, "packing": case.packing, **case.figures} for case in cases]
        click.echo(
            orjson.dumps(
                {
                    "recipe": parsed.name,
                    "window": parsed.window,
                    "packing": parsed.pretrain.packing,
                    "documents_sampled": texts.sampled,
                    "bytes_a_token": texts.bytes_a_token,
                    "cases": rows,
                }
            ).decode()
        )
        return
    click.echo("\n".join(lines(parsed, texts, cases)))


def lines(recipe: Any, texts: Texts, cases: list[Case]) -> list[str]:
    """The table for people; the recipe's own case is marked."""
    told = [f"{recipe.name}: one epoch, before anything is encoded but a sample"]
    if texts.bytes_a_token:
        rates = ", ".join(f"{name} {rate:.2f}" for name, rate in texts.bytes_a_token.items())
        told.append(f"  texts are estimated from {texts.sampled:,} documents; bytes a token: {rates}")
    told.append(
        f"  {'window':>8} {'texts':<9}{'windows':>9}{'of text':>9}{'fill text':>11}{'fill chat':>11}"
        f"{'docs cut':>10}{'repeated':>10}{'steps':>8}  million tokens computed"
    )
    for case in cases:
        own = case.window == recipe.window and case.packing == recipe.pretrain.packing
        row = case.figures
        repeated = "-" if row["repetition"] is None else f"{row['repetition']:.2f}"
        told.append(
            f"{'*' if own else ' '} {case.window:>8} {case.packing:<9}{row['windows']:>9,}"
            f"{row['pretrain_windows']:>9,}{row['fill']['pretrain']:>11.3%}{row['fill']['sft']:>11.3%}"
            f"{row['documents_cut']:>10,}{repeated:>10}{row['steps_an_epoch']:>8,}"
            f"  {row['tokens_computed'] / 1e6:.1f}"
        )
        if row["problem"]:
            told.append(f"      {row['problem']}")
        for what in ("sessions_set_aside", "session_actions"):
            if own and row[what]:
                counts = ", ".join(f"{count:,} {reason}" for reason, count in row[what].items())
                told.append(f"      {what.replace('_', ' ')}: {counts}")
    told.append(f"  steps are of {cases[0].figures['batch_windows']} windows; * is the recipe as it stands")
    return told
