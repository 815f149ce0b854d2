"""The benches' web site: the files of a folder on loopback, answered with as little work as can be.

It shares the cores with what is measured, so it is nginx where that is installed, and else asyncio in a few processes,
which parses what it must and no more: the standard library's own handler takes several times the work and would hide
the difference between one fetcher and another.
"""

from __future__ import annotations

import asyncio
import getpass
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

HOST = "127.0.0.1"

STALL, DRIP = "/stall/", "/drip/"
"""Paths below which asyncio's site accepts and never answers, or answers a byte each DRIP_S."""

DRIP_S = 0.5

START_S = 10.0

_UNTIL_TOLD = 'nginx -p "$1" -c "$1/nginx.conf" -e "$1/errors" & read _; kill $!; wait'
"""Ends with who started it, however that one ends."""

_NGINX = """\
daemon off; pid {folder}/pid; error_log {folder}/errors; worker_processes {processes}; {user}
events {{ worker_connections 4096; }}
http {{
  access_log off; default_type text/plain; types {{ image/jpeg jpg; }}
  sendfile on; tcp_nopush on; keepalive_requests 1000000; open_file_cache max=20000;
  client_body_temp_path {folder}/1; proxy_temp_path {folder}/2; fastcgi_temp_path {folder}/3;
  uwsgi_temp_path {folder}/4; scgi_temp_path {folder}/5;
  server {{ {listen} root {root}; }}
}}
"""


def server_name() -> str:
    """What `serve` uses on this machine."""
    return "asyncio" if shutil.which("nginx") is None else "nginx"


@contextmanager
def serve(folder: Path, processes: int) -> Iterator[tuple[str, ...]]:
    """Serve the JPEG files under `folder` until the block ends; gives as many addresses as processes."""
    with (_nginx if server_name() == "nginx" else serve_faulty)(folder, processes) as addresses:
        yield addresses


@contextmanager
def serve_faulty(folder: Path, processes: int) -> Iterator[tuple[str, ...]]:
    """The same by asyncio whatever is installed, with STALL and DRIP. The processes end with this one."""
    command = [sys.executable, "-m", "bench.site", str(folder)]
    with ExitStack() as stack:
        addresses = []
        for _ in range(processes):
            server = stack.enter_context(
                subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            )
            assert server.stdout is not None
            assert server.stdin is not None
            stack.callback(server.stdin.close)
            addresses.append(f"http://{HOST}:{server.stdout.readline().strip()}")
        yield tuple(addresses)


@contextmanager
def _nginx(folder: Path, processes: int) -> Iterator[tuple[str, ...]]:
    with tempfile.TemporaryDirectory(prefix="zeromill-nginx-") as name:
        ports = _free_ports(processes)
        config = _NGINX.format(
            folder=name,
            processes=processes,
            user=f"user {getpass.getuser()};" if getpass.getuser() == "root" else "",  # else it would read as nobody
            listen=" ".join(f"listen {HOST}:{port} backlog=4096;" for port in ports),
            root=folder,
        )
        (Path(name) / "nginx.conf").write_text(config)
        words = ["sh", "-c", _UNTIL_TOLD, "sh", name]
        with subprocess.Popen(words, stdin=subprocess.PIPE) as server:
            assert server.stdin is not None
            try:
                _wait_for(ports)
                yield tuple(f"http://{HOST}:{port}" for port in ports)
            finally:
                server.stdin.close()


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server((HOST, 0))) for _ in range(count)]
        return [one.getsockname()[1] for one in sockets]


def _wait_for(ports: list[int]) -> None:
    until = time.monotonic() + START_S
    for port in ports:
        while True:
            try:
                socket.create_connection((HOST, port), 1).close()
                break
            except ConnectionRefusedError:
                if time.monotonic() > until:
                    raise RuntimeError("nginx did not start; what it says of it stands above.") from None
                time.sleep(0.02)


class _Answer(asyncio.Protocol):
    """One connection: a file or 404 to each request, kept open unless the other side wants it closed."""

    def __init__(self, folder: str) -> None:
        self.folder, self.asked = folder, b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.asked += data
        while b"\r\n\r\n" in self.asked:
            head, _, self.asked = self.asked.partition(b"\r\n\r\n")
            path = head.split(b" ", 2)[1].decode()
            if path.startswith(DRIP):
                self.transport.write(_head("200 OK", "image/jpeg", 1 << 20))
                self._drip()
            elif not path.startswith(STALL):
                self._answer(path)
                if b"connection: close" in head.lower():
                    self.transport.close()

    def _answer(self, path: str) -> None:
        try:
            if not path.endswith(".jpg"):
                raise FileNotFoundError(path)
            with open(self.folder + path, "rb", buffering=0) as file:
                body = file.read()
        except FileNotFoundError:
            self.transport.write(_head("404 Not Found", "text/plain", 0))
        else:
            self.transport.write(_head("200 OK", "image/jpeg", len(body)) + body)

    def _drip(self) -> None:
        if not self.transport.is_closing():
            self.transport.write(b"\xff")
            asyncio.get_running_loop().call_later(DRIP_S, self._drip)


def _head(status: str, kind: str, length: int) -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\r\n".encode()


async def _serve(folder: str) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Answer(folder), HOST, 0, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)
    server.close()


if __name__ == "__main__":
    asyncio.run(_serve(sys.argv[1]))
