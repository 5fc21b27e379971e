"""Reading a build: what is a build, what a row must hold, and that foreign errors are named."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.training.builds import Segment, document, padded, padding, session, write_build
from tokenization.errors import BuildError, RecipeError
from training.dataset import Split, open_build


def rows_of(split: Split) -> list[list[int]]:
    return [split[number].input_ids.tolist() for number in range(len(split))]


def test_a_directory_without_manifest_is_no_build(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"no manifest\.json.*tokenmill build"):
        open_build(tmp_path)
    with pytest.raises(RecipeError, match="is no directory"):
        open_build(tmp_path / "nowhere")
    (tmp_path / "manifest.json").write_text("{}")
    with pytest.raises(RecipeError, match="no key window"):
        open_build(tmp_path)
    (tmp_path / "manifest.json").write_text("{")
    with pytest.raises(RecipeError, match="is not JSON"):
        open_build(tmp_path)


def test_rows_come_out_as_datasets_reads_them(build_dir: Path) -> None:
    from datasets import load_from_disk

    build = open_build(build_dir)
    known = load_from_disk(str(build_dir / "dataset"))
    assert len(build.train) == len(known["train"]) > 0
    for number, row in enumerate(known["train"]):
        found = build.train[number]
        assert found.input_ids.tolist() == row["input_ids"]
        assert found.loss_mask.tolist() == row["loss_mask"]
        assert found.seq_lens.tolist() == row["seq_lens"]
        pads = sum(s["length"] for s in row["segments"] if s["source"] == "")
        assert found.num_pad_tokens == pads
    assert any(build.train[number].num_pad_tokens for number in range(len(build.train)))


def test_rows_of_differing_length_and_an_empty_validation_split_open(tmp_path: Path) -> None:
    rows = [[session([1, 2], [3, 4])], [session([1, 2, 5, 6], [7])]]
    build = open_build(write_build(tmp_path, rows, window=16, vocab_size=8))
    assert rows_of(build.train) == [[1, 2, 3, 4], [1, 2, 5, 6, 7]]
    assert len(build.validation) == 0


def test_several_shards_are_one_split(tmp_path: Path) -> None:
    from datasets import load_from_disk

    rows = [[document([number, number + 1, 2, 3])] for number in range(7)]
    path = write_build(tmp_path / "one", rows, rows[:1], window=4, vocab_size=16)
    whole = rows_of(open_build(path).train)
    load_from_disk(str(path / "dataset")).save_to_disk(
        tmp_path / "many" / "dataset", num_shards={"train": 3, "validation": 1}
    )
    (tmp_path / "many" / "manifest.json").write_text((path / "manifest.json").read_text())
    assert rows_of(open_build(tmp_path / "many").train) == whole
    (tmp_path / "many/dataset/train/data-00001-of-00003.arrow").unlink()
    with pytest.raises(BuildError, match=r"data-00001-of-00003\.arrow is missing"):
        open_build(tmp_path / "many")


def test_a_target_on_a_segments_first_token_is_refused(tmp_path: Path) -> None:
    wrong = Segment([5, 6, 7], [True, True, True])
    build = open_build(write_build(tmp_path, [[document([1, 2]), wrong]], window=5, vocab_size=8))
    with pytest.raises(BuildError, match="row 0 of split train: the first token of segment 1"):
        build.train[0]


def test_a_target_on_padding_is_refused(tmp_path: Path) -> None:
    trained = Segment([0, 0, 0], [False, True, False], source="")
    build = open_build(write_build(tmp_path, [[document([1, 2]), trained]], window=5, vocab_size=8))
    with pytest.raises(BuildError, match="padding is marked as a target"):
        build.train[0]


def test_only_a_last_segment_without_source_is_padding(tmp_path: Path) -> None:
    rows = [padded([document([1, 2, 3])], 5), [document([0, 0, 0, 0, 0])], [padding(5)]]
    build = open_build(write_build(tmp_path, rows, window=5, vocab_size=8))
    assert [build.train[number].num_pad_tokens for number in range(3)] == [2, 0, 5]
    assert [build.train[number].num_tokens for number in range(3)] == [3, 5, 0]


def test_segments_that_do_not_add_up_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build = open_build(write_build(tmp_path, [[document([1, 2, 3])]], window=3, vocab_size=8))
    row = build.train[0]
    monkeypatch.setitem(build.train._columns, "seq_lens", build.train._columns["input_ids"])
    with pytest.raises(BuildError, match="add up to its 3 tokens"):
        build.train[0]
    assert np.array_equal(row.seq_lens, [3])


def test_the_manifest_names_vocabulary_and_stops(build_dir: Path) -> None:
    build = open_build(build_dir)
    manifest = json.loads((build_dir / "manifest.json").read_text())
    assert build.vocab_size == manifest["tokenizer"]["vocab_size"] == 40
    assert build.stop_token_ids == [2]
    assert build.pad_token_id == build.document_end_token_id == 0
