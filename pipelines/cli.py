"""The command line: the same stages and the same orchestration as the Dagster page.

Exit codes: 0 done; 2 the recipe or the command is wrong (one clear message, no traceback); 1 a check failed or the run
broke. `--json` lines are stable. Heavy imports stay inside the commands, so that `--help` answers at once.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import click

from pipelines.places import BuildDirectory, Place
from tokenization.errors import TokenmillError
from tokenization.memory import end_at_once

Command = Callable[..., Any]
# Of tokenization.exporting, which takes long to import.
FORMS = ("trl", "axolotl", "megatron", "parquet", "mds")
# Importing Dagster makes a million objects that stay: each look over them costs 0.2 s.
COLLECTED = (100_000, 10, 50)


def explained(command: Command) -> Command:
    """What tokenmill can explain ends in its one message and its exit code."""

    @wraps(command)
    def run(*args: Any, **kwargs: Any) -> Any:
        try:
            return command(*args, **kwargs)
        except TokenmillError as error:
            click.echo(f"tokenmill: {error}", err=True)
            sys.exit(error.exit_code)
        except BrokenPipeError:  # the reader (head, less) has seen enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(0)

    return run


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="tokenmill")
def main() -> None:
    """Raw corpora and chats in, training windows whose every token is accounted for out."""
    gc.set_threshold(*COLLECTED)
    end_at_once()


store_option = click.option(
    "--store",
    type=Place(),
    help="Where results are kept, a path or a URL [TOKENMILL_STORE, .tokenmill/store].",
)
set_option = click.option(
    "--set", "overrides", multiple=True, metavar="KEY.PATH=VALUE", help="Override the recipe."
)


@main.command()
@click.argument("name", default="my_dataset")
@explained
def init(name: str) -> None:
    """Write a commented recipe, NAME.yaml, to start from."""
    from pipelines.commands.starting import write_recipe

    write_recipe(name)


@main.command()
@click.argument("recipe", type=click.Path(path_type=Path))
@click.option("--out", type=Place(), help="The build directory or its URL [builds/NAME].")
@store_option
@click.option("--engine", type=click.Choice(["local", "ray"]), default="local", show_default=True)
@click.option(
    "--workers", type=click.IntRange(min=1), help="Processes [as many as the cores, where it pays]."
)
@set_option
@click.option(
    "--rehash", is_flag=True, help="Read every input again instead of trusting size, time and inode."
)
@click.option("--train", is_flag=True, help="Then materialise the recipe's checkpoint as well.")
@click.option(
    "--json", "as_json", is_flag=True, help="One JSON line at the end, nothing else on standard output."
)
@explained
def build(recipe: Path, **options: Any) -> None:
    """Bring RECIPE's dataset up to date: what changed is made again, checked, and published."""
    from pipelines.commands.build import build_recipe

    build_recipe(recipe, **options)


@main.command()
@click.argument("recipe", type=click.Path(path_type=Path))
@set_option
@store_option
@click.option("--json", "as_json", is_flag=True, help="One JSON line.")
@explained
def plan(recipe: Path, **options: Any) -> None:
    """Say what RECIPE would give before it is built: 4096 beside 8192, and each packing."""
    from pipelines.commands.planning import plan_recipe

    plan_recipe(recipe, **options)


@main.command()
@click.argument("directory", type=BuildDirectory())
@click.option("--json", "as_json", is_flag=True, help="One JSON line with every finding.")
@explained
def verify(directory: Path, as_json: bool) -> None:
    """Read the build in DIRECTORY again and prove it: hashes, fullness, masks, ledger, share."""
    from pipelines.commands.looking import verify_build

    sys.exit(verify_build(directory, as_json))


@main.command()
@click.argument("directory", type=BuildDirectory())
@click.option(
    "--row", type=click.IntRange(min=0), help="This row of the training split [a few chosen sessions]."
)
@click.option("--split", type=click.Choice(["train", "validation"]), default="train", show_default=True)
@click.option("--html", type=click.Path(path_type=Path), help="Write a page instead.")
@explained
def preview(directory: Path, row: int | None, split: str, html: Path | None) -> None:
    """Show loss masks of the build in DIRECTORY, here or as a page."""
    from pipelines.commands.looking import preview_build

    preview_build(directory, row, split, html)


@main.command()
@click.argument("directory", type=BuildDirectory())
@click.option("--row", type=click.IntRange(min=0), required=True, help="The row of the split, from 0.")
@click.option("--token", type=click.IntRange(min=0), required=True, help="The token of the row, from 0.")
@click.option("--split", type=click.Choice(["train", "validation"]), default="train", show_default=True)
@click.option(
    "--recipe",
    type=click.Path(path_type=Path, exists=True),
    help="The recipe file, or the folder, that the sources' relative paths start from [here, recipes/].",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON line with everything.")
@explained
def trace(directory: Path, **options: Any) -> None:
    """Say where a token of the build in DIRECTORY came from: source, item, file, character; and why it is trained.

    Rows, tokens, messages and characters count from 0, lines and columns from 1.
    """
    from pipelines.commands.tracing import trace_token

    trace_token(directory, **options)


@main.command()
@click.argument("before", type=BuildDirectory())
@click.argument("after", type=BuildDirectory())
@click.option(
    "--limit",
    type=click.IntRange(min=0),
    default=3,
    show_default=True,
    help="Samples of each kind of change.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON line with everything.")
@explained
def diff(before: Path, after: Path, limit: int, as_json: bool) -> None:
    """Say which items, masks and tokens changed from the build BEFORE to the build AFTER, and why."""
    from pipelines.commands.comparing import compare_builds

    compare_builds(before, after, limit=limit, as_json=as_json)


@main.command()
@click.argument("directory", type=BuildDirectory())
@click.argument("out")
@click.option("--to", "form", type=click.Choice(FORMS), required=True, help="Whose form it is.")
@click.option("--json", "as_json", is_flag=True, help="One JSON line.")
@explained
def export(directory: Path, out: str, form: str, as_json: bool) -> None:
    """Write the windows of the build in DIRECTORY to OUT in the form that another trainer reads."""
    from pipelines.commands.exporting import export_build

    export_build(directory, form=form, out=out, as_json=as_json)


@main.command()
@click.argument("sessions", type=click.Path(path_type=Path))
@click.option(
    "--recipe", type=click.Path(path_type=Path), help="Take tokenizer, template and policies from here."
)
@click.option("--tokenizer", type=click.Path(path_type=Path), help="Or a tokenizer,")
@click.option("--template", default="tokenizer", show_default=True, help="a template,")
@click.option(
    "--loss-on", type=click.Choice(["all_answers", "last_answer"]), default="all_answers", show_default=True
)
@click.option(
    "--around-answers",
    type=click.Choice(["masked", "trained"]),
    default="masked",
    show_default=True,
    help="think tags of the prompt and the line break behind the stop.",
)
@click.option("--window", type=click.IntRange(min=16), help="Apply the overlong policy at this length.")
@set_option
@store_option
@click.option("--json", "as_json", is_flag=True, help="One JSON line a session: {id, input_ids, loss_mask}.")
@explained
def render(sessions: Path, **options: Any) -> None:
    """Show what a template does to SESSIONS: one line a session, and the reason where one is set aside."""
    from pipelines.commands.rendering import render_sessions

    render_sessions(sessions, **options)


@main.command()
@click.argument("directory", type=BuildDirectory())
@click.option("--source", help="Of this source only.")
@click.option("--reason", help="For this reason only, such as near_duplicate or the name of a rule.")
@click.option(
    "--samples", type=click.IntRange(min=0), default=2, show_default=True, help="Rows of each reason."
)
@click.option("--json", "as_json", is_flag=True, help="One JSON line with everything.")
@explained
def quarantine(directory: Path, **options: Any) -> None:
    """Show what the build in DIRECTORY left out: counts, samples, clusters of near duplicates, leaks."""
    from pipelines.commands.setting_aside import show_left_out

    show_left_out(directory, **options)


@main.command()
@click.argument("directory", type=BuildDirectory())
@click.option("--recipe", type=click.Path(path_type=Path), help="The mended recipe [the build's own].")
@set_option
@store_option
@click.option("--json", "as_json", is_flag=True, help="One JSON line a row.")
@explained
def replay(directory: Path, **options: Any) -> None:
    """Try the quarantined rows of the build in DIRECTORY again, after a fix."""
    from pipelines.commands.replaying import replay_quarantine

    replay_quarantine(directory, **options)


@main.group(invoke_without_command=True)
@store_option
@click.option("--json", "as_json", is_flag=True, help="One JSON line.")
@click.pass_context
@explained
def store(context: click.Context, store: Path | None, as_json: bool) -> None:
    """Show what the store holds, by stage, size and age, and what published builds need of it."""
    if context.invoked_subcommand is None:
        from pipelines.commands.storing import show_store

        show_store(store, as_json)


@store.command()
@store_option
@click.option(
    "--limit", metavar="SIZE", help="Prune until no more stays, such as 50GB [TOKENMILL_STORE_LIMIT]."
)
@click.option(
    "--older-than", type=click.FloatRange(min=0), metavar="DAYS", help="Prune what was unused for longer."
)
@click.option("--dry-run", is_flag=True, help="Only say what would be taken.")
@click.option("--json", "as_json", is_flag=True, help="One JSON line.")
@explained
def prune(
    store: Path | None, limit: str | None, older_than: float | None, dry_run: bool, as_json: bool
) -> None:
    """Take away results that no published or running build needs, the longest unused first."""
    from pipelines.commands.storing import prune_store

    prune_store(store, limit=limit, older_than=older_than, dry_run=dry_run, as_json_line=as_json)


@main.command(context_settings={"ignore_unknown_options": True, "allow_extra_args": True})
@click.argument("directory", type=BuildDirectory())
@click.option(
    "--out", type=click.Path(path_type=Path), required=True, help="Where metrics and checkpoint go."
)
@click.argument("trainer_options", nargs=-1, type=click.UNPROCESSED)
@explained
def train(directory: Path, out: Path, trainer_options: tuple[str, ...]) -> None:
    """Train on the build in DIRECTORY; further options go to the trainer (python -m training.train --help)."""
    import subprocess

    command = [
        sys.executable,
        "-m",
        "training.train",
        "--build",
        str(directory),
        "--out",
        str(out),
        *trainer_options,
    ]
    sys.exit(subprocess.run(command, check=False).returncode)


@main.command(context_settings={"ignore_unknown_options": True, "allow_extra_args": True})
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("generation_options", nargs=-1, type=click.UNPROCESSED)
@explained
def generate(run: Path, generation_options: tuple[str, ...]) -> None:
    """Let the checkpoint in RUN answer; further options go to python -m training.generate."""
    import subprocess

    sys.exit(
        subprocess.run(
            [sys.executable, "-m", "training.generate", str(run), *generation_options], check=False
        ).returncode
    )


if __name__ == "__main__":
    main()
