"""One real Prefect server for all tests of the flows, in a PREFECT_HOME of their own; and a site that remembers."""

import io
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
from PIL import Image

STALL_S = 5.0


@dataclass
class Asked:
    """A request: when it came and when its answer was sent, in seconds of time.monotonic."""

    path: str
    at: float
    answered: float | None = None


@dataclass
class Site:
    """A loopback site that takes `slow_s` for an answer; the first folder of a path says which: see _answer."""

    host: str
    failing: bool = True
    slow_s: float = 0.0
    asked: list[Asked] = field(default_factory=list)

    def url(self, kind: str, number: int) -> str:
        return f"http://{self.host}/{kind}/{number}.jpg"

    def times(self, since: int = 0) -> Counter[str]:
        """How often each path was asked for, but for the first so many requests."""
        return Counter(one.path for one in self.asked[since:])


def _picture(number: int) -> bytes:
    """Soft colours that no other number has."""
    coarse = np.random.default_rng(number).integers(0, 256, (8, 8, 3), np.uint8)
    made = io.BytesIO()
    Image.fromarray(coarse).resize((224, 224), Image.Resampling.BICUBIC).save(made, "JPEG")
    return made.getvalue()


def _answer(path: str, site: Site) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body."""
    if path == "/robots.txt":
        return 200, {}, b"User-agent: *\nDisallow: /forbidden/\n"
    _, kind, name = path.split("/")
    if kind == "gone":
        return 404, {}, b""
    if kind == "flaky" and site.failing:
        return 503, {}, b""
    time.sleep(STALL_S if kind == "stall" else site.slow_s)
    return 200, {"X-Robots-Tag": "noai"} if kind == "optout" else {}, _picture(int(name.removesuffix(".jpg")))


def _handler(site: Site) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            one = Asked(self.path, time.monotonic())
            site.asked.append(one)
            status, headers, body = _answer(self.path, site)
            try:
                self.send_response(status)
                for name, value in {**headers, "Content-Length": str(len(body))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)
            except OSError:  # who asked was killed
                return
            one.answered = time.monotonic()

        def log_message(self, format: str, *args: object) -> None:
            return

    return Handler


@pytest.fixture(scope="session")
def open_site() -> Iterator[Callable[[], Site]]:
    """Opens a site of pictures and refusals; all are shut after the session."""
    servers: list[ThreadingHTTPServer] = []

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 512

        def handle_error(self, request: object, client_address: object) -> None:
            return  # connections of killed processes

    def opened() -> Site:
        site = Site("")
        server = Server(("127.0.0.1", 0), _handler(site))
        site.host = f"127.0.0.1:{server.server_port}"
        servers.append(server)
        Thread(target=server.serve_forever, daemon=True).start()
        return site

    yield opened
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture(scope="session")
def own_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A PREFECT_HOME whose server is ended after the session, whatever the tests did."""
    home = tmp_path_factory.mktemp("prefect")
    yield home
    subprocess.run(
        [sys.executable, "-c", "from flows.server import stop_server; stop_server()"],
        env=os.environ | {"PREFECT_HOME": str(home), "PREFECT_API_URL": ""},
        check=True,
    )


@pytest.fixture(scope="module")
def in_own_home(own_home: Path) -> Iterator[Path]:
    """This process sees that home and no configured server, until the module ends."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PREFECT_HOME", str(own_home))
        patch.setenv("PREFECT_API_URL", "")  # noted, so that what the tests set is undone
        patch.setenv("NO_PROXY", os.environ.get("NO_PROXY", ""))
        patch.setenv("no_proxy", os.environ.get("no_proxy", ""))
        patch.delenv("PREFECT_API_URL")
        yield own_home
    _read_environment_again()


def _read_environment_again() -> None:
    from prefect.context import refresh_global_settings_context

    refresh_global_settings_context()
