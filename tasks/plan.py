"""Everything that a run is, known before its first row is touched."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from actors.models.captioners.protocol import FoundCaptioner
from actors.models.concepts import prompts
from actors.models.files import FoundModel, find_model
from actors.models.heads import heads_of
from actors.models.places import file_sha256
from actors.web.stores import StoreError, check_stores
from filters.chosen import chosen
from filters.concepts import concepts_file, load_concepts
from filters.load import load_recipe, recipe_fingerprint
from filters.pictures import Unsafe
from filters.recipe import Fetch, Recipe, contact_missing
from tasks.captioners import check_captions, check_endpoints, found_captioners
from tasks.memory import check_memory
from tasks.policies import check_policies
from warehouse.errors import WarehouseError
from warehouse.ids import fingerprint
from warehouse.ingest import check_source, source_hash
from warehouse.lake import anywhere, exists, locate, shown
from warehouse.protected import protected_hash
from warehouse.publish import HeadFacts, TagFacts
from warehouse.releases import check_free, released_as
from warehouse.scores import Said, Scorer

VERSION = "2"
"""Of what a run does as a whole: raised when the same source and recipe would give another release."""

LEAST_FREE_BYTES = 200 << 20

NAME = re.compile(r"\w[\w.-]{0,63}")
"""Of a release: it becomes the name of a folder and of an event."""

HOST_AND_PORT = re.compile(r"([\w.-]+|\[[0-9A-Fa-f:.]+\]):[0-9]{1,5}")


class PlanError(Exception):
    """A run that was asked for in words that cannot be followed; the message says which would do."""


@dataclass(frozen=True)
class Plan:
    """A run's inputs, its identity, and where its parts are; plain values, safe to hand to tasks.

    `run_id` is made from what determines the result: two executions of one plan are one run, resumed.
    `round` counts how often what failed for a while was asked again: 0 is the first execution.
    `protected` stands for what was protected when it was planned (warehouse.protected.protected_hash).
    """

    source: str
    source_hash: str
    recipe: Recipe
    warehouse: str
    release: str
    run_id: str
    models: tuple[FoundModel, ...]
    heads: tuple[HeadFacts, ...]
    tags: TagFacts | None
    allow: tuple[str, ...]
    limit: int | None
    workers: int
    gpu_share: float = 1
    round: int = 0
    protected: str = ""
    captioners: tuple[FoundCaptioner, ...] = ()

    @property
    def scorers(self) -> tuple[Scorer, ...]:
        """The models as those who score pairs, in the order in which they are asked."""
        return tuple(Scorer(model.name, model.identity, model.languages) for model in self.models)

    @property
    def listened(self) -> tuple[Said, ...]:
        """The heads by which pairs are judged, one for each of their bounds."""
        files = {head.name: head.head for head in self.heads}
        least = self.recipe.select.min_heads.items()
        filters = chosen(self.recipe.pictures.filters, "picture")
        unsafe = [(one.head, one.limit) for one in filters if isinstance(one, Unsafe)]
        return tuple(Said(name, files[name], "image_unsafe", bound) for name, bound in unsafe) + tuple(
            Said(name, files[name], "not_selected", bound) for name, bound in least
        )

    @property
    def work(self) -> Path:
        """The folder of parts, which runs share."""
        return locate(self.warehouse).work

    @property
    def folder(self) -> Path:
        """The folder of what only this run made."""
        return self.work / "runs" / self.run_id

    @property
    def of_folder(self) -> bool:
        """Whether the source is an img2dataset folder, which has its pictures with it."""
        return Path(self.source).is_dir()

    def part(self, stage: str, *facts: str) -> str:
        """The name of the part that `stage` makes of `facts`: the same facts are the same part."""
        return str(self.work / stage / f"{fingerprint(stage, *facts)}.parquet")


def default_warehouse() -> str:
    """ZEROMILL_WAREHOUSE, or the folder `lake` here."""
    return os.environ.get("ZEROMILL_WAREHOUSE") or "lake"


def make_plan(
    source: str,
    recipe: str,
    warehouse: str,
    *,
    release: str | None = None,
    allow: tuple[str, ...] = (),
    limit: int | None = None,
    workers: int | None = None,
    gpu_share: float = 1,
    round: int = 0,
) -> Plan:
    """Check everything that can be checked before a row is touched, and name the run.

    Raises PlanError, SourceError, RecipeError, ModelMissing, HeadError, ConceptError or WarehouseError, each with the
    next step.
    """
    check_words(release, allow)
    check_share(gpu_share)
    loaded = load_recipe(recipe)
    check_readable(loaded)
    path = check_source(source)
    models = found_models(loaded)
    heads, tags = heads_facts(loaded, models), tags_facts(loaded, models)
    check_policies(loaded, warehouse, [model.identity for model in models])
    captioners = found_captioners(loaded)
    check_captions(loaded, models, captioners)
    check_memory(memory_asked(models, captioners))
    check_disk(warehouse)
    if path.is_file() and not loaded.fetch.stores:
        check_contact(recipe, loaded.fetch, allow)
    hosts = tuple(sorted(set(allow)))
    content = source_hash(path)
    protected = protected_hash(warehouse)
    run_id = run_identity(content, loaded, models, hosts, limit, round, protected, captioners)
    if not (exists(warehouse) and released_as(warehouse, run_id)):
        check_endpoints(captioners)
    if release is not None:
        check_free(warehouse, release, run_id)
    return Plan(
        source=str(path.resolve()),
        source_hash=content,
        recipe=loaded,
        warehouse=anywhere(warehouse),
        release=release or f"{_stem(path)}-{loaded.name}-{run_id[:8]}",
        run_id=run_id,
        models=models,
        heads=heads,
        tags=tags,
        allow=hosts,
        limit=limit,
        workers=workers or os.cpu_count() or 1,
        gpu_share=gpu_share,
        round=round,
        protected=protected,
        captioners=captioners,
    )


def memory_asked(models: Sequence[FoundModel], captioners: Sequence[FoundCaptioner]) -> dict[str, int]:
    """Bytes of weights that one actor has to hold at a time, by what for."""
    scoring = sum(Path(model.weights).stat().st_size for model in models)
    asked = {f"The scoring of pairs by {', '.join(model.name for model in models)}": scoring} if models else {}
    return asked | {f"The captioner {one.name}": one.nbytes for one in captioners}


def found_models(recipe: Recipe) -> tuple[FoundModel, ...]:
    """The recipe's models on this machine; ModelMissing, or PlanError where two of them are one."""
    models = [find_model(model) for model in recipe.models]
    names: dict[str, str] = {}
    for model in models:
        if model.identity in names:
            raise PlanError(
                f"The models {names[model.identity]} and {model.name} of the recipe are the same files.\n"
                "Name them once, with the languages of both."
            )
        names[model.identity] = model.name
    return tuple(models)


def heads_facts(recipe: Recipe, models: Sequence[FoundModel]) -> tuple[HeadFacts, ...]:
    """The recipe's heads by name, model and content; HeadError or PlanError where one does not fit."""
    heads = heads_of(recipe, {model.identity: model.name for model in models})
    missing = recipe.select.min_heads.keys() - {head.name for head in heads}
    if missing:
        raise PlanError(
            f"select.min_heads names the head {min(missing)}, which no file of `heads` is.\n"
            "Add its file to `heads`, or drop it there."
        )
    files = [file_sha256(Path(head.file))[:16] for head in recipe.heads]
    return tuple(HeadFacts(head.name, head.model, file) for head, file in zip(heads, files, strict=True))


def tags_facts(recipe: Recipe, models: Sequence[FoundModel]) -> TagFacts | None:
    """The recipe's list of concepts, which the first of its models compares; ConceptError where that cannot read it."""
    if recipe.tags is None:
        return None
    prompts(load_concepts(recipe.tags.concepts), models[0].languages)
    file = concepts_file(recipe.tags.concepts)
    digest = hashlib.sha256(file.read_bytes() + repr(models[0].languages).encode()).hexdigest()
    return TagFacts(f"{file.name.removesuffix('.tsv')}-{digest[:8]}", models[0].identity)


def run_identity(
    source_hash: str,
    recipe: Recipe,
    models: Sequence[FoundModel],
    allow: tuple[str, ...],
    limit: int | None,
    round: int = 0,
    protected: str = "",
    captioners: Sequence[FoundCaptioner] = (),
) -> str:
    """Sixteen hex digits of everything that determines a run's result, the content of its source first.

    `protected` is warehouse.protected.protected_hash, empty where nothing is.
    """
    # a first execution, and one that nothing is protected from, keeps the name that it had before there were such
    told = [f"round {round}"] if round else []
    told += [f"protected {protected}"] if protected else []
    told += [f"captions {one.identity}" for one in captioners]
    identities = ",".join(model.identity for model in models)
    return fingerprint(VERSION, source_hash, recipe_fingerprint(recipe), identities, *allow, str(limit), *told)


def _stem(path: Path) -> str:
    """The source's name without its format, as far as it may stand in a release's; a folder's name has none."""
    name = path.name or path.resolve().name
    stem = name if path.is_dir() else name.removesuffix(".gz").rsplit(".", 1)[0]
    return re.sub(r"[^\w.-]+", "-", stem).strip(".-")[:60] or "log"


def check_words(release: str | None, allow: tuple[str, ...]) -> None:
    """Raise PlanError for a release's name that is no name, and for an allowed host without its port."""
    if release is not None and not NAME.fullmatch(release):
        raise PlanError(
            f"A release cannot be named {release[:60]!r}.\n"
            "Use letters, digits, `_`, `.` and `-`, at most 64, a letter or digit first."
        )
    for host in allow:
        if not HOST_AND_PORT.fullmatch(host):
            raise PlanError(
                f"--allow-host {host[:60]!r} is not HOST:PORT.\nWrite it like 10.0.0.7:8080, without http://."
            )


def check_share(gpu_share: float) -> None:
    """Raise PlanError for a share of a card that is none."""
    if not 0 < gpu_share <= 1:
        raise PlanError(
            f"--gpu-share {gpu_share:g} is no share of a card.\n"
            "Say how much of one each actor has: more than 0, at most 1."
        )


def check_readable(recipe: Recipe) -> None:
    """Raise PlanError for a store of the recipe that nothing on this machine reads."""
    try:
        check_stores(recipe.fetch.stores)
    except StoreError as error:
        raise PlanError(str(error)) from error


def check_disk(warehouse: str) -> None:
    """Raise WarehouseError where the warehouse's disk is full before anything was written."""
    folder = locate(warehouse).work
    try:
        while not folder.exists():
            folder = folder.parent
        free = shutil.disk_usage(folder).free
    except OSError as error:  # a folder on the way that may not be entered
        raise WarehouseError(
            f"Cannot look into the warehouse {shown(warehouse)}: {error.strerror}\n"
            "Name another with --warehouse or ZEROMILL_WAREHOUSE, or make this one writable."
        ) from error
    if free < LEAST_FREE_BYTES:
        raise WarehouseError(
            f"Only {free >> 20} MB are free where the warehouse {shown(warehouse)} is.\n"
            "Make room, or name another --warehouse."
        )


def check_contact(recipe: str, fetch: Fetch, allow: tuple[str, ...]) -> None:
    """Raise PlanError where the run could ask strangers only, and would not say who asks."""
    missing = contact_missing(fetch, allow)
    if missing is not None:
        raise PlanError(f"The recipe {recipe} names no contact, and {missing}")


@contextmanager
def alone(plan: Plan) -> Iterator[None]:
    """Nobody else executes this run meanwhile; PlanError if somebody does."""
    plan.folder.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(plan.folder / "running", timeout=0):
            yield
    except Timeout:
        raise PlanError(
            "Another process is milling this very source by this recipe.\nWait for it: the result will be the same."
        ) from None


def already(plan: Plan) -> list[str]:
    """The names under which this very run was published before."""
    return released_as(plan.warehouse, plan.run_id) if exists(plan.warehouse) else []


def published(source: str, recipe: Recipe, warehouse: str, allow: tuple[str, ...] = ()) -> str | None:
    """The release that `source` already became under `recipe` and with what is protected now, or null."""
    models, hosts = found_models(recipe), tuple(sorted(set(allow)))
    protected = protected_hash(warehouse)
    run_id = run_identity(
        source_hash(Path(source)), recipe, models, hosts, None, 0, protected, found_captioners(recipe)
    )
    names = released_as(warehouse, run_id)
    return names[0] if names else None
