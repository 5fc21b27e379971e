"""`python -m training.train --build DIR --out RUN`: trains a small model on a build, here or under Dagster.

Writes RUN/metrics.jsonl (a line a step), RUN/checkpoints/, RUN/latest and, at the end, RUN/summary.json.
Exit codes: 0 done, 2 the command or its input is wrong, 1 the run broke, 128 + n ended by signal n with
the last whole checkpoint in place.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tokenization.build.layout import readable
from tokenization.errors import RecipeError, TokenmillError
from training import process, reporting
from training.dataset import Build, open_build

if TYPE_CHECKING:
    from training.settings import Settings


@click.command(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.option(
    "--build", "build_dir", required=True, help="A build directory (it has a manifest.json), or its URL."
)
@click.option("--out", required=True, help="The run directory to write.")
@click.option("--model", help="demo, minimind-26m, …, or a Hugging Face directory.  [default: recipe, demo]")
@click.option("--steps", type=int, help="Optimizer steps.  [default: recipe, 200]")
@click.option("--learning-rate", type=float, help="Peak learning rate.  [default: the model's]")
@click.option("--batch-windows", type=int, help="Windows a micro-batch.  [default: the model's]")
@click.option("--accumulate", type=int, help="Micro-batches a step.  [default: 1]")
@click.option("--seed", type=int, help="Of weights and epochs.  [default: the build's]")
@click.option("--warm-up", type=int, help="Steps to the peak learning rate.  [default: steps / 10]")
@click.option("--weight-decay", type=float, help="On matrices only.  [default: 0.1]")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto")
@click.option("--threads", type=int, help="CPU threads.  [default: the cores this process may use]")
@click.option("--evaluate-every", type=int, help="Steps between held-out losses.  [default: steps / 8]")
@click.option("--held-out-windows", type=int, help="Validation rows in a held-out loss.  [default: 8]")
@click.option("--checkpoint-every", type=int, help="Steps between checkpoints.  [default: 100]")
@click.option("--resume", is_flag=True, help="Go on from the last checkpoint in --out, if there is one.")
@click.option("--overwrite", is_flag=True, help="Throw away a run that is already in --out.")
@click.option("--until-below-unigram-entropy", is_flag=True, help="End once the held-out loss is below it.")
@click.option("--max-seconds", type=float, help="End after this long, with a checkpoint.")
def main(build_dir: str, out: str, resume: bool, overwrite: bool, **asked: Any) -> None:
    """Train a small model on a build."""
    if reporting.launched_by_dagster():
        process.end_with_parent()
    process.wait_passively()
    sys.exit(_run(build_dir, Path(out), resume, overwrite, asked))


def _run(build_dir: str, out: Path, resume: bool, overwrite: bool, asked: dict[str, Any]) -> int:
    """Train and return the exit code; whatever goes wrong is one message."""
    process.stop_on_signals(lambda: "nothing had been trained yet")
    try:
        with reporting.open_reporter() as reporter:
            build = open_build(readable(build_dir))
            from training.settings import complete

            settings = complete(build, out, **asked)
            with process.claim(out):
                _make_room(out, resume, overwrite)
                _train(settings, build, reporter, resume)
        return 0
    except TokenmillError as error:
        click.echo(f"error: {error}", err=True)
        return error.exit_code


def _train(settings: Settings, build: Build, reporter: reporting.Reporter, resume: bool) -> None:
    """The run directory is ours: train, and leave nothing half-written, however it ends."""
    from training.checkpoint import drop_unfinished
    from training.loop import Run

    out = Path(settings.out)
    drop_unfinished(out)  # of a run that was killed
    run = Run(settings, build, reporter)
    process.stop_on_signals(run.where, lambda: drop_unfinished(out))
    run.start(resume)
    run.train()


def _make_room(out: Path, resume: bool, overwrite: bool) -> None:
    """A run directory is never mixed or thrown away unasked."""
    taken = any((out / "checkpoints").glob("step-*")) or (out / "summary.json").exists()
    if taken and not (resume or overwrite):
        raise RecipeError(f"{out} already has a run: --resume goes on with it, --overwrite throws it away")
    if overwrite and not resume:
        for name in ("checkpoints", "metrics.jsonl", "summary.json", "latest"):
            path = out / name
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)


if __name__ == "__main__":
    main()
