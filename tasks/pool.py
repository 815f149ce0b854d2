"""Pools of Ray actors: the one module that talks to Ray."""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

Job = TypeVar("Job")
Done = TypeVar("Done")

OBJECT_STORE_BYTES = 80 << 20
"""Ray's store carries names, never pictures: near the least that Ray accepts."""

CHANCES = 2
"""How often a job may take its actor down with it, or hang in it, before it is set aside."""

STILLBORN = 5
"""So many actors in a row may die before their first answer."""

LOOK_S = 5.0
"""Between two looks at the clock while jobs have a limit."""


@dataclass(frozen=True)
class SetAside:
    """What stands for the result of a job that killed its actor, or hung in it, CHANCES times."""

    why: str


class NoActors(Exception):
    """Actors die before they were given anything to do; the message says what to look at."""


@dataclass
class _Actor:
    handle: Any
    birth: Any  # Ray's reference to its first answer; null when that has come: it may wait for a free CPU, for hours
    busy: dict[Any, tuple[int, float]] = field(default_factory=dict)  # Ray's reference -> place of the job, its start
    alone: bool = False

    def overdue(self, limit_s: float) -> bool:
        """Whether a job of it runs for longer than that."""
        return any(time.monotonic() - began > limit_s for _, began in self.busy.values())


@contextmanager
def cluster(workers: int, *, dashboard: bool = False) -> Iterator[None]:
    """A Ray to run pools in: RAY_ADDRESS where it is set, else a local one that ends with this block."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    import ray

    if ray.is_initialized():
        yield
        return
    if os.environ.get("RAY_ADDRESS"):
        ray.init(address=os.environ["RAY_ADDRESS"], log_to_driver=False, logging_level="ERROR")
    else:
        ray.init(
            num_cpus=max(workers, os.cpu_count() or 1),
            object_store_memory=OBJECT_STORE_BYTES,
            include_dashboard=dashboard,
            _node_ip_address="127.0.0.1",  # nothing of a local Ray listens beyond this machine
            log_to_driver=False,
            logging_level="ERROR",
        )
    try:
        yield
    finally:
        ray.shutdown()


def cpus() -> int:
    """How many CPUs the cluster has: an actor beyond them would wait for ever, with the jobs that it was handed."""
    import ray

    return int(ray.cluster_resources().get("CPU", 1))


def node_cpus() -> int:
    """How many CPUs the smallest node has that has any: an actor that asks for more may never start."""
    import ray

    found = [int(node["Resources"].get("CPU", 0)) for node in ray.nodes() if node["Alive"]]
    return min((one for one in found if one), default=1)


def memory() -> int:
    """How many bytes of memory Ray counts on, over all nodes."""
    import ray

    return int(ray.cluster_resources().get("memory", 0))


def gpus() -> int:
    """How many whole GPUs the cluster has."""
    import ray

    return int(ray.cluster_resources().get("GPU", 0))


def run_pool(
    build: Callable[[], Callable[[Job], Done]],
    jobs: Sequence[Job],
    *,
    workers: int,
    lanes: int = 1,
    cpus_each: int = 1,
    gpus_each: float = 0,
    limit_s: float | None = None,
    made: Callable[[Job], Done | None] = lambda job: None,
) -> Iterator[tuple[Job, Done | SetAside]]:
    """Build a tool in every actor, feed it `jobs`, and yield each with its result as it finishes.

    An actor has `cpus_each` CPUs and `gpus_each` cards, and runs `lanes` jobs at once. When it dies it is built again,
    and the jobs that it had run once more, each alone so that blame is certain; one that takes its actor down CHANCES
    times while it is alone is set aside and the rest go on. A job that runs for more than `limit_s` seconds is taken
    for hung: its actor is killed, and all goes on as after a death. `made` finds the result of a job whose actor died
    before it could tell of it, or null: such a job does not run again. A job that raises ends the pool with its
    exception. Jobs and results travel: pass names, never pixels.
    """
    pool = _Pool(build, jobs, lanes, (cpus_each, gpus_each), limit_s, made)
    try:
        for _ in range(min(len(jobs), max(1, min(workers, cpus() // cpus_each)))):  # no jobs, no actor
            pool.add_actor()
        yield from pool.results()
    finally:
        pool.close()


class _Pool(Generic[Job, Done]):
    """Actors, the jobs that wait, and how often each job has taken its actor down."""

    def __init__(
        self,
        build: Callable[[], Callable[[Job], Done]],
        jobs: Sequence[Job],
        lanes: int,
        each: tuple[int, float],
        limit_s: float | None,
        made: Callable[[Job], Done | None],
    ) -> None:
        self.build, self.jobs, self.made = build, jobs, made
        self.lanes, self.limit_s = lanes, limit_s
        self.cpus_each, self.gpus_each = each
        self.waiting = deque(range(len(jobs)))
        self.suspects: deque[int] = deque()
        self.deaths = [0] * len(jobs)
        self.actors: list[_Actor] = []
        self.stillborn = 0
        self.looked = time.monotonic()  # at the clocks of the jobs

    def add_actor(self) -> None:
        import ray

        remote = ray.remote(_Worker).options(
            num_cpus=self.cpus_each, num_gpus=self.gpus_each, max_concurrency=self.lanes, max_restarts=0
        )
        handle = remote.remote(self.build)
        self.actors.append(_Actor(handle, handle.there.remote()))

    def results(self) -> Iterator[tuple[Job, Done | SetAside]]:
        import ray

        while self.waiting or self.suspects or any(actor.busy for actor in self.actors):
            for actor in self.actors:
                self.feed(actor)
            births = {actor.birth: actor for actor in self.actors if actor.birth is not None}
            references = [*births, *(reference for actor in self.actors for reference in actor.busy)]
            finished, _ = ray.wait(references, num_returns=1, timeout=self.limit_s and min(self.limit_s, LOOK_S))
            for reference in finished:
                if reference in births:
                    self.welcome(births[reference])
                else:
                    yield from self.settle(reference)
            if self.limit_s is not None and time.monotonic() - self.looked >= min(self.limit_s, LOOK_S):
                yield from self.end_hung(self.limit_s)

    def welcome(self, actor: _Actor) -> None:
        """From its first answer on an actor is given jobs: whoever hangs before has none."""
        import ray

        try:
            ray.get(actor.birth)
        except ray.exceptions.RayActorError as error:
            self.stillborn += 1
            if self.stillborn >= STILLBORN:
                raise NoActors(
                    f"{STILLBORN} actors in a row died before they could begin: {str(error).strip().splitlines()[0]}\n"
                    "Look for what ends them (memory, a full /tmp), then run again: what is done stays."
                ) from error
            self.replace(actor)
        else:
            actor.birth, self.stillborn = None, 0

    def settle(self, reference: Any) -> Iterator[tuple[Job, Done | SetAside]]:
        """Take what a job came to."""
        import ray

        actor = next(actor for actor in self.actors if reference in actor.busy)
        try:
            result = ray.get(reference)
        except (ray.exceptions.RayActorError, ray.exceptions.OutOfMemoryError) as error:
            yield from self.bury(actor, f"took its actor down {CHANCES} times: {str(error).strip().splitlines()[0]}")
        except ray.exceptions.RayTaskError as error:
            raise error.cause from error
        else:
            place, _ = actor.busy.pop(reference)
            actor.alone = False
            yield self.jobs[place], result

    def end_hung(self, limit_s: float) -> Iterator[tuple[Job, Done | SetAside]]:
        """Kill every actor of which a job runs for longer than it may."""
        self.looked = time.monotonic()
        for actor in list(self.actors):
            if actor.overdue(limit_s):
                yield from self.bury(actor, f"hung {CHANCES} times: no result within {limit_s:g} s")

    def feed(self, actor: _Actor) -> None:
        if actor.birth is not None:
            return
        if not actor.busy and self.suspects:
            actor.alone = True
            self.start(actor, self.suspects.popleft())
        while self.waiting and not actor.alone and len(actor.busy) < self.lanes:
            self.start(actor, self.waiting.popleft())

    def start(self, actor: _Actor, place: int) -> None:
        actor.busy[actor.handle.run.remote(self.jobs[place])] = (place, time.monotonic())

    def bury(self, actor: _Actor, why: str) -> Iterator[tuple[Job, Done | SetAside]]:
        """Put a new actor in a dead one's place; its jobs run again, or are set aside for the reason given."""
        self.replace(actor)
        for place, _ in actor.busy.values():
            self.deaths[place] += len(actor.busy) == 1  # of several nobody knows which it was, or which had begun
            made = self.made(self.jobs[place])
            if made is not None:
                yield self.jobs[place], made
            elif self.deaths[place] < CHANCES:
                self.suspects.append(place)
            else:
                yield self.jobs[place], SetAside(why)

    def replace(self, actor: _Actor) -> None:
        import ray

        ray.kill(actor.handle)
        self.actors.remove(actor)
        self.add_actor()

    def close(self) -> None:
        import ray

        for actor in self.actors:
            ray.kill(actor.handle)


class _Worker:
    """Holds one tool, such as a loaded model, for as long as the pool lives.

    It is built with the first job: a constructor that raises looks like a crash to Ray, and one that hangs like a
    cluster without a free CPU.
    """

    def __init__(self, build: Callable[[], Callable[[Any], Any]]) -> None:
        self.build = build
        self.tool: Callable[[Any], Any] | None = None
        self.building = threading.Lock()

    def there(self) -> None:
        """Answers, which a process that waits to be started does not."""

    def run(self, job: Any) -> Any:
        with self.building:
            if self.tool is None:
                self.tool = self.build()
        return self.tool(job)
