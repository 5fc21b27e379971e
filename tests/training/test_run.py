"""Runs: exact resume, checkpoints that transformers opens, and the ways a run ends."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.training.builds import Segment, document, write_build
from tokenization.errors import BuildError, RecipeError
from training import checkpoint
from training.dataset import Build, open_build
from training.loop import Run, learning_rate
from training.reporting import Reporter
from training.settings import Settings, complete


def settings_for(build: Build, out: Path, **asked: Any) -> Settings:
    known = {
        "model": "tiny",
        "steps": 8,
        "accumulate": 2,
        "batch_windows": 2,
        "evaluate_every": 3,
        "threads": 1,
    }
    return complete(build, out, **(known | asked))


def run(
    build: Build, out: Path, stop_at: int | None = None, resume: bool = False, **asked: Any
) -> dict[str, Any]:
    training = Run(settings_for(build, out, **asked), build, Reporter())
    training.start(resume)
    return training.train(lambda step: step == stop_at)


def metrics(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


def same(one: Any, other: Any) -> bool:
    """Equal to the bit, tensors in nested containers included."""
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


def test_a_resumed_run_is_the_uninterrupted_one_bit_for_bit(build: Build, tmp_path: Path) -> None:
    whole = run(build, tmp_path / "whole")
    assert run(build, tmp_path / "parts", stop_at=3)["ended"] == "stopped"
    resumed = run(build, tmp_path / "parts", resume=True)
    one, other = (Path(summary["checkpoint"]) for summary in (whole, resumed))
    assert (one / "model.safetensors").read_bytes() == (other / "model.safetensors").read_bytes()
    assert same(*(torch.load(path / "trainer_state.pt") for path in (one, other)))
    timeless = [
        [{k: v for k, v in line.items() if "second" not in k} for line in metrics(tmp_path / name)]
        for name in ("whole", "parts")
    ]
    assert timeless[0] == timeless[1]
    assert [line["step"] for line in timeless[0]] == list(range(1, 9))
    assert whole["held_out_loss"] == resumed["held_out_loss"]
    assert whole["epoch"] == 2  # 8 steps of 4 windows over 12: the order of epochs was resumed, too


def test_another_position_gives_other_weights(build: Build, tmp_path: Path) -> None:
    """The breaking input of exact resume: one row off."""
    whole = run(build, tmp_path / "whole")
    run(build, tmp_path / "parts", stop_at=3)
    state_file = tmp_path / "parts" / "latest" / "trainer_state.json"
    state = json.loads(state_file.read_text())
    state["position"][1] -= 1
    state_file.write_text(json.dumps(state))
    resumed = run(build, tmp_path / "parts", resume=True)
    one, other = (Path(summary["checkpoint"]) / "model.safetensors" for summary in (whole, resumed))
    assert one.read_bytes() != other.read_bytes()


def test_a_tiny_model_learns_a_tiny_build(build: Build, tmp_path: Path) -> None:
    summary = run(build, tmp_path, steps=40, until_below_unigram_entropy=True)
    assert summary["ended"] == "below_unigram_entropy" and summary["steps"] < 40
    assert summary["held_out_loss"] < summary["unigram_entropy"] < summary["held_out_loss_before"]
    assert summary["tokens"] == sum(line["tokens"] for line in metrics(tmp_path))
    assert json.loads((tmp_path / "summary.json").read_text()) == summary


def test_metrics_have_a_line_a_step(build: Build, tmp_path: Path) -> None:
    run(build, tmp_path, steps=4)
    lines = metrics(tmp_path)
    known = {"step", "loss", "lr", "tokens", "target_tokens", "grad_norm", "seconds", "tokens_per_second"}
    assert all(known <= line.keys() for line in lines)
    assert [line["step"] for line in lines if "held_out_loss" in line] == [3]
    rows = [build.train[number] for number in range(4)]
    assert lines[0]["tokens"] == sum(row.num_tokens for row in rows)
    assert lines[0]["target_tokens"] == sum(int(row.loss_mask.sum()) for row in rows)


def test_transformers_opens_the_checkpoint_with_the_builds_own_files(build: Build, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    run(build, tmp_path, steps=2)
    latest = tmp_path / "latest"
    model = AutoModelForCausalLM.from_pretrained(latest)
    assert model.config._attn_implementation == "sdpa"
    tokenizer = AutoTokenizer.from_pretrained(latest)
    assert tokenizer("w5 w9")["input_ids"] == [5, 9]
    assert model(torch.tensor([[5, 9]])).logits.shape == (1, 2, 40)
    assert model.generation_config.eos_token_id == [2, 0]
    for name in ("tokenizer.json", "tokenizer_config.json", "generation_config.json"):
        assert (latest / name).read_bytes() == (build.tokenizer_dir / name).read_bytes()


def test_stops_come_from_the_manifest_where_the_build_has_no_generation_config(tmp_path: Path) -> None:
    build = open_build(write_build(tmp_path / "build", [[document([1, 2, 3, 4])]], window=4, vocab_size=8))
    (tmp_path / "checkpoint").mkdir()
    checkpoint.copy_inference_files(build, tmp_path / "checkpoint")
    found = json.loads((tmp_path / "checkpoint" / "generation_config.json").read_text())
    assert found == {"eos_token_id": [2], "pad_token_id": 0}


def test_only_the_newest_checkpoints_are_kept_and_drafts_do_not_count(build: Build, tmp_path: Path) -> None:
    (tmp_path / "checkpoints" / ".step-000099.part").mkdir(parents=True)
    run(build, tmp_path, steps=7, checkpoint_every=2, keep_checkpoints=2)
    names = sorted(path.name for path in (tmp_path / "checkpoints").iterdir())
    assert names == [path.name for path in checkpoint.whole(tmp_path)] == ["step-000006", "step-000007"]
    assert (tmp_path / "latest").resolve().name == "step-000007"


def test_resuming_with_other_settings_or_another_build_is_refused_by_name(
    build: Build, tmp_path: Path
) -> None:
    run(build, tmp_path, stop_at=2)
    with pytest.raises(RecipeError, match=r"trained with learning_rate=0\.01 and now it is 0\.5"):
        run(build, tmp_path, resume=True, learning_rate=0.5)
    other = replace(build, manifest=build.manifest | {"fingerprint": "f00d"})
    with pytest.raises(RecipeError, match=r"was trained on build .* not f00d"):
        run(other, tmp_path, resume=True)
    assert run(build, tmp_path, resume=True, evaluate_every=1)["steps"] == 8


def test_a_loss_that_is_not_finite_ends_the_run_before_it_touches_weights(
    build: Build, tmp_path: Path
) -> None:
    training = Run(settings_for(build, tmp_path, checkpoint_every=1), build, Reporter())
    training.start(resume=False)

    def poison(step: int) -> bool:
        if step == 1:
            training.model.lm_head.weight.data[5].fill_(torch.nan)
        return False

    message = r"loss nan .* at step 2 \(rows from 4 of epoch 0.*last whole checkpoint is .*step-000001"
    with pytest.raises(BuildError, match=message):
        training.train(poison)
    model = checkpoint.newest(tmp_path)
    assert model is not None and model.name == "step-000001"
    training.start(resume=True)
    assert all(parameter.isfinite().all() for parameter in training.model.parameters())


def test_without_validation_rows_the_run_says_so_and_uses_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [[document([1, 2, 3, 4])], [document([2, 3, 4, 5])]]
    build = open_build(write_build(tmp_path / "build", rows, window=4, vocab_size=8))
    summary = run(build, tmp_path / "run", until_below_unigram_entropy=True)
    assert "no held-out loss, no unigram entropy" in capsys.readouterr().out
    assert summary["held_out_loss"] is summary["unigram_entropy"] is summary["below_unigram_entropy"] is None
    assert summary["ended"] == "steps"


def test_a_validation_split_without_targets_counts_as_none(tmp_path: Path) -> None:
    masked = [Segment([1, 2, 3, 4], [False] * 4)]
    rows = [[document([1, 2, 3, 4])]]
    build = open_build(write_build(tmp_path / "build", rows, [masked], window=4, vocab_size=8))
    assert run(build, tmp_path / "run", steps=2)["held_out_loss"] is None


def test_rows_of_differing_length_train(tmp_path: Path) -> None:
    rows = [[document(range(1, length))] for length in (5, 9, 3, 7, 16)]
    build = open_build(write_build(tmp_path / "build", rows, rows[:2], window=16, vocab_size=16))
    summary = run(build, tmp_path / "run", steps=10, batch_windows=1, accumulate=1)
    assert summary["held_out_loss"] < summary["held_out_loss_before"]


def test_a_token_id_without_an_embedding_row_is_named(tmp_path: Path) -> None:
    build = open_build(write_build(tmp_path / "build", [[document([1, 2, 9, 4])]], window=4, vocab_size=8))
    with pytest.raises(BuildError, match="token id 9 has no row in an embedding of 8"):
        run(build, tmp_path / "run")


def test_no_training_rows_is_an_error_in_the_recipe(tmp_path: Path) -> None:
    build = open_build(write_build(tmp_path / "build", [], [[document([1, 2])]], window=2, vocab_size=8))
    with pytest.raises(RecipeError, match="no training rows"):
        run(build, tmp_path / "run")


def test_max_seconds_ends_with_a_checkpoint(build: Build, tmp_path: Path) -> None:
    summary = run(build, tmp_path, steps=10_000, max_seconds=0.3)
    assert summary["ended"] == "max_seconds" and 0 < summary["steps"] < 10_000
    assert Path(summary["checkpoint"]).is_dir()


def test_the_learning_rate_warms_up_and_falls_to_a_tenth(build: Build, tmp_path: Path) -> None:
    settings = settings_for(build, tmp_path, steps=100, learning_rate=0.01, warm_up=10)
    rates = [learning_rate(settings, step) for step in range(1, 101)]
    assert rates[0] == pytest.approx(0.001) and max(rates) == rates[9] == pytest.approx(0.01)
    assert rates[-1] == pytest.approx(0.001)
    assert rates[9:] == sorted(rates[9:], reverse=True)


def test_settings_come_from_the_command_then_the_recipe_then_the_model(tmp_path: Path) -> None:
    recipe = {"model": "minimind-26m", "steps": 77, "learning_rate": None, "accumulate": None}
    path = write_build(tmp_path / "b", [[document([1, 2])]], window=2, vocab_size=8, train_recipe=recipe)
    build = open_build(path)
    plain, asked = complete(build, tmp_path), complete(build, tmp_path, steps=5, model="demo")
    assert (plain.model, plain.steps, plain.learning_rate, plain.seed) == ("minimind-26m", 77, 5e-4, 17)
    assert (asked.model, asked.steps) == ("demo", 5)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"steps": 0}, "steps must be at least 1"),
        ({"learning_rate": 2.0}, "below 1, not 2"),
        ({"max_seconds": 0}, "0"),
    ],
)
def test_impossible_settings_are_refused(
    build: Build, tmp_path: Path, wrong: dict[str, Any], said: str
) -> None:
    with pytest.raises(RecipeError, match=said):
        complete(build, tmp_path, **wrong)
