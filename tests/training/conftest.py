"""A tiny build and a tiny model's shape, shared by the trainer's tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.training.builds import tiny_build
from training.dataset import Build, open_build
from training.model import SHAPES, Shape, load_model

TINY = Shape("qwen3", 32, 2, 4, 2, 64, learning_rate=1e-2, batch_windows=2)


@pytest.fixture(autouse=True)
def tiny_shape(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The named model "tiny", there for tests only, and one thread: sums in one order."""
    import torch

    monkeypatch.setitem(SHAPES, "tiny", TINY)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def build_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_build(tmp_path_factory.mktemp("builds") / "tiny")


@pytest.fixture
def build(build_dir: Path) -> Build:
    return open_build(build_dir)


@pytest.fixture
def model(build: Build) -> Any:
    return load_model("tiny", build, seed=1)
