"""`tokenmill plan` says beforehand what a build then gives, and publishes nothing."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from small_recipes import Project, text_source

from tokenization.stages import outlook


def planned(project: Project, *options: object) -> dict[str, Any]:
    result = project.run("plan", project.path, "--json", *options)
    assert result.exit_code == 0, f"{result.output}{result.exception!r}"
    return dict(json.loads(result.stdout))


def case_of(told: dict[str, Any], window: int, packing: str) -> dict[str, Any]:
    return next(case for case in told["cases"] if (case["window"], case["packing"]) == (window, packing))


def test_the_recipe_s_own_case_is_what_the_build_gives_where_all_texts_are_in_the_sample(
    good: Project,
) -> None:
    told = planned(good)
    assert {(case["window"], case["packing"]) for case in told["cases"]} == {
        (window, packing) for window in (128, 4096, 8192) for packing in ("concat", "best_fit")
    }
    case, manifest = case_of(told, 128, "concat"), good.manifest
    assert case["windows"] == manifest["splits"]["train"]["num_windows"] > 50
    assert case["share"] == manifest["mixture"]["achieved"]
    assert case["tokens_computed"] == case["windows"] * 128
    assert case["steps_an_epoch"] == -(-case["windows"] // 8)
    assert case["sessions_set_aside"] == {"empty_answer": 1}
    assert case_of(told, 128, "best_fit")["documents_cut"] <= case["documents_cut"]
    assert case_of(told, 4096, "concat")["problem"] or case_of(told, 4096, "concat")["windows"] < 20


def test_a_plan_publishes_nothing_and_leaves_its_work_to_the_build(
    new_project: Callable[..., Project],
) -> None:
    project = new_project()
    planned(project)
    assert not project.out.exists() and project.steps() == []
    assert project.objects("rows") and project.objects("tokens") and not project.objects("windows")


def test_estimates_from_a_sample_come_near(
    new_project: Callable[..., Project], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outlook, "SAMPLE_BYTES", 3000)
    project = new_project(
        name="texts", sources=[text_source("web", "data/web.jsonl")], mixture=None, chat=None, validation=0
    )
    told = planned(project)
    assert 5 < told["documents_sampled"] < 40 and 2 < told["bytes_a_token"]["web"] < 8
    build = project.candidate()
    manifest = json.loads((build / "manifest.json").read_text())
    estimated = case_of(told, 128, "concat")["windows"]
    assert abs(estimated / manifest["splits"]["train"]["num_windows"] - 1) < 0.1


def test_too_little_text_is_told_in_its_case_and_the_table_is_for_people(
    new_project: Callable[..., Project],
) -> None:
    project = new_project(mixture={"pretrain_share": 0.9, "allow_outside_range": True})
    told = planned(project)
    assert "max_repetition" in case_of(told, 128, "concat")["problem"]
    shown = project.run("plan", project.path)
    assert shown.exit_code == 0 and "best_fit" in shown.output and "* is the recipe" in shown.output
