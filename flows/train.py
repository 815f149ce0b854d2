"""Train on a published release, measure retrieval on what it has not seen, and record it beside the release."""

from __future__ import annotations

from typing import Any

from prefect import flow
from prefect.runtime import flow_run

from tasks.artifacts import training_artifact
from tasks.plan import default_warehouse
from tasks.progress import step
from tasks.training import gather, record, train_model


def _run_name() -> str:
    return f"train on {flow_run.parameters['release']}"


@flow(name="train", flow_run_name=_run_name)
def train(release: str, warehouse: str | None = None, evaluate: str | None = None) -> dict[str, Any]:
    """Train by the release's own recipe; the checkpoint and the metrics.

    `evaluate` names a Parquet file of pairs (bytes, text) that retrieval is measured on; without it, a share of
    the release's pictures is held out. Raises UnknownRelease or TrainingError, each with the next step.
    """
    lake = warehouse or default_warehouse()
    with step("gather") as said:
        job = gather(release, lake, evaluate)
        said.append(f"pairs of {release}")
    metrics = train_model(job)
    with step("record") as said:
        checkpoint = record(job, metrics, str(flow_run.id or ""))
        said.append(checkpoint)
    training_artifact(release, metrics, checkpoint)
    return {"release": release, "metrics": metrics, "checkpoint": checkpoint}
