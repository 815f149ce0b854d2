"""A pool outlives its actors: a job that kills is tried again and set aside, and what a job raises arrives."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tasks.pool import NoActors, SetAside, cluster, run_pool
from tasks.progress import Progress, step

PATIENCE_S = 30


@pytest.fixture(scope="module", autouse=True)
def ray_cluster() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("RAY_ADDRESS", raising=False)
        with cluster(2):
            yield


def _tool() -> Callable[[tuple[str, str]], str]:
    """A closure, so that an actor needs nothing of this module to unpickle it; every attempt leaves a file."""

    def run(job: tuple[str, str]) -> str:
        name, folder = job
        (Path(folder) / f"{name}.{time.monotonic_ns()}").touch()
        if name.startswith("deadly") or (name == "shaky" and len(list(Path(folder).glob("shaky.*"))) == 1):
            os._exit(9)
        if name == "wrong":
            raise ValueError("wrong cannot be done")
        if name == "sleeper" or (name == "dozer" and len(list(Path(folder).glob("dozer.*"))) == 1):
            time.sleep(3600)
        return f"{name} done"

    return run


def _pool(
    names: list[str], folder: Path, workers: int = 2, lanes: int = 1, limit_s: float | None = None
) -> dict[str, object]:
    jobs = [(name, str(folder)) for name in names]
    tool = _tool()
    pool = run_pool(lambda: tool, jobs, workers=workers, lanes=lanes, limit_s=limit_s)
    return {job[0]: done for job, done in pool}


def _tries(folder: Path, name: str) -> int:
    return len(list(folder.glob(f"{name}.*")))


def test_a_job_that_kills_is_run_again_then_set_aside_while_the_others_go_on(tmp_path: Path) -> None:
    done = _pool(["a", "deadly", "b", "shaky", "c"], tmp_path)
    aside = done.pop("deadly")
    assert isinstance(aside, SetAside)
    assert aside.why.startswith("took its actor down 2 times: ")
    assert done == {name: f"{name} done" for name in ("a", "b", "shaky", "c")}
    assert (_tries(tmp_path, "deadly"), _tries(tmp_path, "shaky")) == (2, 2)


def test_only_a_job_that_kills_alone_is_blamed(tmp_path: Path) -> None:
    done = _pool(["deadly 1", "a", "deadly 2", "b", "c"], tmp_path, workers=1, lanes=5)
    assert {name for name, one in done.items() if isinstance(one, SetAside)} == {"deadly 1", "deadly 2"}
    assert _tries(tmp_path, "deadly 1") >= 2
    assert _tries(tmp_path, "deadly 2") >= 2


def test_a_job_that_hangs_is_killed_and_run_again_then_set_aside_while_the_others_go_on(tmp_path: Path) -> None:
    began = time.monotonic()
    done = _pool(["a", "sleeper", "b", "dozer", "c"], tmp_path, limit_s=2)
    aside = done.pop("sleeper")
    assert isinstance(aside, SetAside)
    assert aside.why == "hung 2 times: no result within 2 s"
    assert done == {name: f"{name} done" for name in ("a", "b", "dozer", "c")}
    assert (_tries(tmp_path, "sleeper"), _tries(tmp_path, "dozer")) == (2, 2)
    assert time.monotonic() - began < PATIENCE_S


def test_only_a_job_that_hangs_alone_is_blamed(tmp_path: Path) -> None:
    done = _pool(["a", "sleeper", "b", "dozer"], tmp_path, workers=1, lanes=4, limit_s=1)
    assert isinstance(done.pop("sleeper"), SetAside)
    assert done == {name: f"{name} done" for name in ("a", "b", "dozer")}


def test_a_hung_actor_is_ended_while_others_have_much_to_do(tmp_path: Path) -> None:
    def run(job: int) -> int:
        (tmp_path / f"{job}.{time.monotonic_ns()}").touch()
        time.sleep(3600 if job == 0 and _tries(tmp_path, "0") == 1 else 0.2)
        return job

    order = [job for job, _ in run_pool(lambda: run, range(30), workers=2, limit_s=1)]
    assert sorted(order) == list(range(30))
    assert order[-1] != 0


def test_a_stopped_actor_is_killed_and_its_jobs_are_done_by_another(tmp_path: Path) -> None:
    def run(job: int) -> int:
        (tmp_path / f"{job}.{os.getpid()}").touch()
        if job == 1 and len(list(tmp_path.glob("1.*"))) == 1:
            os.kill(os.getpid(), signal.SIGSTOP)
            time.sleep(3600)  # this thread may come so far before it is stopped
        return os.getpid()

    done = dict(run_pool(lambda: run, range(6), workers=1, lanes=2, limit_s=2))
    assert sorted(done) == list(range(6))
    stopped = {int(path.suffix[1:]) for path in tmp_path.glob("1.*")} - {done[1]}
    assert len(stopped) == 1
    _gone(stopped.pop())


def _gone(pid: int) -> None:
    """Wait until a process is no more; Ray gives one that it ends some seconds to do so itself."""
    deadline = time.monotonic() + PATIENCE_S
    while Path(f"/proc/{pid}").exists():
        assert time.monotonic() < deadline, f"process {pid} is still there"
        time.sleep(0.1)


def test_what_a_job_raises_arrives_as_it_was(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="wrong cannot be done"):
        _pool(["a", "wrong", "b"], tmp_path)


def test_what_a_constructor_raises_arrives_as_it_was() -> None:
    def build() -> Callable[[int], int]:
        raise FileNotFoundError("no weights here")

    with pytest.raises(FileNotFoundError, match="no weights here"):
        list(run_pool(build, [1, 2, 3], workers=2))


def test_a_job_that_was_done_when_its_actor_died_is_not_run_again(tmp_path: Path) -> None:
    def run(job: str) -> str:
        with open(tmp_path / f"{job}.out", "a") as out:
            out.write("done once. ")
        if job == "last words":
            os._exit(9)
        return job

    def made(job: str) -> str | None:
        return f"{job}, found" if (tmp_path / f"{job}.out").exists() else None

    done = dict(run_pool(lambda: run, ["a", "last words", "b"], workers=1, made=made))
    assert done == {"a": "a", "last words": "last words, found", "b": "b"}
    assert (tmp_path / "last words.out").read_text() == "done once. "


class Poison:
    """Ends the process that unpickles it."""

    def __reduce__(self) -> tuple[Callable[[int], object], tuple[int]]:
        return os._exit, (9,)

    def __call__(self) -> Callable[[int], int]:
        raise AssertionError("nobody comes to call it")


def test_actors_that_die_before_they_begin_end_the_pool_and_blame_no_job() -> None:
    with pytest.raises(NoActors, match="5 actors in a row") as told:
        list(run_pool(Poison(), [1], workers=1))
    assert "run again" in str(told.value)


def test_the_lanes_of_one_actor_run_at_once() -> None:
    def build() -> Callable[[int], int]:
        met = threading.Barrier(3, timeout=20)

        def run(job: int) -> int:
            met.wait()
            return job

        return run

    assert {done for _, done in run_pool(build, range(6), workers=1, lanes=3)} == set(range(6))


def test_more_workers_than_the_cluster_has_cpus_wait_for_nobody(tmp_path: Path) -> None:
    names = [f"job {n}" for n in range(12)]
    began = time.monotonic()
    assert len(_pool(names, tmp_path, workers=12)) == 12
    assert time.monotonic() - began < PATIENCE_S


def test_no_jobs_need_no_actors() -> None:
    assert list(run_pool(lambda: str, [], workers=2)) == []


def test_progress_is_plain_lines_where_nobody_watches_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress("look", 2, "pictures") as progress:
        progress.told -= 10  # the last line is long ago
        progress.advance(30)
        progress.advance(12)
    with step("copies") as said:
        said.append("7 distinct pictures")
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(",")[0] for line in lines[:2]] == ["  look: 1/2 parts", "  look: 2/2 parts"]
    assert lines[1].endswith(" pictures/s")
    assert lines[2].startswith("copies    7 distinct pictures  (")
    assert "\x1b" not in "".join(lines)


def test_progress_tells_no_more_than_a_line_every_two_seconds(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress("read", 1000, "rows") as progress:
        for _ in range(1000):
            progress.advance(1)
    assert len(capsys.readouterr().err.splitlines()) <= 3
