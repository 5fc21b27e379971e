"""What somebody who was never here can do in the page, in a real browser against the real `dagster dev`.

Open, find the demo's graph, materialise it, watch it, open a preview and see coloured tokens; break a source and see
the dataset stay as it was, mend it; switch the automation on, drop a file and see only its part made again; cancel a
training.
One command: `make test-page`. Pictures go to TOKENMILL_PICTURES, or away.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from page_stage import Page, demo_project
from small_recipes import paragraph, write_tokenizer
from stranger import Stranger, browser_or_skip

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    browser_or_skip()
    folder = tmp_path_factory.mktemp("page")
    page = Page(demo_project(folder, write_tokenizer(folder / "tokenizer")))
    try:
        page.start()
        yield page
    finally:
        page.stop()


@pytest.fixture(scope="module")
def stranger(page: Page, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stranger]:
    pictures = os.environ.get("TOKENMILL_PICTURES")
    folder = tmp_path_factory.mktemp("browser")
    stranger = Stranger(page.address, folder / "profile", Path(pictures) if pictures else folder / "pictures")
    try:
        yield stranger
    finally:
        stranger.close()


def test_the_page_opens_and_the_graph_tells_the_stages(page: Page, stranger: Stranger) -> None:
    stranger.open("/")
    stranger.click("Lineage")
    stranger.reads(
        "Global asset lineage", "ingest", "select", "encode", "pack", "publish", "preview", "train"
    )
    time.sleep(2)  # the layout comes to rest
    stranger.picture("graph")


def test_the_demo_is_materialised_and_can_be_watched(page: Page, stranger: Stranger) -> None:
    stranger.open("/locations/tokenmill/jobs/demo_build")
    stranger.click("Materialize all")
    (run,) = page.wait_for("run", page.runs)
    stranger.open(f"/runs/{run['runId']}")
    stranger.reads("demo_build")
    page.wait_for("end of the first build", page.at_rest, seconds=420)
    assert page.runs()[0]["status"] == "SUCCESS"
    assert set(page.checks().values()) == {"SUCCEEDED"} and len(page.checks()) == 12
    page.wait_for("fresh dataset", lambda: page.freshness("dataset") == "HEALTHY", seconds=90)
    stranger.reads("Success", "Succeeded")
    stranger.picture("run")


def test_a_preview_opens_and_its_tokens_are_coloured(page: Page, stranger: Stranger) -> None:
    stranger.open("/assets/demo/loss_mask_preview")
    stranger.reads("loss_mask_preview", "Metadata", "sessions")
    stranger.sees("strips")
    stranger.picture("preview")
    colours = stranger.colours()
    assert colours["green"] > 500 and colours["grey"] > 500, (
        f"trained is green and the rest is grey: {colours}"
    )
    stranger.picture("tokens")


def test_a_broken_source_fails_a_check_and_the_page_says_what_stays_published(
    page: Page, stranger: Stranger
) -> None:
    before, good = page.published(), (page.folder / "data" / "web.jsonl").read_text()
    lines = good.splitlines()
    torn = "\n".join(line[: len(line) // 2] if i % 4 else line for i, line in enumerate(lines))
    (page.folder / "data" / "web.jsonl").write_text(torn + "\n")
    run = materialised(page, stranger, "demo_build")
    assert page.ended(run) == "FAILURE" and page.checks()["sources_readable"] == "FAILED"
    assert "demo__candidate" in page.worked(run) and "demo__dataset" not in page.worked(run)
    assert page.published() == before
    stranger.open("/assets/demo/candidate?view=checks&checkDetail=sources_readable")
    stranger.reads("sources_readable", "first_problem", "web")
    stranger.picture("check")
    stranger.open("/assets/demo/dataset?view=events")
    stranger.reads("was not published; the last good build stays")
    stranger.picture("kept-back")

    (page.folder / "data" / "web.jsonl").write_text(good)
    assert page.ended(materialised(page, stranger, "demo_build")) == "SUCCESS"
    assert page.published() == before, "the same data is the same build"
    assert set(page.checks().values()) == {"SUCCEEDED"}


def test_a_new_file_is_noticed_and_only_its_part_is_made_again(page: Page, stranger: Stranger) -> None:
    before, seen = page.published(), {run["runId"] for run in page.runs()}
    stranger.open("/automation")
    stranger.reads("demo_automation")
    stranger.switch("demo_automation")
    stranger.picture("automation")
    page.wait_for("first look of the automation", lambda: page.ticks("demo_automation") >= 2, seconds=90)
    page.wait_for("rest", page.at_rest)
    made = page.made()
    (page.folder / "data" / "library" / "lighthouse.md").write_text(paragraph(random.Random(23), 60))
    page.wait_for("new dataset", lambda: page.published() != before, seconds=300)
    page.wait_for("rest", page.at_rest)
    again = {name for name, count in page.made().items() if count > made[name]}
    runs = [run for run in reversed(page.runs()) if run["runId"] not in seen]
    assert runs and {run["status"] for run in runs} == {"SUCCESS"}
    anew = {name for run in runs for name, reused in page.reused(run["runId"]).items() if not reused}
    untouched = {
        "documents/web",
        "sessions/questions",
        "sessions/sessions",
        "tokens/questions",
        "tokens/sessions",
    }
    assert {"documents/library", "selection", "tokens/library", "windows", "candidate", "dataset"} <= again
    assert not again & untouched and {"documents/library", "tokens/library"} <= anew
    stranger.open("/assets/demo/raw/library?view=events")
    stranger.reads("1 new: lighthouse.md")
    stranger.picture("new-file")
    stranger.open("/runs")
    stranger.reads("automation")
    stranger.picture("automatic-runs")
    stranger.open("/automation")
    stranger.switch("demo_automation")


def test_a_training_is_cancelled_and_its_process_ends(page: Page, stranger: Stranger) -> None:
    stranger.open("/locations/tokenmill/jobs/demo_train")
    stranger.click("Materialize all")
    page.wait_for("trainer", lambda: trainers(page.folder), seconds=180)
    run = page.runs()[0]
    assert run["jobName"] == "demo_train"
    stranger.open(f"/runs/{run['runId']}")
    stranger.click("Terminate", "button")
    stranger.picture("terminate")
    stranger.click("Terminate 1 run", "button", exactly=False, seconds=20)
    began = time.monotonic()
    page.wait_for("end of the trainer", lambda: not trainers(page.folder), seconds=30)
    page.wait_for("cancelled run", lambda: page.runs()[0]["status"] == "CANCELED", seconds=30)
    assert time.monotonic() - began < 30
    assert not (page.folder / "runs" / "demo" / "summary.json").exists()
    stranger.reads("Canceled")
    stranger.picture("cancelled")


def materialised(page: Page, stranger: Stranger, job: str) -> str:
    """The job's button pressed; the run that it started."""
    seen = {run["runId"] for run in page.runs()}
    stranger.open(f"/locations/tokenmill/jobs/{job}")
    stranger.click("Materialize all")
    return str(
        page.wait_for("run", lambda: [each["runId"] for each in page.runs() if each["runId"] not in seen])[0]
    )


def trainers(folder: Path) -> list[int]:
    """Processes that train in this folder."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            command = (entry / "cmdline").read_bytes().split(b"\0")
            here = (entry / "cwd").resolve() == folder.resolve()
        except OSError:
            continue
        if here and b"training.train" in command:
            found.append(int(entry.name))
    return found
