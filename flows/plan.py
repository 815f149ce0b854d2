"""See what a recipe would do to a source before it is milled: a dry run over a sample, in a warehouse of its own."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

from prefect import flow
from prefect.runtime import flow_run

from filters.chosen import boilerplate, chosen
from flows.curate import mill
from tasks.forecast import Range, devices, embedding_hours, hours, reasons, sums, survivors
from tasks.looks import seats_for, seats_of
from tasks.ordering import Order, order_pictures, order_texts
from tasks.plan import Plan, PlanError, make_plan
from tasks.pool import cluster, cpus
from tasks.progress import Clock, clocked, step
from tasks.stages import FETCH_LANES
from tasks.steps import ingest_source
from warehouse.forecast import Drawn, Fate, Whole, draw, fates, parts_of


def _run_name() -> str:
    asked = flow_run.parameters
    return f"plan {Path(str(asked['source'])).name} by {asked['recipe']}"


@flow(name="plan", flow_run_name=_run_name)
def plan(
    source: str,
    recipe: str = "zero",
    sample: int = 1000,
    seed: int = 0,
    workers: int | None = None,
    gpu_share: float = 1,
    allow_hosts: list[str] | None = None,
) -> dict[str, Any]:
    """What milling `source` by `recipe` would come to, as a script wants it; nothing of it stays on this machine.

    `sample` rows of the source, by a hash of `seed` and each row, go through every stage as `curate` would have them:
    their URLs are asked for. Raises what `curate` raises where the recipe asks for what is not there.
    """
    with tempfile.TemporaryDirectory(prefix="zeromill-plan-") as name:

        def planned(log: str) -> Plan:
            return make_plan(
                log, recipe, f"{name}/lake", allow=tuple(allow_hosts or ()), workers=workers, gpu_share=gpu_share
            )

        whole = planned(source)
        refuse_folder(whole)
        with clocked() as clock, ExitStack() as running:
            with step("ingest") as said:
                candidates = ingest_source(whole)
                said.append("of the whole source")
            ingested = clock.steps.pop("ingest")
            log = str(Path(name) / f"{Path(source).name.partition('.')[0]}.parquet")
            drawn = draw(whole.warehouse, candidates, log, rows=sample, seed=seed)
            with step("start") as said:
                running.enter_context(cluster(whole.workers))
                said.append(f"{drawn.drawn} of {drawn.rows} rows drawn")
            trial = planned(log)
            slots = _slots(trial)
            mill(trial, dry=True)
        clock.steps["ingest"] = ingested
        told = _fates(trial, candidates, log, drawn)
        return _result(whole, seed, drawn, told, clock, slots) | _measured(trial, log)


def _slots(trial: Plan) -> dict[str, int]:
    """How many parts of a step's actors are under way at once."""
    models = seats_of(trial, trial.models).actors
    captioners = min((seats_for(trial, one.nbytes).actors for one in trial.captioners), default=1)
    fetchers = FETCH_LANES * min(trial.workers, cpus())
    return {"fetch": fetchers, "look": models, "align": models, "read": trial.workers, "caption": captioners}


def _fates(trial: Plan, candidates: str, log: str, drawn: Drawn) -> list[Fate]:
    common = boilerplate(chosen(trial.recipe.texts.filters, "text"))
    whole = Whole(candidates, trial.recipe.texts.roles, common.urls if common is not None else None)
    judged, fetched = str(trial.folder / "judged.parquet"), parts_of(trial.work / "fetch")
    return fates(trial.warehouse, log, fetched, judged, None if drawn.whole else whole)


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
    told.append("the history: what your warehouse kept, protects or has forgotten was not asked")
    return told


def refuse_folder(asked: Plan) -> None:
    """Raise PlanError for an img2dataset folder: it has its pictures with it, and a sample of it would ask the web."""
    if asked.of_folder:
        raise PlanError(
            f"{asked.source} is a folder that img2dataset wrote: there is nothing to fetch, and a plan samples logs.\n"
            "Try the recipe on its first rows instead: zeromill curate FOLDER --recipe R --limit 1000"
        )
