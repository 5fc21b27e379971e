"""The training loop: steps, held-out losses, checkpoints, and the reasons to end.

    take micro-batches → hidden states → loss and gradients over all targets of the step → clip → AdamW
    every K steps: the held-out loss, on the same validation rows each time
    now and then, and at the end: a checkpoint

Guarantees: a resumed run is the uninterrupted one, bit for bit on the CPU; a loss or gradient that is not
finite ends the run before it touches the weights. Price: float32 on the CPU, bfloat16 autocast on a GPU.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from tokenization.errors import BuildError, RecipeError
from training import checkpoint, process, summary
from training.attention import hidden_states
from training.batches import Batch, Loader, held_out_rows
from training.checkpoint import Progress, weights_version
from training.dataset import Build
from training.held_out import held_out_loss, split_entropy
from training.loss import backward
from training.model import describe, load_model, reload_model
from training.reporting import Metrics, Reporter
from training.settings import Settings

CLIP = 1.0  # largest gradient norm of a step
FINAL_SHARE = 0.1  # of the peak learning rate, at the last step
BETAS = (0.9, 0.95)


def learning_rate(settings: Settings, step: int) -> float:
    """Linear from 0 to the peak over the warm-up, then half a cosine to a tenth of it; steps count from 1."""
    if step <= settings.warm_up:
        return settings.learning_rate * step / settings.warm_up
    done = (step - settings.warm_up) / max(1, settings.steps - settings.warm_up)
    share = FINAL_SHARE + (1 - FINAL_SHARE) * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))
    return settings.learning_rate * share


class Run:
    """A training run in progress."""

    def __init__(self, settings: Settings, build: Build, reporter: Reporter) -> None:
        if len(build.train) == 0:
            raise RecipeError(f"{build.path} has no training rows: add sources to the recipe")
        self.settings = settings
        self.build = build
        self.reporter = reporter
        self.out = Path(settings.out)
        self.device = _device(settings.device)
        process.use_threads(settings.threads)
        self.progress = Progress()
        self.entropy = split_entropy(build.validation)
        self._held_out = held_out_rows(len(build.validation), settings.held_out_windows)
        self._budget = settings.batch_windows * build.window
        self._began = time.monotonic()
        self.saved: Path | None = None

    def start(self, resume: bool) -> None:
        """Load or make the model, and stand where the last checkpoint stood."""
        self.saved = checkpoint.newest(self.out) if resume else None
        if self.saved is not None:
            self.progress = checkpoint.read_progress(self.saved, self.build, self.settings.identity)
            model = reload_model(self.saved)
        else:
            model = load_model(self.settings.model, self.build, self.settings.seed)
        self.model = model.to(self.device)
        self.optimizer = _optimizer(self.model, self.settings)
        if self.saved is not None:
            checkpoint.restore_optimizer(self.saved, self.optimizer)
        self.loader = Loader(self.build.train, self.settings.seed, self._budget, self.progress.position)
        self.metrics = Metrics(self.out / "metrics.jsonl", self.progress.step)
        self._announce()

    def train(self, stop: Callable[[int], bool] = lambda step: False) -> dict[str, Any]:
        """Step until there is a reason to end; returns the summary. `stop(step)` is asked after each."""
        if not self.progress.held_out:
            self._evaluate()
        ended = self._ended(stop)
        while ended is None:
            record = self._step()
            if self.progress.step % self.settings.evaluate_every == 0:
                record["held_out_loss"] = self._evaluate()
            self.metrics.write(record)
            self._say_step(record)
            if self.progress.step % self.settings.checkpoint_every == 0:
                self._save()
            ended = self._ended(stop)
        if not self.progress.held_out or self.progress.held_out[-1]["step"] != self.progress.step:
            self._evaluate()
        if self.saved is None or self.saved.name != f"step-{self.progress.step:06d}":
            self._save()
        return self._finish(ended)

    def _step(self) -> dict[str, Any]:
        """One optimizer step; returns its line for the metrics."""
        began = time.perf_counter()
        progress, epoch, row = self.progress, self.loader.position.epoch, self.loader.position.row
        batches = [self.loader.take() for _ in range(self.settings.accumulate)]
        tokens, targets = (sum(getattr(b, n) for b in batches) for n in ("num_tokens", "num_target_tokens"))
        rate = learning_rate(self.settings, progress.step + 1)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        weight = sum(batch.target_weight for batch in batches)
        loss = sum(self._backward(batch, weight) for batch in batches)
        norm = float(torch.nn.utils.clip_grad_norm_(self.model.parameters(), CLIP))
        if not (math.isfinite(loss) and math.isfinite(norm)):
            raise BuildError(
                f"loss {loss} and gradient norm {norm} at step {progress.step + 1} (rows from {row} of epoch "
                f"{epoch}, learning rate {rate:g}): lower --learning-rate; {self.where()}"
            )
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        seconds = time.perf_counter() - began
        progress.step += 1
        progress.position = self.loader.position
        progress.tokens += tokens
        progress.target_tokens += targets
        progress.seconds += seconds
        progress.loss = loss
        return {
            "step": progress.step,
            "loss": loss,
            "lr": rate,
            "tokens": tokens,
            "target_tokens": targets,
            "grad_norm": norm,
            "seconds": round(seconds, 4),
            "tokens_per_second": round(tokens / seconds, 1),
            "epoch": epoch,
        }

    def _backward(self, batch: Batch, count: float) -> float:
        rows = self.model.get_input_embeddings().weight.shape[0]
        largest = int(batch.input_ids.max())
        if largest >= rows:
            raise BuildError(f"token id {largest} has no row in an embedding of {rows}: rebuild the dataset")
        batch = batch.to(self.device)
        with self._precision():
            return backward(
                self.model.get_output_embeddings(), hidden_states(self.model, batch), batch, count
            )

    def _precision(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda")

    def _evaluate(self) -> float | None:
        """Note the held-out loss at this step; None without validation targets."""
        if self.entropy is None:
            return None
        with self._precision():
            loss, by_kind = held_out_loss(
                self.model, self.build.validation, self._held_out, self._budget, self.device
            )
        self.progress.held_out.append({"step": self.progress.step, "loss": loss, "by_kind": by_kind})
        return loss

    def _ended(self, stop: Callable[[int], bool]) -> str | None:
        """Why the run is over, or None."""
        settings, progress = self.settings, self.progress
        if progress.step >= settings.steps:
            return "steps"
        if settings.until_below_unigram_entropy and self._is_below():
            return "below_unigram_entropy"
        if settings.max_seconds is not None and time.monotonic() - self._began >= settings.max_seconds:
            return "max_seconds"
        return "stopped" if stop(progress.step) else None

    def _is_below(self) -> bool:
        last = self.progress.held_out[-1]["loss"] if self.progress.held_out else None
        return last is not None and self.entropy is not None and bool(last < self.entropy)

    def _save(self) -> None:
        settings = self.settings
        self.saved = checkpoint.save(
            self.out,
            self.model,
            self.optimizer,
            self.build,
            self.progress,
            settings.identity,
            settings.keep_checkpoints,
        )

    def where(self) -> str:
        """The last whole checkpoint, in words."""
        if self.saved is None:
            return "no checkpoint had been written yet"
        return f"the last whole checkpoint is {self.saved}; --resume goes on from it"

    def _announce(self) -> None:
        facts, settings, build = describe(self.model), self.settings, self.build
        self.reporter.say(
            f"{facts['architecture']} {settings.model}, {facts['parameters'] / 1e6:.1f}M parameters, on "
            f"{self.device}; {len(build.train)} training rows of up to {build.window} tokens, "
            f"{settings.steps} steps of {settings.accumulate} x {settings.batch_windows} windows"
        )
        if self.progress.step:
            self.reporter.say(f"resuming after step {self.progress.step}, from {self.saved}")
        if self.entropy is None:
            self.reporter.say(
                "the validation split has no target tokens: no held-out loss, no unigram entropy "
                "(set `validation` in the recipe)"
            )
        else:
            self.reporter.say(
                f"unigram entropy of the validation targets: {self.entropy:.3f} nats; held-out loss on "
                f"{len(self._held_out)} of {len(build.validation)} validation rows"
            )

    def _say_step(self, record: dict[str, Any]) -> None:
        held_out = record.get("held_out_loss")
        self.reporter.step(
            f"step {record['step']}/{self.settings.steps}  loss {record['loss']:.3f}  "
            + (f"held-out {held_out:.3f}  " if held_out is not None else "")
            + f"lr {record['lr']:.2e}  {record['tokens_per_second']:,.0f} tokens/s",
            always=held_out is not None or self.progress.step in (1, self.settings.steps),
        )

    def _finish(self, ended: str) -> dict[str, Any]:
        """Write the summary, tell the reporter, and return it."""
        facts = summary.facts(self.settings, self.build, self.progress, self.entropy)
        facts |= {"ended": ended, "device": str(self.device), "checkpoint": str(self.saved)}
        facts["model"] = {"name": self.settings.model, **describe(self.model)}
        summary.write(self.out / "summary.json", facts)
        self.reporter.say(summary.last_words(facts))
        self.reporter.finish(summary.metadata(facts), data_version=weights_version(self.saved))
        return facts


def _device(asked: str) -> torch.device:
    if asked == "cuda" and not torch.cuda.is_available():
        raise RecipeError("device cuda was asked for and torch sees none: use --device cpu or auto")
    name = "cuda" if asked != "cpu" and torch.cuda.is_available() else "cpu"
    if name == "cuda":
        torch.set_float32_matmul_precision("high")
    return torch.device(name)


def _optimizer(model: Any, settings: Settings) -> torch.optim.AdamW:
    """AdamW; norms and biases are not decayed."""
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.dim() >= 2], "weight_decay": settings.weight_decay},
        {"params": [p for p in parameters if p.dim() < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=settings.learning_rate, betas=BETAS, fused=True)
