"""The benches' web site: the files of a folder on loopback, answered with as little work as can be.

It shares the cores with what is measured, so it does not parse what it need not: demo.site, of the standard library's
handler, takes several times the work and would hide the difference between one fetcher and another.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

HOST = "127.0.0.1"


@contextmanager
def serve(folder: Path) -> Iterator[str]:
    """Serve the JPEG files under `folder` from a process of its own, which ends with this one; gives its address."""
    command = [sys.executable, "-m", "bench.site", str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        assert server.stdin is not None
        port = server.stdout.readline().strip()
        try:
            yield f"http://{HOST}:{port}"
        finally:
            server.stdin.close()


class _Answer(asyncio.Protocol):
    """One request of one connection: the file, or 404."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.asked = folder, b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.asked += data
        if b"\r\n\r\n" not in self.asked:
            return
        file = self.folder / self.asked.split(b" ", 2)[1].decode().lstrip("/")
        there = file.suffix == ".jpg" and file.is_file()
        body = file.read_bytes() if there else b""
        status = "200 OK\r\nContent-Type: image/jpeg" if there else "404 Not Found\r\nContent-Type: text/plain"
        head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        self.transport.write(head.encode() + body)
        self.transport.close()


async def _serve(folder: Path) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Answer(folder), HOST, 0, backlog=512)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)
    server.close()


if __name__ == "__main__":
    asyncio.run(_serve(Path(sys.argv[1])))
