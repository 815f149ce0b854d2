"""Register a folder of benchmark pictures as a protected set, spread over actors, in bounded memory and disk."""

from __future__ import annotations

import os
import shutil
import tarfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path

import pyarrow.compute as pc
import pyarrow.parquet as pq
from filelock import FileLock, Timeout

from actors.benchmarks import BenchmarkJob, BenchmarkLooker, Found
from actors.models.files import FoundModel
from actors.pictures.look import Looking
from actors.shards import BESIDE
from filters.load import load_recipe
from filters.recipe import Pictures, Recipe
from tasks.looks import LOOK_EACH_S, seats_of
from tasks.parts import HUNG_S
from tasks.plan import NAME, check_disk, found_models
from tasks.pool import SetAside, cluster, run_pool
from tasks.progress import Progress
from warehouse.lake import prepare
from warehouse.protected import ProtectedSet, register

FILES = 256
"""In a part: what is on disk of a benchmark's bytes is one part an actor."""


class ProtectError(Exception):
    """A set that cannot be registered as it was asked for; the message says what to do next."""


@dataclass(frozen=True)
class Request:
    """The set's name and folder, how many actors, and the recipe whose first model embeds it too; null: hashes only."""

    name: str
    folder: Path
    warehouse: str
    recipe: str | None
    workers: int
    gpu_share: float = 1


@dataclass(frozen=True)
class Failed:
    """A file that is not protected, and why."""

    name: str
    reason: str
    detail: str


@dataclass(frozen=True)
class Registered:
    """A set as it is protected now, how many files were read for it, and those that could not be."""

    made: ProtectedSet
    files: int
    failed: tuple[Failed, ...]


def protect(asked: Request) -> Registered:
    """Look at every file of the folder and put what was seen in the place of the set, in one transaction.

    Raises ProtectError where no file is a picture, and what finding the recipe's model raises.
    """
    recipe, models = _embedding(asked.recipe)
    _check(asked)
    failed: list[Failed] = []
    found = list(_files(asked.folder, failed))
    with _folder(asked) as folder, cluster(asked.workers):
        done = _look(asked, recipe, models, _jobs(found, folder), failed)
        if not any(_passed(job.out) for job in done):
            raise ProtectError(
                f"No file of {asked.folder} is a picture that decodes: {len(failed)} are something else.\n"
                "Give a folder of pictures, or of tars of pictures; what was protected before is as it was."
            )
        made = register(asked.warehouse, asked.name, [job.out for job in done], [job.vectors for job in done])
    return Registered(made, len(found), tuple(failed))


def _check(asked: Request) -> None:
    if not NAME.fullmatch(asked.name):
        raise ProtectError(
            f"A set cannot be named {asked.name[:60]!r}.\n"
            "Use letters, digits, `_`, `.` and `-`, at most 64, a letter or digit first."
        )
    if not asked.folder.is_dir():
        raise ProtectError(f"{asked.folder} is not a folder.\nGive the folder that has the benchmark's pictures.")
    check_disk(asked.warehouse)


def _embedding(recipe: str | None) -> tuple[Recipe, tuple[FoundModel, ...]]:
    """The recipe (without one a bare one), and its first model."""
    if recipe is None:
        return Recipe(name="protect"), ()
    loaded = load_recipe(recipe)
    if not loaded.models:
        raise ProtectError(
            f"The recipe {recipe} names no model to embed pictures with.\nDrop --recipe: hashes need no model."
        )
    return loaded, found_models(loaded)[:1]


def _files(folder: Path, failed: list[Failed]) -> Iterator[Found]:
    """Every file under the folder and every member of its tars, in the order of their names; no hidden ones."""

    def unread(error: OSError) -> None:
        failed.append(Failed(_shown(Path(error.filename), folder), "fetch_failed", error.strerror or "unreadable"))

    for root, folders, names in os.walk(folder, onerror=unread):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for path in (Path(root, name) for name in sorted(names) if not name.startswith(".")):
            if not path.is_file():
                failed.append(Failed(_shown(path, folder), "fetch_failed", "not a file, or a link to none"))
            elif path.suffix.lower() == ".tar":
                yield from _members(path, _shown(path, folder), failed)
            else:
                yield Found(_shown(path, folder), str(path))


def _members(tar: Path, name: str, failed: list[Failed]) -> Iterator[Found]:
    """The members of a tar but for captions and metadata; of one that was cut off those before the cut."""
    try:
        with tarfile.open(tar, "r:") as members:
            for member in members:
                if member.isreg() and not member.issparse() and Path(member.name).suffix[1:].lower() not in BESIDE:
                    yield Found(f"{name}!{_utf8(member.name)}", str(tar), member.offset_data, member.size)
    except (tarfile.TarError, ValueError, EOFError, OverflowError, OSError) as error:
        failed.append(Failed(name, "fetch_incomplete", f"a tar that cannot be read to its end: {error}"[:200]))


def _shown(path: Path, folder: Path) -> str:
    return _utf8(str(path.relative_to(folder)))


def _utf8(name: str) -> str:
    """Names may be any bytes; a Parquet file holds UTF-8."""
    return os.fsencode(name).decode("utf-8", "replace")


@contextmanager
def _folder(asked: Request) -> Iterator[Path]:
    """A folder of the set's own for parts; whatever becomes of the registration, it is gone afterwards."""
    parent = prepare(asked.warehouse).work / "protect"
    folder = parent / asked.name
    parent.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(parent / f".{asked.name}.lock", timeout=0):
            shutil.rmtree(folder, ignore_errors=True)  # of a process that was killed
            folder.mkdir()
            try:
                yield folder
            finally:
                shutil.rmtree(folder)
    except Timeout:
        raise ProtectError(
            f"Another process is registering {asked.name}.\nWait for it, or give another name."
        ) from None


def _jobs(found: Sequence[Found], folder: Path) -> list[BenchmarkJob]:
    rest, jobs = iter(found), list[BenchmarkJob]()
    while some := tuple(islice(rest, FILES)):
        names = (str(folder / f"{kind}-{len(jobs):06}.parquet") for kind in ("bytes", "looked", "vectors"))
        jobs.append(BenchmarkJob(some, *names))
    return jobs


def _look(
    asked: Request,
    recipe: Recipe,
    models: tuple[FoundModel, ...],
    jobs: Sequence[BenchmarkJob],
    failed: list[Failed],
) -> list[BenchmarkJob]:
    """The jobs that were done; files that cannot be looked at are added to `failed`."""
    seats = seats_of(asked, models)
    looking = Looking(Pictures(max_pixels=recipe.pictures.max_pixels), models)
    build = partial(BenchmarkLooker, looking, recipe.fetch.max_bytes, seats.cpus)
    looked = list[BenchmarkJob]()
    with Progress("protect", len(jobs), "files") as progress:
        for job, done in run_pool(
            build,
            jobs,
            workers=seats.actors,
            cpus_each=seats.cpus,
            gpus_each=seats.gpus,
            limit_s=HUNG_S + LOOK_EACH_S * FILES,
        ):
            if isinstance(done, SetAside):
                failed += [Failed(one.name, "image_failed", f"its part {done.why}") for one in job.found]
            else:
                looked.append(job)
                failed += _failed(job.out)
            progress.advance(len(job.found))
    return sorted(looked, key=lambda job: job.out)


def _passed(part: str) -> bool:
    return bool(pc.any(pc.is_null(pq.read_table(part, columns=["reason"])["reason"])).as_py())


def _failed(part: str) -> list[Failed]:
    rows = pq.read_table(part, columns=["url", "reason", "detail"])
    told = rows.filter(pc.is_valid(rows["reason"])).to_pylist()
    return [Failed(row["url"], row["reason"], row["detail"] or "") for row in told]
