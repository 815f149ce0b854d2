"""What a later round asks again: rows that failed for a while, parts that were set aside, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from actors.web.fetcher import FetchJob
from actors.web.parts import SCHEMA
from filters.recipe import Recipe
from tasks.plan import Plan, PlanError
from tasks.rounds import Left, count_left, first_jobs, keep_jobs, next_jobs, stand_in


def _plan(folder: Path, run_id: str, number: int = 0) -> Plan:
    return Plan(
        source="log.csv",
        source_hash="",
        recipe=Recipe(name="small"),
        warehouse=str(folder / "lake"),
        release="one",
        run_id=run_id,
        models=(),
        heads=(),
        tags=None,
        allow=(),
        limit=None,
        workers=1,
        round=number,
    )


def _urls(plan: Plan, name: str, count: int) -> str:
    file = plan.work / "urls" / f"{name}.parquet"
    file.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({"url": [f"http://{name}/{n}" for n in range(count)]}), file)
    return str(file)


def _fetched(job: FetchJob, fates: list[tuple[str | None, bool]]) -> None:
    urls = pq.read_table(job.urls)["url"].to_pylist()
    rows = [{"url": url, "reason": why, "transient": again} for url, (why, again) in zip(urls, fates, strict=True)]
    Path(job.out).parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows, schema=SCHEMA), job.out)


@pytest.fixture
def first(tmp_path: Path) -> Plan:
    """A first round of three parts: one has rows that failed for a while, one is settled, one was set aside."""
    plan = _plan(tmp_path, "r0")
    jobs = first_jobs(plan, [_urls(plan, name, 4) for name in ("hasty", "done", "aside")])
    _fetched(jobs[0], [(None, False), ("fetch_timeout", True), ("fetch_http_status", False), ("fetch_dns", True)])
    _fetched(jobs[1], [(None, False), ("fetch_robots", False), ("fetch_opted_out", False), ("fetch_tls", False)])
    keep_jobs(plan, jobs)
    _fetched(FetchJob(jobs[2].urls, str(stand_in(plan.work, "r0", jobs[2].out))), [("fetch_failed", True)] * 4)
    return plan


def _parts(plan: Plan, names: tuple[str, ...] = ("hasty", "done", "aside")) -> list[str]:
    return [str(plan.work / "urls" / f"{name}.parquet") for name in names]


def test_what_is_left_is_counted_by_whether_it_may_pass_is_for_good_or_was_a_refusal(first: Plan) -> None:
    assert count_left(first.work, "r0") == Left(transient=2 + 4, permanent=2, refusals=2)


def test_only_a_part_with_rows_that_may_pass_is_made_anew_and_from_itself(first: Plan, tmp_path: Path) -> None:
    before = first_jobs(first, _parts(first))
    hasty, done, aside = next_jobs(_plan(tmp_path, "r1", 1), _parts(first), "r0")
    assert (hasty.urls, hasty.earlier) == (before[0].urls, before[0].out)
    of_another_run = next_jobs(_plan(tmp_path, "other", 1), _parts(first), "r0")[0]
    assert len({hasty.out, before[0].out, of_another_run.out}) == 3
    assert done == before[1]
    assert aside == before[2]  # its journal of refusals lies beside that name


def test_a_third_round_begins_with_what_the_second_one_left(first: Plan, tmp_path: Path) -> None:
    second, third = _plan(tmp_path, "r1", 1), _plan(tmp_path, "r2", 2)
    jobs = next_jobs(second, _parts(first), "r0")
    keep_jobs(second, jobs)
    _fetched(jobs[0], [(None, False), (None, False), ("fetch_http_status", False), ("fetch_dns", True)])
    _fetched(jobs[2], [(None, False)] * 4)
    assert count_left(first.work, "r1") == Left(transient=1, permanent=2, refusals=2)
    again = next_jobs(third, _parts(first), "r1")
    assert [job.earlier for job in again] == [jobs[0].out, None, None]
    assert again[0].out not in (jobs[0].out, jobs[0].earlier)
    assert again[1:] == jobs[1:]


def test_a_warehouse_may_be_moved_between_rounds(first: Plan, tmp_path: Path) -> None:
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    (tmp_path / "lake").rename(moved / "lake")
    plan = _plan(moved, "r1", 1)
    assert count_left(plan.work, "r0").transient == 6
    assert all(str(moved) in job.out for job in next_jobs(plan, _parts(plan), "r0"))


def test_where_a_part_is_gone_or_other_urls_are_left_nobody_is_asked(first: Plan, tmp_path: Path) -> None:
    second = _plan(tmp_path, "r1", 1)
    with pytest.raises(PlanError, match="Other URLs are left"):
        next_jobs(second, _parts(first)[:2], "r0")
    with pytest.raises(PlanError, match="was not kept"):
        next_jobs(second, _parts(first), "never")
    Path(first_jobs(first, _parts(first))[1].out).unlink()
    with pytest.raises(PlanError, match="was not kept"):
        next_jobs(second, _parts(first), "r0")
