"""A folder of daily logs: new ones once, unfinished ones later, a broken one never in the way of the others."""

import gzip
import io
import os
import threading
import time
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from flows.daily import daily, settled_logs
from flows.server import ensure_server
from tasks.pool import cluster
from warehouse.releases import list_releases

LONG_AGO = 3600


class _Silent(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        return


@pytest.fixture
def site(tmp_path: Path) -> Iterator[str]:
    """HOST:PORT of a site with the pictures 0.png to 2.png, which are no copies of one another."""
    folder = tmp_path / "site"
    folder.mkdir()
    random = np.random.default_rng(0)
    for n in range(3):
        coarse = Image.fromarray(random.integers(0, 255, (8, 8, 3), dtype=np.uint8))
        coarse.resize((256, 256), Image.Resampling.BICUBIC).save(folder / f"{n}.png")
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Silent, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def _log(path: Path, text: str, age_s: float = LONG_AGO) -> Path:
    body = text.encode()
    if path.suffix == ".gz":
        buffer = io.BytesIO()
        with gzip.GzipFile(fileobj=buffer, mode="wb") as file:
            file.write(body)
        body = buffer.getvalue()
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(body)
    os.utime(path, (time.time() - age_s,) * 2)
    return path


def test_logs_of_every_format_are_taken_by_name_and_other_files_are_not(tmp_path: Path) -> None:
    wanted = ["a.tsv", "b.csv.gz", "c.parquet", "d.jsonl", "e.CSV", "f.ndjson.gz"]
    for name in [*reversed(wanted), "readme.txt", ".hidden.csv", "_marks.csv", "g.csv.tmp"]:
        _log(tmp_path / name, "x")
    (tmp_path / "folder.csv").mkdir()
    assert [path.name for path in settled_logs(tmp_path)] == wanted


def test_a_log_that_changed_within_the_last_minute_waits(tmp_path: Path) -> None:
    _log(tmp_path / "fresh.csv", "x", age_s=30)
    ready = _log(tmp_path / "ready.csv", "x", age_s=90)
    assert settled_logs(tmp_path) == [ready]


def test_a_log_that_grows_under_an_old_date_waits(tmp_path: Path) -> None:
    ready, growing = _log(tmp_path / "a.csv", "x"), _log(tmp_path / "b.csv", "x")
    writer = threading.Timer(0.3, growing.write_text, ["x" * 10])
    writer.start()
    assert settled_logs(tmp_path) == [ready]
    writer.join()


def test_a_missing_folder_is_named_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="parameter `folder`"):
        settled_logs(tmp_path / "none")


def test_new_logs_are_milled_once_and_a_broken_one_stops_no_other(in_own_home: Path, tmp_path: Path, site: str) -> None:
    ensure_server()
    rows = "".join(f"http://{site}/{n}.png,a red kite over the hill number {n}\n" for n in range(3))
    _log(tmp_path / "logs" / "1-broken.csv", "adress,title\nnot a url,a title\n")
    _log(tmp_path / "logs" / "2-good.csv", "url,title\n" + rows)
    run = partial(daily, str(tmp_path / "logs"), "deduplicate", str(tmp_path / "lake"), [site])

    with cluster(2):  # one Ray for all runs, as a worker's runs may share one
        with pytest.raises(RuntimeError, match=r"1 of 2 new logs failed: 1-broken\.csv"):
            run()
        (tmp_path / "logs" / "1-broken.csv").unlink()
        assert run() == []
        assert [release.release[:18] for release in list_releases(str(tmp_path / "lake"))] == ["2-good-deduplicate"]
