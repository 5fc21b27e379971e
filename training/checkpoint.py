"""Checkpoints: a directory that `transformers` opens, and all that a resumed run needs.

    RUN/checkpoints/step-000100/    config.json, model.safetensors, generation_config.json, tokenizer files
                                    trainer_state.json   step, loader position, settings, history
                                    trainer_state.pt     optimizer and random states
    RUN/latest                      a link to the newest

A checkpoint is written under a hidden name and renamed when whole, so that whatever ends a run leaves the
last one intact. The tokenizer, its template and the generation config are the build's own files, byte for
byte: what is served ends its answers as it was trained to.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import torch

from tokenization.errors import RecipeError
from tokenization.hashing import file_digest, key_of
from training.batches import Position
from training.dataset import Build


@dataclass
class Progress:
    """How far a run has come; with weights, optimizer and random states it is all of a run's state."""

    step: int = 0
    position: Position = field(default_factory=Position)
    tokens: int = 0  # trained on so far, without padding
    target_tokens: int = 0
    seconds: float = 0.0  # spent in steps, over all resumptions
    loss: float | None = None  # of the last step
    held_out: list[dict[str, Any]] = field(default_factory=list)  # {"step", "loss", "by_kind"}, oldest first


def save(
    run: Path,
    model: Any,
    optimizer: torch.optim.Optimizer,
    build: Build,
    progress: Progress,
    identity: dict[str, Any],
    keep: int,
) -> Path:
    """Write a checkpoint and make it the latest; the oldest above `keep` go."""
    from transformers.utils import logging

    logging.disable_progress_bar()
    home = run / "checkpoints"
    home.mkdir(parents=True, exist_ok=True)
    final = home / f"step-{progress.step:06d}"
    draft = home / f".step-{progress.step:06d}.part"
    drop_unfinished(run)
    model.save_pretrained(draft)
    copy_inference_files(build, draft)
    torch.save({"optimizer": optimizer.state_dict(), "random": _random_states()}, draft / "trainer_state.pt")
    state = {
        "step": progress.step,
        "position": [progress.position.epoch, progress.position.row],
        "tokens": progress.tokens,
        "target_tokens": progress.target_tokens,
        "seconds": progress.seconds,
        "loss": progress.loss,
        "held_out": progress.held_out,
        "identity": identity,
        "build_fingerprint": build.fingerprint,
    }
    (draft / "trainer_state.json").write_bytes(orjson.dumps(state, option=orjson.OPT_INDENT_2))
    shutil.rmtree(final, ignore_errors=True)
    draft.rename(final)
    _link(run / "latest", final)
    for old in whole(run)[:-keep]:
        shutil.rmtree(old)
    return final


def copy_inference_files(build: Build, checkpoint: Path) -> None:
    """The build's tokenizer directory as it is; a generation config from the manifest where it has none."""
    if build.tokenizer_dir.is_dir():
        shutil.copytree(build.tokenizer_dir, checkpoint, dirs_exist_ok=True)
    if not (build.tokenizer_dir / "generation_config.json").is_file():
        stops = build.stop_token_ids or [i for i in (build.document_end_token_id,) if i is not None]
        generation = {"eos_token_id": stops, "pad_token_id": build.pad_token_id}
        (checkpoint / "generation_config.json").write_bytes(
            orjson.dumps({key: value for key, value in generation.items() if value not in (None, [])})
        )


def drop_unfinished(run: Path) -> None:
    """Take away checkpoints that were never finished."""
    for unfinished in (run / "checkpoints").glob(".step-*.part"):
        shutil.rmtree(unfinished, ignore_errors=True)


def whole(run: Path) -> list[Path]:
    """Finished checkpoints of a run, oldest first."""
    return sorted((run / "checkpoints").glob("step-*"))


def newest(run: Path) -> Path | None:
    """The newest finished checkpoint, or None."""
    found = whole(run)
    return found[-1] if found else None


def read_progress(checkpoint: Path, build: Build, identity: dict[str, Any]) -> Progress:
    """Where the checkpoint's run stood; another build or other settings are refused by name."""
    state = orjson.loads((checkpoint / "trainer_state.json").read_bytes())
    if state["build_fingerprint"] != build.fingerprint:
        raise RecipeError(
            f"{checkpoint} was trained on build {state['build_fingerprint']}, not {build.fingerprint}: "
            "its position in the rows means nothing here; resume with that build, or give another --out"
        )
    for name in sorted(identity.keys() | state["identity"].keys()):
        then, now = state["identity"].get(name), identity.get(name)
        if then != now:
            raise RecipeError(
                f"{checkpoint} was trained with {name}={then} and now it is {now}: "
                f"resume with {name}={then}, or give another --out"
            )
    return Progress(
        step=state["step"],
        position=Position(*state["position"]),
        tokens=state["tokens"],
        target_tokens=state["target_tokens"],
        seconds=state["seconds"],
        loss=state["loss"],
        held_out=state["held_out"],
    )


def restore_optimizer(checkpoint: Path, optimizer: torch.optim.Optimizer) -> None:
    """Put back the optimizer's moments and torch's random states."""
    state = torch.load(checkpoint / "trainer_state.pt", map_location="cpu", weights_only=True)
    optimizer.load_state_dict(state["optimizer"])
    torch.set_rng_state(state["random"]["cpu"])
    if torch.cuda.is_available() and state["random"]["cuda"]:
        torch.cuda.set_rng_state_all(state["random"]["cuda"])


def weights_version(checkpoint: Path | None) -> str:
    """A name for the weights: equal weights, equal version."""
    files = sorted(checkpoint.glob("*.safetensors")) if checkpoint else []
    return key_of([file_digest(file) for file in files])


def _random_states() -> dict[str, Any]:
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    return {"cpu": torch.get_rng_state(), "cuda": cuda}


def _link(link: Path, target: Path) -> None:
    """Point a relative link at a checkpoint, in one step."""
    draft = link.with_name(f".{link.name}.part")
    draft.unlink(missing_ok=True)
    draft.symlink_to(os.path.relpath(target, link.parent))
    draft.replace(link)
