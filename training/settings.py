"""What a run is asked to do: one complete value, checked at birth, saved beside every checkpoint.

`identity` are the settings that decide what the weights become; a resumed run must have the same. The
others (when to evaluate, when to stop) may differ.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from tokenization.errors import RecipeError
from training.dataset import Build
from training.model import DIRECTORY_LEARNING_RATE, SHAPES, shape_of

FREE = {  # may change between a run and its resumption
    "out", "device", "threads", "evaluate_every", "held_out_windows", "checkpoint_every",
    "keep_checkpoints", "until_below_unigram_entropy", "max_seconds",
}  # fmt: skip


@dataclass(frozen=True)
class Settings:
    """A complete run."""

    out: str  # run directory
    model: str  # a named configuration or a Hugging Face directory
    steps: int  # optimizer steps; the learning rate's cosine ends there
    learning_rate: float  # peak
    batch_windows: int  # a micro-batch holds at most this many windows of tokens
    accumulate: int = 1  # micro-batches a step
    seed: int = 0  # of the first weights and of the order of epochs after the first
    warm_up: int = 10  # steps from 0 to the peak learning rate
    weight_decay: float = 0.1  # on matrices only
    device: str = "auto"  # auto | cpu | cuda
    threads: int | None = None  # CPU threads; None: the cores this process may use
    evaluate_every: int = 25  # steps between held-out losses
    held_out_windows: int = 16  # validation rows in a held-out loss, at most
    checkpoint_every: int = 100  # steps between checkpoints; the last step always has one
    keep_checkpoints: int = 2
    until_below_unigram_entropy: bool = False  # end as soon as the held-out loss is below it
    max_seconds: float | None = None  # end after this long, with a checkpoint

    def __post_init__(self) -> None:
        whole = ("steps", "batch_windows", "accumulate", "evaluate_every", "held_out_windows")
        for name in (*whole, "checkpoint_every", "keep_checkpoints"):
            if getattr(self, name) < 1:
                raise RecipeError(f"{name} must be at least 1, not {getattr(self, name)}")
        if not 0 < self.learning_rate < 1:
            raise RecipeError(f"learning_rate must be above 0 and below 1, not {self.learning_rate}")
        if self.max_seconds is not None and self.max_seconds <= 0:
            raise RecipeError(f"max_seconds must be above 0, not {self.max_seconds}")
        if self.device not in ("auto", "cpu", "cuda"):
            raise RecipeError(f"device must be auto, cpu or cuda, not {self.device!r}")

    @property
    def identity(self) -> dict[str, Any]:
        """The settings that decide what the weights become."""
        return {name: value for name, value in asdict(self).items() if name not in FREE}


def complete(build: Build, out: Path, **asked: Any) -> Settings:
    """Fill what was not asked for: from the build's recipe (`train:`), then from the model's shape."""
    recipe = build.manifest.get("recipe")
    from_recipe = recipe.get("train") if isinstance(recipe, dict) else None
    known = {field.name for field in fields(Settings)}
    values = {
        name: value for name, value in (from_recipe or {}).items() if name in known and value is not None
    }
    values |= {name: value for name, value in asked.items() if value is not None}
    model = str(values.setdefault("model", "demo"))
    shape = shape_of(model)
    if shape is None:  # a directory: the same one wherever the run is resumed from
        values["model"] = str(Path(model).resolve())
    values.setdefault("steps", 200)
    values.setdefault("learning_rate", shape.learning_rate if shape else DIRECTORY_LEARNING_RATE)
    values.setdefault("batch_windows", shape.batch_windows if shape else SHAPES["demo"].batch_windows)
    values.setdefault("seed", int(build.manifest.get("seed") or 0))
    values.setdefault("warm_up", max(1, min(100, int(values["steps"]) // 10)))
    values.setdefault("evaluate_every", max(1, int(values["steps"]) // 8))
    return Settings(out=str(out), **values)


def _given(values: dict[str, Any]) -> dict[str, Any]:
    """Without the keys that were left open."""
    return {name: value for name, value in values.items() if value is not None}
