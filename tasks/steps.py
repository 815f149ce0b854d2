"""The stages that are SQL over all of a run's rows, each a Prefect task from names to names."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pyarrow.parquet as pq
from prefect import task
from prefect.cache_policies import NO_CACHE

from filters.chosen import boilerplate, chosen
from tasks.plan import Plan
from tasks.policies import Stock, select_pairs
from warehouse import ingest, ledger, pairs, publish, sift
from warehouse.lake import prepare
from warehouse.near_texts import Near

INGEST_VERSION = "1"


@task(name="ingest", cache_policy=NO_CACHE)
def ingest_source(plan: Plan) -> str:
    """The candidates' part of the source, made where it is not there yet."""
    prepare(plan.warehouse)
    out = plan.part("ingest", INGEST_VERSION, plan.source_hash, ingest.suffix_of(plan.source), str(plan.limit))
    if not Path(out).exists():
        ingest.ingest(plan.source, out, plan.warehouse, limit=plan.limit)
    return out


@task(name="sift", cache_policy=NO_CACHE)
def sift_rows(plan: Plan, candidates: str, rows: Sequence[str], texts: Sequence[str]) -> tuple[str, str]:
    """Clicks, text frequency and what all texts say: (sifted rows, texts told)."""
    asked = plan.recipe.click_through
    clicks = sift.Clicks(**asked.model_dump()) if asked is not None else None
    filters = chosen(plan.recipe.texts.filters, "text")
    common = boilerplate(filters)
    bound = sift.Boilerplate(common.urls, filters.index(common)) if common is not None else None
    alike = plan.recipe.texts.near
    near = Near(alike.similarity) if alike is not None else None
    return sift.sift(plan.warehouse, candidates, rows, texts, clicks, bound, plan.folder, near)


@task(name="pair", cache_policy=NO_CACHE)
def make_pairs(plan: Plan, sifted: str, texts: str, looked: Sequence[str], joined: str) -> str:
    """Every text that may stay, with the picture that stands for its row."""
    return pairs.make_pairs(plan.warehouse, sifted, texts, looked, joined, plan.folder)


@task(name="select", cache_policy=NO_CACHE)
def judge_pairs(
    plan: Plan,
    made: str,
    looked: Sequence[str],
    vectors: Sequence[str],
    embedded: Sequence[str],
    words: Sequence[str] = (),
) -> tuple[str, str, dict[str, float]]:
    """Score the pairs and hold them against the recipe: (judged pairs, all scores, frozen cuts).

    `words` are the parts of the texts, which some policies read.
    """
    stock = Stock(plan.warehouse, plan.work, made, plan.scorers, looked, vectors, embedded, words)
    return select_pairs(stock, plan.recipe.select, plan.listened, plan.folder)


@task(name="ledger", cache_policy=NO_CACHE)
def make_ledger(
    plan: Plan, candidates: str, sifted: str, looked: Sequence[str], joined: str, judged: str, published: bool
) -> tuple[str, dict[str, int]]:
    """One outcome for every candidate, checked to add up: (ledger, counts by outcome)."""
    told = ledger.make_ledger(plan.warehouse, sifted, looked, joined, judged, plan.folder, published=published)
    return told, ledger.check_ledger(plan.warehouse, candidates, told)


@task(name="publish", cache_policy=NO_CACHE)
def publish_run(plan: Plan, run: publish.Run, release: publish.Release | None) -> str:
    """Commit the run and, where there is one, its release; the release's name or an empty string."""
    publish.publish(plan.warehouse, run, release)
    return release.name if release is not None else ""


def rows_of(parts: Sequence[str]) -> int:
    """How many rows the parts hold together."""
    return sum(pq.read_metadata(part).num_rows for part in parts)
