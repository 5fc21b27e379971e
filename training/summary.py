"""What a finished run says of itself: `summary.json`, one line for people, and metadata for Dagster."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from tokenization.store import write_json
from training import process
from training.checkpoint import Progress
from training.dataset import Build
from training.settings import Settings

NUMBERS = (
    "loss", "held_out_loss", "held_out_loss_before", "unigram_entropy", "steps", "tokens",
    "target_tokens", "seconds", "tokens_per_second",
)  # fmt: skip  # of the metadata: Dagster plots them over runs


def facts(settings: Settings, build: Build, progress: Progress, entropy: float | None) -> dict[str, Any]:
    """The numbers of a run; losses and the entropy are in nats a target token."""
    first, last = (progress.held_out[0], progress.held_out[-1]) if progress.held_out else (None, None)
    return {
        "steps": progress.step,
        "epoch": progress.position.epoch,
        "loss": progress.loss,
        "held_out_loss": last["loss"] if last else None,
        "held_out_loss_before": first["loss"] if first else None,
        "held_out_loss_by_kind": last["by_kind"] if last else {},
        "unigram_entropy": entropy,
        "below_unigram_entropy": bool(last["loss"] < entropy) if last and entropy is not None else None,
        "tokens": progress.tokens,
        "target_tokens": progress.target_tokens,
        "seconds": round(progress.seconds, 3),
        "tokens_per_second": round(progress.tokens / max(progress.seconds, 1e-9), 1),
        "peak_memory_bytes": process.peak_memory(),
        "build": {"path": str(build.path), "fingerprint": build.fingerprint},
        "settings": asdict(settings),
        "held_out": progress.held_out,
    }


def write(path: Path, summary: dict[str, Any]) -> None:
    write_json(path, summary, indent=True)


def metadata(summary: dict[str, Any]) -> dict[str, Any]:
    """For a materialization: numbers as numbers, the checkpoint as a path, what is absent left out."""
    found: dict[str, Any] = {name: summary[name] for name in NUMBERS if summary[name] is not None}
    found |= {f"held_out_loss_{kind}": loss for kind, loss in summary["held_out_loss_by_kind"].items()}
    found["parameters"] = summary["model"]["parameters"]
    found["checkpoint"] = {"raw_value": summary["checkpoint"], "type": "path"}
    return found


def last_words(summary: dict[str, Any]) -> str:
    """One line: how the run ended, what it reached, where its result is."""
    said = [f"done after {summary['steps']} steps ({summary['ended']})"]
    if summary["loss"] is not None:
        said.append(f"loss {summary['loss']:.3f}")
    if summary["held_out_loss"] is not None:
        side = "below" if summary["below_unigram_entropy"] else "not below"
        said.append(
            f"held-out loss {summary['held_out_loss_before']:.3f} -> {summary['held_out_loss']:.3f}, "
            f"{side} the unigram entropy {summary['unigram_entropy']:.3f}"
        )
    said.append(f"checkpoint {summary['checkpoint']}")
    return "; ".join(said)
