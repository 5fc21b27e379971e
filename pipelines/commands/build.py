"""`tokenmill build`: run, show progress, say what came out."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import orjson

from pipelines.home import dagster_home
from pipelines.preflight import inputs_beside
from tokenization.defaults import default_out, default_store
from tokenization.engine import Engine
from tokenization.object_store import shown
from tokenization.recipe.load import load_recipe
from tokenization.stages.workspace import Workspace
from tokenization.store import Store


def build_recipe(
    recipe: Path,
    *,
    out: Path | None,
    store: Path | None,
    engine: str,
    workers: int | None,
    overrides: tuple[str, ...],
    rehash: bool,
    train: bool,
    as_json: bool,
) -> None:
    """Build, and print the outcome for people or for programs."""
    parsed = load_recipe(recipe, overrides)
    workspace = Workspace(
        recipe=parsed,
        store=Store((store or default_store()).absolute()),
        out=(out or default_out(parsed)).absolute(),
        engine=Engine(engine, workers),
        rehash=rehash,
        overrides=overrides,
    )
    dagster_home()
    with inputs_beside(workspace):
        from pipelines.building import build

    built = build(workspace, recipe, train=train, on_progress=progress(quiet=as_json))
    if as_json:
        line = {
            "recipe": parsed.name,
            "fingerprint": built.fingerprint,
            "out": shown(workspace.out),
            "splits": built.value["splits"],
            "mixture": built.value["mixture"],
            "seconds": round(built.seconds, 3),
            "reused": built.reused,
        }
        click.echo(orjson.dumps(line).decode())
        return
    click.echo(summary(parsed.name, workspace.out, built))


def progress(*, quiet: bool) -> Callable[[str], None]:
    """Lines on standard error, each with the seconds since the start; none for programs that pipe JSON."""
    began = time.perf_counter()

    def say(message: str) -> None:
        if not quiet or sys.stderr.isatty():
            click.echo(f"{time.perf_counter() - began:7.1f} s  {message}", err=True)

    return say


def summary(name: str, out: Path, built: Any) -> str:
    """A few lines on what came out."""
    train, validation = built.value["splits"]["train"], built.value["splits"]["validation"]
    mixture, proof = built.value["mixture"], built.value["proof"]
    verb = "is up to date" if built.reused else "is built"
    tokens = train["num_tokens"]
    lines = [
        f"{name} {verb} in {built.seconds:.1f} s: {shown(out)}",
        f"  {train['num_windows']:,} windows to train on: {tokens:,} tokens, "
        f"{train['num_target_tokens']:,} of them targets, {train['num_pad_tokens']:,} padding",
        f"  {validation['num_windows']:,} windows held out: {validation['num_tokens']:,} tokens",
    ]
    if mixture:
        lines.append(
            f"  pretraining text is {mixture['achieved'][mixture['unit']]:.2%} of {mixture['unit'].replace('_', ' ')} "
            f"(asked {mixture['asked']:.0%}), {mixture['not_drawn']['windows']:,} windows of it not drawn"
        )
    if proof["sessions"]:
        lines.append(
            f"  masks: {proof['proven']:,} of {proof['sessions']:,} sessions proved, {proof['set_aside']:,} set aside"
        )
    lines.append(f"  look at {out / 'preview.html'}")
    return "\n".join(lines)
