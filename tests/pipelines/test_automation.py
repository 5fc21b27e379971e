"""What is made again by itself: what differs, only that, and nothing behind a check that failed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from small_recipes import Project, chat_source, json_lines, text_source, web_rows

from assets import naming, raw
from assets.settings import Settings
from pipelines.code_location import of_recipe
from pipelines.sensors import sources_sensor
from tokenization.recipe.load import load_recipe
from tokenization.stages.workspace import Workspace


class Page:
    """The daemon's part of a page: ticks of the sensor and of the automation, and the runs they ask for."""

    def __init__(self, project: Project, instance: dg.DagsterInstance) -> None:
        self.project, self.instance = project, instance
        self.cursor: Any = None
        self.files: str | None = None
        self.failed: list[str] = []  # steps
        self.reload()

    def reload(self) -> None:
        """The recipe as it is on disk now."""
        self.recipe = load_recipe(self.project.path)
        self.definitions = of_recipe(self.recipe, self.project.path)

    def look(self) -> dict[str, dg.AssetMaterialization]:
        """One tick of the sources' sensor: what it reports, by source."""
        with dg.build_sensor_context(
            instance=self.instance, cursor=self.files, resources={"settings": self.settings}
        ) as context:
            result = sources_sensor(self.recipe, str(self.project.path))(context)
        if isinstance(result, dg.SkipReason):
            return {}
        assert isinstance(result, dg.SensorResult)
        self.files = result.cursor
        for event in result.asset_events:
            assert isinstance(event, dg.AssetMaterialization)
            self.instance.report_runless_asset_event(event)
        return {event.asset_key.path[-1]: event for event in result.asset_events}

    @property
    def settings(self) -> Settings:
        return Settings(store=str(self.project.folder / "store"), out=str(self.project.out), workers=1)

    def tick(self) -> set[str]:
        """One tick of the automation, and the runs that it asks for; the assets they were for."""
        result = dg.evaluate_automation_conditions(self.definitions, self.instance, cursor=self.cursor)
        self.cursor = result.cursor
        graph = self.definitions.resolve_asset_graph()
        asked = {
            key
            for asking in graph_keys(self.definitions)
            if result.get_requested_partitions(asking)
            for key in graph.get(asking).execution_set_asset_keys  # what one step makes together
        }
        if asked:
            job = self.definitions.resolve_implicit_global_asset_job_def()
            self.ran = job.execute_in_process(
                instance=self.instance,
                asset_selection=sorted(asked),
                run_config={"resources": {"settings": {"config": self.settings.model_dump()}}},
                raise_on_error=False,
            )
            self.failed += [step.step_key for step in self.ran.all_events if step.is_step_failure]
        return {"/".join(key.path[1:]) for key in asked}

    def settle(self) -> list[set[str]]:
        """Ticks until nothing is asked for; what each asked for."""
        waves = []
        for _ in range(12):
            wave = self.tick()
            if not wave:
                return waves
            waves.append(wave)
        raise AssertionError(f"it never rests: {waves}")


def graph_keys(definitions: dg.Definitions) -> list[dg.AssetKey]:
    graph = definitions.resolve_asset_graph()
    return [key for key in graph.get_all_asset_keys() if graph.get(key).automation_condition is not None]


@pytest.fixture
def page(mine: Project) -> Iterator[Page]:
    """The built project, seen by sensor and automation once, at rest."""
    with dg.DagsterInstance.from_config(str(mine.folder / "dagster")) as instance:
        page = Page(mine, instance)
        page.look()
        page.tick()
        page.settle()
        yield page


def published(project: Project) -> str:
    return project.out.resolve().name


def test_what_did_not_change_is_left_alone_a_touched_file_too(page: Page) -> None:
    path = page.project.folder / "data" / "web.jsonl"
    os.utime(path, ns=(1, 1))
    assert page.look() == {} and page.tick() == set()


def test_a_new_file_is_named_and_only_its_part_is_made_again(page: Page) -> None:
    before = published(page.project)
    page.project.file("data/books/new.txt", "A book that nobody has seen before, about a lighthouse. " * 12)
    seen = page.look()
    assert list(seen) == ["books"]
    assert seen["books"].metadata["files_new"].value == 1 and "new.txt" in (seen["books"].description or "")
    waves = page.settle()
    assert waves[0] == {"documents/books"}
    made = set().union(*waves)
    untouched = {"documents/web", "sessions/questions", "sessions/talks", "tokens/questions", "tokens/talks"}
    assert {"selection", "tokens/books", "windows", "candidate", "dataset"} <= made and not made & untouched
    assert published(page.project) != before and page.failed == []
    assert [("candidate" in wave) for wave in waves].count(True) == 1, "once, after all that it is made from"
    again = page.project.built()
    assert again["reused"] and again["fingerprint"] == published(page.project), "nothing was left out of date"


def test_texts_and_chats_that_change_in_one_look_are_made_again_in_order_each_once(page: Page) -> None:
    """The draw waits for both, and the texts' tokens for the draw, two steps further on: none may be early."""
    page.project.file("data/books/new.txt", "A book that nobody has seen before, about a lighthouse. " * 40)
    talks = page.project.folder / "data" / "talks.jsonl"
    rows = talks.read_text(encoding="utf-8").splitlines()
    page.project.file("data/talks.jsonl", "\n".join(rows[:-20]) + "\n")
    assert sorted(page.look()) == ["books", "talks"]
    waves = page.settle()
    assert page.failed == [], f"asked for before what they are made from: {page.failed} in {waves}"
    made = [name for wave in waves for name in wave]
    assert sorted(made) == sorted(set(made)), f"made twice: {waves}"
    assert {"documents/books", "sessions/talks", "draw", "tokens/books", "tokens/talks", "dataset"} <= set(
        made
    )
    again = page.project.built()
    assert again["reused"] and again["fingerprint"] == published(page.project), "nothing was left out of date"


def sessions_about(what: str, count: int) -> list[dict[str, Any]]:
    """Short sessions that no other source has."""
    return [
        {
            "id": f"{what}-{number}",
            "messages": [
                {"role": "user", "content": f"Where do the {what} of garden {number} lead?"},
                {"role": "assistant", "content": f"The {what} end behind bridge {number}, by the harbour."},
            ],
        }
        for number in range(count)
    ]


@pytest.mark.slow
def test_where_many_sources_are_gathered_a_new_file_still_makes_only_its_part_again(new_project: Any) -> None:
    few = new_project().recipe["sources"]
    more = [
        text_source("shelf", "data/books/book-*.txt"),
        chat_source("rounds", "data/rounds.jsonl"),
        chat_source("visits", "data/visits.jsonl"),
    ]
    project = new_project(sources=[*few, *more])
    for name in ("rounds", "visits"):
        project.file(f"data/{name}.jsonl", json_lines(sessions_about(name, 12)))
    project.built()
    with dg.DagsterInstance.from_config(str(project.folder / "dagster")) as instance:
        page = Page(project, instance)
        page.look(), page.tick(), page.settle()
        before = published(project)
        project.file("data/visits.jsonl", json_lines(sessions_about("visits", 13)))
        assert list(page.look()) == ["visits"]
        waves = page.settle()
    made = [name for wave in waves for name in wave]
    assert page.failed == [] and sorted(made) == sorted(set(made)), f"made twice: {waves}"
    gathered = {name for name in made if name.split("/")[0] in ("items", "chat_tokens", "text_tokens")}
    assert {"items/1_to_7", "items/4_to_7", "chat_tokens/1_to_4"} <= gathered
    others = {source["name"] for source in project.recipe["sources"]} - {"visits"}
    assert {"sessions/visits", "tokens/visits", "selection", "windows", "dataset"} <= set(made)
    assert not {f"{what}/{name}" for what in ("documents", "sessions") for name in others} & set(made)
    assert not {f"tokens/{source['name']}" for source in few[2:]} & set(made), "other chats' tokens stay"
    assert published(project) != before
    again = project.built()
    assert again["reused"] and again["fingerprint"] == published(project), "nothing was left out of date"


@pytest.mark.slow
def test_changed_and_vanished_files_are_told_apart(page: Page) -> None:
    books = page.project.folder / "data" / "books"
    (books / "book-3.txt").unlink()
    page.project.file("data/books/book-4.txt", "Quite another book. " * 30)
    (seen,) = page.look().values()
    numbers = {name: seen.metadata[f"files_{name}"].value for name in ("new", "changed", "vanished")}
    assert numbers == {"new": 0, "changed": 1, "vanished": 1}
    assert "book-3.txt" in (seen.description or "") and "book-4.txt" in (seen.description or "")


@pytest.mark.slow
def test_a_wave_ends_where_a_step_gives_what_it_gave_before(page: Page) -> None:
    """Other white space around the rows' JSON is another file and the same documents."""
    rows = json_lines(web_rows()) + "{broken\n"
    page.project.file("data/web.jsonl", rows.replace('{"id": "page-1"', '{ "id": "page-1"'))
    assert list(page.look()) == ["web"]
    waves = page.settle()
    assert waves[0] == {"documents/web"} and "tokens/talks" not in set().union(*waves)


def test_a_broken_source_fails_a_check_and_the_dataset_stays_as_it_was(page: Page) -> None:
    before = published(page.project)
    good = (page.project.folder / "data" / "web.jsonl").read_text()
    page.project.file(
        "data/web.jsonl",
        "".join(line[:-3] + "\n" if i % 4 else line + "\n" for i, line in enumerate(good.splitlines())),
    )
    page.look()
    made = set().union(*page.settle())
    assert "candidate" in made and "dataset" not in made and "loss_mask_preview" not in made
    assert published(page.project) == before
    (told,) = page.instance.fetch_observations(naming.key(page.recipe, "dataset"), limit=1).records
    observation = told.asset_observation
    assert observation is not None and observation.metadata["failed_checks"].value == "sources_readable"
    assert before in str(observation.metadata["last_good_build"].value)
    page.project.file("data/web.jsonl", good)
    page.look()
    mended = set().union(*page.settle())
    assert "dataset" in mended and published(page.project) == before, "the same data is the same build"


@pytest.mark.slow
def test_a_vanished_source_fails_its_own_step_and_nothing_behind_it_runs(page: Page) -> None:
    before = published(page.project)
    (page.project.folder / "data" / "web.jsonl").unlink()
    (seen,) = page.look().values()
    assert "no file matches" in str(seen.metadata["problem"].value)
    assert page.settle() == [{"documents/web"}] and published(page.project) == before


@pytest.mark.slow
def test_an_edited_recipe_makes_again_what_its_keys_decide(page: Page) -> None:
    page.project.save(seed=18)
    page.reload()
    made = set().union(*page.settle())
    assert {"selection", "windows", "candidate", "dataset"} <= made
    assert not any(name.startswith(("documents/", "sessions/")) for name in made)


def test_the_checkpoint_is_never_automatic(new_project: Any) -> None:
    project = new_project(train={"model": "demo", "steps": 1})
    definitions = of_recipe(load_recipe(project.path), project.path)
    names = {"/".join(key.path[1:]) for key in graph_keys(definitions)}
    assert "dataset" in names and not names & {"checkpoint", "evaluation"}


def test_files_of_an_object_store_are_noticed_by_content(new_project: Any) -> None:
    import fsspec

    store = fsspec.filesystem("memory")
    store.pipe("/bucket/pages/a.jsonl", json_lines(web_rows()[:20]).encode())
    project = new_project(sources=[text_source("pages", "memory://bucket/pages")], mixture=None, chat=None)
    with dg.DagsterInstance.ephemeral() as instance:
        page = Page(project, instance)
        assert page.look()["pages"].metadata["files"].value == 1 and page.look() == {}
        store.pipe("/bucket/pages/b.jsonl", json_lines(web_rows()[20:30]).encode())
        assert page.look()["pages"].description == "1 new: b.jsonl"
        store.pipe("/bucket/pages/a.jsonl", json_lines(web_rows()[:21]).encode())
        assert page.look()["pages"].description == "1 changed: a.jsonl"
        store.rm("/bucket/pages/b.jsonl")
        assert page.look()["pages"].description == "1 vanished: b.jsonl"


def test_the_cursor_stays_small_where_a_source_has_very_many_files() -> None:
    from pipelines.sensors import MOST_NAMED, remembered

    many = {f"file-{number}.txt": "0" * 16 for number in range(MOST_NAMED + 1)}
    assert remembered(raw.RawFiles("f", many, 1))["digests"] is None
    few = dict(list(many.items())[:3])
    assert remembered(raw.RawFiles("f", few, 1))["digests"] == few


# -- code versions --------------------------------------------------------------------------------------------

CHANGES = (
    *("seed=3", "window=256", "validation=0.2", "cleaning.exact_dedup=false", "cleaning.unicode=none"),
    *("cleaning.min_characters=40", "cleaning.near_dedup=0.8", "cleaning.rules=[gopher]"),
    *("chat.loss_on=last_answer", "chat.train_on_prompt=auto", "chat.default_system=Hi.", "sft.layout=rows"),
    *("chat.roles.oracle.header=oracle", "pretrain.packing=best_fit", "mixture.pretrain_share=0.12"),
    *(
        "mixture.unit=target_tokens",
        "sources.web.limit=20",
        "sources.talks.weight=2",
        "sources.web.text_field=text",
    ),
    *("sources.questions.role_names.x=user", "tokenizer.add_special_tokens=['<|x|>']", "chat.overlong=split"),
)


def code_versions(recipe: Any, path: Path) -> dict[dg.AssetKey, str | None]:
    graph = of_recipe(recipe, path).resolve_asset_graph()
    return {node.key: node.code_version for node in graph.asset_nodes}


@pytest.mark.parametrize("change", CHANGES)
def test_no_stage_s_result_moves_with_a_key_of_the_recipe_that_its_code_version_leaves_out(
    good: Project, change: str
) -> None:
    """A stage's own parameters, beside the results before it, which the graph's edges carry."""
    recipe, changed = load_recipe(good.path), load_recipe(good.path, [change])
    before, after = code_versions(recipe, good.path), code_versions(changed, good.path)
    base, moved = good.workspace(), Workspace(changed, good.workspace().store, good.out)
    moved._found.update(
        {node: base.result(*node) for node in base.nodes()}
    )  # the stages before it, as they were
    touched = [node for node in base.nodes() if moved.key(*node) != base.key(*node)]
    assert touched, "a change that changes nothing shows nothing"
    names = {"preview": "loss_mask_preview"}
    for stage, name in touched:
        key = naming.node_key(recipe, names.get(stage, stage), name)
        assert before[key] != after[key], f"{change} moves {stage} {name}"
