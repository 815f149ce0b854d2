"""A recipe whose targets are in a warehouse can be followed where that is not, against the same vectors."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from actors.models.heads import Cells, write_head
from tasks.plan import make_plan
from tasks.trial import trial_recipe
from warehouse.errors import WarehouseError
from warehouse.lake import connect, prepare
from warehouse.targets import target_vectors

RECIPE: dict[str, Any] = {"name": "look", "fetch": {"contact": "a@example.org"}, "model": {"path": "demo/scorer"}}
EYE = np.eye(128, dtype=np.float32)
"""Unit vectors as long as the demo's scorer makes them."""


def test_targets_of_a_warehouse_are_files_in_a_trial(tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text("url,query\nhttp://a.example/a.jpg,a red ball\n")
    (tmp_path / "plain.yaml").write_text(yaml.safe_dump(RECIPE))
    log, lake = str(tmp_path / "log.csv"), str(tmp_path / "lake")
    plain = make_plan(log, str(tmp_path / "plain.yaml"), lake)
    model = plain.models[0].identity
    _hold(lake, model)
    write_head(Cells("cells", model, EYE[:2]), str(tmp_path / "cells.zm"))
    asked = [
        {"policy": "normsim", "target": {"protected": "eyes"}, "fraction": 0.5},
        {"policy": "mutual_top1"},
        {"policy": "clusters", "cells": "cells.zm", "target": {"release": "first"}},
    ]
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(RECIPE | {"select": {"policies": asked}}))
    plan = make_plan(log, str(tmp_path / "mine.yaml"), lake)
    with pytest.raises(WarehouseError):
        make_plan(log, str(tmp_path / "mine.yaml"), str(tmp_path / "other"))
    other = str(tmp_path / "other")
    trial = make_plan(log, trial_recipe(plan, tmp_path / "trial"), other)
    eyes, mutual, first = trial.recipe.select.policies
    assert (mutual, eyes.fraction, trial.recipe.name) == (plan.recipe.select.policies[1], 0.5, "look")
    assert np.allclose(target_vectors(other, "vectors", eyes.target.vectors, model), EYE[:2])
    assert np.allclose(target_vectors(other, "vectors", first.target.vectors, model), EYE[2:3])


def _hold(lake: str, model: str) -> None:
    """A protected set of two pictures and a release of one, with vectors by the model."""
    prepare(lake)
    with connect(lake) as con:
        for number in range(2):
            con.execute(
                "INSERT INTO lake.protected_vectors VALUES ('eyes', $1, $2, $3)", [number, model, EYE[number].tolist()]
            )
        con.execute(
            """INSERT INTO lake.releases BY NAME SELECT 'first' AS release, 'one' AS fingerprint, 'one' AS run_id,
               '{}' AS counts, '{}' AS cuts, '{}' AS metrics, '{}' AS recipe, now() AS created_at"""
        )
        con.execute("INSERT INTO lake.release_pairs VALUES ('first', 91, 1001, 'query', 1)")
        con.execute("INSERT INTO lake.embeddings VALUES ('picture', 91, $1, $2)", [model, EYE[2].tolist()])
