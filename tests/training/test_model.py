"""Which model is trained, and that its embedding fits the build."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.training.builds import tiny_build, word_tokenizer
from tokenization.errors import RecipeError
from training.dataset import Build, open_build
from training.model import SHAPES, configuration, describe, load_model, shape_of


def saved(model: Any, path: Path, vocab_size: int) -> Path:
    """A model directory with its own tokenizer, as one would download it."""
    word_tokenizer(path, vocab_size)
    model.save_pretrained(path)
    return path


@pytest.mark.parametrize("name", [name for name in SHAPES if name != "tiny"])
def test_named_models_take_the_builds_vocabulary_and_window(name: str, build: Build) -> None:
    config = configuration(SHAPES[name], build)
    assert (config.vocab_size, config.max_position_embeddings) == (build.vocab_size, build.window)
    assert config.pad_token_id is None


def test_minimind_has_minimind_sizes(build: Build) -> None:
    """Parameters without embeddings, counted on no memory: 26M and 64M at 6,400 ids."""
    from transformers import AutoModelForCausalLM

    for name, millions in (("minimind-26m", 25.8), ("minimind-64m", 63.9)):
        config = configuration(SHAPES[name], build)
        config.vocab_size = 6400
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(config)
        assert describe(model)["parameters"] / 1e6 == pytest.approx(millions, abs=0.1)


def test_the_seed_decides_the_first_weights(build: Build) -> None:
    one, same, other = (load_model("tiny", build, seed).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not all(torch.equal(one[name], other[name]) for name in one)


def test_a_name_that_is_nothing_lists_the_names() -> None:
    with pytest.raises(RecipeError, match=r"'gpt-9' is neither a named one \(demo, .*minimind-26m"):
        shape_of("gpt-9")


def test_a_directory_gets_rows_for_added_tokens(build: Build, model: Any, tmp_path: Path) -> None:
    path = saved(model, tmp_path / "model", 40)
    grown = open_build(tiny_build(tmp_path / "grown", vocab_size=43))
    assert load_model(str(path), build, 0).get_input_embeddings().weight.shape[0] == 40
    bigger = load_model(str(path), grown, 0)
    assert bigger.get_input_embeddings().weight.shape[0] == 43 == bigger.config.vocab_size
    assert bigger.get_output_embeddings().weight.shape[0] == 43
    assert torch.equal(bigger.get_input_embeddings().weight[:40], model.get_input_embeddings().weight)


def test_a_directory_whose_vocabulary_disagrees_is_refused(build: Build, model: Any, tmp_path: Path) -> None:
    path = saved(model, tmp_path / "model", 40)
    words = json.loads((path / "tokenizer.json").read_text())
    vocab = words["model"]["vocab"]
    vocab["w7"], vocab["w8"] = vocab["w8"], vocab["w7"]
    (path / "tokenizer.json").write_text(json.dumps(words))
    with pytest.raises(RecipeError, match=r"knows 'w[78]' as id [78] and the build's tokenizer as [78]"):
        load_model(str(path), build, 0)


def test_spare_embedding_rows_are_kept(build: Build, tmp_path: Path) -> None:
    wide = open_build(tiny_build(tmp_path / "wide", vocab_size=64))
    path = saved(load_model("tiny", wide, 0), tmp_path / "model", 40)
    assert load_model(str(path), build, 0).get_input_embeddings().weight.shape[0] == 64


def test_the_row_that_padding_shares_with_the_document_end_learns(
    build: Build, model: Any, tmp_path: Path
) -> None:
    """A pad_token_id in a configuration freezes its row; the same id ends documents here."""
    from training.attention import hidden_states
    from training.batches import collate

    model.config.pad_token_id = build.pad_token_id
    loaded = load_model(str(saved(model, tmp_path / "model", 40)), build, 0)
    assert loaded.config.pad_token_id == 0 and loaded.get_input_embeddings().padding_idx is None
    batch = collate([build.train[0]])
    assert (batch.input_ids == 0).any()
    hidden_states(loaded, batch).sum().backward()
    assert loaded.get_input_embeddings().weight.grad[0].abs().sum() > 0
