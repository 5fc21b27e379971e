"""The two command lines, as people, signals and Dagster meet them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import dagster as dg
import pytest
from click.testing import CliRunner

from tokenization.errors import RecipeError
from tokenization.orphans import PARENT_VARIABLE
from training import generate, process, train
from training.reporting import PIPES_VARIABLE, Metrics

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def signals_as_they_were() -> object:
    """The command line takes SIGTERM and SIGINT; give them back."""
    kept = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in kept.items():
        signal.signal(number, handler)


def command(*arguments: str | Path) -> tuple[int, str]:
    result = CliRunner().invoke(train.main, ["--threads", "1", *map(str, arguments)])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.output


@pytest.fixture
def trained(build_dir: Path, tmp_path: Path) -> Path:
    code, output = command(
        "--build", build_dir, "--out", tmp_path / "run", "--model", "tiny", "--steps", "40"
    )
    assert code == 0, output
    return tmp_path / "run"


def test_a_missing_manifest_is_exit_code_2_and_one_message(tmp_path: Path) -> None:
    code, output = command("--build", tmp_path, "--out", tmp_path / "run")
    assert code == 2
    assert output.startswith("error: ") and "manifest.json" in output and output.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_a_run_is_never_mixed_or_thrown_away_unasked(build_dir: Path, trained: Path) -> None:
    again = ("--build", build_dir, "--out", trained, "--model", "tiny", "--steps", "40")
    code, output = command(*again)
    assert code == 2 and "--resume goes on with it, --overwrite throws it away" in output
    code, output = command(*again, "--resume")
    assert code == 0 and "resuming after step 40" in output
    code, output = command(*again[:-1], "3", "--overwrite")
    assert code == 0 and json.loads((trained / "summary.json").read_text())["steps"] == 3


def test_resume_without_a_checkpoint_starts(build_dir: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    code, output = command("--build", build_dir, "--out", out, "--model", "tiny", "--steps", "2", "--resume")
    assert code == 0 and "step 1/2" in output


def test_generate_answers_from_the_checkpoints_template_and_stops(trained: Path) -> None:
    runner = CliRunner()
    result = runner.invoke(
        generate.main, [str(trained), "--prompt", "w5 w6", "--json", "--max-new-tokens", "20"]
    )
    assert result.exit_code == 0, result.output
    answer = json.loads(result.output.splitlines()[-1])
    assert answer["prompt_ids"][0] == 1  # <|im_start|>, from the template
    assert len(answer["new_ids"]) <= 20
    if answer["stopped"]:
        assert answer["new_ids"][-1] in (0, 2)
    chat = json.dumps([{"role": "user", "content": "w5 w6"}])
    same = runner.invoke(
        generate.main, [str(trained), "--messages", chat, "--json", "--max-new-tokens", "20"]
    )
    assert json.loads(same.output.splitlines()[-1]) == answer
    raw = runner.invoke(
        generate.main, [str(trained), "--prompt", "w5 w6", "--raw", "--json", "--max-new-tokens", "4"]
    )
    assert json.loads(raw.output.splitlines()[-1])["prompt_ids"] == [5, 6]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "either --prompt TEXT or --messages JSON"),
        (["--prompt", "x", "--messages", "[]"], "either"),
        (["--messages", "[{"], "not readable as JSON"),
        (["--messages", '["hello"]'], "must be a JSON list like"),
        (["--prompt", "x"], "neither a checkpoint"),
    ],
)
def test_generate_says_what_is_wrong(tmp_path: Path, arguments: list[str], said: str) -> None:
    result = CliRunner().invoke(generate.main, [str(tmp_path), *arguments])
    assert result.exit_code == 2 and said in result.output


def test_metrics_drop_what_is_after_the_checkpoint_and_half_a_line(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step":1}\n{"step":2}\n{"step":3}\n{"st')
    Metrics(path, last_step=2).write({"step": 3, "loss": 1.5})
    assert path.read_text() == '{"step":1}\n{"step":2}\n{"step":3,"loss":1.5}\n'


def test_the_commands_help_does_not_wait_for_torch() -> None:
    heavy = "{'torch', 'transformers', 'datasets'} & sys.modules.keys()"
    code = f"import sys, training.train, training.generate; sys.exit(bool({heavy}))"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_cores_and_memory_are_plausible() -> None:
    assert 1 <= process.usable_cores() <= (os.cpu_count() or 1)
    assert 10 << 20 < process.peak_memory() < 1 << 40


@pytest.mark.slow
def test_sigterm_ends_within_seconds_and_leaves_the_last_whole_checkpoint(
    build_dir: Path, tmp_path: Path
) -> None:
    arguments = [
        "--build",
        build_dir,
        "--out",
        tmp_path,
        "--steps",
        "100000",
        "--checkpoint-every",
        "20",
        "--threads",
        "1",
    ]
    training = subprocess.Popen(
        [sys.executable, "-m", "training.train", *map(str, arguments)],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    waited = time.monotonic()
    while not (tmp_path / "latest").exists() and time.monotonic() - waited < 120:
        time.sleep(0.1)
    began = time.monotonic()
    training.send_signal(signal.SIGTERM)
    _, errors = training.communicate(timeout=20)
    assert time.monotonic() - began < 5
    assert training.returncode == 128 + signal.SIGTERM
    assert "stopped by SIGTERM: the last whole checkpoint is" in errors and "Traceback" not in errors
    code, output = command(*arguments, "--resume", "--max-seconds", "0.1")
    assert code == 0 and "resuming after step" in output


@pytest.mark.slow
def test_under_dagster_pipes_a_run_reports_a_materialization_with_numbers(
    build_dir: Path, tmp_path: Path
) -> None:
    @dg.asset
    def model(context, pipes: dg.PipesSubprocessClient) -> dg.MaterializeResult:
        arguments = ["--build", build_dir, "--out", tmp_path / "run", "--steps", "6", "--threads", "1"]
        command = [sys.executable, "-m", "training.train", *map(str, arguments)]
        return pipes.run(command=command, context=context, cwd=str(ROOT)).get_materialize_result()

    result = dg.materialize([model], resources={"pipes": dg.PipesSubprocessClient()})
    (event,) = result.get_asset_materialization_events()
    metadata = event.step_materialization_data.materialization.metadata
    for name in ("loss", "held_out_loss", "unigram_entropy"):
        assert isinstance(metadata[name], dg.FloatMetadataValue), name
    assert metadata["steps"].value == 6 and isinstance(metadata["tokens"], dg.IntMetadataValue)
    assert Path(str(metadata["checkpoint"].value)).is_dir()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="prctl is Linux's")
def test_a_trainer_launched_by_dagster_ends_with_its_parent(build_dir: Path, tmp_path: Path) -> None:
    """The parent is killed outright; the trainer must not go on beside the retry."""
    arguments = [
        "--build",
        build_dir,
        "--out",
        tmp_path,
        "--steps",
        "100000",
        "--checkpoint-every",
        "5",
        "--threads",
        "1",
    ]
    child = [sys.executable, "-m", "training.train", *map(str, arguments)]
    parent_code = (
        "import subprocess, sys, time\n"
        f"p = subprocess.Popen({child!r}, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)\n"
        "print(p.pid, flush=True); time.sleep(300)"
    )
    environment = os.environ | pipes_environment(tmp_path / "messages")
    parent = subprocess.Popen(
        [sys.executable, "-c", parent_code], cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    trainer = int(parent.stdout.readline())
    waited = time.monotonic()
    while not (tmp_path / "latest").exists() and time.monotonic() - waited < 120:
        time.sleep(0.1)
    assert (tmp_path / "latest").exists() and Path(f"/proc/{trainer}").exists()
    parent.kill()
    parent.wait()
    parent.stdout.close()
    ended = time.monotonic() + 10
    while is_running(trainer) and time.monotonic() < ended:
        time.sleep(0.1)
    assert not is_running(trainer)


def is_running(number: int) -> bool:
    try:
        state = Path(f"/proc/{number}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return False
    return state not in ("Z", "X")


def pipes_environment(messages: Path) -> dict[str, str]:
    """What Dagster sets for a process that it launches, with messages going to a file."""
    from dagster_pipes import DAGSTER_PIPES_MESSAGES_ENV_VAR, encode_env_var

    context = {
        "asset_keys": ["model"],
        "code_version_by_asset_key": {"model": None}, "provenance_by_asset_key": {"model": None},
        "partition_key": None, "partition_key_range": None, "partition_time_window": None,
        "run_id": "run", "job_name": None, "retry_number": 0, "extras": {},
    }  # fmt: skip
    return {
        PIPES_VARIABLE: encode_env_var({"data": context}),
        DAGSTER_PIPES_MESSAGES_ENV_VAR: encode_env_var({"path": str(messages)}),
    }


def test_two_trainers_never_share_a_run_folder(tmp_path: Path) -> None:
    with process.claim(tmp_path / "run"):
        with (
            pytest.raises(RecipeError, match="has another trainer at work"),
            process.claim(tmp_path / "run", 0.2),
        ):
            raise AssertionError("two at once")
        with process.claim(tmp_path / "other"):
            pass
    with process.claim(tmp_path / "run", 0):  # the first has let go
        assert list((tmp_path / "run").iterdir()) == []


def test_what_a_killed_run_left_unfinished_is_gone_when_the_next_one_starts(
    build_dir: Path, tmp_path: Path
) -> None:
    left = tmp_path / "run" / "checkpoints" / ".step-000100.part"
    left.mkdir(parents=True)
    (left / "model.safetensors").write_bytes(b"half")
    code, output = command("--build", build_dir, "--out", tmp_path / "run", "--model", "tiny", "--steps", "1")
    assert code == 0, output
    assert [path.name for path in (tmp_path / "run").rglob("*") if "part" in path.name] == []


@pytest.mark.skipif(sys.platform != "linux", reason="the parent-death signal is Linux's")
@pytest.mark.parametrize("ignoring", [False, True])
@pytest.mark.parametrize("alive", [True, False])
def test_a_launcher_that_died_while_its_trainer_started_takes_it_along(alive: bool, ignoring: bool) -> None:
    """Also where it ignored SIGTERM, which whoever it starts inherits."""
    launcher = os.getpid() if alive else 2**22 + 1  # above the highest process id
    script = "from training import process; process.end_with_parent(); print('trains on')"
    trap = "trap '' TERM; " if ignoring else ""
    told = subprocess.run(
        ["sh", "-c", f'{trap}exec "$@"', "sh", sys.executable, "-c", script],
        env={**os.environ, PARENT_VARIABLE: str(launcher), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (told.returncode, told.stdout) == ((0, "trains on\n") if alive else (-signal.SIGTERM, ""))
