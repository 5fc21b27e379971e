"""A page to work on: a small project named demo, the real `dagster dev` on loopback, and what GraphQL says of it."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import yaml
from small_recipes import chat_source, json_lines, paragraph, question_rows, text_source

ROOT = Path(__file__).resolve().parents[2]
ROLES = {"背景": "background", "旁白": "narrator", "事件": "event"}
T = TypeVar("T")


def demo_project(folder: Path, tokenizer: Path) -> Path:
    """Recipes, data and an empty home in `folder`: books and pages to read, questions, the demo's own sessions."""
    data = folder / "data"
    (data / "library").mkdir(parents=True)
    chance = random.Random(11)
    for number in range(12):
        (data / "library" / f"book-{number:02}.md").write_text(paragraph(chance, 60))
    rows = [{"id": f"page-{number}", "text": paragraph(chance, 8)} for number in range(80)]
    (data / "web.jsonl").write_text(json_lines(rows))
    (data / "questions.jsonl").write_text(json_lines(question_rows()))
    shutil.copyfile(ROOT / "demo" / "sessions.jsonl", data / "sessions.jsonl")
    recipe = {
        "name": "demo",
        "window": 512,
        "tokenizer": {
            "path": str(tokenizer),
            "add_special_tokens": [f"<|{word}|>" for word in ROLES.values()],
        },
        "chat": {
            "template": "chatml",
            "default_system": "none",
            "roles": {role: {"header": f"<|{word}|>", "trained": False} for role, word in ROLES.items()},
        },
        "sources": [
            text_source("library", "../data/library"),
            text_source("web", "../data/web.jsonl", licence="CC0-1.0"),
            chat_source("questions", "../data/questions.jsonl"),
            chat_source("sessions", "../data/sessions.jsonl"),
        ],
        "mixture": {"pretrain_share": 0.15},
        "validation": 0.1,
        "train": {"model": "demo", "steps": 4000},
        "schedule": "0 2 * * *",
    }
    (folder / "recipes").mkdir()
    (folder / "recipes" / "demo.yaml").write_text(yaml.safe_dump(recipe, allow_unicode=True, sort_keys=False))
    return folder


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Page:
    """`dagster dev` on a project, and its GraphQL."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, free_port()
        environment = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "TOKENMILL_RECIPES": str(folder / "recipes"),
            "TOKENMILL_STORE": str(folder / "store"),
            "DAGSTER_HOME": str(folder / "dagster"),
            "OMP_NUM_THREADS": "1",
        }
        self.log = open(folder / "dagster-dev.log", "wb")  # noqa: SIM115  # as long as the server lives
        command = [sys.executable, "-m", "pipelines.page", "--port", str(self.port)]
        self.server = subprocess.Popen(
            command,
            cwd=folder,
            env=environment,
            stdout=self.log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Wait until the code location is there."""
        self.wait_for("the code location", lambda: "demo_build" in self.jobs(), seconds=180)

    def stop(self) -> None:
        os.kill(self.server.pid, signal.SIGINT)
        try:
            self.server.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(self.server.pid, signal.SIGKILL)
        self.log.close()

    def ask(self, query: str, **variables: Any) -> Any:
        """The answer's `data`; the size of the last answer is in `self.size`."""
        body = json.dumps({"query": query, "variables": variables}).encode()
        request = urllib.request.Request(
            f"{self.address}/graphql", body, {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            text = answer.read()
        self.size = len(text)
        told = json.loads(text)
        assert "errors" not in told, told
        return told["data"]

    def launch(self, job: str) -> str:
        """Start a job as the page's button does; the run."""
        selector = {
            "repositoryName": "__repository__",
            "repositoryLocationName": "tokenmill",
            "jobName": job,
        }
        told = self.ask(
            """mutation ($parameters: ExecutionParams!) { launchRun(executionParams: $parameters) {
                __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } } }""",
            parameters={"selector": selector, "runConfigData": {}},
        )["launchRun"]
        assert told["__typename"] == "LaunchRunSuccess", told
        return str(told["run"]["runId"])

    def jobs(self) -> list[str]:
        try:
            told = self.ask("{repositoriesOrError{...on RepositoryConnection{nodes{jobs{name}}}}}")
        except OSError:
            return []
        nodes = told["repositoriesOrError"].get("nodes", [])
        return [job["name"] for node in nodes for job in node["jobs"]]

    def made(self) -> dict[str, int]:
        """How often each asset was materialised."""
        query = "{assetNodes{assetKey{path} isMaterializable assetMaterializations(limit:50){runId}}}"
        return {
            "/".join(node["assetKey"]["path"][1:]): len(node["assetMaterializations"])
            for node in self.ask(query)["assetNodes"]
            if node["isMaterializable"]
        }

    def checks(self) -> dict[str, str]:
        """The candidate's checks and how each last ended."""
        query = (
            '{assetNodeOrError(assetKey:{path:["demo","candidate"]}){...on AssetNode{assetChecksOrError{'
            "...on AssetChecks{checks{name executionForLatestMaterialization{status}}}}}}}"
        )
        checks = self.ask(query)["assetNodeOrError"]["assetChecksOrError"]["checks"]
        return {
            check["name"]: (check["executionForLatestMaterialization"] or {}).get("status", "")
            for check in checks
        }

    def reused(self, run: str) -> dict[str, bool]:
        """Of what the run materialised: whether the store had it already."""
        query = (
            "query($run:ID!){runOrError(runId:$run){...on Run{assetMaterializations{assetKey{path} metadataEntries{"
            "label ...on BoolMetadataEntry{boolValue}}}}}}"
        )
        return {
            "/".join(event["assetKey"]["path"][1:]): entry["boolValue"]
            for event in self.ask(query, run=run)["runOrError"]["assetMaterializations"]
            for entry in event["metadataEntries"]
            if entry["label"] == "reused"
        }

    def runs(self) -> list[dict[str, Any]]:
        """Newest first."""
        query = "{runsOrError(limit:50){...on Runs{results{runId jobName status tags{key value}}}}}"
        return list(self.ask(query)["runsOrError"]["results"])

    def ended(self, run: str, seconds: float = 300) -> str:
        """How the run ended."""
        self.wait_for("end of the run", self.at_rest, seconds)
        return next(str(each["status"]) for each in self.runs() if each["runId"] == run)

    def worked(self, run: str) -> set[str]:
        """The steps that were begun, of those that the run planned."""
        query = "query($run:ID!){runOrError(runId:$run){...on Run{stepStats{stepKey status startTime}}}}"
        told = self.ask(query, run=run)["runOrError"]["stepStats"]
        return {step["stepKey"] for step in told if step["startTime"] and step["status"] != "SKIPPED"}

    def freshness(self, name: str) -> str:
        """What the page says of the asset's freshness policy."""
        query = (
            "query($key:AssetKeyInput!){assetNodeOrError(assetKey:$key){...on AssetNode{"
            "freshnessStatusInfo{freshnessStatus}}}}"
        )
        told = self.ask(query, key={"path": ["demo", name]})["assetNodeOrError"]["freshnessStatusInfo"]
        return str(told["freshnessStatus"])

    def ticks(self, sensor: str) -> int:
        """How often the sensor has looked."""
        query = (
            'query($name:String!){sensorOrError(sensorSelector:{repositoryName:"__repository__",'
            'repositoryLocationName:"tokenmill",sensorName:$name}){...on Sensor{sensorState{ticks(limit:9){status}}}}}'
        )
        ticks = self.ask(query, name=sensor)["sensorOrError"]["sensorState"]["ticks"]
        return sum(tick["status"] in ("SUCCESS", "SKIPPED") for tick in ticks)

    def at_rest(self) -> bool:
        return all(run["status"] in ("SUCCESS", "FAILURE", "CANCELED") for run in self.runs())

    def published(self) -> str:
        return (self.folder / "builds" / "demo").resolve().name

    def wait_for(self, what: str, there: Callable[[], T], seconds: float = 120) -> T:
        """The first true answer; what was waited for and the server's last words where there is none."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            answer = there()
            if answer:
                return answer
            time.sleep(1)
        words = (self.folder / "dagster-dev.log").read_bytes()[-3000:].decode("utf-8", "replace")
        raise AssertionError(f"no {what} after {seconds:.0f} s; the server said: {words}")
