"""A newcomer's folder: a small log of rendered pictures that a site on loopback serves, and a home of its own."""

import io
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

PICTURES = 60
SIDE = 224
ADJECTIVES = ("quiet", "bright", "narrow", "ancient", "wooden", "golden", "misty", "crowded", "empty", "painted")
PLACES = ("harbour", "mountain path", "market street", "river bend", "stone bridge", "lighthouse", "orchard")
QUERIES = ("山间的晨雾小路", "海边的灯塔日落", "古镇石桥流水", "秋天的果园风景")


@dataclass(frozen=True)
class Newcomer:
    """An empty folder with `clicks.parquet` in it, the host that its pictures are on, and the environment."""

    folder: Path
    host: str
    environment: Mapping[str, str]

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """`zeromill WORDS` in that folder."""
        return subprocess.run(
            [sys.executable, "-m", "app", *words],
            cwd=self.folder,
            env=dict(self.environment),
            capture_output=True,
            text=True,
            timeout=300,
        )


@pytest.fixture(scope="module")
def newcomer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Newcomer]:
    folder, home = tmp_path_factory.mktemp("newcomer"), tmp_path_factory.mktemp("prefect")
    bodies = {f"/{number}.png": _picture(number) for number in range(PICTURES)}
    site = ThreadingHTTPServer(("127.0.0.1", 0), _handler(bodies))
    Thread(target=site.serve_forever, daemon=True).start()
    host = f"127.0.0.1:{site.server_port}"
    pq.write_table(_log(host), folder / "clicks.parquet")
    known = {name: value for name, value in os.environ.items() if name not in ("PREFECT_API_URL", "ZEROMILL_WAREHOUSE")}
    one = Newcomer(folder, host, known | {"PREFECT_HOME": str(home)})
    yield one
    one.run("down")
    site.shutdown()
    site.server_close()


def _picture(number: int) -> bytes:
    """Soft colours that no other number has: far from every other picture in its perceptual hash."""
    coarse = np.random.default_rng(number).integers(0, 256, (9, 9, 3), np.uint8)
    made = io.BytesIO()
    Image.fromarray(coarse).resize((SIDE, SIDE), Image.Resampling.BICUBIC).save(made, "PNG", compress_level=1)
    return made.getvalue()


def _handler(bodies: Mapping[str, bytes]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = bodies.get(self.path.partition("?")[0])
            self.send_response(404 if body is None else 200)
            self.send_header("Content-Type", "image/png")
            self.send_header("Content-Length", str(len(body or b"")))
            self.end_headers()
            self.wfile.write(body or b"")

        def log_message(self, format: str, *args: object) -> None:
            """Nothing on the tests' output."""

    return Handler


def _log(host: str) -> pa.Table:
    """A row for each picture, and a few more: a copy, a lost picture, a row that nobody clicked, a bad address."""
    rows = [_row(f"http://{host}/{number}.png", number, 500, 40) for number in range(PICTURES)]
    rows += [_row(f"http://{host}/{number}.png?again", number, 300, 20) for number in range(4)]
    rows += [_row(f"http://{host}/gone-{number}.png", number, 400, 30) for number in range(4)]
    rows += [_row(f"http://{host}/{number}.png", number, 5, 1) for number in range(4)]
    rows += [_row("not an address", 0, 50, 5)]
    return pa.Table.from_pylist(rows)


def _row(url: str, number: int, impressions: int, clicks: int) -> dict[str, str | int]:
    adjective, place = ADJECTIVES[number % len(ADJECTIVES)], PLACES[number % len(PLACES)]
    title = f"A {adjective} {place} in soft colours, number {number} of a series"
    query = f"{QUERIES[number % len(QUERIES)]}第{number}幅"
    return {"url": url, "query": query, "title": title, "impressions": impressions, "clicks": clicks}
