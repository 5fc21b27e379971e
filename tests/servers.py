"""Real servers for tests that need one, on loopback, ended by their own process."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import Request, urlopen

import yaml

ROOT = Path(__file__).resolve().parents[1]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until(ready: Callable[[], bool], what: str, seconds: float = 300) -> None:
    """Ask again and again, for so long: much longer than it takes, because a machine may be busy."""
    deadline = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < deadline, f"{what}: not within {seconds} s"
        time.sleep(0.1)


def answers(url: str) -> bool:
    try:
        with urlopen(url, timeout=2):
            return True
    except (URLError, OSError):
        return False


@contextmanager
def process(
    command: list[str],
    log: Path,
    environment: dict[str, str] | None = None,
    *,
    folder: Path | None = None,
    ended_by: signal.Signals = signal.SIGTERM,
) -> Iterator[subprocess.Popen[bytes]]:
    """A process whose words go to a file; ended with the block, killed where it does not listen."""
    with log.open("ab") as words:
        running = subprocess.Popen(
            command, stdout=words, stderr=words, cwd=folder, env={**os.environ, **(environment or {})}
        )
        try:
            yield running
        finally:
            running.send_signal(ended_by)
            try:
                running.wait(timeout=30)
            except subprocess.TimeoutExpired:
                running.kill()
                running.wait()


@contextmanager
def s3_server(folder: Path) -> Iterator[dict[str, str]]:
    """An S3 server with nothing in it; the variables that lead botocore, and so s3fs, to it."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with process(command, folder / "s3.log"):
        wait_until(lambda: answers(f"{url}/moto-api/"), "the S3 server")
        forget_s3()  # a connection to a server of an earlier test, which has ended
        yield {
            "AWS_ENDPOINT_URL": url,
            "AWS_ACCESS_KEY_ID": "testing",
            "AWS_SECRET_ACCESS_KEY": "testing",
            "AWS_DEFAULT_REGION": "us-east-1",
        }


def forget_s3() -> None:
    """Drop the connections that s3fs keeps in this process: it knows them by their options, not by the variables."""
    import s3fs

    s3fs.S3FileSystem.clear_instance_cache()


def postgres_programs() -> Path | None:
    """The folder with PostgreSQL's server programs, or None where there are none."""
    needed = ("initdb", "postgres", "pg_isready")
    found = shutil.which("initdb")
    folders = [Path(found).resolve().parent] if found else []
    folders += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next((folder for folder in folders if all((folder / name).is_file() for name in needed)), None)


@contextmanager
def postgres_server(programs: Path, log: Path) -> Iterator[dict[str, str]]:
    """A PostgreSQL cluster of its own, on loopback; the variables that `deploy/dagster.yaml` reads."""
    port, folder = free_port(), Path(tempfile.mkdtemp(prefix="tokenmill-pg-"))  # short: it holds a socket
    owner: list[str] = []
    if os.geteuid() == 0:  # the server refuses to run as root
        shutil.chown(folder, "nobody")
        owner = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"]
    password = folder / "password"
    password.write_text("a test's password\n")
    password.chmod(0o644)
    data = folder / "data"
    layout = ["-D", str(data), "-U", "dagster", "-A", "scram-sha-256", f"--pwfile={password}", "-N"]
    tuned = ["-c", "listen_addresses=127.0.0.1", "-c", f"unix_socket_directories={folder}", "-c", "fsync=off"]
    asked = [str(programs / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(port)]
    command = [*owner, str(programs / "postgres"), "-D", str(data), "-p", str(port), *tuned]
    try:
        made = subprocess.run(
            [*owner, str(programs / "initdb"), *layout, "-E", "UTF8", "--no-locale"],
            capture_output=True,
            text=True,
            check=False,
        )
        assert made.returncode == 0, made.stdout + made.stderr
        with process(command, log, folder=folder, ended_by=signal.SIGINT):
            wait_until(lambda: subprocess.run(asked, check=False).returncode == 0, "PostgreSQL")
            yield {
                "POSTGRES_HOST": "127.0.0.1",
                "POSTGRES_PORT": str(port),
                "POSTGRES_DB": "postgres",
                "POSTGRES_USER": "dagster",
                "POSTGRES_PASSWORD": "a test's password",
            }
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@dataclass
class Page:
    """A Dagster page and what it is asked over GraphQL."""

    url: str
    checks: dict[str, Callable[[], bool]] = field(default_factory=dict)  # service -> its own health check

    def ask(self, query: str, **variables: Any) -> dict[str, Any]:
        content = json.dumps({"query": query, "variables": variables}).encode()
        request = Request(f"{self.url}/graphql", content, {"Content-Type": "application/json"})
        with urlopen(request, timeout=60) as answer:
            told = json.loads(answer.read())
        assert "errors" not in told, told["errors"]
        return dict(told["data"])

    def launch(self, job: str, config: dict[str, Any] | None = None) -> str:
        """Start a job as the page does; the run's id."""
        selector = {
            "repositoryName": "__repository__",
            "repositoryLocationName": "tokenmill",
            "jobName": job,
        }
        told = self.ask(
            """mutation ($parameters: ExecutionParams!) { launchRun(executionParams: $parameters) {
                __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message }
                ... on RunConfigValidationInvalid { errors { message } } } }""",
            parameters={"selector": selector, "runConfigData": config or {}},
        )["launchRun"]
        assert told["__typename"] == "LaunchRunSuccess", told
        return str(told["run"]["runId"])

    def status(self, run: str) -> str:
        query = "query ($run: ID!) { runOrError(runId: $run) { ... on Run { status } } }"
        return str(self.ask(query, run=run)["runOrError"]["status"])

    def messages(self, run: str) -> list[str]:
        query = """query ($run: ID!) { logsForRun(runId: $run) {
            ... on EventConnection { events { ... on MessageEvent { message } } } } }"""
        return [event.get("message", "") for event in self.ask(query, run=run)["logsForRun"]["events"]]

    def cancel(self, run: str) -> None:
        """What the page's Terminate does."""
        told = self.ask("mutation ($run: String!) { terminateRun(runId: $run) { __typename } }", run=run)[
            "terminateRun"
        ]
        assert told["__typename"] == "TerminateRunSuccess", told

    def ended(self, run: str, seconds: float = 600) -> str:
        """How the run ended, waited for."""
        wait_until(lambda: self.status(run) in ("SUCCESS", "FAILURE", "CANCELED"), f"run {run}", seconds)
        return self.status(run)


@contextmanager
def dagster_services(folder: Path, environment: dict[str, str]) -> Iterator[Page]:
    """Code location, page and daemon with the very commands of `deploy/docker-compose.yaml`, on loopback, here."""
    services = yaml.safe_load((ROOT / "deploy" / "docker-compose.yaml").read_text())["services"]
    code_port, page_port = free_port(), free_port()
    environment = {
        **environment,
        "PYTHONPATH": os.pathsep.join([str(ROOT), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]),
        "CODE_HOST": "127.0.0.1",
        "CODE_PORT": str(code_port),
        "TOKENIZERS_PARALLELISM": "false",
    }
    words = {"0.0.0.0": "127.0.0.1", "4000": str(code_port), "3000": str(page_port)}
    words["deploy/workspace.yaml"] = str(ROOT / "deploy" / "workspace.yaml")
    page = Page(f"http://127.0.0.1:{page_port}")

    def here(command: list[str]) -> list[str]:
        """A command of the compose file, on loopback and these ports."""
        command = [words.get(word, word.replace(":3000", f":{page_port}")) for word in command]
        return [str(Path(sys.executable).with_name(command[0])), *command[1:]]

    def service(name: str) -> AbstractContextManager[Any]:
        command = here(services[name]["command"])
        return process(command, folder / f"{name}.log", environment, folder=folder, ended_by=signal.SIGINT)

    def is_healthy(name: str) -> bool:
        check = here(services[name]["healthcheck"]["test"][1:])
        ended = subprocess.run(check, env={**os.environ, **environment}, capture_output=True, check=False)
        return ended.returncode == 0

    page.checks = {name: partial(is_healthy, name) for name in ("code", "webserver", "daemon")}

    try:
        with service("code") as code:
            wait_until(lambda: page.checks["code"]() or code.poll() is not None, "the code location")
            assert code.poll() is None, (folder / "code.log").read_text()[-2000:]
            with service("webserver"), service("daemon"):
                wait_until(lambda: answers(f"{page.url}/server_info"), "the page")
                yield page
    finally:
        for left in working_in(folder):  # runs outlive the service that started them
            os.kill(left, signal.SIGKILL)


def working_in(folder: Path) -> list[int]:
    """Ids of the processes whose current folder this is."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if (process / "cwd").resolve() == folder.resolve() and int(process.name) != os.getpid():
                found.append(int(process.name))
        except OSError:
            continue
    return found
