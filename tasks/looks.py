"""The stages with models: looks at pictures, of which none is done twice, and the embedding of texts."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Protocol

import pyarrow as pa
import pyarrow.parquet as pq
from prefect import task
from prefect.cache_policies import NO_CACHE

from actors.models.files import FoundModel
from actors.models.tagging import Tagger, TagJob
from actors.models.texts import TextEmbedder
from actors.models.vectors import SCHEMA as VECTORS
from actors.pictures.look import Looked, Looker, Looking, LookJob
from actors.pictures.readout import TagList
from actors.pictures.seen import SCHEMA as SEEN
from tasks.memory import needed
from tasks.parts import HUNG_S, Job, Seats, make_parts
from tasks.plan import Plan
from tasks.pool import SetAside, cpus, gpus, memory, node_cpus, run_pool
from warehouse.ids import fingerprint
from warehouse.known import known_vectors
from warehouse.pairs import missing_pictures, missing_texts

LOOK_VERSION = "3"
EMBED_VERSION = "2"
TAG_VERSION = "1"
"""One per stage: raised when the stage's code would make another part of the same facts."""

LOOK_EACH_S = 5.0
"""After which a look hangs, for each picture: the largest that is decoded, 100 million pixels, takes two seconds."""


@dataclass(frozen=True)
class WordsJob:
    """A Parquet file of text_id and norm, and the part of vectors to write."""

    texts: str
    out: str


@task(name="look", cache_policy=NO_CACHE)
def look(plan: Plan, fetched: Sequence[str]) -> tuple[list[str], list[str]]:
    """Decode each picture of the fetched parts at most once: (parts of what was seen, parts of vectors)."""
    looking = _looking(plan)
    jobs = _jobs(plan, looking, fetched)
    left = [job for job in jobs if not Path(job.out).exists()]
    known = known_vectors(
        plan.warehouse, [job.part for job in left], [one.identity for one in plan.models], plan.folder
    )
    jobs = [_with(job, known) for job in jobs]
    for folder in ("look", "vectors"):
        (plan.work / folder).mkdir(parents=True, exist_ok=True)
    seats = seats_of(plan, plan.models)
    build = partial(Looker, looking, seats.cpus)
    limit_s = HUNG_S + LOOK_EACH_S * max((pq.read_metadata(part).num_rows for part in fetched), default=0)
    looked = make_parts(plan, "look", "pictures", build, jobs, _unlooked, seats, limit_s, LookWatch().tell)
    return looked, [job.vectors for job in jobs if Path(job.vectors).exists()]


@task(name="look-again", cache_policy=NO_CACHE)
def look_again(plan: Plan, pairs: str, looked: Sequence[str], vectors: Sequence[str]) -> tuple[list[str], list[str]]:
    """Look at survivors of earlier runs that a model or a head has not seen; none where nothing is missing."""
    part = missing_pictures(plan.warehouse, pairs, looked, vectors, plan.scorers, plan.listened, plan.folder)
    return ([], []) if part is None else look.fn(plan, [part])


@task(name="embed-texts", cache_policy=NO_CACHE)
def embed_texts(plan: Plan, pairs: str, texts: Sequence[str]) -> list[str]:
    """Embed the texts of `pairs` that the recipe's models have not embedded yet; the parts of vectors."""
    parts = []
    for model, scorer in zip(plan.models, plan.scorers, strict=True):
        words = missing_texts(plan.warehouse, pairs, texts, scorer, plan.work / "words")
        jobs = [WordsJob(part, plan.part("embed", Path(part).stem, EMBED_VERSION, model.identity)) for part in words]
        seats = seats_of(plan, (model,))
        parts += make_parts(plan, "embed", "texts", partial(TextEmbedder, model), jobs, _unembedded, seats)
    return parts


class Room(Protocol):
    """How much of the machine whoever looks may take."""

    @property
    def workers(self) -> int: ...
    @property
    def gpu_share(self) -> float: ...


def seats_of(plan: Room, models: Sequence[FoundModel]) -> Seats:
    """Seats of actors that hold all of these models; without one an actor is a core."""
    return seats_for(plan, sum(Path(model.weights).stat().st_size for model in models))


def seats_for(plan: Room, weights: int) -> Seats:
    """As many actors as the machine has cards, or else as its memory holds models, with all its cores between them.

    `weights` are the bytes of the models of one; with none an actor is a core. A share of a card is given only where
    the run asks for it.
    """
    cores = min(plan.workers, cpus())
    if not weights:
        return Seats(cores)
    if gpus():
        actors = max(1, min(plan.workers, int(gpus() / plan.gpu_share)))
        return Seats(actors, cpus=max(1, min(cpus() // actors, node_cpus())), gpus=plan.gpu_share)
    actors = max(1, min(cores, memory() // needed(weights)))
    return Seats(actors, cpus=max(1, min(cores // actors, node_cpus())))


@dataclass
class LookWatch:
    """Where the time of looks went, over all actors, for the line of progress."""

    steps: Counter[str] = field(default_factory=Counter)
    seconds: Counter[str] = field(default_factory=Counter)
    rows: Counter[str] = field(default_factory=Counter)

    def tell(self, looked: Looked | str) -> str:
        """Rows per second of an actor on each device, and what it waits for most, with one more look counted in.

        A look whose actor died after its part stood is known by the part's name only, and says nothing.
        """
        if isinstance(looked, str):
            return ""
        self.steps.update(looked.seconds)
        self.seconds.update({looked.device: sum(looked.seconds.values())})
        self.rows[looked.device] += looked.rows
        most, longest = self.steps.most_common(1)[0]
        spent = self.seconds
        each = ", ".join(f"{rows / max(spent[one], 1e-9):,.0f}/s an actor on {one}" for one, rows in self.rows.items())
        return f"{each}; limited by {LIMITS[most]} ({longest / max(sum(spent.values()), 1e-9):.0%})"


LIMITS = {"read": "the disk it reads", "decode": "decoding", "forward": "the model", "write": "the disk it writes"}


def _looking(plan: Plan) -> Looking:
    heads = tuple(head.file for head in plan.recipe.heads)
    return Looking(plan.recipe.pictures, plan.models, heads, _tag_list(plan))


def _tag_list(plan: Plan) -> TagList | None:
    """The recipe's concepts as vectors of its first model, made where they are not there yet."""
    if plan.recipe.tags is None or plan.tags is None:
        return None
    file = plan.part("tags", TAG_VERSION, plan.tags.list, plan.tags.model)
    embed_list(plan, plan.models[0], Tagger, TagJob(plan.recipe.tags.concepts, file), plan.tags.list)
    return TagList(file, plan.recipe.tags.top)


def embed_list(
    plan: Plan, model: FoundModel, tagger: Callable[[FoundModel], Callable[[Job], str]], job: Job, called: str
) -> None:
    """Have one actor write the vectors of a list, where they are not there yet; TagsFailed where it cannot."""
    if Path(job.out).exists():
        return
    Path(job.out).parent.mkdir(parents=True, exist_ok=True)
    seats = seats_of(plan, (model,))
    for _, done in run_pool(
        partial(tagger, model), [job], workers=1, cpus_each=seats.cpus, gpus_each=seats.gpus, limit_s=HUNG_S
    ):
        if isinstance(done, SetAside):
            raise TagsFailed(f"The list {called} {done.why}.\nFree memory, then run again.")


class TagsFailed(Exception):
    """A list of concepts or objects took its actor down again and again; the message says what to do next."""


def _jobs(plan: Plan, looking: Looking, parts: Sequence[str]) -> list[LookJob]:
    """The jobs of fetched parts, each with what earlier looks left of it.

    A part is named by what was fetched, by how it is decoded, and by what the recipe asks of it: looks that agree in
    the first two answer one another's questions, and vectors answer whatever the decoder did.
    """
    decoded = fingerprint(LOOK_VERSION, str(plan.recipe.pictures.max_pixels), str(looking.scale_to))
    asked = [plan.recipe.pictures.model_dump_json(), *(model.identity for model in plan.models), repr(plan.heads)]
    asked += [repr(plan.tags), str(looking.tags and looking.tags.top)]
    seen, embedded = (_by_fetched(plan.work / folder) for folder in ("look", "vectors"))
    jobs = []
    for part in parts:
        fetched = Path(part).stem
        name = f"{fetched}-{decoded}-{fingerprint(*asked)}.parquet"
        out, vectors = plan.work / "look" / name, plan.work / "vectors" / name
        earlier = [str(one) for one in seen[fetched] if one != out and one.name.startswith(f"{fetched}-{decoded}-")]
        jobs.append(LookJob(part, str(out), str(vectors), tuple(earlier), tuple(map(str, embedded[fetched]))))
    return jobs


def _by_fetched(folder: Path) -> dict[str, list[Path]]:
    """The parts in a folder by the name of the fetched part that they are of."""
    parts = defaultdict(list)
    for part in sorted(folder.glob("[!.]*.parquet")):
        parts[part.stem.rsplit("-", 2)[0]].append(part)
    return parts


def _with(job: LookJob, known: dict[str, str]) -> LookJob:
    more = known.get(job.part)
    return job if more is None else LookJob(job.part, job.out, job.vectors, job.earlier, (*job.known, more))


def _unlooked(job: LookJob, why: str) -> pa.Table:
    rows = pq.read_table(job.part, columns=["url", "reason", "detail"]).to_pylist()
    told = {"reason": "image_failed", "detail": f"part {Path(job.part).stem} {why}"}
    return pa.Table.from_pylist([row if row["reason"] else {**row, **told} for row in rows], schema=SEEN)


def _unembedded(job: WordsJob, why: str) -> pa.Table:
    """No vectors: the pairs of these texts have no score, and that is their reason."""
    return VECTORS.empty_table()
