"""What Dagster is shown: quickly, completely, and also where a recipe is broken."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml
from small_recipes import Project, chat_source, text_source

from pipelines.code_location import of_folder
from pipelines.recipes import find_recipes, recipe_folder
from tokenization.stages.catalogue import MODULES

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = ROOT / "tests" / "golden" / "definitions.json"
HEAVY = (
    "torch",
    "transformers",
    "polars",
    "datasets",
    "tokenizers",
    "fastokens",
    "sentencepiece",
    "tiktoken",
    "numpy",
    "pandas",
    "pyarrow",
    "jinja2",
)
ONLY_TO_RUN = (  # our own modules that work, as the definitions do not
    *MODULES.values(),
    "tokenization.build.proof",
    "tokenization.build.verify",
    "tokenization.build.showing",
    "tokenization.chat.templates",
    "tokenization.preview.markdown",
    "tokenization.quality.measures",
)

RECIPE: dict[str, Any] = {
    "name": "snap-shot",
    "tokenizer": {"path": "tokenizer"},
    "chat": {"template": "chatml"},
    "sources": [
        text_source("big-books", "books/*.txt", licence="CC0-1.0"),
        chat_source("talks", "talks.jsonl"),
    ],
    "mixture": {"pretrain_share": 0.15},
    "train": {"model": "demo", "steps": 3},
    "schedule": "0 2 * * *",
}
EVERYTHING: dict[str, Any] = {
    **RECIPE,
    "name": "everything",
    "chat": {"template": "chatml", "roles": {"narrator": {"header": "narrator", "trained": False}}},
    "sources": [
        *RECIPE["sources"],
        text_source("far-away", "s3://bucket/books/*.jsonl.gz"),
        chat_source("hub", "hf://owner/name", config="default", split="train"),
    ],
    "cleaning": {
        "near_dedup": 0.8,
        "rules": ["gopher", "c4", {"script": {"keep": ["Latin", "Han"]}}, {"min_length": {"min": 20}}],
        "personal_data": "on",
        "decontamination": {"sets": [text_source("exam", "exam.jsonl")]},
    },
}


def write(folder: Path, recipe: dict[str, Any], name: str | None = None) -> Path:
    path = folder / f"{name or recipe['name']}.yaml"
    path.write_text(yaml.safe_dump(recipe))
    return path


def described(definitions: dg.Definitions) -> dict[str, Any]:
    """The graph in plain values."""
    graph = definitions.resolve_asset_graph()
    assets = {
        node.key.to_user_string(): {
            "deps": sorted(key.to_user_string() for key in node.parent_keys),
            "group": node.group_name,
            "kinds": sorted(node.kinds),
            "makes": "materializable" if node.is_materializable else "external",
            "automatic": node.automation_condition is not None,
            "pools": sorted(node.pools or ()),
        }
        for node in graph.asset_nodes
    }
    return {
        "assets": dict(sorted(assets.items())),
        "checks": {
            f"{key.asset_key.to_user_string()}:{key.name}": "blocking"
            if graph.get(key).blocking
            else "advisory"
            for key in sorted(
                graph.asset_check_keys, key=lambda key: (key.asset_key.to_user_string(), key.name)
            )
        },
        "jobs": sorted(
            job.name for job in definitions.resolve_all_job_defs() if not job.name.startswith("__")
        ),
        "schedules": {
            schedule.name: [schedule.cron_schedule, schedule.execution_timezone, schedule.job_name]
            for schedule in definitions.schedules or ()
            if isinstance(schedule, dg.ScheduleDefinition)
        },
        "sensors": {
            sensor.name: [sensor.sensor_type.value, sensor.minimum_interval_seconds]
            for sensor in definitions.sensors or ()
        },
    }


def test_the_graph_of_a_recipe_is_the_one_on_record(tmp_path: Path) -> None:
    write(tmp_path, RECIPE)
    found = described(of_folder(tmp_path))
    if os.environ.get("WRITE_GOLDEN"):
        GOLDEN.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n")
    assert found == json.loads(GOLDEN.read_text())
    assert len(found["assets"]) == 20 and len(found["checks"]) == 14


def test_every_asset_has_a_description_an_owner_a_group_and_a_kind(tmp_path: Path) -> None:
    write(tmp_path, RECIPE)
    graph = of_folder(tmp_path).resolve_asset_graph()
    for node in graph.asset_nodes:
        assert node.description and len(node.description) > 30, node.key
        assert node.owners and node.kinds and node.group_name, node.key
        assert not node.is_materializable or node.code_version, node.key


def test_a_recipe_dropped_into_the_folder_appears_without_code(tmp_path: Path) -> None:
    write(tmp_path, RECIPE)
    before = {key.path[0] for key in of_folder(tmp_path).resolve_asset_graph().get_all_asset_keys()}
    write(tmp_path, {**RECIPE, "name": "another"})
    after = {key.path[0] for key in of_folder(tmp_path).resolve_asset_graph().get_all_asset_keys()}
    assert before == {"snap_shot"} and after == {"snap_shot", "another"}


def test_a_broken_recipe_is_shown_with_its_message_and_the_others_stay(tmp_path: Path) -> None:
    write(tmp_path, RECIPE)
    write(tmp_path, {**RECIPE, "windwo": 4096}, "typo-in-it")
    (tmp_path / "no-yaml.yml").write_text("name: [unclosed")
    definitions = of_folder(tmp_path)
    graph = definitions.resolve_asset_graph()
    broken = {
        key.path[1]: graph.get(key) for key in graph.get_all_asset_keys() if key.path[0] == "broken_recipe"
    }
    assert sorted(broken) == ["no_yaml", "typo_in_it"]
    assert "did you mean 'window'?" in (broken["typo_in_it"].description or "")
    assert not any(node.is_materializable for node in broken.values())
    assert "snap_shot_build" in {job.name for job in definitions.resolve_all_job_defs()}


def test_two_recipes_that_are_one_name_to_dagster_leave_the_first_and_explain_the_second(
    tmp_path: Path,
) -> None:
    write(tmp_path, RECIPE, "a")
    write(tmp_path, {**RECIPE, "name": "snap_shot"}, "b")
    first, second = find_recipes(tmp_path)
    assert first.recipe is not None and second.recipe is None
    assert "taken by a.yaml" in second.problem and "another name" in second.problem
    graph = of_folder(tmp_path).resolve_asset_graph()
    assert {key.path[0] for key in graph.get_all_asset_keys()} == {"snap_shot", "broken_recipe"}


def test_an_empty_folder_is_an_empty_code_location(tmp_path: Path) -> None:
    assert described(of_folder(tmp_path)) == {
        "assets": {},
        "checks": {},
        "jobs": [],
        "schedules": {},
        "sensors": {},
    }


def test_the_shipped_recipes_are_whole() -> None:
    found = find_recipes(recipe_folder())
    assert found and [entry.problem for entry in found if entry.recipe is None] == []


def imported_by_loading(folder: Path, before: str = "pass") -> set[str]:
    """The heavy libraries, and the modules of the stages' code, that a fresh process has imported once the code
    location of this folder is loaded and everything in it was looked at."""
    code = (
        f"import sys; {before}; import pipelines.definitions as d; d.defs.resolve_all_job_defs(); "
        "d.defs.resolve_asset_graph(); "
        f"print(*(name for name in sys.modules if name in {(*HEAVY, *ONLY_TO_RUN)!r}))"
    )
    environment = {**os.environ, "TOKENMILL_RECIPES": str(folder)}
    ended = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False, env=environment
    )
    assert ended.returncode == 0, ended.stderr
    return set(ended.stdout.split())


def test_loading_the_definitions_imports_nothing_that_only_a_run_needs(tmp_path: Path) -> None:
    """Neither of the shipped recipes, nor of one that uses every part that a recipe can have."""
    assert find_recipes(recipe_folder())
    assert imported_by_loading(recipe_folder()) == set()
    write(tmp_path, EVERYTHING)
    assert [entry.problem for entry in find_recipes(tmp_path)] == [""]
    assert imported_by_loading(tmp_path) == set()


@pytest.mark.parametrize("module", ["numpy", "tokenization.stages.documents", "tokenization.build.proof"])
def test_what_would_be_imported_while_loading_is_noticed(tmp_path: Path, module: str) -> None:
    write(tmp_path, RECIPE)
    assert module in imported_by_loading(tmp_path, f"import {module}")


def test_asking_for_help_imports_neither_dagster_nor_the_heavy_libraries() -> None:
    code = (
        "import sys; from click.testing import CliRunner; from pipelines.cli import main; "
        "assert CliRunner().invoke(main, ['build', '--help']).exit_code == 0; "
        f"print([name for name in {('dagster', *HEAVY)!r} if name in sys.modules])"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (ended.returncode, ended.stdout.strip()) == (0, "[]"), ended.stderr


def test_workspace_yaml_and_pyproject_name_the_same_code_location() -> None:
    """Without -w, `[tool.dg]` silently beats workspace.yaml, so the two must not differ."""
    (entry,) = yaml.safe_load((ROOT / "workspace.yaml").read_text())["load_from"]
    module = entry["python_module"]
    tool = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["dg"]
    project = tool["project"]
    assert tool["directory_type"] == "project"
    assert module["module_name"] == project["code_location_target_module"] == "pipelines.definitions"
    assert module["location_name"] == project["code_location_name"]
    assert module["working_directory"] == "."
    assert project["root_module"] == "pipelines"


def test_the_instance_is_made_on_first_use_quiet_and_absolute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pipelines.home import dagster_home

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DAGSTER_HOME", "")
    home = dagster_home()
    assert home == tmp_path / ".tokenmill" / "dagster" and os.environ["DAGSTER_HOME"] == str(home)
    settings = yaml.safe_load((home / "dagster.yaml").read_text())
    assert settings["telemetry"] == {"enabled": False} and settings["nux"] == {"enabled": False}
    (home / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    dagster_home()
    assert (home / "dagster.yaml").read_text() == "telemetry: {enabled: false}\n", (
        "people's own settings stay"
    )


def test_the_page_and_the_command_run_the_same_graph(good: Project) -> None:
    from pipelines.code_location import of_recipe
    from tokenization.recipe.load import load_recipe

    alone = described(of_recipe(load_recipe(good.path), good.path))
    assert alone == described(of_folder(good.folder))


@pytest.mark.slow
def test_several_first_uses_of_one_home_at_once_all_end_well(tmp_path: Path) -> None:
    """One of them lays out the databases; left alone they trip over each other's tables."""
    home = tmp_path / "home"
    code = (
        "from pipelines.home import dagster_home; dagster_home(); import dagster as dg; "
        "print(len(dg.DagsterInstance.get().get_runs()))"
    )
    environment = {**os.environ, "DAGSTER_HOME": str(home), "PYTHONPATH": str(ROOT)}
    uses = [
        subprocess.Popen([sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, text=True)
        for _ in range(5)
    ]
    assert [(use.communicate(timeout=120)[0], use.returncode) for use in uses] == [("0\n", 0)] * 5
    assert (home / ".ready").exists() and (home / "dagster.yaml").is_file()
