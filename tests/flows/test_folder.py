"""What img2dataset itself wrote is milled like a log, in both its forms, and nobody is asked again."""

import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from warehouse.lake import connect

PATIENCE_S = 400
FORMS = ("webdataset", "parquet")
SHARD = 10
REFUSED, LOST, WORDS, TWICE, ANSWERLESS = 3, 10, 11, 12, 13
"""Rows of the list: says noai, answers 404, is no picture, has the URL of row 0, and nobody listens there."""
PICTURES = [n for n in range(SHARD) if n != REFUSED]


@dataclass
class Site:
    """Pictures on loopback, and the paths that were asked for."""

    address: str = ""
    asked: list[str] = field(default_factory=list)

    def url(self, row: int) -> str:
        return "http://127.0.0.1:9/x.jpg" if row == ANSWERLESS else f"{self.address}/{0 if row == TWICE else row}.jpg"


def _picture(number: int) -> bytes:
    """Soft colours that no other number has."""
    coarse = np.random.default_rng(number).integers(0, 256, (9, 9, 3), np.uint8)
    made = io.BytesIO()
    Image.fromarray(coarse).resize((240, 240), Image.Resampling.BICUBIC).save(made, "JPEG")
    return made.getvalue()


def _handler(site: Site) -> type[BaseHTTPRequestHandler]:
    bodies = {f"/{n}.jpg": _picture(n) for n in range(SHARD)} | {f"/{WORDS}.jpg": b"not a picture at all"}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            site.asked.append(self.path)
            body = bodies.get(self.path)
            self.send_response(404 if body is None else 200)
            if self.path == f"/{REFUSED}.jpg":
                self.send_header("X-Robots-Tag", "noai")
            self.send_header("Content-Length", str(len(body or b"")))
            self.end_headers()
            self.wfile.write(body or b"")

        def log_message(self, format: str, *args: object) -> None:
            """Nothing on the tests' output."""

    return Handler


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    one = Site()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(one))
    one.address = f"http://127.0.0.1:{server.server_port}"
    Thread(target=server.serve_forever, daemon=True).start()
    yield one
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def folders(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    """The same list as the command writes it in either form, in shards of ten rows."""
    base = tmp_path_factory.mktemp("img2dataset")
    rows = range(ANSWERLESS + 1)
    columns = {
        "url": [site.url(n) for n in rows],
        "text": [f"A quiet harbour in soft colours, number {n}" for n in rows],
    }
    pq.write_table(
        pa.table({**columns, "impressions": [100 + n for n in rows], "clicks": [50] * len(rows)}), base / "l.parquet"
    )
    running = [subprocess.Popen(_img2dataset(base, form), env=_quiet(), stdout=subprocess.DEVNULL) for form in FORMS]
    assert [one.wait(PATIENCE_S) for one in running] == [0, 0]
    return {form: base / form for form in FORMS}


def _img2dataset(base: Path, form: str) -> list[str]:
    options = {
        "url_list": base / "l.parquet",
        "input_format": "parquet",
        "caption_col": "text",
        "save_additional_columns": "[impressions,clicks]",
        "output_format": form,
        "output_folder": base / form,
        "number_sample_per_shard": SHARD,
        "disable_all_reencoding": True,
        "thread_count": 4,
    }
    words = [f"--{name}={value}" for name, value in options.items()]
    return [str(Path(sys.executable).with_name("img2dataset")), *words]


def _quiet() -> dict[str, str]:
    return {**os.environ, "NO_ALBUMENTATIONS_UPDATE": "1"}


def _curate(home: Path, source: Path, lake: Path, *more: str) -> tuple[dict[str, Any], str]:
    """What the command said as JSON, and on stderr."""
    environment = {**os.environ, "PREFECT_HOME": str(home)}
    environment.pop("PREFECT_API_URL", None)
    words = ["curate", str(source), "--recipe", "unscored", "--warehouse", str(lake), "--json", *more]
    command = [sys.executable, "-m", "app", *words]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    return told, done.stderr


def _rows(lake: Path, query: str) -> list[tuple[Any, ...]]:
    with connect(str(lake), read_only=True) as con:
        return con.execute(query).fetchall()


@dataclass(frozen=True)
class Milled:
    """A warehouse of each form's folder, and how the first run of one went, before img2dataset was done with it."""

    lakes: Mapping[str, Path]
    said: str
    first: list[tuple[Any, ...]]


@pytest.fixture(scope="module")
def milled(own_home: Path, site: Site, folders: Mapping[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Milled:
    site.asked.clear()
    lakes = {form: tmp_path_factory.mktemp(form) / "lake" for form in FORMS}
    folder, lake = folders["webdataset"], lakes["webdataset"]
    tar, stats = folder / "00000.tar", folder / "00001_stats.json"
    whole, done = tar.read_bytes(), stats.read_bytes()
    os.truncate(tar, len(whole) // 2)
    stats.unlink()
    _, said = _curate(own_home, folder, lake)
    first = _rows(lake, "SELECT reason, count(*) FROM lake.ledger GROUP BY 1")
    tar.write_bytes(whole)
    stats.write_bytes(done)
    for form in FORMS:
        _curate(own_home, folders[form], lakes[form], "--workers", "2")
    return Milled(lakes, said, first)


@pytest.mark.parametrize("form", FORMS)
def test_every_row_of_a_folder_gets_its_fate_and_nobody_is_asked(milled: Milled, site: Site, form: str) -> None:
    assert site.asked == []
    fates = {row: reason for row, reason in _rows(milled.lakes[form], "SELECT source_row, reason FROM lake.ledger")}
    assert fates == {
        **dict.fromkeys(PICTURES),
        REFUSED: "fetch_opted_out",
        LOST: "fetch_http_status",
        WORDS: "image_not_image",
        TWICE: None,
        ANSWERLESS: "fetch_connect",
    }
    (refusal,) = _rows(milled.lakes[form], f"SELECT detail FROM lake.ledger WHERE source_row = {REFUSED}")
    assert refusal == ("img2dataset recorded: X-Robots-Tag",)


def test_a_release_of_a_folder_has_the_very_bytes_with_their_captions(milled: Milled) -> None:
    query = """SELECT p.bytes, t.raw, r.role FROM lake.release_pairs r JOIN lake.pixels p USING (image_id)
               JOIN lake.texts t USING (text_id)"""
    released = {text: (body, role) for body, text, role in _rows(milled.lakes["webdataset"], query)}
    texts = {f"A quiet harbour in soft colours, number {n}": n for n in (*PICTURES, TWICE)}
    assert released == {text: (_picture(0 if n == TWICE else n), "alt") for text, n in texts.items()}


def test_both_forms_make_the_same_ledger_pictures_and_pairs(milled: Milled) -> None:
    asked = (
        "SELECT candidate_id, source_row, url, outcome, stage, reason, detail, image_id FROM lake.ledger ORDER BY 1",
        "SELECT image_id, sha256, url, consent FROM lake.images ORDER BY 1",
        "SELECT DISTINCT image_id, text_id, role, weight FROM lake.release_pairs ORDER BY 1, 2, 3",
    )
    for query in asked:
        assert _rows(milled.lakes["webdataset"], query) == _rows(milled.lakes["parquet"], query)


def test_what_was_cut_off_or_unfinished_is_told_and_is_read_when_it_is_whole(milled: Milled) -> None:
    assert "left out: 00001 (1 shards)" in milled.said
    reasons = dict(milled.first)
    assert reasons.keys() == {None, "fetch_opted_out", "fetch_incomplete"}
    assert 0 < reasons[None] < len(PICTURES)
    assert sum(reasons.values()) == SHARD
    (now,) = _rows(milled.lakes["webdataset"], "SELECT count(*) FROM lake.ledger")
    assert now == (ANSWERLESS + 1,)
