"""A release as a trainer reads it, and what came of training on it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from warehouse.lake import connect, write
from warehouse.releases import find_release

_SET = """
    SELECT r.image_id, p.bytes, r.texts, r.weights
    FROM (SELECT image_id, list(norm ORDER BY role, text_id) AS texts, list(weight ORDER BY role, text_id) AS weights
          FROM lake.release_pairs JOIN lake.texts USING (text_id) WHERE release = {release} GROUP BY image_id) r
    JOIN lake.pixels p USING (image_id) ORDER BY r.image_id"""


@dataclass(frozen=True)
class Training:
    """One training on a release: what it was asked, what it measured, where its checkpoint is."""

    training_id: str
    release: str
    flow_run_id: str
    checkpoint: str
    recipe: str
    metrics: Mapping[str, Any]
    started_at: datetime


def write_training_set(warehouse: str, release: str, out: Path) -> list[str]:
    """Write the pictures of a release with all their texts to Parquet parts: image_id, bytes, texts, weights."""
    find_release(warehouse, release)
    with connect(warehouse) as con:
        con.execute("SET VARIABLE release = $1", [release])
        part = write(con, _SET.format(release="getvariable('release')"), str(out / "pairs.parquet"), row_group=256)
    return [part]


def record_training(warehouse: str, training: Training) -> None:
    """Keep a training beside its release."""
    with connect(warehouse) as con:
        con.execute(
            """INSERT INTO lake.trainings BY NAME SELECT $1 AS training_id, $2 AS release, $3 AS flow_run_id,
               $4 AS checkpoint, $5 AS recipe, $6 AS metrics, $7::TIMESTAMPTZ AS started_at, now() AS finished_at""",
            [
                training.training_id,
                training.release,
                training.flow_run_id,
                training.checkpoint,
                training.recipe,
                json.dumps(dict(training.metrics)),
                training.started_at,
            ],
        )
