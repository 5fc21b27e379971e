"""`map_shards`: the same results in the same order, whoever does the work."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from servers import wait_until
from small_recipes import Project

from tokenization.engine import SMALL_WORK, THREAD_VARIABLES, Engine, available_cores, map_shards, worker_id
from tokenization.errors import BuildError, RecipeError


def slow_square(number: int) -> tuple[int, int]:
    """The first jobs take longest, so that they end last."""
    time.sleep(0.05 * max(0, 3 - number))
    return number * number, os.getpid()


def slow_thread(number: int) -> tuple[int, int, int]:
    return *slow_square(number), worker_id()


def fail_on_three(number: int) -> int:
    if number == 3:
        raise ZeroDivisionError("three")
    return number


def refuse(number: int) -> int:
    raise RecipeError(f"job {number} says what is wrong")


def threads_and_method(_job: int) -> tuple[list[str | None], str | None]:
    import multiprocessing

    return [os.environ.get(name) for name in THREAD_VARIABLES], multiprocessing.get_start_method(
        allow_none=True
    )


def die(_job: int) -> int:
    os._exit(9)


def test_results_stand_in_the_order_of_the_jobs_whoever_ends_first() -> None:
    heard: list[int] = []
    results = map_shards(slow_square, list(range(6)), Engine(workers=2), on_done=lambda i, _: heard.append(i))
    assert [square for square, _ in results] == [n * n for n in range(6)]
    assert sorted(heard) == list(range(6))
    pids = {pid for _, pid in results}
    assert len(pids) == 2 and os.getpid() not in pids


def test_one_worker_works_in_this_process() -> None:
    assert {pid for _, pid in map_shards(slow_square, [3, 4, 5], Engine(workers=1))} == {os.getpid()}


def test_threads_work_in_this_process_and_start_for_small_work_too() -> None:
    heard: list[int] = []
    results = map_shards(
        slow_thread, list(range(6)), Engine(workers=2), threads=True, on_done=lambda i, _: heard.append(i)
    )
    assert [square for square, _, _ in results] == [n * n for n in range(6)]
    assert sorted(heard) == list(range(6))
    assert {pid for _, pid, _ in results} == {os.getpid()}
    assert len({worker for _, _, worker in results}) == 2
    assert Engine().workers_for(100, 0, threads=True) == min(100, available_cores())


@pytest.mark.parametrize("threads", [False, True])
def test_a_failing_job_is_named_by_its_number_wherever_it_ran(threads: bool) -> None:
    with pytest.raises(BuildError, match="job 3"):
        map_shards(fail_on_three, list(range(5)), Engine(workers=2), threads=threads)


def test_no_jobs_start_nothing() -> None:
    assert map_shards(die, [], Engine(workers=2)) == []


def test_small_work_stays_in_process_unless_workers_are_asked_for() -> None:
    assert Engine().workers_for(100, SMALL_WORK - 1) == 1
    assert Engine().workers_for(100, SMALL_WORK) == min(100, available_cores())
    assert Engine(workers=2).workers_for(100, 0) == 2
    assert Engine(workers=8).workers_for(3, 0) == 3


@pytest.mark.parametrize("workers", [1, 2])
def test_a_refusal_reaches_the_caller_as_it_was_said(workers: int) -> None:
    with pytest.raises(RecipeError, match="job 0 says what is wrong"):
        map_shards(refuse, [0, 1], Engine(workers=workers))


def test_another_error_in_a_worker_is_told_with_its_job() -> None:
    with pytest.raises(BuildError, match="job 3: ZeroDivisionError: three"):
        map_shards(fail_on_three, list(range(5)), Engine(workers=2))


def test_a_worker_that_dies_is_an_error_and_no_endless_wait() -> None:
    with pytest.raises(BuildError, match="worker failed"):
        map_shards(die, [0, 1], Engine(workers=2))


@pytest.mark.skipif(sys.platform != "linux", reason="the parent-death signal is Linux's")
def test_workers_end_with_a_process_that_was_killed(tmp_path: Path) -> None:
    """Left alone they would wait for ever, on a queue that they hold open themselves."""
    (tmp_path / "jobs.py").write_text(
        "import os, sys, time\n"
        "from pathlib import Path\n"
        "from tokenization.engine import Engine, map_shards\n"
        "def job(number: int) -> None:\n"
        "    Path(sys.argv[1], str(os.getpid())).touch()\n"
        "    time.sleep(0.1)\n"
        "if __name__ == '__main__':\n"
        "    map_shards(job, list(range(10_000)), Engine(workers=2))\n"
    )
    seen = tmp_path / "seen"
    seen.mkdir()
    paths = os.pathsep.join([str(tmp_path), *sys.path])
    command = [sys.executable, str(tmp_path / "jobs.py"), str(seen)]
    work = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": paths})
    wait_until(lambda: len(list(seen.iterdir())) == 2, "both workers", 60)
    work.kill()
    work.wait()
    workers = [int(path.name) for path in seen.iterdir()]
    wait_until(lambda: not any(lives(worker) for worker in workers), "the end of the workers", 20)


def lives(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_workers_share_the_cores_are_never_forked_and_leave_the_environment_as_it_was(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("RAYON_NUM_THREADS", "7")
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    share = str(max(1, available_cores() // 2))
    for threads, method in map_shards(threads_and_method, [0, 1], Engine(workers=2)):
        assert threads == [share] * len(THREAD_VARIABLES)
        assert method in ("spawn", "forkserver")
    assert os.environ["RAYON_NUM_THREADS"] == "7" and "OMP_NUM_THREADS" not in os.environ


@pytest.mark.parametrize(
    ("make", "message"),
    [(lambda: Engine("spark"), "local or ray"), (lambda: Engine(workers=0), "at least 1")],
)
def test_an_impossible_engine_is_refused(make: Callable[[], Engine], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        make()


def test_ray_that_is_not_installed_is_explained(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(RecipeError, match=r"tokenmill\[ray\]"):
        map_shards(fail_on_three, [1], Engine("ray"))


@pytest.mark.slow
def test_ray_gives_the_same_bytes_and_tells_the_same_errors(new_project: Callable[..., Project]) -> None:
    """One cluster for all of it: starting one takes seconds."""
    ray = pytest.importorskip("ray")
    from ray_jobs import double, fail_on

    heard: list[int] = []
    engine = Engine("ray", 2)
    try:
        assert map_shards(double, [3, 1, 2], engine, on_done=lambda index, _: heard.append(index)) == [
            6,
            2,
            4,
        ]
        assert heard == [0, 1, 2]
        for error, match in ((RecipeError, "mend the recipe"), (BuildError, "job 1: ValueError: bad block")):
            with pytest.raises(error, match=match):
                map_shards(fail_on, [(0, error), (1, error)], engine)
        local, far = new_project(), new_project()
        told = far.built("--engine", "ray", "--workers", "2")
        assert told["fingerprint"] == local.built()["fingerprint"]
        names = {
            path.relative_to(local.out.resolve())
            for path in (local.out / "dataset").resolve().rglob("*.arrow")
        }
        assert len(names) >= 2
        for name in names:
            assert (local.out / name).read_bytes() == (far.out / name).read_bytes()
    finally:
        ray.shutdown()
