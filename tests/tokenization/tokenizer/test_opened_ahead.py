"""A tokenizer opened beside other work is what the stage would have opened; its mistakes stay the stage's to tell."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path

import pytest

from tokenization.errors import RecipeError
from tokenization.tokenizer import ahead, engines
from tokenization.tokenizer.ahead import arrived, open_ahead
from tokenization.tokenizer.identity import choose_engine
from tokenization.tokenizer.layout import TOKENIZER_FILE
from tokenization.tokenizer.prepare import prepare_tokenizer


@pytest.mark.parametrize("add", [(), ("<|aside|>",)])
def test_what_was_opened_ahead_is_taken_once_and_nothing_stays_held(
    tiny_directory: Path, make_spec, texts, tmp_path: Path, add: tuple[str, ...]
) -> None:
    spec = make_spec(str(tiny_directory / TOKENIZER_FILE), add=add)
    open_ahead(spec, tmp_path)
    arrived()
    (held,) = engines._held
    prepare_tokenizer(spec, tmp_path, tmp_path / "out")
    loads = engines._loaded.cache_info().misses
    assert choose_engine(tmp_path / "out", texts).engine == "fastokens"
    assert engines._loaded.cache_info().misses == loads, "the fast engine had been loaded on this very view"
    assert not engines._held, "the reference was handed over"
    assert ("aside" in held) == bool(add)


def test_a_broken_tokenizer_is_refused_where_it_is_asked_for_not_before(make_spec, tmp_path: Path) -> None:
    (tmp_path / TOKENIZER_FILE).write_text("{}")
    spec = make_spec(str(tmp_path / TOKENIZER_FILE))
    open_ahead(spec, tmp_path)
    arrived()
    assert not engines._held
    with pytest.raises(RecipeError, match="not a tokenizer"):
        prepare_tokenizer(spec, tmp_path, tmp_path / "out")


def test_a_tokenizer_to_be_trained_waits_for_its_texts(make_spec, tmp_path: Path) -> None:
    open_ahead(make_spec(kind="bpe", vocab_size=512), tmp_path)
    arrived()
    assert not engines._held


def test_a_tokenizer_that_is_being_opened_is_not_opened_twice(
    tiny_directory: Path, make_spec, tmp_path: Path
) -> None:
    spec = make_spec(str(tiny_directory / TOKENIZER_FILE))
    begun = [(open_ahead(spec, tmp_path), len(ahead._running))[1] for _ in range(2)]
    arrived()
    engines._held.clear()
    assert begun == [1, 1] and not ahead._running


def test_who_asks_for_an_engine_while_it_is_being_loaded_waits_and_loads_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    loads: list[str] = []

    @lru_cache
    def slowly(view: str) -> object:
        loads.append(view)
        time.sleep(0.05)
        return object()

    monkeypatch.setattr(engines, "_loaded", slowly)
    with ThreadPoolExecutor(3) as pool:
        opened = list(pool.map(engines.FastEncoder, ["one view", "one view", "another"]))
    assert sorted(loads) == ["another", "one view"]
    assert opened[0]._tokenizer is opened[1]._tokenizer is not opened[2]._tokenizer
