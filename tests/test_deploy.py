"""What `deploy/` says holds together: every file, service, port, variable and command that it names is there.

Real processes with these very commands, on a real PostgreSQL, are in pipelines/test_operation.py.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from servers import free_port

ROOT = Path(__file__).resolve().parents[1]
DEPLOY = ROOT / "deploy"
COMPOSE: dict[str, Any] = yaml.safe_load((DEPLOY / "docker-compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = ("code", "webserver", "daemon")
DOCKERFILE = (DEPLOY / "Dockerfile").read_text()
SERVICE_KEYS = {
    "image", "build", "init", "restart", "environment", "command", "ports", "volumes", "depends_on", "healthcheck",
}  # fmt: skip  # the compose specification's, as far as we use it


def variables(path: Path) -> set[str]:
    """Every `{env: NAME}` of a Dagster file."""
    return set(re.findall(r"\{env: (\w+)\}", path.read_text()))


def test_the_compose_file_has_the_four_services_and_only_words_of_the_specification() -> None:
    assert set(SERVICES) == {"postgres", *OURS}
    assert set(COMPOSE) == {"name", "x-tokenmill", "services", "volumes"}
    for name, service in SERVICES.items():
        assert set(service) <= SERVICE_KEYS, name
        named = {volume.split(":")[0] for volume in service.get("volumes", ()) if volume[0] not in "./"}
        assert named <= set(COMPOSE["volumes"]), name
        assert set(service.get("depends_on", {})) <= set(SERVICES)
        for waited_for, target in service.get("depends_on", {}).items():
            assert target["condition"] == "service_healthy" and "healthcheck" in SERVICES[waited_for], name
    assert set(SERVICES["code"]["depends_on"]) == {"postgres"}
    assert all(set(SERVICES[name]["depends_on"]) == {"postgres", "code"} for name in ("webserver", "daemon"))


def test_every_service_has_the_variables_that_its_files_ask_for() -> None:
    asked = variables(DEPLOY / "dagster.yaml")
    assert asked == {f"POSTGRES_{part}" for part in ("HOST", "PORT", "DB", "USER", "PASSWORD")}
    for name in OURS:
        needed = asked | (variables(DEPLOY / "workspace.yaml") if name != "code" else set())
        assert needed <= set(SERVICES[name]["environment"]), name
    database = SERVICES["postgres"]["environment"]
    for name in OURS:
        for variable in ("POSTGRES_DB", "POSTGRES_USER", "POSTGRES_PASSWORD"):
            assert SERVICES[name]["environment"][variable] == database[variable]


def test_the_page_and_the_daemon_look_for_the_code_location_where_it_is() -> None:
    location = yaml.safe_load((DEPLOY / "workspace.yaml").read_text())["load_from"][0]["grpc_server"]
    command = SERVICES["code"]["command"]
    for name in ("webserver", "daemon"):
        told = SERVICES[name]["environment"]
        assert told["CODE_HOST"] == "code" and told["CODE_PORT"] == command[command.index("-p") + 1]
        assert SERVICES[name]["command"][-2:] == ["-w", "deploy/workspace.yaml"]
    assert location["location_name"] == "tokenmill"
    local = yaml.safe_load((ROOT / "workspace.yaml").read_text())["load_from"][0]["python_module"]
    assert command[command.index("-m") + 1] == local["module_name"]


def test_health_is_asked_where_the_services_listen() -> None:
    port = SERVICES["code"]["command"][SERVICES["code"]["command"].index("-p") + 1]
    assert SERVICES["code"]["healthcheck"]["test"][-2:] == ["-p", port]
    page = SERVICES["webserver"]["command"][SERVICES["webserver"]["command"].index("-p") + 1]
    assert f"http://127.0.0.1:{page}/" in SERVICES["webserver"]["healthcheck"]["test"][-1]
    assert all(service["healthcheck"]["test"][0] in ("CMD", "CMD-SHELL") for service in SERVICES.values())


@pytest.mark.slow
@pytest.mark.parametrize("name", OURS)
def test_where_nothing_runs_the_health_check_says_so(name: str, tmp_path: Path) -> None:
    """The very commands, on ports that nobody serves and on records without a heartbeat."""
    ports = {"4000": str(free_port()), "3000": str(free_port())}
    command = [
        ports.get(word, word.replace(":3000", f":{ports['3000']}"))
        for word in SERVICES[name]["healthcheck"]["test"][1:]
    ]
    told = subprocess.run(
        [str(Path(sys.executable).with_name(command[0])), *command[1:]],
        env={**os.environ, "DAGSTER_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert told.returncode != 0 and "No such command" not in told.stderr, told.stderr
    assert re.search("UNAVAILABLE|refused|not sent a heartbeat|not running|Unable", told.stdout + told.stderr)


@pytest.mark.slow
def test_what_the_image_copies_is_all_that_the_services_need(tmp_path: Path) -> None:
    """A folder with nothing else: the code location loads, command line and trainer answer."""
    for line in re.findall(r"^COPY (.+)$", DOCKERFILE, re.MULTILINE):
        *sources, target = line.split()
        for source in sources:
            place = tmp_path / target / (Path(source).name if target.endswith("/") else "")
            copy = shutil.copytree if (ROOT / source).is_dir() else shutil.copy2
            place.parent.mkdir(parents=True, exist_ok=True)
            copy(ROOT / source, place)
    environment = {**os.environ, "PYTHONPATH": str(tmp_path), "TOKENMILL_RECIPES": str(tmp_path / "recipes")}
    loaded = (
        "import pipelines.definitions as found; print(found.__file__); "
        "print(*sorted(job.name for job in found.defs.resolve_all_job_defs()))"
    )
    for command, told in (
        (["-c", loaded], ["demo_build", "demo_train", str(tmp_path)]),
        (["-m", "pipelines.cli", "build", "--help"], ["--engine"]),
        (["-m", "training.train", "--help"], ["--build"]),
        (["-m", "demo.stage", "--help"], ["usage"]),
    ):
        ended = subprocess.run(
            [sys.executable, *command],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert ended.returncode == 0, ended.stderr
        assert all(word.lower() in ended.stdout.lower() for word in told), ended.stdout


def test_only_the_page_is_reachable_and_only_from_this_machine() -> None:
    assert {name for name, service in SERVICES.items() if "ports" in service} == {"webserver"}
    assert SERVICES["webserver"]["ports"] == ["127.0.0.1:3000:3000"]
    assert "POSTGRES_PASSWORD: ${POSTGRES_PASSWORD:?" in (DEPLOY / "docker-compose.yaml").read_text()


def test_what_the_image_copies_is_there_and_what_is_mounted_belongs_to_its_user() -> None:
    for line in re.findall(r"^COPY (.+)$", DOCKERFILE, re.MULTILINE):
        for source in line.split()[:-1]:
            assert (ROOT / source).exists(), source
    packages = set(re.findall(r"^COPY (\w+) \1$", DOCKERFILE, re.MULTILINE))
    assert packages >= {"tokenization", "assets", "pipelines", "training"}
    owned = re.search(r"chown -R tokenmill (.+)", DOCKERFILE)
    assert owned
    for service in (SERVICES[name] for name in OURS):
        for volume in service.get("volumes", ()):
            target = volume.split(":")[1]
            assert target.endswith("recipes") or any(target.startswith(place) for place in owned[1].split())


@pytest.mark.slow
@pytest.mark.parametrize("name", OURS)
def test_every_command_knows_its_options(name: str) -> None:
    command = SERVICES[name]["command"]
    words = [word for word in command if not word.startswith("-")]
    subcommands = {"code": 3, "webserver": 1, "daemon": 2}[name]
    program = str(Path(sys.executable).with_name(command[0]))
    told = subprocess.run(
        [program, *words[1:subcommands], "--help"], capture_output=True, text=True, check=False
    )
    assert told.returncode == 0, told.stderr
    for option in (word for word in command if word.startswith("-")):
        assert re.search(rf"(^|[\s,]){option}\b", told.stdout), f"{option} of {command}"


@pytest.mark.slow
def test_dagster_accepts_both_configurations(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from dagster._core.instance.config import dagster_instance_config

    for name in variables(DEPLOY / "dagster.yaml"):
        monkeypatch.setenv(name, "5432" if name.endswith("PORT") else "x")
    for number, path in enumerate((ROOT / "pipelines" / "dagster.yaml", DEPLOY / "dagster.yaml")):
        home = tmp_path / str(number)
        home.mkdir()
        shutil.copyfile(path, home / "dagster.yaml")
        config, _ = dagster_instance_config(str(home))
        assert config["telemetry"]["enabled"] is False and config["nux"]["enabled"] is False
        assert config["concurrency"]["pools"]["default_limit"] == 1


def test_docker_reads_the_compose_file() -> None:
    docker = shutil.which("docker")
    if (
        docker is None
        or subprocess.run([docker, "compose", "version"], capture_output=True, check=False).returncode
    ):
        pytest.skip("no docker with the compose plugin on this machine")
    told = subprocess.run(
        [docker, "compose", "-f", str(DEPLOY / "docker-compose.yaml"), "config", "-q"],
        env={**os.environ, "POSTGRES_PASSWORD": "x"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert told.returncode == 0, told.stderr
