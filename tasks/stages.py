"""The stages that are spread over actors: each makes the parts that are missing and names them all."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from prefect import task
from prefect.cache_policies import NO_CACHE

from actors.texts import Reader, ReadJob
from actors.web.fetcher import Fetcher, FetchJob
from actors.web.outage import Outage
from actors.web.parts import SCHEMA as FETCHED
from filters.load import recipe_fingerprint
from filters.recipe import Fetch, Recipe
from filters.shingles import banding
from tasks.parts import HUNG_S, Seats, make_parts
from tasks.plan import Plan
from tasks.pool import CHANCES, SetAside, cpus, run_pool
from tasks.progress import Progress
from tasks.rounds import first_jobs, keep_jobs, next_jobs
from warehouse.lake import first_line
from warehouse.sift import url_parts

READ_VERSION = "2"
"""Raised when the stage's code would make another part of the same facts."""

FETCH_LANES = 4
FETCH_THREADS = 16
"""In a fetch actor: parts at once, so that a stalled URL holds only its own, and requests of each."""


class FetchStopped(Exception):
    """The resolver or the uplink is down; the message says how far the fetch came, and what to do next."""


class ReadFailed(Exception):
    """A row group of the log took its actor down again and again; the message says what to do next."""


@task(name="read", cache_policy=NO_CACHE)
def read(plan: Plan, candidates: str) -> tuple[list[str], list[str]]:
    """Read every row group of the candidates: (row parts, text parts)."""
    facts = (READ_VERSION, candidates, *read_facts(plan.recipe))
    groups = range(pq.ParquetFile(candidates).num_row_groups)
    jobs = [
        ReadJob(candidates, n, plan.part("read", "rows", *facts, str(n)), plan.part("read", "texts", *facts, str(n)))
        for n in groups
    ]
    left = [job for job in jobs if not (Path(job.rows).exists() and Path(job.texts).exists())]
    with Progress("read", len(left), "rows") as progress:
        for job, done in run_pool(partial(Reader, plan.recipe), left, workers=plan.workers, limit_s=HUNG_S):
            if isinstance(done, SetAside):
                raise ReadFailed(f"Row group {job.row_group} of the log {done.why}.\nFree memory, then run again.")
            progress.advance(done)
    return [job.rows for job in jobs], [job.texts for job in jobs]


def read_facts(recipe: Recipe) -> tuple[str, str]:
    """What of a recipe decides what is read of a row; word lists count by their content.

    Of near texts that is how their hashes are cut, which bounds that are close to each other have in common.
    """
    shut = Fetch(blocked_hosts=recipe.fetch.blocked_hosts, blocked_urls=recipe.fetch.blocked_urls)
    asked = Recipe(name="read", texts=recipe.texts.model_copy(update={"near": None}), fetch=shut)
    near = recipe.texts.near
    cut = "" if near is None else f"{near.characters} {banding(near.similarity)}"
    return recipe_fingerprint(asked), cut


@task(name="fetch", cache_policy=NO_CACHE)
def fetch(plan: Plan, sifted: str, earlier: str | None = None) -> list[str]:
    """Fetch every URL that the sift left, once; the parts of original bytes.

    `earlier` is the id of a run of the same rows: then only what failed for a while in it is asked again. Raises
    FetchStopped where the network is down.
    """
    urls = url_parts(plan.warehouse, sifted, plan.work / "urls")
    jobs = first_jobs(plan, urls) if earlier is None else next_jobs(plan, urls, earlier)
    keep_jobs(plan, jobs)
    left = [job for job in jobs if not Path(job.out).exists()]
    actors = max(1, min(plan.workers, cpus(), len(left)))
    build = partial(Fetcher, plan.recipe.fetch, plan.allow, FETCH_THREADS, actors)
    limit_s = _fetch_limit(plan.recipe.fetch, left, actors)
    try:
        seats = Seats(plan.workers, lanes=FETCH_LANES)
        return make_parts(plan, "fetch", "URLs", build, jobs, _unfetched, seats, limit_s)
    except Outage as outage:
        done = sum(Path(job.out).exists() for job in jobs)
        raise FetchStopped(
            f"{first_line(outage)}\n"
            f"No row was rejected for it: {done} of {len(jobs)} parts of URLs are done and stay, the rest waits.\n"
            "When the network is back, the same command goes on from there."
        ) from outage


def _fetch_limit(policy: Fetch, jobs: Sequence[FetchJob], actors: int) -> float:
    """Seconds after which a fetch job hangs, though its actor should have ended itself long before.

    What a part takes of which every attempt at every URL uses up all its time, here and in robots.txt before it, at
    every redirect, and then waits for its turn at the one host of all.
    """
    most = max((pq.read_metadata(job.urls).num_rows for job in jobs), default=0)
    visit = 2 * policy.deadline_s * (policy.max_redirects + 2) / FETCH_THREADS
    turn = FETCH_LANES * actors / policy.per_host_rate
    return most * (1 + policy.retries) * (visit + turn) + policy.outage_wait_s + HUNG_S


def _unfetched(job: FetchJob, why: str) -> pa.Table:
    urls = pq.read_table(job.urls, columns=["url"])["url"].to_pylist()
    detail = f"part {Path(job.urls).stem} {why}"
    told = {"reason": "fetch_failed", "detail": detail, "attempts": CHANCES, "transient": True}
    return pa.Table.from_pylist([{"url": url, **told} for url in urls], schema=FETCHED)
