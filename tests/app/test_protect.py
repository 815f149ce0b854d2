"""`zeromill protect`: what is registered of a folder, what is left of its bytes, and what no release may hold."""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image, ImageDraw

from actors.pictures.look import Looker, Looking, LookJob
from actors.web.parts import SCHEMA as FETCHED
from app.main import main
from filters.recipe import Pictures
from tasks.copies import join_copies
from tasks.plan import Plan, make_plan, published
from tasks.pool import cluster
from tasks.rounds import keep_jobs, plan_round
from warehouse.lake import connect, prepare
from warehouse.query import query

PHOTOS = Path(os.environ.get("ZEROMILL_TEST_DATA", ".")) / "data"
PROTECTED, OTHERS = 8, 60


@pytest.fixture(scope="module", autouse=True)
def _actors() -> Iterator[None]:
    """One Ray for all commands of the module."""
    with cluster(2):
        yield


def _picture(seed: int) -> Image.Image:
    coarse = np.random.default_rng(seed).integers(0, 256, (9, 9, 3), np.uint8)
    return Image.fromarray(coarse).resize((240, 240), Image.Resampling.BICUBIC)


def _jpeg(picture: Image.Image, quality: int = 90) -> bytes:
    made = io.BytesIO()
    picture.save(made, "JPEG", quality=quality)
    return made.getvalue()


def _folder(tmp_path: Path, bodies: dict[str, bytes]) -> Path:
    folder = tmp_path / "benchmark"
    for name, body in bodies.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(body)
    return folder


def _tar(bodies: dict[str, bytes]) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as tar:
        for name, body in bodies.items():
            told = tarfile.TarInfo(name)
            told.size = len(body)
            tar.addfile(told, io.BytesIO(body))
    return made.getvalue()


def _protect(lake: Path, *words: str) -> int:
    return main(["protect", "--warehouse", str(lake), *words])


def _told(lake: Path, capfd: pytest.CaptureFixture[str], *words: str) -> Any:
    """What the command says to a script; what it printed before is dropped."""
    capfd.readouterr()
    assert _protect(lake, *words, "--json") == 0
    return json.loads(capfd.readouterr().out)


def _refused(capfd: pytest.CaptureFixture[str], status: int) -> str:
    said = capfd.readouterr().err
    assert status == 1
    assert 1 <= said.count("\n") <= 4  # three lines, and one of progress
    assert "Traceback" not in said
    return said


def _on_disk(lake: Path) -> list[str]:
    """Files below the warehouse's folder of parts that have something in them."""
    return [str(path) for path in (lake / "work").rglob("*") if path.is_file() and path.stat().st_size]


def test_every_picture_is_registered_once_and_the_rest_is_told(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    lake, bodies = tmp_path / "lake", [_jpeg(_picture(seed)) for seed in range(5)]
    shard = _tar({"00.jpg": bodies[3], "00.json": b"{}", "00.txt": b"a dog", "b/00.jpg": bodies[4]})
    files = {"a.jpg": bodies[0], "deep/down/b.jpg": bodies[1], "deep/again.jpg": bodies[0], "0.tar": shard}
    files |= {"flat.jpg": _jpeg(Image.new("RGB", (200, 200), "red")), "cut.jpg": bodies[2][:3000], "a.json": b"{}"}
    folder = _folder(tmp_path, files | {".hidden/c.jpg": bodies[2], ".c.jpg": bodies[2]})
    (folder / "lost.jpg").symlink_to("nowhere.jpg")
    (folder / "cut.tar").write_bytes(b"no tar")
    told = _told(lake, capfd, "coco", str(folder))
    assert (told["name"], told["pictures"], told["flat"], told["embedded"]) == ("coco", 5, 1, 0)
    assert (told["files"], told["failed"]) == (8, 4)
    assert {one["name"]: one["reason"] for one in told["first_failed"]} == {
        "lost.jpg": "fetch_failed",
        "cut.tar": "fetch_incomplete",
        "cut.jpg": "image_truncated",
        "a.json": "image_not_image",
    }
    rows = query(str(lake), "SELECT sha256, image_id, length(pdq), pdq_quality FROM protected WHERE name = 'coco'")[1]
    wanted = {hashlib.sha256(body).hexdigest() for body in (*bodies[:2], *bodies[3:], files["flat.jpg"])}
    assert {row[0] for row in rows} == wanted
    assert all(row[1] == int(row[0][:16], 16) >> 1 for row in rows)
    assert sorted((row[2] or 0, (row[3] or 0) >= 50) for row in rows) == [(0, False), *[(64, True)] * 4]


def test_no_byte_of_a_benchmark_stays_whatever_was_left_before(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    lake, bodies = tmp_path / "lake", [_jpeg(_picture(seed)) for seed in range(4)]
    folder = _folder(tmp_path, {f"{n}.jpg": body for n, body in enumerate(bodies)})
    killed = lake / "work" / "protect" / "coco" / "bytes-000007.parquet"
    killed.parent.mkdir(parents=True)
    killed.write_bytes(bodies[0])
    assert _protect(lake, "coco", str(folder)) == 0
    assert _on_disk(lake) == []
    held = [path.read_bytes() for path in lake.rglob("*") if path.is_file()]
    assert held
    assert not any(body[700:740] in one for body in bodies for one in held)
    empty = _folder(tmp_path / "words", {"a.txt": b"no picture"})
    capfd.readouterr()
    assert "No file of" in _refused(capfd, _protect(lake, "coco", str(empty)))
    assert _on_disk(lake) == []
    assert query(str(lake), "SELECT count(*) FROM protected")[1] == [(4,)]


def test_a_set_is_replaced_listed_and_removed(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    lake = tmp_path / "lake"
    assert _told(lake, capfd) == []
    folder = _folder(tmp_path, {f"{seed}.jpg": _jpeg(_picture(seed)) for seed in range(3)})
    assert _told(lake, capfd, "coco", str(folder))["pictures"] == 3
    (folder / "0.jpg").unlink()
    told = _told(lake, capfd, "coco", str(folder), "--recipe", "demo")
    assert (told["pictures"], told["embedded"]) == (2, 2)
    widths = "SELECT name, len(vector), count(*) FROM protected_vectors GROUP BY ALL"
    assert query(str(lake), widths)[1] == [("coco", 128, 2)]
    assert [(one["name"], one["pictures"]) for one in _told(lake, capfd)] == [("coco", 2)]
    assert _told(lake, capfd, "coco", "--remove") == {"name": "coco", "removed": 2}
    for table in ("protected", "protected_vectors"):
        assert query(str(lake), f"SELECT count(*) FROM {table}")[1] == [(0,)]
    assert "No set coco is protected" in _refused(capfd, _protect(lake, "coco", "--remove"))


def test_what_cannot_be_protected_is_refused_with_the_next_step(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = str(_folder(tmp_path, {"a.jpg": b""}))
    for words, said in (
        (["coco"], "zeromill protect coco FOLDER"),
        (["coco", f"{folder}/none"], "is not a folder"),
        (["a:b", folder], "cannot be named"),
        (["coco", folder, "--recipe", "unscored"], "names no model"),
        (["coco", folder, "--remove"], "takes no folder"),
    ):
        assert said in _refused(capfd, _protect(tmp_path / "lake", *words))


def _plan(folder: Path, lake: Path, recipe: str = "deduplicate") -> Plan:
    (folder / "log.csv").write_text("url,query\nhttp://a.example/a.jpg,a red ball\n")
    return make_plan(str(folder / "log.csv"), recipe, str(lake), allow=("a.example:80",), workers=2)


def test_a_run_is_another_one_once_a_set_is_protected_and_the_same_when_it_is_not(tmp_path: Path) -> None:
    lake, folder = tmp_path / "lake", _folder(tmp_path, {"0.jpg": _jpeg(_picture(0))})
    before = _plan(tmp_path, lake).run_id
    prepare(str(lake))
    assert _plan(tmp_path, lake).run_id == before
    assert _protect(lake, "coco", str(folder)) == 0
    bare = _plan(tmp_path, lake)
    assert published(bare.source, bare.recipe, str(lake), bare.allow) is None
    with connect(str(lake)) as con:
        con.execute("INSERT INTO lake.protected_vectors SELECT name, image_id, 'a model', [1.0] FROM lake.protected")
    embedded = _plan(tmp_path, lake).run_id
    assert len({before, bare.run_id, embedded}) == 3
    assert _protect(lake, "coco", "--remove") == 0
    assert _plan(tmp_path, lake).run_id == before


@pytest.mark.parametrize("first", [True, False])
def test_what_failed_may_be_asked_again_whatever_is_protected_since(tmp_path: Path, first: bool) -> None:
    lake, folder = tmp_path / "lake", _folder(tmp_path, {"0.jpg": _jpeg(_picture(0))})
    prepare(str(lake))
    if first:
        assert _protect(lake, "coco", str(folder)) == 0
    past = _plan(tmp_path, lake)
    keep_jobs(past, [])
    with connect(str(lake)) as con:
        con.execute(
            """INSERT INTO lake.runs BY NAME SELECT $1 AS run_id, $2 AS source, $3 AS recipe, $4 AS allow,
               $5 AS protected, now() AS finished_at""",
            [past.run_id, past.source, past.recipe.model_dump_json(), json.dumps(past.allow), past.protected],
        )
    assert _protect(lake, "flickr", str(folder)) == 0
    again = plan_round(None, str(lake))
    assert again.past.run_id == past.run_id
    assert again.plan.protected not in ("", past.protected)


def _joined(plan: Plan, bodies: Sequence[bytes]) -> dict[str, dict[str, Any]]:
    """Who stands for each picture and why it may not, by its sha256, as the stage of copies says."""
    prepare(plan.warehouse)
    plan.folder.mkdir(parents=True)
    fetched, sifted = (str(plan.folder / name) for name in ("fetched.parquet", "sifted.parquet"))
    rows = [
        {"url": f"http://a/{n}", "bytes": body, "sha256": hashlib.sha256(body).hexdigest(), "nbytes": len(body)}
        for n, body in enumerate(bodies)
    ]
    pq.write_table(pa.Table.from_pylist(rows, schema=FETCHED), fetched)
    told = [{"candidate_id": n, "source_row": n, "url": row["url"], "clicks": 1} for n, row in enumerate(rows)]
    schema = pa.schema({"host": pa.string(), "reason": pa.string(), "detail": pa.string()})
    table = pa.Table.from_pylist(told)
    for field in schema:
        table = table.append_column(field, pa.nulls(table.num_rows, field.type))
    pq.write_table(table, sifted)
    looked, vectors = (str(plan.folder / name) for name in ("looked.parquet", "vectors.parquet"))
    Looker(Looking(Pictures()), 1)(LookJob(fetched, looked, vectors))
    ids = dict(zip(*(pq.read_table(looked)[name].to_pylist() for name in ("image_id", "sha256")), strict=True))
    part = join_copies.fn(plan, sifted, [looked], []).part
    return {ids[row["image_id"]]: row for row in pq.read_table(part).to_pylist()}


def _with_logo(photo: Image.Image) -> Image.Image:
    """A white plate with a word on it in the lower right corner, a fifth of the width."""
    made = photo.convert("RGB")
    width, height = made.size
    plate = Image.new("RGB", (width // 5, height // 12), "white")
    ImageDraw.Draw(plate).text((4, 4), "logo", fill="black")
    made.paste(plate, (width - plate.width - 8, height - plate.height - 8))
    return made


@pytest.mark.skipif(not (PHOTOS / "copies").is_dir(), reason="needs the photos that ZEROMILL_TEST_DATA names")
def test_copies_of_protected_photos_are_removed_from_a_log_and_no_other(tmp_path: Path) -> None:
    originals = sorted((PHOTOS / "photos" / "images" / "flickr8k_orig").iterdir())
    small = [PHOTOS / "copies" / "w200" / path.name for path in originals]
    chosen = [place for place, path in enumerate(small) if path.exists()][:PROTECTED]
    folder = _folder(tmp_path, {originals[place].name: originals[place].read_bytes() for place in chosen})
    lake = tmp_path / "lake"
    assert _protect(lake, "flickr", str(folder)) == 0
    copies = [small[place].read_bytes() for place in chosen]
    copies += [_jpeg(_with_logo(Image.open(originals[place]))) for place in chosen]
    others = [path.read_bytes() for place, path in enumerate(originals) if place not in chosen][:OTHERS]
    rows = _joined(_plan(tmp_path, lake), [*copies, *others])
    removed = {digest for digest, row in rows.items() if row["reason"] == "benchmark_overlap"}
    assert removed == {hashlib.sha256(body).hexdigest() for body in copies}
    assert all("the protected set flickr: " in rows[digest]["detail"] for digest in removed)
    assert len(rows) == 2 * PROTECTED + OTHERS
