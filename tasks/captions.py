"""Captions of survivors: written by actors, read for what they say, and held against their pictures."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
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
from filters.captioning import Captions
from filters.chosen import chosen
from filters.objects import objects_file
from tasks.looks import embed_list, seats_for
from tasks.parts import HUNG_S, Seats, make_parts
from tasks.plan import Plan
from warehouse import captions
from warehouse.publish import Captioned

CAPTION_VERSION = "1"
"""Raised when the stage would make another part of the same pictures; the captioner's own code is in its identity."""

OBJECTS_VERSION = "1"
"""The same of the vectors of a vocabulary."""

EACH_S = {"coca": 5.0, "image_to_text": 30.0, "endpoint": 60.0, "chat": 600.0}
"""After which a caption hangs, for each picture: of a large chat model on a CPU one takes minutes."""

REQUESTS = 32
"""In flight to an endpoint, of one actor: servers such as vLLM answer dozens in the time of one."""

POLL_VERSION = "1"
"""Raised when the same captions would be asked about, or answers read, in another way."""


@task(name="caption", cache_policy=NO_CACHE)
def caption(plan: Plan, pairs: str, looked: Sequence[str], fetched: Sequence[str]) -> Captioned:
    """Have the pictures of `pairs` captioned that no captioner of the recipe has captioned yet, and read what all say.

    What no model is needed for is checked. `pairs` are what every cheaper stage has left.
    """
    parts = [part for found in plan.captioners for part in _written(plan, found, pairs, looked, fetched)]
    models = [found.identity for found in plan.captioners]
    parts += captions.captions_known(plan.warehouse, pairs, models, plan.folder / "captions")
    names = {found.identity: found.name for found in plan.captioners}
    reader = CaptionReader(_section(plan).checks, chosen(plan.recipe.texts.filters, "text"), names)
    read = [reader(part, plan.folder / "captions") for part in parts]
    words, checks = (tuple(one[place] for one in read) for place in (0, 1))
    texts = captions.caption_texts(plan.warehouse, words, checks, plan.folder)
    return Captioned(words, checks, (texts,), _section(plan).weight)


def with_captions(plan: Plan, pairs: str, captioned: Captioned, name: str = "pairs-captions") -> str:
    """The pairs of people's texts, and those of the captions that no check has turned away."""
    out = str(plan.folder / f"{name}.parquet")
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
    build = partial(CaptionMaker, found, _threads(plan, found), plan.recipe.pictures.max_pixels)
    seats, limit_s = _seats(plan, found), _limit(found, wanted)
    return make_parts(plan, "caption", "captions", build, jobs, partial(_uncaptioned, found), seats, limit_s)


def _seats(plan: Plan, found: FoundCaptioner) -> Seats:
    """As many actors as the machine holds of the captioner; to an endpoint one sends as much as it answers."""
    return Seats(1) if found.kind == "endpoint" else seats_for(plan, found.nbytes)


def _threads(plan: Plan, found: FoundCaptioner) -> int:
    """Cores that an actor computes on, or requests that it has in flight."""
    return REQUESTS if found.kind == "endpoint" else _seats(plan, found).cpus


def _limit(found: FoundCaptioner, wanted: Sequence[captions.Wanted]) -> float:
    """Seconds after which a job hangs."""
    asked = EACH_S[found.kind] * found.asking.samples * len(found.asking.prompts)
    return HUNG_S + asked * max((pq.read_metadata(one.pictures).num_rows for one in wanted), default=0)


def _uncaptioned(found: FoundCaptioner, job: CaptionJob, why: str) -> pa.Table:
    """What stands for a part that took its actor down: no captions, and why."""
    told = {"captioner": found.name, "model": found.identity, "reason": FAILED, "detail": why}
    ids = pq.read_table(job.pictures, columns=["image_id"])["image_id"].to_pylist()
    return pa.Table.from_pylist([{"image_id": one, **told} for one in ids], schema=CAPTIONS)


@dataclass(frozen=True)
class _Held:
    """Captions, and what they are held against: parts that stages before have left; `pairs` are of people's texts."""

    plan: Plan
    words: tuple[str, ...]
    pairs: str
    looked: Sequence[str]
    fetched: Sequence[str]
    vectors: Sequence[str]
    embedded: Sequence[str]


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

    Each check is asked about the captions that those before it have left. `pairs` are those of people's texts.
    """
    held, checks = _Held(plan, written.words, pairs, looked, fetched, vectors, embedded), written.checks
    for check in (_agreement, _seen, _polled, _best):
        checks += tuple(check(held, checks))
    return replace(written, checks=checks)


def _agreement(held: _Held, checks: Sequence[str]) -> list[str]:
    """What the cosines of a second model say."""
    plan = held.plan
    asked = _section(plan).checks.agreement
    if asked is None:
        return []
    bounds = captions.Agreeing(_model(plan, asked.model).identity, asked.min_score, asked.below_native)
    return [
        captions.check_agreement(
            plan.warehouse, held.pairs, held.words, checks, held.vectors, held.embedded, bounds, plan.folder
        )
    ]


def _best(held: _Held, checks: Sequence[str]) -> list[str]:
    """The ranks of samples, where only some of them are to stay."""
    plan, keep = held.plan, _section(held.plan).keep
    if keep is None:
        return []
    model = plan.models[0].identity
    return [
        captions.keep_best(plan.warehouse, held.words, checks, held.vectors, held.embedded, model, keep, plan.folder)
    ]


def _model(plan: Plan, name: str | None) -> FoundModel:
    """A model of the recipe by its name; null: the first."""
    return next(model for model in plan.models if name in (None, model.name))


def _seen(held: _Held, checks: Sequence[str]) -> list[str]:
    """Whether the objects that captions name are seen, by the zero-shot vectors of a vocabulary."""
    plan, asked = held.plan, _section(held.plan).checks.objects
    if asked is None:
        return []
    model, vocabulary = _model(plan, asked.model), _section(plan).checks.vocabulary
    digest = hashlib.sha256(objects_file(vocabulary).read_bytes() + repr(model.languages).encode()).hexdigest()
    file = plan.part("objects", OBJECTS_VERSION, digest, model.identity)
    embed_list(plan, model, ObjectTagger, ObjectsJob(vocabulary, file), vocabulary)
    rows = captions.caption_pictures(plan.warehouse, held.words, checks, held.vectors, model.identity, plan.folder)
    return [check_objects(rows, Seen(file), asked, str(plan.folder / "caption-objects.parquet"))]


def _polled(held: _Held, checks: Sequence[str]) -> list[str]:
    """What a model answers to questions about the objects that captions name; a part for each fetched part."""
    plan, asked = held.plan, _section(held.plan).checks.polling
    if asked is None:
        return []
    found = next(one for one in plan.captioners if one.name == asked.captioner)
    vocabulary, folder = _section(plan).checks.vocabulary, plan.folder / "to-poll"
    wanted = captions.captions_to_poll(plan.warehouse, held.words, checks, held.looked, held.fetched, folder)
    digest = hashlib.sha256(objects_file(vocabulary).read_bytes()).hexdigest()
    facts = (POLL_VERSION, found.identity, digest, str(plan.recipe.pictures.max_pixels))
    jobs = [PollJob(one.fetched, one.pictures, plan.part("poll", Path(one.pictures).stem, *facts)) for one in wanted]
    build = partial(Poller, found, vocabulary, plan.recipe.pictures.max_pixels, _threads(plan, found))
    seats, limit_s = _seats(plan, found), _limit(found, wanted)
    return make_parts(plan, "poll", "captions", build, jobs, _unpolled, seats, limit_s)


def _unpolled(job: PollJob, why: str) -> pa.Table:
    """What stands for a part that took its actor down: no answers, which turn no caption away."""
    rows = pq.read_table(job.asked, columns=list(KEY)).to_pylist()
    return pa.Table.from_pylist([{**row, "metric": "polled", "detail": why} for row in rows], schema=CHECKS)
