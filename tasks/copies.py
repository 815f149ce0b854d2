"""Which pictures are one: new ones probe the shelves of all that was ever kept, over actors where they are many."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from prefect import task
from prefect.cache_policies import NO_CACHE

from actors.copies.matching import MatchJob, match, match_jobs
from actors.copies.shelves import SHELVES, write_shelves
from filters.chosen import around_embedding, chosen, first_reasons
from tasks.album import write_album
from tasks.overlaps import Stood, remove_overlaps
from tasks.parts import HUNG_S
from tasks.plan import Plan
from tasks.pool import SetAside, cpus, run_pool
from tasks.progress import Progress
from tasks.similar import compare
from warehouse import copies
from warehouse.files import files_of
from warehouse.groups import Reach
from warehouse.similar import Similar

INLINE = 20_000
"""New pictures that this process compares itself: they take less time than actors take to start."""


class CopiesFailed(Exception):
    """A shelf took its actor down again and again; the message says what to do next."""


@dataclass(frozen=True)
class Joined:
    """Parts: who stands for whom, and what the warehouse is to keep of hashes and embeddings; the `page` to look at.

    Null is nothing.
    """

    part: str
    shelves: str | None = None
    similar: Similar | None = None
    page: str | None = None


@task(name="copies", cache_policy=NO_CACHE)
def join_copies(plan: Plan, sifted: str, looked: Sequence[str], vectors: Sequence[str]) -> Joined:
    """Which pictures are one, here and in everything that the warehouse kept."""
    asked = plan.recipe.copies
    seen = copies.write_seen(plan.warehouse, plan.source, sifted, looked, plan.folder)
    nodes = copies.write_nodes(plan.warehouse, seen, plan.folder, every=asked.min_similarity is not None)
    shelves = write_shelves(nodes, str(plan.folder / "shelves.parquet"))
    history = files_of(plan.warehouse, "bands", plan.folder)
    near = _matched(plan, match_jobs(shelves, history, asked, plan.folder), pq.read_metadata(nodes).num_rows)
    model = plan.models[0].identity if plan.models else None
    rule = copies.Rule(
        Reach(
            asked.near_bits,
            asked.semantic.join if asked.semantic is not None else None,
            asked.turned,
            asked.min_similarity,
        ),
        asked.survivor,
        model,
    )
    similar = compare(plan, looked, vectors) if asked.semantic is not None else None
    alike = [similar.edges] if similar is not None else []
    found = copies.Found(plan.warehouse, plan.source, seen, near, alike, vectors)
    joined = copies.join_copies(found, rule, plan.folder)
    stood = Stood(plan.warehouse, plan.protected, seen, joined, vectors, plan.folder)
    cleared = remove_overlaps(stood, asked, model, partial(_matched, plan))
    told = _accepted(plan, seen, cleared)
    page = write_album(plan.warehouse, looked, told, asked.near_bits, plan.folder / "copies.html")
    return Joined(told, shelves, similar, page)


def _accepted(plan: Plan, seen: str, joined: str) -> str:
    """The part in which no survivor of an earlier run stands that the recipe's filters would turn away."""
    filters, _ = around_embedding(chosen(plan.recipe.pictures.filters, "picture"))
    held = pq.read_table(copies.write_outsiders(plan.warehouse, seen, joined, plan.folder)).combine_chunks()
    if not filters or not held.num_rows:
        return joined
    reasons, details = first_reasons(held.to_batches()[0], filters)
    told = pa.table({"image_id": held["image_id"], "reason": reasons, "detail": details})
    refused = told.filter(pc.is_valid(told["reason"]))
    return copies.write_accepted(plan.warehouse, seen, joined, refused, plan.folder) if refused.num_rows else joined


def _matched(plan: Plan, jobs: Sequence[MatchJob], new: int) -> list[str]:
    """Do the jobs, here or over actors; the names of their parts."""
    if new <= INLINE and len(jobs) <= 2 * len(SHELVES):  # with a history of one share at most
        return [match(job) for job in jobs]
    with Progress("copies", len(jobs), "pairs") as progress:
        for job, done in run_pool(_matcher, jobs, workers=min(plan.workers, cpus()), limit_s=HUNG_S):
            if isinstance(done, SetAside):
                raise CopiesFailed(
                    f"Comparing hashes (shelf {job.shelf}) {done.why}.\n"
                    "Free memory or use fewer --workers, then run again: pictures are not asked for again."
                )
            progress.advance(pq.read_metadata(job.out).num_rows)
    return [job.out for job in jobs]


def _matcher() -> Callable[[MatchJob], str]:
    return match
