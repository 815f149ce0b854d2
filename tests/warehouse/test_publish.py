"""A run counts whole or not at all, once however often it is published, and readers never wait for it."""

from __future__ import annotations

import pickle
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from filters.recipe import Copies
from warehouse import schemas
from warehouse.errors import NameTaken, UnknownRelease, WarehouseError
from warehouse.lake import connect
from warehouse.publish import HeadFacts, Release, TagFacts, add_name
from warehouse.query import query
from warehouse.releases import find_release, list_releases, released_as
from warehouse.tables import TABLES

if TYPE_CHECKING:
    from conftest import World

Row = dict[str, Any]
URLS = [f"http://a.example/{n}" for n in range(6)]


def _log(texts: list[str], first: int = 0) -> list[Row]:
    return [{"candidate_id": first + n, "url": URLS[n], "texts": [text]} for n, text in enumerate(texts)]


def _shots(world: World, salt: str = "") -> dict[str, Any]:
    hashes = (0, -1, 0x00FF00FF00FF00FF, 0x0F0F0F0F0F0F0F0F, 0x3333333333333333, 0x5555555555555555)
    return {url: world.shot(f"{salt}{url}", phash=phash) for url, phash in zip(URLS, hashes, strict=True)}


def _tables(world: World) -> dict[str, list[str]]:
    """Every row of every table but the times at which it was written."""
    kept = {name: world.ask(f"SELECT * FROM {name}") for name in TABLES if name not in ("runs", "releases")}
    kept["runs"] = world.ask("SELECT run_id, source, outcome, release FROM runs")
    kept["releases"] = world.ask("SELECT release, fingerprint, created_at FROM releases")
    return {name: sorted(map(str, rows)) for name, rows in kept.items()}


def test_a_failure_in_the_middle_leaves_nothing_and_the_next_attempt_everything(world: World) -> None:
    milled = world.mill(_log(["a cat", "a dog"]), _shots(world))
    rows = [{**row, "image_id": "no number"} for row in world.rows_in(milled.run.ledger)]
    broken = str(world.folder() / "ledger.parquet")
    pq.write_table(pa.Table.from_pylist(rows), broken)
    with pytest.raises(duckdb.Error, match="no number"):
        world.publish(replace(milled, run=replace(milled.run, ledger=broken)))
    assert all(rows == [] for rows in _tables(world).values())
    assert list_releases(world.warehouse) == []
    world.publish(milled)
    assert {name: len(rows) for name, rows in _tables(world).items() if rows} == {
        "candidates": 2,
        "candidate_texts": 2,
        "images": 2,
        "pixels": 2,
        "sightings": 2,
        "bands": 12,
        "thumbnails": 2,
        "texts": 2,
        "pairs": 2,
        "ledger": 2,
        "ledger_history": 2,
        "releases": 1,
        "release_pairs": 2,
        "runs": 1,
    }


@pytest.mark.parametrize("name", ["first", None], ids=["published", "held back"])
def test_publishing_the_same_run_again_changes_nothing(world: World, name: str | None) -> None:
    vectors: dict[str, tuple[float, ...]] = {"a cat": (1.0,), "a dog": (0.5,)}
    shots = {url: replace(shot, vector=(1.0,)) for url, shot in _shots(world).items()}
    milled = world.mill(_log(["a cat", "a dog"]), dict(shots), model="m", vectors=vectors, published=name is not None)
    world.publish(milled, name)
    once = _tables(world)
    files = {file: file.stat().st_mtime_ns for file in Path(world.warehouse, "data").rglob("*.parquet")}
    world.publish(milled, name)
    assert _tables(world) == once
    assert len(once["scores"]) == 2
    assert len(once["embeddings"]) == 4
    pixels = [file for file in files if file.parent.name == "pixels"]
    assert [file.stat().st_mtime_ns for file in pixels] == [files[file] for file in pixels]


def test_a_held_run_that_finds_more_pictures_later_leaves_those_that_it_kept(world: World) -> None:
    """A part that was set aside is fetched by the next attempt, which is the same run."""
    log, shots = _log(["a cat", "a dog"]), _shots(world)
    world.publish(world.mill(log, {**shots, URLS[1]: None}, published=False), None)
    world.publish(world.mill(log, shots), "first")
    kept = world.ask("SELECT image_id, bytes FROM pixels ORDER BY image_id")
    assert kept == sorted((shots[url].image_id, shots[url].data) for url in URLS[:2])
    assert world.ask("SELECT outcome, count(*) FROM ledger GROUP BY ALL") == [("kept", 2)]
    assert world.ask("SELECT outcome, release FROM runs") == [("published", "first")]


def test_a_name_is_never_given_to_something_else(world: World) -> None:
    world.publish(world.mill(_log(["a cat"]), _shots(world)))
    before = _tables(world)
    other = world.mill(_log(["a dog"]), _shots(world), run_id="run-two")
    with pytest.raises(NameTaken, match="first exists already"):
        world.publish(other)
    with pytest.raises(NameTaken):
        add_name(world.warehouse, "run-two", "first")
    assert _tables(world) == before


def test_a_further_name_holds_the_same_pairs(world: World) -> None:
    world.publish(world.mill(_log(["a cat", "a dog"]), _shots(world)))
    for _ in range(2):
        add_name(world.warehouse, "run-one", "second")
    assert released_as(world.warehouse, "run-one") == ["first", "second"]
    pairs = "SELECT image_id, text_id, role, weight FROM release_pairs WHERE release = '{}' ORDER BY ALL"
    assert world.ask(pairs.format("second")) == world.ask(pairs.format("first"))
    assert len(world.ask(pairs.format("second"))) == 2
    assert find_release(world.warehouse, "second").fingerprint == "run-one"
    with pytest.raises(UnknownRelease, match=r"no release third in .*; there are: second, first"):
        find_release(world.warehouse, "third")


def test_a_source_that_is_curated_again_has_its_latest_ledger_and_all_of_its_history(world: World) -> None:
    log, shots = _log(["a cat", "a dog"]), _shots(world)
    world.publish(world.mill(log, shots))
    world.publish(world.mill(_log(["a bird"], first=9), shots, source="/logs/other.csv", run_id="other"), "elsewhere")
    world.publish(world.mill(log[:1], shots, run_id="run-two"), "second")
    ledger = "SELECT source, run_id, release, count(*) FROM {} GROUP BY ALL ORDER BY ALL"
    latest = [("/logs/one.csv", "run-two", "second", 1), ("/logs/other.csv", "other", "elsewhere", 1)]
    assert world.ask(ledger.format("ledger")) == latest
    assert world.ask(ledger.format("ledger_history")) == [("/logs/one.csv", "run-one", "first", 2), *latest]
    assert world.ask("SELECT count(*) FROM candidates") == [(2,)]


def test_what_an_earlier_run_kept_stands_for_later_copies_where_the_recipe_says_so(world: World) -> None:
    old = world.shot("old", phash=0)
    world.publish(world.mill(_log(["a cat"]), {URLS[0]: old}))
    copy, larger = world.shot("copy", phash=0b111), world.shot("larger", phash=0b1, width=900)
    later = world.mill(
        _log(["a dog", "a cat", "a bird"], first=9),
        {URLS[0]: copy, URLS[1]: larger, URLS[2]: old},
        source="/logs/later.csv",
        run_id="later",
        asked=Copies(survivor="first"),
    )
    assert {row["survivor"] for row in later.joined.values()} == {old.image_id}
    assert {row["image_id"] for row in later.ledger.values()} == {old.image_id}
    world.publish(later, "second")
    pixels = {one.image_id: one.data for one in (old, copy, larger)}
    assert dict(world.ask("SELECT image_id, bytes FROM pixels")) == pixels
    assert world.ask("SELECT image_id, duplicate_of, duplicate_distance FROM images ORDER BY duplicate_distance") == [
        (larger.image_id, old.image_id, 4),
        (copy.image_id, old.image_id, 12),
        (old.image_id, None, None),
    ]
    assert world.ask("SELECT count(*), count(DISTINCT image_id) FROM release_pairs WHERE release = 'second'") == [
        (3, 1)
    ]


PUBLISHER = """
import pickle, sys
from warehouse.publish import publish
warehouse, runs = pickle.load(open(sys.argv[1], "rb"))
for run, release in runs:
    publish(warehouse, run, release)
"""


def test_readers_ask_at_any_time_while_another_process_publishes(world: World, tmp_path: Path) -> None:
    runs = []
    for n in range(2):
        log = _log([f"a cat {n}", f"a dog {n}"], first=10 * n)
        milled = world.mill(log, _shots(world, str(n)), source=f"/logs/{n}.csv", run_id=f"run-{n}")
        runs.append((milled.run, Release(f"release-{n}", {}, milled.counts, {})))
    job = tmp_path / "runs.pickle"
    job.write_bytes(pickle.dumps((world.warehouse, runs)))
    publisher = subprocess.Popen([sys.executable, "-c", PUBLISHER, str(job)])
    seen: set[tuple[int, ...]] = set()
    failures: list[Exception] = []

    def poll() -> None:
        while publisher.poll() is None:
            try:
                seen.update(query(world.warehouse, ATOMIC)[1])
            except (WarehouseError, duckdb.Error) as error:
                failures.append(error)
            time.sleep(0.05)  # the publisher needs a core too

    readers = [threading.Thread(target=poll) for _ in range(2)]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join()
    assert publisher.wait() == 0
    assert failures == []
    seen.update(query(world.warehouse, ATOMIC)[1])
    assert (2, 2, 4, 4) in seen
    assert all(runs == releases and rows == kept == 2 * runs for runs, releases, rows, kept in seen), seen


ATOMIC = """SELECT (SELECT count(*) FROM runs), (SELECT count(DISTINCT release) FROM release_pairs),
                   (SELECT count(*) FROM ledger), (SELECT count(*) FROM release_pairs)"""


def test_a_warehouse_that_a_killed_process_left_without_tables_has_no_releases(tmp_path: Path) -> None:
    warehouse = str(tmp_path / "lake")
    Path(warehouse, "data").mkdir(parents=True)
    with connect(warehouse):
        pass
    assert list_releases(warehouse) == []


def test_what_heads_and_concepts_say_is_kept_once_by_the_very_head_and_list(world: World) -> None:
    shot = world.shot("a", vector=(1.0,))
    log = [{"candidate_id": 1, "url": URLS[0], "texts": ["a cat"]}]
    milled = world.mill(log, {URLS[0]: shot}, model="m", vectors={"a cat": (1.0,)})
    (row,) = world.rows_in(milled.run.looked[0])
    for top in (2, 3, 2):
        said = {"tags": ["cat", "dog", "cow"][:top], "tag_probabilities": [0.7, 0.2, 0.1][:top]}
        part = world.part(schemas.LOOKED, [row | said | {"heads": ["beauty"], "head_values": [5.5]}])
        told = replace(
            milled.run, looked=(part,), heads=(HeadFacts("beauty", "m", "h1"),), tags=TagFacts("everyday-1", "m")
        )
        world.publish(replace(milled, run=told), None)
    assert world.ask("SELECT place, concept, list, model FROM tags ORDER BY place") == [
        (1, "cat", "everyday-1", "m"),
        (2, "dog", "everyday-1", "m"),
        (3, "cow", "everyday-1", "m"),
    ]
    assert world.ask("SELECT metric, model, head, value FROM picture_scores") == [("beauty", "m", "h1", 5.5)]
    assert world.ask("SELECT model, name, kind FROM models") == [("m", "clip", "open_clip")]
    assert world.ask("SELECT bytes FROM thumbnails") == [(b"small a",)]
