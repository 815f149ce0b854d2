"""See what a recipe would do to a source before it is milled: a dry run over a sample, in a warehouse of its own."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from prefect import flow
from prefect.runtime import flow_run

from filters.chosen import boilerplate, chosen
from flows.curate import mill
from tasks.forecast import Range, devices, embedding_hours, hours, reasons, sums, survivors
from tasks.looks import seats_for, seats_of
from tasks.ordering import Order, order_pictures, order_texts
from tasks.plan import Plan, PlanError, default_warehouse, make_plan
from tasks.pool import cluster, cpus
from tasks.progress import Clock, clocked, step
from tasks.stages import FETCH_LANES, read
from tasks.steps import ingest_source, sift_rows
from tasks.trial import trial_recipe
from warehouse.forecast import Drawn, Fate, Milled, Whole, draw, fates, kin, parts_of
from warehouse.lake import anywhere


def _run_name() -> str:
    asked = flow_run.parameters
    return f"plan {Path(str(asked['source'])).name} by {asked['recipe']}"


@flow(name="plan", flow_run_name=_run_name)
def plan(
    source: str,
    recipe: str = "zero",
    sample: int = 1000,
    seed: int = 0,
    warehouse: str | None = None,
    workers: int | None = None,
    gpu_share: float = 1,
    allow_hosts: list[str] | None = None,
) -> dict[str, Any]:
    """What milling `source` by `recipe` would come to, as a script wants it; nothing of it stays on this machine.

    `sample` rows of the source, by a hash of `seed` and each row, go through every stage as in `curate`: their URLs are
    asked for. Of `warehouse` only the targets of policies are read. Raises what `curate` raises before its first row.
    """
    hosts = tuple(allow_hosts or ())
    asked = make_plan(
        source, recipe, warehouse or default_warehouse(), allow=hosts, workers=workers, gpu_share=gpu_share
    )
    refuse_folder(asked)
    with tempfile.TemporaryDirectory(prefix="zeromill-plan-") as name, ExitStack() as running:
        scratch = replace(asked, warehouse=anywhere(f"{name}/lake"))
        log = str(Path(name) / f"{Path(source).name.partition('.')[0]}.parquet")
        candidates, drawn, first = _drawn(scratch, log, sample, seed)
        trial = _trial(asked, scratch, log)
        clock = _milled(running, trial, drawn)
        clock.steps |= first.steps
        told = _fates(trial, candidates, log, drawn)
        return _result(asked, seed, drawn, told, clock, _slots(trial)) | _measured(trial, log)


def _drawn(scratch: Plan, log: str, sample: int, seed: int) -> tuple[str, Drawn, Clock]:
    """Ingest the whole source and write the drawn rows to `log`: (candidates, what was drawn, how long it took)."""
    with clocked() as clock, step("ingest") as said:
        candidates = ingest_source(scratch)
        said.append("of the whole source")
    return candidates, draw(scratch.warehouse, candidates, log, rows=sample, seed=seed), clock


def _trial(asked: Plan, scratch: Plan, log: str) -> Plan:
    """The plan of milling the drawn rows in the scratch warehouse, by the recipe with its targets as files."""
    recipe = trial_recipe(asked, Path(log).parent / "recipe")
    return make_plan(
        log, recipe, scratch.warehouse, allow=asked.allow, workers=asked.workers, gpu_share=asked.gpu_share
    )


def _milled(running: ExitStack, trial: Plan, drawn: Drawn) -> Clock:
    """Mill the drawn rows, and how long each step took; the cluster that starts for them goes on `running`."""
    with clocked() as clock:
        with step("start") as said:
            running.enter_context(cluster(trial.workers))
            said.append(f"{drawn.drawn} of {drawn.rows} rows drawn")
        mill(trial, dry=True)
    return clock


def _slots(trial: Plan) -> dict[str, int]:
    """How many parts of a step's actors are under way at once."""
    models = seats_of(trial, trial.models).actors
    captioners = min((seats_for(trial, one.nbytes).actors for one in trial.captioners), default=1)
    fetchers = FETCH_LANES * min(trial.workers, cpus())
    return {"fetch": fetchers, "look": models, "align": models, "read": trial.workers, "caption": captioners}


def _fates(trial: Plan, candidates: str, log: str, drawn: Drawn) -> list[Fate]:
    """What became of the drawn rows, by what milling them left and by what the whole source says of them."""
    fetched, looked = (parts_of(trial.work / stage) for stage in ("fetch", "look"))
    milled = Milled(log, fetched, looked, str(trial.folder / "judged.parquet"))
    return fates(trial.warehouse, milled, None if drawn.whole else _whole(trial, candidates, log))


def _whole(trial: Plan, candidates: str, log: str) -> Whole:
    """What the sift says of all rows of the drawn URLs: a URL is fetched as soon as one of its rows passes."""
    beside = replace(trial, run_id=f"{trial.run_id}-kin")
    rows = kin(trial.warehouse, candidates, log, str(beside.folder / "kin.parquet"))
    sifted, texts = sift_rows(beside, rows, *read(beside, rows))
    common = boilerplate(chosen(trial.recipe.texts.filters, "text"))
    return Whole(candidates, trial.recipe.texts.roles, common.urls if common is not None else None, sifted, texts)


def _result(
    whole: Plan, seed: int, drawn: Drawn, told: Sequence[Fate], clock: Clock, slots: Mapping[str, int]
) -> dict[str, Any]:
    """What the sample says of the whole source."""
    expected = sums(told, drawn, whole.recipe.fetch.max_bytes)
    steps = hours(clock, expected["urls_to_fetch"], drawn, slots)
    sum_of = Range(*(sum(getattr(one.hours, bound) for one in steps) for bound in ("value", "low", "high")))
    return {
        "source": whole.source,
        "recipe": whole.recipe.name,
        "rows": drawn.rows,
        "urls": drawn.urls,
        "sample": drawn.drawn,
        "seed": seed,
        "survivors": [asdict(one) for one in survivors(told, drawn)],
        "reasons": [asdict(one) for one in reasons(told, drawn)],
        "expected": {name: asdict(one) for name, one in expected.items()},
        "hours": [asdict(one) for one in steps],
        "hours_in_all": asdict(sum_of),
        "devices": [
            {**asdict(one), "hours": asdict(embedding_hours(one, expected["pictures"]))}
            for one in (devices() if whole.models else ())
        ],
        "not_known": _not_known(whole, drawn),
    }


def _measured(trial: Plan, log: str) -> dict[str, Any]:
    """What the filters cost, and the cuts that the sample's scores came to."""
    orders = order_texts(trial.recipe, log), order_pictures(trial.recipe, parts_of(trial.work / "look"))
    cuts = trial.folder / "cuts.json"
    return {
        "filters": [_told(one) for one in orders if one.asked],
        "cuts": json.loads(cuts.read_text("utf-8")) if cuts.exists() else {},
    }


def _told(order: Order) -> dict[str, Any]:
    return {
        "room": order.room,
        "rows": order.rows,
        "micros_shared": order.shared,
        "asked": [asdict(one) for one in order.asked],
        "best": [one.name for one in order.best],
        "micros_asked": order.micros_asked,
        "micros_best": order.micros_best,
    }


def _not_known(whole: Plan, drawn: Drawn) -> list[str]:
    """What a sample of this recipe cannot tell."""
    recipe, told = whole.recipe, []
    if not drawn.whole:
        told.append("copies under other URLs: only those within the sample were met, so fewer rows will be kept")
        if recipe.texts.near is not None and boilerplate(chosen(recipe.texts.filters, "text")) is not None:
            told.append("texts that are common only together with near ones: those that are equal were counted")
        if recipe.click_through is not None and recipe.click_through.top_k is not None:
            told.append("the best rows of a query: a sample has few rows of any, so not_in_top_k is too small")
        if recipe.select.top_fraction is not None:
            told.append("the exact cut of top_fraction: it is that of the sample's scores")
    told.append(
        "the history: what your warehouse kept, protects or has forgotten was not asked, but for targets of policies"
    )
    return told


def refuse_folder(asked: Plan) -> None:
    """Raise PlanError for an img2dataset folder: it has its pictures with it, and a sample of it would ask the web."""
    if asked.of_folder:
        raise PlanError(
            f"{asked.source} is a folder that img2dataset wrote: there is nothing to fetch, and a plan samples logs.\n"
            "Try the recipe on its first rows instead: zeromill curate FOLDER --recipe R --limit 1000"
        )
