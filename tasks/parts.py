"""Parts of a stage: those that are missing are made by actors, and what stands for one that could not be."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from tasks.plan import Plan
from tasks.pool import SetAside, run_pool
from tasks.progress import Progress
from tasks.rounds import stand_in

HUNG_S = 3600.0
"""After which a job hangs that is neither fetching nor looking: the largest, 20,000 rows of texts, takes a minute."""


class Writing(Protocol):
    """A job that writes one part."""

    @property
    def out(self) -> str: ...


Job = TypeVar("Job", bound=Writing)


@dataclass(frozen=True)
class Seats:
    """How a stage's actors sit on the cluster: how many, with how much each, and jobs at once in one."""

    actors: int
    cpus: int = 1
    gpus: float = 0
    lanes: int = 1


def make_parts(
    plan: Plan,
    stage: str,
    unit: str,
    build: Callable[[], Callable[[Job], Any]],
    jobs: Sequence[Job],
    instead: Callable[[Job, str], pa.Table],
    seats: Seats,
    limit_s: float = HUNG_S,
    note: Callable[[Any], str] = lambda done: "",
) -> list[str]:
    """Run the jobs whose part is not there yet; the names of all parts, in the order of the jobs.

    What stands for a part that was set aside lies in the run's own folder, so that the next run tries it again.
    `note` makes something worth reading of a job's result, for the line of progress.
    """
    made = {job.out: job.out for job in jobs}
    left = [job for job in jobs if not Path(job.out).exists()]
    (plan.work / stage).mkdir(parents=True, exist_ok=True)
    with Progress(stage, len(left), unit) as progress:
        for job, done in run_pool(
            build,
            left,
            workers=seats.actors,
            lanes=seats.lanes,
            cpus_each=seats.cpus,
            gpus_each=seats.gpus,
            limit_s=limit_s,
            made=_standing,
        ):
            if isinstance(done, SetAside):
                made[job.out] = _stand_in(plan, job.out, instead(job, done.why))
                print(f"{stage}: part {Path(job.out).stem} {done.why}; its rows are rejected", file=sys.stderr)
            else:
                progress.note = note(done)
            progress.advance(pq.read_metadata(made[job.out]).num_rows)
    return list(made.values())


def _standing(job: Writing) -> str | None:
    return job.out if Path(job.out).exists() else None


def _stand_in(plan: Plan, part: str, table: pa.Table) -> str:
    out = stand_in(plan.work, plan.run_id, part)
    out.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, out)
    return str(out)
