"""Pictures of an img2dataset folder, spread over actors: what a fetch is for a log, without asking anybody."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from prefect import task
from prefect.cache_policies import NO_CACHE

from actors.shards import ShardJob, ShardReader
from actors.web.parts import SCHEMA as FETCHED
from tasks.parts import Seats, make_parts
from tasks.plan import Plan
from tasks.pool import CHANCES
from warehouse.shards import Wanted, shard_hash, wanted_parts

FOLDER_VERSION = "1"
"""Raised when the same shard would be read into another part."""


@task(name="read-folder", cache_policy=NO_CACHE)
def read_folder(plan: Plan, sifted: str) -> list[str]:
    """Read the picture of every URL that the sift left, once, from the shards; the parts of original bytes."""
    wanted = wanted_parts(plan.warehouse, sifted, Path(plan.source), plan.work / "urls")
    content = {one.shard.number: one.shard for one in wanted}
    hashes = {number: shard_hash(shard) for number, shard in content.items()}
    jobs = [_job(plan, one, hashes[one.shard.number]) for one in wanted]
    build = partial(ShardReader, plan.recipe.fetch.max_bytes)
    return make_parts(plan, "fetch", "pictures", build, jobs, _unread, Seats(plan.workers))


def _job(plan: Plan, wanted: Wanted, content: str) -> ShardJob:
    """A part is named by its own shard's content: of a folder that grew only the new shards are read."""
    facts = (FOLDER_VERSION, content, str(plan.recipe.fetch.max_bytes), Path(wanted.part).stem)
    shard = wanted.shard
    return ShardJob(str(shard.pictures), shard.column, shard.written_at, wanted.part, plan.part("fetch", *facts))


def _unread(job: ShardJob, why: str) -> pa.Table:
    urls = pq.read_table(job.wanted, columns=["url"])["url"].to_pylist()
    told = {"reason": "fetch_failed", "detail": f"part {Path(job.wanted).stem} {why}", "attempts": CHANCES}
    return pa.Table.from_pylist([{"url": url, **told} for url in urls], schema=FETCHED)
