"""Rounds of a run: what of its fetch may be asked again, and the plan of the run that does."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import yaml

from actors.web.fetcher import FetchJob
from filters.recipe import fetch_facts
from tasks.plan import Plan, PlanError, make_plan, run_identity
from warehouse.lake import locate
from warehouse.runs import PastRun, newest_round

FETCH_VERSION = "2"
"""Raised when the fetch would make another part of the same URLs."""

REFUSED = ("fetch_robots", "fetch_opted_out")
"""Somebody said no, which is told apart from what is broken."""


@dataclass(frozen=True)
class Left:
    """The URLs of a run that gave no bytes: those that failed for a while only, for good, and those that refused."""

    transient: int
    permanent: int
    refusals: int


@dataclass(frozen=True)
class Round:
    """The next round of a past run: its plan, and what the past one left."""

    past: PastRun
    plan: Plan
    left: Left


def plan_round(
    release: str | None,
    warehouse: str,
    *,
    named: str | None = None,
    allow: tuple[str, ...] = (),
    workers: int | None = None,
    gpu_share: float = 1,
) -> Round:
    """The round after the newest of the run that became `release` (or of the latest run), to be called `named`.

    Raises what make_plan raises, and PlanError where the run cannot be continued: each with the next step.
    """
    past = newest_round(warehouse, release)
    if Path(past.source).is_dir():
        raise PlanError(f"{past.source} is an img2dataset folder: nobody was asked for its pictures.")
    if not Path(past.source).exists():
        raise PlanError(f"The source {past.source} is gone.\nPut it back, then run again: its rows are read once more.")
    plan = make_plan(
        past.source,
        _recipe_file(warehouse, past),
        warehouse,
        release=named,
        allow=(*past.allow, *allow),
        limit=past.limit,
        workers=workers,
        gpu_share=gpu_share,
        round=past.round + 1,
    )
    same = run_identity(
        plan.source_hash,
        plan.recipe,
        plan.models,
        past.allow,
        past.limit,
        past.round,
        past.protected,
        plan.captioners,
    )
    if same != past.run_id:
        raise PlanError(
            f"{past.source} is not what it was when it was milled, or its model, a word list or Zeromill changed.\n"
            f"Mill it as it is now: zeromill curate {shlex.quote(past.source)} --recipe ..."
        )
    return Round(past, plan, count_left(plan.work, past.run_id))


def _recipe_file(warehouse: str, past: PastRun) -> str:
    """The recorded recipe as a file, which is how recipes are read and checked; YAML, for 1e-05 is text in it."""
    file = locate(warehouse).work / "runs" / past.run_id / "recipe.yaml"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(yaml.safe_dump(json.loads(past.recipe), allow_unicode=True), encoding="utf-8")
    return str(file)


def count_left(work: Path, run_id: str) -> Left:
    """What the fetch of a run left; a part that was set aside counts as failed for a while. Raises PlanError."""
    transient = permanent = refusals = 0
    for job in read_jobs(work, run_id).values():
        if not Path(job.out).exists():
            transient += pq.read_metadata(job.urls).num_rows
            continue
        rows = pq.read_table(job.out, columns=["reason", "transient"])
        failed = rows.filter(pc.is_valid(rows["reason"]))
        waiting = pc.sum(failed["transient"]).as_py() or 0
        refused = pc.sum(pc.is_in(failed["reason"], value_set=pa.array(REFUSED))).as_py() or 0
        transient, refusals = transient + waiting, refusals + refused
        permanent += failed.num_rows - waiting - refused
    return Left(transient, permanent, refusals)


def keep_jobs(plan: Plan, jobs: Sequence[FetchJob]) -> None:
    """Write down which parts the run's fetch consists of, by names that stay true when the warehouse is moved."""
    told = [{name: value and _short(plan.work, value) for name, value in vars(job).items()} for job in jobs]
    file = _jobs_file(plan.work, plan.run_id)
    file.parent.mkdir(parents=True, exist_ok=True)
    aside = file.with_name(f".{file.name}.writing")
    aside.write_text(json.dumps(told))
    aside.replace(file)


def read_jobs(work: Path, run_id: str) -> dict[str, FetchJob]:
    """The fetch jobs of a finished run, by their parts of URLs. Raises PlanError where they or their parts are gone."""
    file = _jobs_file(work, run_id)
    told = json.loads(file.read_text()) if file.exists() else []
    jobs = [FetchJob(**{name: value and str(work / value) for name, value in one.items()}) for one in told]
    there = [job for job in jobs if Path(job.out).exists() or stand_in(work, run_id, job.out).exists()]
    if not file.exists() or len(there) < len(jobs):
        raise PlanError(
            "What that run asked for was not kept: it is of an earlier version, or parts of it were removed.\n"
            "Mill its source into another warehouse to ask everything anew."
        )
    return {Path(job.urls).stem: job for job in jobs}


def stand_in(work: Path, run_id: str, part: str) -> Path:
    """Where the run keeps what stands for a part that was set aside."""
    return work / "runs" / run_id / f"{Path(part).stem}.set-aside.parquet"


def first_jobs(plan: Plan, urls: Sequence[str]) -> list[FetchJob]:
    """The jobs of a first round: a part is named by its URLs and by what decides how they are asked for."""
    facts = (FETCH_VERSION, fetch_facts(plan.recipe.fetch), *plan.allow)
    return [FetchJob(part, plan.part("fetch", Path(part).stem, *facts)) for part in urls]


def next_jobs(plan: Plan, urls: Sequence[str], earlier: str) -> list[FetchJob]:
    """The jobs of a round: a part with rows that failed for a while only is made anew from itself, others stay.

    A part that was set aside is still to be made, under its own name, where its refusals were noted.
    """
    old = read_jobs(plan.work, earlier)
    if old.keys() != {Path(part).stem for part in urls}:
        raise PlanError(
            "Other URLs are left of this source than were asked for: what may be asked has changed since.\n"
            "Mill it into another warehouse to ask everything anew."
        )
    return [_next_job(plan, old[Path(part).stem]) for part in urls]


def _next_job(plan: Plan, old: FetchJob) -> FetchJob:
    if not Path(old.out).exists() or not _any_transient(old.out):
        return old
    return replace(old, out=plan.part("fetch", Path(old.out).stem, plan.run_id), earlier=old.out)


def _any_transient(part: str) -> bool:
    return bool(pc.any(pq.read_table(part, columns=["transient"])["transient"]).as_py())


def _short(work: Path, part: str) -> str:
    return str(Path(part).relative_to(work))


def _jobs_file(work: Path, run_id: str) -> Path:
    return work / "runs" / run_id / "fetch.json"
