"""The stages that are spread over actors: each makes the parts that are missing and names them all."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq
from prefect import task
from prefect.cache_policies import NO_CACHE

from actors.models.texts import SCHEMA as EMBEDDED
from actors.models.texts import TextEmbedder
from actors.pictures.look import SCHEMA as LOOKED
from actors.pictures.look import Looker, LookJob
from actors.texts import Reader, ReadJob
from actors.web.fetcher import Fetcher, FetchJob
from actors.web.outage import Outage
from actors.web.parts import SCHEMA as FETCHED
from filters.load import recipe_fingerprint
from filters.recipe import Fetch, Recipe
from tasks.plan import Plan
from tasks.pool import CHANCES, SetAside, cpus, gpus, run_pool
from tasks.progress import Progress
from tasks.rounds import first_jobs, keep_jobs, next_jobs, stand_in
from warehouse.lake import first_line
from warehouse.pairs import missing_pictures, missing_texts
from warehouse.sift import url_parts

READ_VERSION = "1"
LOOK_VERSION = "1"
EMBED_VERSION = "1"
"""One per stage: raised when the stage's code would make another part of the same facts."""

FETCH_LANES = 4
FETCH_THREADS = 16
"""In a fetch actor: parts at once, so that a stalled URL holds only its own, and requests of each."""


HUNG_S = 3600.0
"""After which a job hangs that is neither fetching nor looking: the largest, 20,000 rows of texts, takes a minute."""

LOOK_EACH_S = 5.0
"""The same for a picture: the largest that is decoded at all, 100 million pixels, takes two seconds."""


class Writing(Protocol):
    """A job that writes one part."""

    @property
    def out(self) -> str: ...


Job = TypeVar("Job", bound=Writing)


class FetchStopped(Exception):
    """The resolver or the uplink is down; the message says how far the fetch came, and what to do next."""


class ReadFailed(Exception):
    """A row group of the log took its actor down again and again; the message says what to do next."""


@dataclass(frozen=True)
class WordsJob:
    """A Parquet file of text_id and norm, and the part of vectors to write."""

    texts: str
    out: str


@task(name="read", cache_policy=NO_CACHE)
def read(plan: Plan, candidates: str) -> tuple[list[str], list[str]]:
    """Read every row group of the candidates: (row parts, text parts)."""
    shut = Fetch(blocked_hosts=plan.recipe.fetch.blocked_hosts, blocked_urls=plan.recipe.fetch.blocked_urls)
    asked = Recipe(name="read", texts=plan.recipe.texts, fetch=shut)
    facts = (READ_VERSION, candidates, recipe_fingerprint(asked))  # word lists count by their content
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
        return make_parts(plan, "fetch", "URLs", build, jobs, _unfetched, lanes=FETCH_LANES, limit_s=limit_s)
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


@task(name="look", cache_policy=NO_CACHE)
def look(plan: Plan, fetched: Sequence[str]) -> list[str]:
    """Decode each picture of the fetched parts once; the parts of what was read off them."""
    facts = (LOOK_VERSION, plan.recipe.pictures.model_dump_json(), plan.model or "")
    jobs = [LookJob(part, plan.part("look", Path(part).stem, *facts)) for part in fetched]
    build = partial(Looker, plan.recipe.pictures, plan.model_path)
    share = 1 if plan.model_path is not None and gpus() else 0
    limit_s = HUNG_S + LOOK_EACH_S * max((pq.read_metadata(part).num_rows for part in fetched), default=0)
    return make_parts(plan, "look", "pictures", build, jobs, _unlooked, gpus_each=share, limit_s=limit_s)


@task(name="look-again", cache_policy=NO_CACHE)
def look_again(plan: Plan, pairs: str, looked: Sequence[str]) -> list[str]:
    """Embed survivors of earlier runs that this model has not seen; the parts, none where nothing is missing."""
    if plan.model is None:
        return []
    part = missing_pictures(plan.warehouse, pairs, looked, plan.model, plan.folder)
    return [] if part is None else look.fn(plan, [part])


@task(name="embed-texts", cache_policy=NO_CACHE)
def embed_texts(plan: Plan, pairs: str, texts: str) -> list[str]:
    """Embed the texts of `pairs` that have no embedding by the recipe's model yet; the parts of vectors."""
    if plan.model is None or plan.model_path is None:
        return []
    words = missing_texts(plan.warehouse, pairs, texts, plan.model, plan.work / "words")
    jobs = [WordsJob(part, plan.part("embed", Path(part).stem, EMBED_VERSION, plan.model)) for part in words]
    build = partial(TextEmbedder, plan.model_path)
    share = 1 if gpus() else 0
    return make_parts(plan, "embed", "texts", build, jobs, _unembedded, gpus_each=share)


def make_parts(
    plan: Plan,
    stage: str,
    unit: str,
    build: Callable[[], Callable[[Job], str]],
    jobs: Sequence[Job],
    instead: Callable[[Job, str], pa.Table],
    *,
    lanes: int = 1,
    gpus_each: int = 0,
    limit_s: float = HUNG_S,
) -> list[str]:
    """Run the jobs whose part is not there yet; the names of all parts, in the order of the jobs.

    What stands for a part that was set aside lies in the run's own folder, so that the next run tries it again.
    """
    made = {job.out: job.out for job in jobs}
    left = [job for job in jobs if not Path(job.out).exists()]
    (plan.work / stage).mkdir(parents=True, exist_ok=True)
    workers = min(plan.workers, gpus()) if gpus_each else plan.workers
    with Progress(stage, len(left), unit) as progress:
        pool = run_pool(build, left, workers=workers, lanes=lanes, gpus_each=gpus_each, limit_s=limit_s, made=_standing)
        for job, done in pool:
            if isinstance(done, SetAside):
                made[job.out] = _stand_in(plan, job.out, instead(job, done.why))
                print(f"{stage}: part {Path(job.out).stem} {done.why}; its rows are rejected", file=sys.stderr)
            progress.advance(pq.read_metadata(made[job.out]).num_rows)
    return list(made.values())


def _standing(job: Writing) -> str | None:
    return job.out if Path(job.out).exists() else None


def _stand_in(plan: Plan, part: str, table: pa.Table) -> str:
    out = stand_in(plan.work, plan.run_id, part)
    out.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, out)
    return str(out)


def _unfetched(job: FetchJob, why: str) -> pa.Table:
    urls = pq.read_table(job.urls, columns=["url"])["url"].to_pylist()
    detail = f"part {Path(job.urls).stem} {why}"
    told = {"reason": "fetch_failed", "detail": detail, "attempts": CHANCES, "transient": True}
    return pa.Table.from_pylist([{"url": url, **told} for url in urls], schema=FETCHED)


def _unlooked(job: LookJob, why: str) -> pa.Table:
    rows = pq.read_table(job.part, columns=["url", "reason", "detail"]).to_pylist()
    told = {"reason": "image_failed", "detail": f"part {Path(job.part).stem} {why}"}
    return pa.Table.from_pylist([row if row["reason"] else {**row, **told} for row in rows], schema=LOOKED)


def _unembedded(job: WordsJob, why: str) -> pa.Table:
    """No vectors: the pairs of these texts have no score, and that is their reason."""
    return EMBEDDED.empty_table()
