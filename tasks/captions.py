"""Captions of survivors: written by actors, read for what they say, and held against their pictures."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from prefect import task
from prefect.cache_policies import NO_CACHE

from actors.captions.making import SCHEMA as CAPTIONS
from actors.captions.making import CaptionJob, CaptionMaker
from actors.captions.polling import Poller, PollJob
from actors.captions.reading import CHECKS, KEY, CaptionReader
from actors.captions.seeing import check_objects
from actors.models.captioners.protocol import FAILED, FoundCaptioner
from actors.models.files import FoundModel
from actors.models.objects import ObjectsJob, ObjectTagger, Seen
from filters.captioning import Captions, Objects, Polling
from filters.objects import objects_file
from tasks.looks import embed_list, seats_for
from tasks.parts import HUNG_S, make_parts
from tasks.plan import Plan
from warehouse import captions
from warehouse.publish import Captioned

CAPTION_VERSION = "1"
"""Raised when the stage would make another part of the same pictures; the captioner's own code is in its identity."""

OBJECTS_VERSION = "1"
"""The same of the vectors of a vocabulary."""

CAPTION_EACH_S = 600.0
"""After which a caption hangs, for each picture: of a large chat model on a CPU one takes minutes."""


@task(name="caption", cache_policy=NO_CACHE)
def caption(plan: Plan, pairs: str, looked: Sequence[str], fetched: Sequence[str]) -> Captioned:
    """Have the pictures of `pairs` captioned that no captioner of the recipe has captioned yet, and read what all say.

    What no model is needed for is checked. `pairs` are what every cheaper stage has left.
    """
    parts = [part for found in plan.captioners for part in _written(plan, found, pairs, looked, fetched)]
    models = [found.identity for found in plan.captioners]
    parts.append(captions.captions_known(plan.warehouse, pairs, models, plan.folder))
    reader = CaptionReader(_section(plan).checks)
    read = [reader(part, plan.folder / "captions") for part in parts]
    words, checks = (tuple(one[place] for one in read) for place in (0, 1))
    texts = captions.caption_texts(plan.warehouse, words, checks, plan.folder)
    return Captioned(words, checks, (texts,), _section(plan).weight)


def with_captions(plan: Plan, pairs: str, captioned: Captioned) -> str:
    """The pairs of people's texts, and those of the captions that no check has turned away."""
    out = str(plan.folder / f"pairs-captions-{len(captioned.checks)}.parquet")
    return captions.join_captions(plan.warehouse, pairs, captioned.words, captioned.checks, out)


def _section(plan: Plan) -> Captions:
    assert plan.recipe.captions is not None  # nobody captions for a recipe that does not ask
    return plan.recipe.captions


def _written(plan: Plan, found: FoundCaptioner, pairs: str, looked: Sequence[str], fetched: Sequence[str]) -> list[str]:
    """The parts of captions by one captioner, made where they are not there yet."""
    folder = plan.folder / "to-caption" / found.identity
    wanted = captions.pictures_wanted(plan.warehouse, pairs, looked, fetched, found.identity, folder)
    jobs = []
    for one in wanted:
        stem = f"{Path(one.fetched).stem}-{found.identity}"
        earlier = sorted(map(str, (plan.work / "caption").glob(f"{stem}-*.parquet")))
        out = str(plan.work / "caption" / f"{stem}-{Path(one.pictures).stem[-16:]}-{CAPTION_VERSION}.parquet")
        jobs.append(CaptionJob(one.fetched, one.pictures, out, tuple(part for part in earlier if part != out)))
    seats = seats_for(plan, found.nbytes)
    limit_s = HUNG_S + CAPTION_EACH_S * max((pq.read_metadata(one.pictures).num_rows for one in wanted), default=0)
    build = partial(CaptionMaker, found, seats.cpus, plan.recipe.pictures.max_pixels)
    return make_parts(plan, "caption", "captions", build, jobs, partial(_uncaptioned, found), seats, limit_s)


def _uncaptioned(found: FoundCaptioner, job: CaptionJob, why: str) -> pa.Table:
    """What stands for a part that took its actor down: no captions, and why."""
    told = {"captioner": found.name, "model": found.identity, "reason": FAILED, "detail": why}
    ids = pq.read_table(job.pictures, columns=["image_id"])["image_id"].to_pylist()
    return pa.Table.from_pylist([{"image_id": one, **told} for one in ids], schema=CAPTIONS)


@task(name="check-captions", cache_policy=NO_CACHE)
def check_captions(
    plan: Plan,
    written: Captioned,
    pairs: str,
    looked: Sequence[str],
    fetched: Sequence[str],
    vectors: Sequence[str],
    embedded: Sequence[str],
) -> Captioned:
    """Hold captions against their pictures, the cheaper checks first; the same captions with all that was found.

    `pairs` are those of people's texts.
    """
    asked, checks = _section(plan).checks, list(written.checks)
    if asked.agreement is not None:
        bounds = captions.Agreeing(
            _model(plan, asked.agreement.model).identity, asked.agreement.min_score, asked.agreement.below_native
        )
        checks.append(
            captions.check_agreement(plan.warehouse, pairs, written.words, vectors, embedded, bounds, plan.folder)
        )
    if asked.objects is not None:
        checks.append(_seen(plan, asked.objects, written.words, checks, vectors))
    if asked.polling is not None:
        checks += _polled(plan, asked.polling, written.words, checks, looked, fetched)
    keep = _section(plan).keep
    if keep is not None:
        checks.append(
            captions.keep_best(
                plan.warehouse, written.words, checks, vectors, embedded, plan.models[0].identity, keep, plan.folder
            )
        )
    return replace(written, checks=tuple(checks))


def _model(plan: Plan, name: str | None) -> FoundModel:
    """A model of the recipe by its name; null: the first."""
    return next(model for model in plan.models if name in (None, model.name))


def _seen(plan: Plan, asked: Objects, words: Sequence[str], checks: Sequence[str], vectors: Sequence[str]) -> str:
    """Whether the objects that captions name are seen, by the zero-shot vectors of a vocabulary."""
    model, vocabulary = _model(plan, asked.model), _section(plan).checks.vocabulary
    digest = hashlib.sha256(objects_file(vocabulary).read_bytes() + repr(model.languages).encode()).hexdigest()
    file = plan.part("objects", OBJECTS_VERSION, digest, model.identity)
    embed_list(plan, model, ObjectTagger, ObjectsJob(vocabulary, file), vocabulary)
    rows = captions.caption_pictures(plan.warehouse, words, checks, vectors, model.identity, plan.folder)
    return check_objects(rows, Seen(file), asked, str(plan.folder / "caption-objects.parquet"))


def _polled(
    plan: Plan,
    asked: Polling,
    words: Sequence[str],
    checks: Sequence[str],
    looked: Sequence[str],
    fetched: Sequence[str],
) -> list[str]:
    """What a model answers to questions about the objects that captions name; a part for each fetched part."""
    found = next(one for one in plan.captioners if one.name == asked.captioner)
    vocabulary = _section(plan).checks.vocabulary
    wanted = captions.captions_to_poll(plan.warehouse, words, checks, looked, fetched, plan.folder / "to-poll")
    digest = hashlib.sha256(objects_file(vocabulary).read_bytes()).hexdigest()
    jobs = [
        PollJob(one.fetched, one.pictures, plan.part("poll", Path(one.pictures).stem, found.identity, digest))
        for one in wanted
    ]
    seats = seats_for(plan, found.nbytes)
    limit_s = HUNG_S + CAPTION_EACH_S * max((pq.read_metadata(one.pictures).num_rows for one in wanted), default=0)
    build = partial(Poller, found, vocabulary, plan.recipe.pictures.max_pixels, seats.cpus)
    return make_parts(plan, "poll", "captions", build, jobs, _unpolled, seats, limit_s)


def _unpolled(job: PollJob, why: str) -> pa.Table:
    """What stands for a part that took its actor down: no answers, which turn no caption away."""
    rows = pq.read_table(job.asked, columns=list(KEY)).to_pylist()
    return pa.Table.from_pylist([{**row, "metric": "polled", "detail": why} for row in rows], schema=CHECKS)
