"""A recipe for a warehouse that has nothing yet: what its policies hold pictures against is beside it, in files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from filters.policies import Clusters, NormSim, Policy, Target
from tasks.plan import Plan
from tasks.policies import cells_of
from warehouse.targets import target_vectors


def trial_recipe(asked: Plan, folder: Path) -> str:
    """Write the recipe of a plan, and its targets out of its warehouse, into a new folder; the recipe's file.

    Recipes are read and checked as files; YAML, for 1e-05 is text in it.
    """
    folder.mkdir()
    models = [model.identity for model in asked.models]
    policies = tuple(
        _filed(policy, asked.warehouse, models, folder / f"target-{place}.parquet")
        for place, policy in enumerate(asked.recipe.select.policies)
    )
    select = asked.recipe.select.model_copy(update={"policies": policies})
    recipe = asked.recipe.model_copy(update={"select": select})
    file = folder / f"{recipe.name}.yaml"
    file.write_text(yaml.safe_dump(recipe.model_dump(mode="json"), allow_unicode=True), encoding="utf-8")
    return str(file)


def _filed(policy: Policy, warehouse: str, models: Sequence[str], file: Path) -> Policy:
    """The policy with a file of vectors for its target, where that is in the warehouse."""
    if not isinstance(policy, NormSim | Clusters) or policy.target.vectors is not None:
        return policy
    ((kind, name),) = policy.target.model_dump(exclude_none=True).items()
    compared = [cells_of(policy.cells).model] if isinstance(policy, Clusters) else models
    tables = []
    for model in compared:
        vectors = target_vectors(warehouse, kind, name, model)
        offsets = np.arange(len(vectors) + 1, dtype=np.int64) * vectors.shape[1]
        lists = pa.LargeListArray.from_arrays(pa.array(offsets), pa.array(vectors.ravel()))
        tables.append(pa.table({"model": pa.array([model] * len(vectors), pa.string()), "vector": lists}))
    pq.write_table(pa.concat_tables(tables), file)
    return policy.model_copy(update={"target": Target(vectors=str(file))})
