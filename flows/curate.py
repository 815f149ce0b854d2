"""Mill one log into a published release: the main job, from the first row read to the event."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

from prefect import flow
from prefect.client.orchestration import get_client
from prefect.events import emit_event
from prefect.runtime import flow_run

from actors.models.captioners.protocol import FoundCaptioner
from actors.models.files import FoundModel, called
from filters.recipe import Model
from flows.server import run_url, running_server
from tasks.artifacts import funnel_artifact, release_artifact, validation_artifact
from tasks.captions import caption, check_captions, with_captions
from tasks.copies import Joined, join_copies
from tasks.folder import read_folder
from tasks.looks import embed_texts, look, look_again
from tasks.plan import Plan, alone, already, default_warehouse, make_plan
from tasks.pool import cluster
from tasks.progress import step
from tasks.rounds import count_left
from tasks.stages import fetch, read
from tasks.steps import (
    ingest_source,
    judge_pairs,
    make_ledger,
    make_pairs,
    publish_run,
    rows_of,
    sift_rows,
)
from tasks.validate import Verdict, check_input, validate
from warehouse.captions import told_of as captions_told
from warehouse.copies import told_of
from warehouse.lake import shown
from warehouse.ledger import funnel
from warehouse.overlaps import overlaps
from warehouse.publish import Captioned, ModelFacts, Release, Run, add_name
from warehouse.releases import find_release

PUBLISHED = "zeromill.release.published"
"""The event that a release emits; `train` is deployed to start on it."""


class NotPublished(Exception):
    """The release to be did not pass its validation; the ledger and the report say why."""


def _run_name() -> str:
    asked = flow_run.parameters
    return f"{Path(str(asked['source'])).name} -> {asked.get('release') or asked['recipe']}"


@flow(name="curate", flow_run_name=_run_name, log_prints=False)
def curate(
    source: str,
    recipe: str = "zero",
    release: str | None = None,
    warehouse: str | None = None,
    limit: int | None = None,
    workers: int | None = None,
    gpu_share: float = 1,
    allow_hosts: list[str] | None = None,
    train: bool = False,
) -> dict[str, Any]:
    """Curate `source` by `recipe` and publish it; what a script wants to know of the run.

    A source that was published by the same recipe before is not run again: only a new name is added. A killed
    run goes on with the parts that it left. Raises NotPublished where validation fails.
    """
    plan = make_plan(
        source,
        recipe,
        warehouse or default_warehouse(),
        release=release,
        allow=tuple(allow_hosts or ()),
        limit=limit,
        workers=workers,
        gpu_share=gpu_share,
    )
    names = already(plan)
    if names:
        result = known_already(plan, names, named=release is not None)
        return _trained(plan, result) if train else result
    result = mill(plan)
    return _trained(plan, result) if train else result


def mill(plan: Plan, earlier: str | None = None, *, dry: bool = False) -> dict[str, Any]:
    """Run every stage of the plan and tell the world of its release; what a script wants to know of the run.

    `earlier` is the id of the run of which only the failures that may pass are asked again. A `dry` run publishes
    nothing and says so. Raises NotPublished.
    """
    _announce(plan)
    with alone(plan), cluster(plan.workers, dashboard=os.environ.get("ZEROMILL_RAY_DASHBOARD") == "1"):
        result = _mill(plan, earlier, dry=dry)
    if not dry:
        _tell_of(plan)
    return result


def _tell_of(plan: Plan) -> None:
    """Emit the event that trainings start on."""
    emit_event(
        event=PUBLISHED,
        resource={
            "prefect.resource.id": f"zeromill.release.{plan.release}",
            "prefect.resource.name": plan.release,
            "zeromill.warehouse": shown(plan.warehouse),
        },
        payload={"release": plan.release, "warehouse": plan.warehouse},
    )


def _trained(plan: Plan, result: dict[str, Any]) -> dict[str, Any]:
    """Train in line on what was published."""
    from flows.train import train as train_flow

    return {**result, "training": train_flow(result["release"], plan.warehouse)}


def _announce(plan: Plan) -> None:
    """Where this very run can be watched, under a name that says its release: before the plan nobody knew it."""
    if not flow_run.id:
        return
    with get_client(sync_client=True) as client:
        client.update_flow_run(UUID(flow_run.id), name=f"{Path(plan.source).name} -> {plan.release}")
    server = running_server()
    if server is not None:
        print(f"This run: {run_url(server, flow_run.id)}", file=sys.stderr)


def known_already(plan: Plan, names: Sequence[str], *, named: bool) -> dict[str, Any]:
    """The answer for a run that was published before; a new name is added to its release."""
    if named and plan.release not in names:
        add_name(plan.warehouse, find_release(plan.warehouse, names[0]).fingerprint, plan.release)
        return {"release": plan.release, "run_id": plan.run_id, "no_op": True, "added": True, "also": list(names)}
    release = plan.release if named else names[0]
    also = [name for name in names if name != release]
    return {"release": release, "run_id": plan.run_id, "no_op": True, "added": False, "also": also}


@dataclass
class _Parts:
    """What the stages of one run left, in their order; `earlier` is the run whose failures are asked again."""

    earlier: str | None
    candidates: str = ""
    sifted: str = ""
    texts: str = ""
    fetched: Sequence[str] = ()
    looked: Sequence[str] = ()
    vectors: Sequence[str] = ()
    joined: Joined = field(default_factory=lambda: Joined(""))
    captioned: Captioned = field(default_factory=Captioned)
    judged: str = ""
    scores: str = ""
    embedded: Sequence[str] = ()
    cuts: dict[str, float] | None = None


def _mill(plan: Plan, earlier: str | None, *, dry: bool) -> dict[str, Any]:
    """Every stage, and what they made of the source, published or not."""
    started = datetime.now(UTC)
    parts = _Parts(earlier)
    _words(plan, parts)
    _pictures(plan, parts)
    _pairs(plan, parts)
    verdict, ledger, counts = _judged(plan, parts)
    turned_away = funnel(plan.warehouse, ledger)
    published = verdict.passed and not dry
    release = Release(plan.release, parts.cuts or {}, counts, verdict.metrics) if published else None
    with step("publish") as said:
        publish_run(plan, _run(plan, parts, started, ledger, verdict), release)
        held = "nothing, as this is a dry run" if dry else "held back"
        said.append(f"{verdict.metrics['pairs']} pairs of {verdict.metrics['images']} pictures" if release else held)
    funnel_artifact(counts["candidates"], turned_away, counts["kept"])
    validation_artifact(verdict.passed, verdict.metrics, verdict.failed, verdict.report, parts.joined.page)
    if release is not None:
        release_artifact(release.name, counts, verdict.metrics, release.cuts)
    elif not dry:
        raise NotPublished(_held_back(plan, verdict))
    return {
        "release": plan.release,
        "run_id": plan.run_id,
        "no_op": False,
        "counts": counts,
        "funnel": [{"stage": stage, "reason": reason, "rows": rows} for stage, reason, rows in turned_away],
        "overlaps": overlaps(plan.warehouse, ledger),
        "metrics": verdict.metrics,
        "cuts": parts.cuts or {},
        "report": verdict.report,
        "copies": parts.joined.page,
        "may_be_asked_again": _transient(plan),
    }


def _judged(plan: Plan, parts: _Parts) -> tuple[Verdict, str, dict[str, int]]:
    """Whether what the stages made may be published, its ledger, and how many rows had which outcome."""

    def told(published: bool) -> tuple[str, dict[str, int]]:
        return make_ledger(
            plan, parts.candidates, parts.sifted, parts.looked, parts.joined.part, parts.judged, published=published
        )

    with step("validate") as said:
        ledger, counts = told(published=True)
        texts = [parts.texts, *parts.captioned.texts]
        verdict = validate(plan, texts, parts.looked, parts.judged, ledger)
        said.append("passed" if verdict.passed else "failed: " + "; ".join(verdict.failed))
    if not verdict.passed:
        ledger, counts = told(published=False)
    return verdict, ledger, counts


def _transient(plan: Plan) -> int:
    """How many URLs failed for a while only."""
    return 0 if plan.of_folder else count_left(plan.work, plan.run_id).transient


def _held_back(plan: Plan, verdict: Verdict) -> str:
    again = _transient(plan)
    return (
        f"Nothing was published: {'; '.join(verdict.failed)}.\n"
        f"The ledger has every row's reason (`zeromill sql`); the report is {verdict.report}"
        + (f"\n{again} URLs failed for a while only: `zeromill refetch` asks them again." if again else "")
    )


def _words(plan: Plan, parts: _Parts) -> None:
    """Ingest, the contract of the source, and the sift."""
    with step("ingest") as said:
        parts.candidates = ingest_source(plan)
        said.append(f"{rows_of([parts.candidates])} candidates")
    rows, texts = read(plan, parts.candidates)
    with step("contract") as said:
        metrics = check_input(plan, parts.candidates, rows)
        said.append(f"{metrics['malformed_share']:.1%} malformed")
    with step("sift") as said:
        parts.sifted, parts.texts = sift_rows(plan, parts.candidates, rows, texts)
        said.append("texts and clicks judged")


def _pictures(plan: Plan, parts: _Parts) -> None:
    """Fetch, look, copies."""
    with step("fetch") as said:
        parts.fetched = read_folder(plan, parts.sifted) if plan.of_folder else fetch(plan, parts.sifted, parts.earlier)
        said.append(f"{rows_of(parts.fetched)} URLs")
    with step("look") as said:
        parts.looked, parts.vectors = look(plan, parts.fetched)
        said.append(f"{rows_of(parts.looked)} rows")
    with step("copies") as said:
        parts.joined = join_copies(plan, parts.sifted, parts.looked, parts.vectors)
        said.append(told_of(plan.warehouse, parts.joined.part))
        removed = overlaps(plan.warehouse, parts.joined.part)
        said += [f"{pictures} overlap the protected set {name}" for name, pictures in removed.items()]


def _pairs(plan: Plan, parts: _Parts) -> None:
    """Align and select."""
    with step("align") as said:
        made = make_pairs(plan, parts.sifted, parts.texts, parts.looked, parts.joined.part)
        again, vectors = look_again(plan, made, parts.looked, parts.vectors)
        parts.looked, parts.vectors = [*parts.looked, *again], [*parts.vectors, *vectors]
        parts.embedded = embed_texts(plan, made, [parts.texts])
        said.append(f"{rows_of([made])} pairs to judge")
    if plan.recipe.captions is not None:
        with step("caption") as said:
            made = _captions(plan, parts, made)
            said.append(captions_told(plan.warehouse, parts.captioned.words, parts.captioned.checks))
    with step("select") as said:
        parts.judged, parts.scores, parts.cuts = judge_pairs(
            plan, made, parts.looked, parts.vectors, parts.embedded, [parts.texts, *parts.captioned.texts]
        )
        said += [f"{name} {value:.4f}" for name, value in parts.cuts.items()] or ["no cut"]


def _captions(plan: Plan, parts: _Parts, made: str) -> str:
    """Caption the survivors, and hold the captions against their pictures; the pairs, those that stay among them."""
    written = caption(plan, made, parts.looked, parts.fetched)
    parts.embedded = [
        *parts.embedded,
        *embed_texts(plan, with_captions(plan, made, written, "pairs-written"), written.texts),
    ]
    parts.captioned = check_captions(plan, written, made, parts.looked, parts.fetched, parts.vectors, parts.embedded)
    return with_captions(plan, made, parts.captioned)


def _facts(model: Model, found: FoundModel) -> ModelFacts:
    """What the warehouse keeps of a model, beside its vectors."""
    return ModelFacts(
        found.identity,
        found.name,
        called(model),
        found.kind,
        found.weights_sha256,
        found.preprocessing,
        found.tokenizer,
    )


def _captioner_facts(found: FoundCaptioner) -> ModelFacts:
    """The same of a captioner; weights at an endpoint cannot be hashed."""
    weights = ",".join(sha256 for _, sha256 in found.files)
    return ModelFacts(found.identity, found.name, found.served or found.place, found.kind, weights, "", "")


def _run(plan: Plan, parts: _Parts, started: datetime, ledger: str, verdict: Verdict) -> Run:
    return Run(
        run_id=plan.run_id,
        flow_run_id=str(flow_run.id or ""),
        source=plan.source,
        recipe_name=plan.recipe.name,
        recipe=json.dumps(plan.recipe.model_dump(mode="json"), ensure_ascii=False),
        models=(
            *(_facts(plan.recipe.models[place], found) for place, found in enumerate(plan.models)),
            *map(_captioner_facts, plan.captioners),
        ),
        heads=plan.heads,
        tags=plan.tags,
        allow=plan.allow,
        limit=plan.limit,
        round=plan.round,
        earlier=parts.earlier,
        protected=plan.protected,
        started_at=started,
        candidates=parts.candidates,
        sifted=parts.sifted,
        texts=parts.texts,
        fetched=tuple(parts.fetched),
        looked=tuple(parts.looked),
        vectors=tuple(parts.vectors),
        joined=parts.joined.part,
        shelves=parts.joined.shelves,
        similar=parts.joined.similar,
        judged=parts.judged,
        scores=parts.scores,
        embedded=tuple(parts.embedded),
        ledger=ledger,
        report=verdict.report,
        captions=parts.captioned,
    )
