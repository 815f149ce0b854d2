"""The most similar picture of each over runs: the same whatever came first, against all that was ever compared."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.copies.similar import Pictures, Search, in_order, unit
from actors.models.vectors import write_vectors
from tasks import similar
from tasks.plan import Plan, make_plan
from tasks.similar import compare
from warehouse import schemas
from warehouse.lake import connect, prepare
from warehouse.similar import Similar, commit_similar

WIDTH, JOIN = 32, 0.9
Nearest = dict[int, tuple[int | None, float | None]]


class Photos:
    """Pictures of a few scenes, some of them twice, with their areas; as parts of a look and of vectors."""

    def __init__(self, count: int, seed: int) -> None:
        rng = np.random.default_rng(seed)
        scenes = rng.normal(size=(max(1, count // 6), WIDTH))
        vectors = scenes[rng.integers(0, len(scenes), count)] + 0.6 * rng.normal(size=(count, WIDTH))
        ones, others = rng.permutation(count)[: count // 4 * 2].reshape(2, -1)
        vectors[ones] = vectors[others] + 0.1 * rng.normal(size=(len(ones), WIDTH))
        self.vectors = unit(vectors.astype(np.float32))
        self.ids = rng.choice(10**6, count, replace=False).astype(np.int64)
        self.areas = rng.integers(1, 5, count) * 100

    def truth(self) -> tuple[Nearest, set[tuple[int, int]]]:
        """By comparing all with all at once."""
        order = in_order(self.ids, self.areas)
        some = Pictures(self.ids[order], self.areas[order], unit(unit(self.vectors[order]).astype(np.float16)))
        search = Search(some, JOIN)
        search.meet_all(np.arange(len(some)))
        found = search.found()
        nearest: Nearest = {int(one): (None, None) for one in self.ids}
        for later, earlier, cosine in zip(found.later, found.earlier, found.cosines, strict=True):
            if cosine > (nearest[int(some.ids[later])][1] or -2):
                nearest[int(some.ids[later])] = int(some.ids[earlier]), float(cosine)
        above = found.cosines > np.float32(JOIN)
        return nearest, set(
            zip(some.ids[found.later[above]].tolist(), some.ids[found.earlier[above]].tolist(), strict=True)
        )

    def parts(self, folder: Path, plan: Plan, which: Sequence[int], passed: bool = True) -> tuple[list[str], list[str]]:
        """A part of a look that shows some of them, and one of their vectors."""
        name = f"{len(list(folder.glob('*')))}.parquet"
        looked, vectors = folder / f"look-{name}", folder / f"vectors-{name}"
        ids, areas = self.ids[which], self.areas[which]
        rows = pa.table(
            {
                "image_id": ids,
                "width": areas,
                "reason": pa.repeat(None if passed else "image_blank", len(ids)).cast(pa.string()),
            }
        )
        with duckdb.connect() as con:
            con.register("rows", rows)
            con.execute(f"CREATE TABLE looked ({schemas.LOOKED})")
            con.execute("INSERT INTO looked BY NAME SELECT *, 1 AS height, 'http://a/' || image_id AS url FROM rows")
            con.execute(f"COPY looked TO '{looked}' (FORMAT parquet)")
        write_vectors(
            {plan.models[0].identity: dict(zip(ids.tolist(), self.vectors[which], strict=True))}, str(vectors)
        )
        return [str(looked)], [str(vectors)]


def a_plan(folder: Path, join: float | None = JOIN) -> Plan:
    folder.mkdir(parents=True, exist_ok=True)
    asked = {"name": "s", "fetch": {"contact": "a@example.org"}, "model": {"path": "demo/scorer"}}
    (folder / "r.yaml").write_text(yaml.safe_dump(asked | {"copies": {"semantic": {"join": join}}}))
    (folder / "log.csv").write_text("url,query\nhttp://a.example/a.jpg,a red ball\n")
    plan = make_plan(str(folder / "log.csv"), str(folder / "r.yaml"), str(folder / "lake"), workers=2)
    prepare(plan.warehouse)
    return plan


def commit(plan: Plan, found: Similar) -> None:
    with connect(plan.warehouse) as con:
        con.execute("BEGIN")
        commit_similar(con, found)
        con.execute("COMMIT")


def rows(plan: Plan, query: str) -> list[Any]:
    with connect(plan.warehouse, read_only=True) as con:
        return con.execute(query).fetchall()


def stored(plan: Plan) -> Nearest:
    held = rows(plan, "SELECT image_id, nearest, max_similarity FROM lake.similarities")
    assert len(held) == len({image_id for image_id, _, _ in held})
    return {image_id: (nearest, cosine) for image_id, nearest, cosine in held}


def milled(folder: Path, photos: Photos, runs: Sequence[Sequence[int]]) -> tuple[Plan, set[tuple[int, int]]]:
    """One run after the other, each with some of the photos; the plan, and the edges of all."""
    plan = a_plan(folder)
    edges: set[tuple[int, int]] = set()
    for run in runs:
        found = compare.fn(plan, *photos.parts(folder, plan, run))
        with duckdb.connect() as con:
            edges |= set(con.execute(f"SELECT image_id, other FROM '{found.edges}'").fetchall())
        commit(plan, found)
    return plan, edges


def shared(count: int, seed: int, runs: int) -> list[list[int]]:
    """Everything once, in some order, in so many runs."""
    rng = np.random.default_rng(seed)
    order, bounds = rng.permutation(count).tolist(), [0, *sorted(rng.integers(1, count, runs - 1)), count]
    return [order[start:end] for start, end in pairwise(bounds) if end > start]


@settings(max_examples=4, deadline=None)
@given(st.integers(2, 60), st.integers(0, 99), st.integers(1, 10))
def test_a_small_collection_is_compared_exactly_in_one_run_or_ten_in_any_order(
    tmp_path_factory: pytest.TempPathFactory, count: int, seed: int, runs: int
) -> None:
    photos = Photos(count, seed)
    nearest, above = photos.truth()
    plan, edges = milled(tmp_path_factory.mktemp("runs"), photos, shared(count, seed, runs))
    assert stored(plan) == nearest
    assert edges == above
    assert rows(plan, "SELECT count(*) FROM lake.cells") == [(0,)]
    assert rows(plan, "SELECT DISTINCT cell FROM lake.cell_members") == [(0,)]


@pytest.fixture
def few_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cells from 100 pictures on, and anew when they are three times as many; small jobs."""
    monkeypatch.setattr(similar, "BOUND", 100)
    monkeypatch.setattr(similar, "GROWTH", 3)
    monkeypatch.setattr(similar, "MET_ROWS", 200)
    monkeypatch.setattr(similar, "PLACED_ROWS", 150)


@pytest.mark.usefixtures("few_are_many")
def test_a_collection_that_grows_moves_to_cells_and_to_more_of_them(tmp_path: Path) -> None:
    photos = Photos(700, 3)
    runs = [range(0, 60), range(60, 150), range(150, 250), range(250, 700)]
    plan = a_plan(tmp_path)
    cells = []
    for run in runs:
        commit(plan, compare.fn(plan, *photos.parts(tmp_path, plan, run)))
        cells.append(rows(plan, "SELECT count(*), max(fitted_on) FROM lake.cells")[0])
    assert cells == [(0, None), (24, 150), (24, 150), (53, 700)]
    assert rows(
        plan, "SELECT count(*), count(DISTINCT image_id), count(DISTINCT cell) > 40 FROM lake.cell_members"
    ) == [(700, 700, True)]
    held, truth = stored(plan), photos.truth()[0]
    alike = [one for one, (_, cosine) in truth.items() if cosine is not None and cosine > 0.95]
    assert len(alike) > 80
    assert np.mean([held[one] == truth[one] for one in alike]) >= 0.97
    assert all((held[one][1] or -2) <= (truth[one][1] or -2) for one in truth)


@pytest.mark.usefixtures("few_are_many")
def test_a_picture_lives_in_the_cell_whose_centre_is_nearest(tmp_path: Path) -> None:
    photos = Photos(220, 5)
    plan, _ = milled(tmp_path, photos, [range(0, 150), range(150, 220)])
    centres = np.array([one for (one,) in rows(plan, "SELECT centre FROM lake.cells ORDER BY cell")], np.float32)
    held = dict(rows(plan, "SELECT image_id, cell FROM lake.cell_members"))
    nearest = (unit(unit(photos.vectors).astype(np.float16)) @ centres.T).argmax(1)
    assert [held[one] for one in photos.ids.tolist()] == nearest.tolist()


def test_a_run_without_newcomers_changes_nothing_and_a_turned_away_picture_is_none(tmp_path: Path) -> None:
    photos = Photos(30, 1)
    plan, _ = milled(tmp_path, photos, [range(20)])
    before = stored(plan)
    for parts in (photos.parts(tmp_path, plan, range(20)), photos.parts(tmp_path, plan, range(20, 30), passed=False)):
        found = compare.fn(plan, *parts)
        assert found.members == ()
        commit(plan, found)
    assert stored(plan) == before


def test_without_a_bound_no_pair_is_joined(tmp_path: Path) -> None:
    photos = Photos(40, 1)
    plan = a_plan(tmp_path, join=None)
    found = compare.fn(plan, *photos.parts(tmp_path, plan, range(40)))
    with duckdb.connect() as con:
        assert con.execute(f"SELECT count(*) FROM '{found.edges}'").fetchall() == [(0,)]
        assert con.execute(f"SELECT count(*) FROM '{found.rows}'").fetchall() == [(40,)]


def test_a_vector_of_an_earlier_run_serves_and_its_pictures_are_compared_too(tmp_path: Path) -> None:
    """A recipe that compares meets all that were kept by one that did not."""
    photos = Photos(50, 2)
    plan = a_plan(tmp_path)
    with connect(plan.warehouse) as con:
        for image_id, area, vector in zip(photos.ids, photos.areas, photos.vectors, strict=True):
            row = [int(image_id), plan.models[0].identity, vector.tolist()]
            con.execute("INSERT INTO lake.embeddings SELECT 'picture', $1, $2, $3", row)
            facts = "SELECT $1 AS image_id, $2 AS width, 1 AS height, true AS passed"
            if image_id in photos.ids[:30]:
                con.execute(f"INSERT INTO lake.images BY NAME {facts}", [int(image_id), int(area)])
    looked, _ = photos.parts(tmp_path, plan, range(25, 50))
    commit(plan, compare.fn(plan, looked, []))
    assert stored(plan) == photos.truth()[0]


SCRIPT = """
import sys
from pathlib import Path
from tasks import similar
from tasks.plan import make_plan
from tasks.pool import cluster
from warehouse.lake import prepare
log, recipe, lake, looked, vectors = sys.argv[1:]
similar.ALONE = 0
plan = make_plan(log, recipe, lake, workers=2)
with cluster(2):
    found = similar.compare.fn(plan, [looked], [vectors])
print(found.rows, found.edges)
"""


def test_actors_find_what_one_process_finds(tmp_path: Path) -> None:
    photos = Photos(300, 4)
    here, there = a_plan(tmp_path / "here"), a_plan(tmp_path / "there")
    parts = photos.parts(tmp_path, here, range(300))
    found = compare.fn(here, *parts)
    log, recipe = tmp_path / "there" / "log.csv", tmp_path / "there" / "r.yaml"
    words = [str(log), str(recipe), there.warehouse, parts[0][0], parts[1][0]]
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    done = subprocess.run([sys.executable, "-c", SCRIPT, *words], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    with duckdb.connect() as con:
        for mine, other in zip((found.rows, found.edges), done.stdout.split(), strict=True):
            assert con.execute(f"FROM '{mine}'").fetchall() == con.execute(f"FROM '{other}'").fetchall()


def test_pictures_put_into_other_cells_meanwhile_are_not_mixed_with_those_before(tmp_path: Path) -> None:
    photos = Photos(20, 1)
    plan = a_plan(tmp_path)
    found = compare.fn(plan, *photos.parts(tmp_path, plan, range(20)))
    with pytest.raises(Exception, match="Another run put the pictures into other cells"):
        commit(plan, replace(found, fitted_on=77))
    assert stored(plan) == {}
