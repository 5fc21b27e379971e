"""The launchpad's form: typed, and what the recipe refuses never becomes a run."""

from __future__ import annotations

from typing import Any

import dagster as dg
import pytest
from small_recipes import Project

from pipelines.code_location import of_recipe
from pipelines.launch import build_config, overrides_of
from tokenization.errors import RecipeError
from tokenization.recipe.load import load_recipe


@pytest.fixture
def job(good: Project) -> dg.JobDefinition:
    return of_recipe(load_recipe(good.path), good.path).resolve_job_def("small_build")


def test_the_form_s_changes_become_the_recipe_s_keys(good: Project) -> None:
    config = {"recipe": {"window": "256", "pretrain_share": 0.12}, "set": ["seed=4"]}
    assert overrides_of(config) == ["window=256", "mixture.pretrain_share=0.12", "seed=4"]
    whole = {
        **config,
        "store": "s",
        "out": "o",
        "engine": "local",
        "workers": 2,
        "rehash": False,
        "quiet": False,
    }
    mapped = build_config(str(good.path)).config_fn(whole)
    settings = mapped["resources"]["settings"]["config"]
    assert settings["overrides"] == overrides_of(config) and settings["workers"] == 2


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"pretrain_share": 0.3}, "between 0.10 and 0.20"),
        ({"validation": 1.5}, "validation"),
        ({"max_repetition": 0.5}, "max_repetition"),
    ],
)
def test_a_value_beyond_its_limit_is_refused_before_there_is_a_run(
    good: Project, job: dg.JobDefinition, changes: dict[str, Any], why: str
) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        with pytest.raises(dg.DagsterConfigMappingFunctionError) as caught:
            job.execute_in_process(run_config={"recipe": changes}, instance=instance)
        assert isinstance(caught.value.__cause__, RecipeError) and why in str(caught.value.__cause__)
        assert instance.get_runs() == []


@pytest.mark.parametrize(
    "config",
    [
        {"recipe": {"packing": "tight"}},
        {"recipe": {"window": "4097"}},
        {"recipe": {"pretrain_share": "much"}},
        {"recipe": {"windwo": "4096"}},
        {"engine": "spark"},
    ],
)
def test_an_unknown_key_a_wrong_type_and_a_value_that_is_no_choice_are_refused_by_the_form_itself(
    job: dg.JobDefinition, config: dict[str, Any]
) -> None:
    assert dg.validate_run_config(job, {"recipe": {"packing": "best_fit"}})
    with pytest.raises(dg.DagsterInvalidConfigError):
        dg.validate_run_config(job, config)
