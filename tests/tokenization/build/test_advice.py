"""Advice: what a build should be looked at for; each with an input that brings it about."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

import orjson
import pytest
from corruptions import manifest_of, rows_of, save_manifest
from small_recipes import Project

from tokenization.build.advice import ADVICE, check_prompts, check_round_trip, check_unknown
from tokenization.build.contents import Build


@pytest.fixture
def build(good: Project, tmp_path: Path) -> Path:
    return Path(shutil.copytree(good.out.resolve(), tmp_path / "build"))


def test_a_good_build_gets_no_advice_and_each_looked_at_something(build: Path) -> None:
    findings = [check(Build.open(build)) for check in ADVICE.values()]
    assert [finding.name for finding in findings] == list(ADVICE)
    assert all(finding.passed and finding.figure and finding.limit for finding in findings)
    assert not any(finding.looked_at.startswith("0 ") for finding in findings)


def change_tokenizer(build: Path, **changes: object) -> None:
    path = build / "tokenizer" / "tokenizer.json"
    described = orjson.loads(path.read_bytes())
    for name, value in changes.items():
        if name == "normalizer":
            described[name] = value
        else:
            described["model"][name] = value
    path.write_bytes(orjson.dumps(described))


def test_a_tokenizer_that_loses_case_is_said_to_be_lossy(build: Path) -> None:
    change_tokenizer(build, normalizer={"type": "Lowercase"})
    finding = check_round_trip(Build.open(build))
    assert not finding.passed and "comes back as" in finding.problems[0]


def test_unknown_tokens_are_counted_and_the_items_that_hold_them_named(build: Path) -> None:
    vocabulary = orjson.loads((build / "tokenizer" / "tokenizer.json").read_bytes())["model"]["vocab"]
    token_of = {number: token for token, number in vocabulary.items()}
    ids = Counter(token for row in rows_of(build) for token in row["input_ids"])
    frequent = next(number for number, _ in ids.most_common() if number in token_of)
    never = next(number for number in token_of if number not in ids)
    assert check_unknown(Build.open(build)).limit == "it can't occur"
    change_tokenizer(build, unk_token=token_of[never])
    assert check_unknown(Build.open(build)).passed
    change_tokenizer(build, unk_token=token_of[frequent])
    finding = check_unknown(Build.open(build))
    assert not finding.passed and finding.problems[0].endswith("unknown tokens")


def test_prompts_that_are_trained_and_mostly_repeated_are_advised_against(build: Path) -> None:
    manifest = manifest_of(build)
    manifest["prompts"]["exact_repetition"] = 0.9
    save_manifest(build, manifest)
    assert check_prompts(Build.open(build)).passed, "they are not trained"
    manifest["recipe"]["chat"]["train_on_prompt"] = True
    save_manifest(build, manifest)
    assert not check_prompts(Build.open(build)).passed
