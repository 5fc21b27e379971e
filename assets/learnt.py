"""What a training came to, for the page: numbers, a curve, and answers to held-out prompts.

It reads the run's own records; the answers come from the checkpoint in a process of its own, because torch stays in
`training/`. Imported by the evaluation when it runs.
"""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import dagster as dg
import orjson

from tokenization.build.held_out_prompts import HeldOutPrompt, held_out_prompts
from tokenization.errors import BuildError
from tokenization.hashing import key_of
from tokenization.orphans import PARENT_VARIABLE
from tokenization.preview.characters import one_line
from tokenization.preview.curve import loss_curve
from tokenization.preview.markdown import escaped, shortened
from tokenization.run_records import RunRecords

ASKED, NEW_TOKENS = 2, 48
SECONDS = 300  # for one answer
NUMBERS = ("held_out_loss", "held_out_loss_before", "unigram_entropy", "loss", "steps", "tokens_per_second")


def learnt(folder: Path) -> dg.MaterializeResult[None]:
    """The run in this folder, as a materialisation."""
    run = RunRecords.open(folder)
    prompts = held_out_prompts(Path(run.summary["build"]["path"]), ASKED)
    answers = [answer(run.path, prompt) for prompt in prompts]
    return dg.MaterializeResult(
        metadata=numbers(run.summary)
        | {
            "loss_curve": dg.MetadataValue.md(loss_curve(run.losses, run.summary["held_out"])),
            "answers": dg.MetadataValue.md(answers_table(prompts, answers)),
        },
        data_version=dg.DataVersion(key_of(numbers(run.summary), answers)),
    )


def numbers(summary: dict[str, Any]) -> dict[str, Any]:
    """The run's figures, those that there are."""
    told = {name: summary[name] for name in NUMBERS if summary.get(name) is not None}
    told |= {f"held_out_loss_{kind}": loss for kind, loss in summary["held_out_loss_by_kind"].items()}
    if "unigram_entropy" in told and "held_out_loss" in told:
        told["below_unigram_entropy"] = round(told["unigram_entropy"] - told["held_out_loss"], 6)
    return told


def answer(run: Path, prompt: HeldOutPrompt) -> str:
    """What the run's newest checkpoint says to the prompt."""
    command = [
        sys.executable,
        "-m",
        "training.generate",
        str(run),
        "--json",
        "--max-new-tokens",
        str(NEW_TOKENS),
    ]
    asked = ["--messages", orjson.dumps(prompt.messages).decode()]
    ended = subprocess.run(
        [*command, *asked],
        capture_output=True,
        text=True,
        check=False,
        timeout=SECONDS,
        env={**os.environ, PARENT_VARIABLE: str(os.getpid())},  # it ends with this step
    )
    if ended.returncode:
        raise BuildError(f"the checkpoint in {run} could not answer: {ended.stderr.strip()[-500:]}")
    return str(orjson.loads(ended.stdout.splitlines()[-1])["text"])


def answers_table(prompts: list[HeldOutPrompt], answers: list[str]) -> str:
    """Prompt, the answer that was held out, and the model's own, as a table."""
    if not prompts:
        return "No session is held out: set `validation` in the recipe."
    rows = [
        "| " + " | ".join(cell(text) for text in (prompt.asked, prompt.expected, said)) + " |"
        for prompt, said in zip(prompts, answers, strict=True)
    ]
    return "\n".join(["| asked | held out | the model says |", "|---|---|---|", *rows])


def cell(text: str) -> str:
    return escaped(shortened(one_line(text), 160)) or " "
