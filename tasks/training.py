"""Train on a release: gather its pairs, run the recipe of the training room, record what came of it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from filters.recipe import Recipe, Training
from tasks.progress import Progress
from warehouse.lake import locate, prepare
from warehouse.releases import find_release
from warehouse.training_set import Training as Trained
from warehouse.training_set import record_training, write_training_set


class TrainingError(Exception):
    """A release that cannot be trained on; the message says what to do next."""


@dataclass(frozen=True)
class Job:
    """A training to be: the parts to train on, how, what to measure on, and where to write."""

    training_id: str
    release: str
    warehouse: str
    parts: tuple[str, ...]
    training: Training
    evaluate: str | None
    out: str
    started_at: datetime


@task(name="gather", cache_policy=NO_CACHE)
def gather(release: str, warehouse: str, evaluate: str | None) -> Job:
    """Write the pairs of a release to parts; what is known before the training begins."""
    listed = find_release(warehouse, release)
    if evaluate is not None and not Path(evaluate).is_file():
        raise TrainingError(f"There is no file {evaluate} to evaluate on.\nGive a Parquet file with bytes and text.")
    prepare(warehouse)
    started = datetime.now(UTC)
    training_id = f"{release}-{started:%Y%m%dT%H%M%S}"
    out = locate(warehouse).work / "trainings" / training_id
    parts = write_training_set(warehouse, release, out)
    training = Recipe.model_validate(listed.recipe).training
    return Job(training_id, release, warehouse, tuple(parts), training, evaluate, str(out), started)


@task(name="train-model", cache_policy=NO_CACHE)
def train_model(job: Job) -> dict[str, Any]:
    """Train in this process, on its GPU where it has one; the metrics."""
    from training.contrastive import TrainJob, train

    with Progress("train", job.training.samples, "steps") as progress:

        def tell(step: int, steps: int, loss: float) -> None:
            progress.reach(step, steps, f"loss {loss:.3f}")

        try:
            return train(TrainJob(job.parts, job.out, job.training, job.evaluate), tell)
        except ValueError as error:
            raise TrainingError(f"{job.release} cannot be trained on: {error}") from error
        finally:
            for part in job.parts:
                Path(part).unlink(missing_ok=True)  # a second copy of the pictures would outlive a forgetting


@task(name="record", cache_policy=NO_CACHE)
def record(job: Job, metrics: dict[str, Any], flow_run_id: str) -> str:
    """Record the training against its release; the folder of its checkpoint."""
    asked = json.dumps(job.training.model_dump(mode="json"))
    record_training(
        job.warehouse,
        Trained(job.training_id, job.release, flow_run_id, job.out, asked, metrics, job.started_at),
    )
    return job.out
