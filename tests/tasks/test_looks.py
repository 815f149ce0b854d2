"""The look stage over actors: no picture goes through a model twice, and actors fit the machine."""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from PIL import Image

from actors.pictures.look import Looked
from actors.web.parts import SCHEMA as FETCHED
from tasks import looks
from tasks.looks import LookWatch, seats_of
from tasks.plan import Plan, make_plan

PICTURES = 24
RECIPE: dict[str, Any] = {"name": "look", "fetch": {"contact": "a@example.org"}, "model": {"path": "demo/scorer"}}


def photo(seed: int) -> bytes:
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(coarse).resize((120 + seed, 100), Image.Resampling.BICUBIC).save(buffer, "JPEG")
    return buffer.getvalue()


def fetched(folder: Path, name: str, seeds: Sequence[int]) -> str:
    """A fetch part that shows a picture a seed."""
    bodies = [photo(seed) for seed in seeds]
    rows = [
        {"url": f"http://a/{seed}", "bytes": body, "sha256": hashlib.sha256(body).hexdigest(), "nbytes": len(body)}
        for seed, body in zip(seeds, bodies, strict=True)
    ]
    pq.write_table(pa.Table.from_pylist(rows, schema=FETCHED), folder / name)
    return str(folder / name)


def recipe(folder: Path, name: str, **more: Any) -> str:
    (folder / name).write_text(yaml.safe_dump(RECIPE | more))
    return str(folder / name)


def plan(folder: Path, asked: str) -> Plan:
    (folder / "log.csv").write_text("url,query\nhttp://a.example/a.jpg,a red ball\n")
    return make_plan(str(folder / "log.csv"), asked, str(folder / "lake"), workers=2)


SCRIPT = """
import json, sys
from pathlib import Path
import pyarrow.parquet as pq
from tasks.looks import look
from tasks.plan import make_plan
from tasks.pool import cluster
from warehouse.lake import connect, prepare
log, lake, recipes, *parts = sys.argv[1:]
prepare(lake)
with cluster(2):
    for at, recipe in enumerate(recipes.split(",")):
        plan = make_plan(log, recipe, lake, workers=2)
        Path(plan.folder).mkdir(parents=True, exist_ok=True)
        looked, vectors = look.fn(plan, parts[:2] if at < 2 else parts)
        if at == 1:
            with connect(lake) as con:
                con.execute("BEGIN")
                con.execute(f"INSERT INTO lake.embeddings SELECT 'picture', * FROM read_parquet({vectors})")
                con.execute("COMMIT")
        print(json.dumps([looked, vectors]))
"""


@pytest.fixture(scope="module")
def looked(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[list[str], list[str]]]:
    """Three looks: one, a second recipe over the same parts, and one over a part of another log besides."""
    folder = tmp_path_factory.mktemp("looks")
    (folder / "log.csv").write_text("url,query\nhttp://a.example/a.jpg,a red ball\n")
    filters = [{"filter": "image_too_small", "side": 100}]
    recipes = [
        recipe(folder, "first.yaml"),
        recipe(folder, "second.yaml", pictures={"filters": filters}, tags={"concepts": "everyday"}),
        recipe(folder, "third.yaml", pictures={"filters": filters}),
    ]
    parts = [
        fetched(folder, "a.parquet", range(12)),
        fetched(folder, "b.parquet", range(12, PICTURES)),
        fetched(folder, "c.parquet", range(6, PICTURES)),
    ]
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    words = [str(folder / "log.csv"), str(folder / "lake"), ",".join(recipes), *parts]
    done = subprocess.run([sys.executable, "-c", SCRIPT, *words], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    return [tuple(json.loads(line)) for line in done.stdout.strip().splitlines()]


def _rows(parts: Sequence[str]) -> list[dict[str, Any]]:
    return [row for part in parts for row in pq.read_table(part).to_pylist()]


def test_every_picture_is_seen_and_has_its_vector(looked: list[tuple[list[str], list[str]]]) -> None:
    seen, vectors = looked[0]
    assert [row["url"] for row in _rows(seen)] == [f"http://a/{seed}" for seed in range(PICTURES)]
    assert {row["subject_id"] for row in _rows(vectors)} == {row["image_id"] for row in _rows(seen)}


def test_a_second_recipe_has_the_very_vectors_of_the_first_and_its_own_tags(
    looked: list[tuple[list[str], list[str]]],
) -> None:
    assert looked[0][0] != looked[1][0]
    assert _rows(looked[0][1]) == _rows(looked[1][1])
    assert all(len(row["tags"]) == 5 and row["heads"] is None for row in _rows(looked[1][0]))
    assert all(row["tags"] is None for row in _rows(looked[0][0]))


def test_a_picture_of_another_log_has_the_vector_that_the_warehouse_holds(
    looked: list[tuple[list[str], list[str]]],
) -> None:
    """It is the same to the last bit: another batch would have rounded it otherwise."""
    held = {row["subject_id"]: row["vector"] for row in _rows(looked[1][1])}
    other = _rows([looked[2][1][2]])
    assert len(other) == PICTURES - 6
    assert all(row["vector"] == held[row["subject_id"]] for row in other)


def test_the_line_of_progress_tells_the_speed_of_each_device_and_what_it_waits_for() -> None:
    watch = LookWatch()
    watch.tell(Looked("a", rows=60, device="cpu", seconds={"read": 1, "decode": 2, "forward": 6, "write": 1}))
    told = watch.tell(Looked("b", rows=60, device="cpu", seconds={"read": 1, "decode": 2, "forward": 6, "write": 1}))
    assert told == "6/s an actor on cpu; limited by the model (60%)"
    assert watch.tell("a part whose actor died when it was done") == ""


@pytest.mark.parametrize(
    ("cards", "share", "gigabytes", "seats"),
    [
        (0, 1, 64, (4, 1, 0)),
        (0, 1, 1, (1, 4, 0)),
        (2, 1, 64, (2, 4, 1)),
        (2, 0.5, 64, (4, 2, 0.5)),
    ],
    ids=["cores", "little memory", "cards", "halves of cards"],
)
def test_actors_are_as_many_as_the_machine_has_cards_or_memory_for(
    cards: int, share: float, gigabytes: int, seats: tuple[int, int, float], tmp_path: Path, monkeypatch: Any
) -> None:
    """Ray's own answers of a machine of 8 cores stand in for the machine."""
    monkeypatch.setattr(looks, "cpus", lambda: 8)
    monkeypatch.setattr(looks, "node_cpus", lambda: 8)
    monkeypatch.setattr(looks, "gpus", lambda: cards)
    monkeypatch.setattr(looks, "memory", lambda: gigabytes << 30)
    asked = replace(plan(tmp_path, recipe(tmp_path, "r.yaml")), workers=4 if not cards else 8, gpu_share=share)
    found = seats_of(asked, asked.models)
    assert (found.actors, found.cpus, found.gpus) == seats
