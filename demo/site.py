"""The demo's web site: pictures and faults from a folder, served on loopback by a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

HOST = "127.0.0.1"
ROUTES = "routes.json"  # path -> what is answered, see Route in demo.log


@contextmanager
def serve(folder: Path | str) -> Iterator[str]:
    """Serve the site that demo.log built in `folder`; gives its address, `http://127.0.0.1:PORT`.

    The port of the last time is taken again where it is free, so that addresses stay what they were. The
    process ends with this one, however this one ends: it watches its standard input.
    """
    command = [sys.executable, "-m", "demo.site", str(folder)]
    server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    assert server.stdin is not None
    try:
        port = server.stdout.readline().strip()
        if not port:
            raise RuntimeError(f"The demo's site did not start over {folder}: its process ended at once.")
        yield f"http://{HOST}:{port}"
    finally:
        server.stdin.close()
        server.wait(10)
        server.stdout.close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256  # a fetcher with many lanes connects in bursts

    def __init__(self, folder: Path, port: int) -> None:
        self.folder = folder
        self.routes: dict[str, dict[str, Any]] = json.loads((folder / ROUTES).read_text())
        super().__init__((HOST, port), _Handler)


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_GET(self) -> None:
        route = self.server.routes.get(self.path, {"status": 404, "type": "text/html"})
        body = (self.server.folder / route["file"]).read_bytes() if "file" in route else b""
        self.send_response(route["status"])
        self.send_header("Content-Type", route["type"])
        self.send_header("Content-Length", str(len(body) + route.get("missing", 0)))
        for name, value in route.get("headers", {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: the flow tells what it was answered."""


def _open(folder: Path) -> _Server:
    remembered = folder / "port"
    wanted = int(remembered.read_text()) if remembered.is_file() else 0
    try:
        server = _Server(folder, wanted)
    except OSError:  # somebody else has it now
        server = _Server(folder, 0)
    remembered.write_text(str(server.server_address[1]))
    return server


def main() -> None:
    """`python -m demo.site FOLDER`: print the port, serve until standard input ends."""
    server = _open(Path(sys.argv[1]))
    print(server.server_address[1], flush=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    sys.stdin.read()
    server.shutdown()


if __name__ == "__main__":
    main()
