"""`python -m training.generate RUN --prompt TEXT`: what a trained checkpoint says.

Everything comes from the checkpoint, as a server would read it: the tokenizer with its chat template, and
the generation config with the ids that end an answer. `--prompt` is one user message where there is a
template, `--raw` continues a text as it stands.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import orjson

from tokenization.errors import RecipeError, TokenmillError
from tokenization.orphans import PARENT_VARIABLE
from training import process


@dataclass(frozen=True)
class Opened:
    """A checkpoint, ready to answer."""

    path: Path
    model: Any
    tokenizer: Any

    @property
    def stop_token_ids(self) -> list[int]:
        """Ids that end an answer, from the generation config."""
        stops = self.model.generation_config.eos_token_id
        return [stops] if isinstance(stops, int) else list(stops or [])


def checkpoint_of(path: Path) -> Path:
    """The checkpoint itself, or the newest of a run directory."""
    if (path / "config.json").is_file():
        return path
    from training.checkpoint import newest

    found = newest(path)
    if found is None:
        raise RecipeError(
            f"{path} is neither a checkpoint (no config.json) nor a run with checkpoints/step-*"
        )
    return found


def open_checkpoint(path: str | Path, device: str = "cpu") -> Opened:
    """Model and tokenizer, with transformers' own attention: no segments when one text is served."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging

    logging.disable_progress_bar()
    checkpoint = checkpoint_of(Path(path))
    model = AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.float32, local_files_only=True)
    tokenizer = AutoTokenizer.from_pretrained(checkpoint, local_files_only=True)
    return Opened(checkpoint, model.to(device).eval(), tokenizer)


def prompt_ids(opened: Opened, prompt: str | None, messages: list[Any] | None, raw: bool) -> list[int]:
    """Token ids up to where the answer begins."""
    tokenizer = opened.tokenizer
    if messages is None and (raw or not tokenizer.chat_template):
        ids: list[int] = tokenizer(prompt, add_special_tokens=False)["input_ids"]
    elif not tokenizer.chat_template:
        raise RecipeError(f"{opened.path} has no chat template for messages: use --prompt")
    else:
        chat = messages if messages is not None else [{"role": "user", "content": prompt}]
        text = tokenizer.apply_chat_template(chat, add_generation_prompt=True, tokenize=False)
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    if not ids:
        raise RecipeError("the prompt has no tokens: give some text")
    return ids


def generate(
    opened: Opened, ids: list[int], max_new_tokens: int, temperature: float = 0.0, seed: int = 0
) -> list[int]:
    """New token ids, the stop included; greedy at temperature 0."""
    import torch

    torch.manual_seed(seed)
    tokens = torch.tensor([ids], device=opened.model.device)
    chance: dict[str, Any] = {"do_sample": False, "temperature": None, "top_p": None, "top_k": None}
    if temperature > 0:
        chance = {"do_sample": True, "temperature": temperature}
    with torch.inference_mode():
        output = opened.model.generate(
            tokens, attention_mask=torch.ones_like(tokens), max_new_tokens=max_new_tokens, **chance
        )
    new: list[int] = output[0, len(ids) :].tolist()
    return new


@click.command(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.argument("run")
@click.option("--prompt", help="One user message, or a text to continue (--raw, or without a template).")
@click.option("--messages", help="A JSON list of messages, or @FILE.")
@click.option("--raw", is_flag=True, help="Continue --prompt as it stands, without the chat template.")
@click.option("--max-new-tokens", type=click.IntRange(min=1), default=128)
@click.option("--temperature", type=click.FloatRange(min=0), default=0.0, help="0 is greedy.")
@click.option("--seed", type=int, default=0, help="Of sampling.")
@click.option("--json", "as_json", is_flag=True, help="One JSON line: ids, text, whether it stopped.")
def main(
    run: str,
    prompt: str | None,
    messages: str | None,
    raw: bool,
    max_new_tokens: int,
    temperature: float,
    seed: int,
    as_json: bool,
) -> None:
    """Generate from the newest checkpoint of RUN (or from a checkpoint)."""
    if PARENT_VARIABLE in os.environ:
        process.end_with_parent()
    try:
        chat = _messages(prompt, messages)
        opened = open_checkpoint(run)
        ids = prompt_ids(opened, prompt, chat, raw)
        new = generate(opened, ids, max_new_tokens, temperature, seed)
    except TokenmillError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(error.exit_code)
    stopped = bool(new) and new[-1] in opened.stop_token_ids
    text = opened.tokenizer.decode(new, skip_special_tokens=True)
    record = {"prompt_ids": ids, "new_ids": new, "text": text, "stopped": stopped}
    click.echo(orjson.dumps(record).decode() if as_json else text)


def _messages(prompt: str | None, messages: str | None) -> list[Any] | None:
    """The messages to answer, or None for a prompt; exactly one of the two must be given."""
    if (prompt is None) == (messages is None):
        raise RecipeError("give either --prompt TEXT or --messages JSON")
    if messages is None:
        return None
    try:
        text = Path(messages[1:]).read_text("utf-8") if messages.startswith("@") else messages
        chat = orjson.loads(text)
    except (OSError, orjson.JSONDecodeError) as error:
        raise RecipeError(f"--messages is not readable as JSON ({error})") from None
    if not isinstance(chat, list) or not chat or not all(isinstance(m, dict) for m in chat):
        raise RecipeError('--messages must be a JSON list like [{"role": "user", "content": "…"}]')
    return chat


if __name__ == "__main__":
    main()
