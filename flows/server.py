"""The Prefect server that runs report to: the configured one, or a local one of this PREFECT_HOME."""

from __future__ import annotations

import base64
import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

LOOPBACK = "127.0.0.1"
PATIENCE_S = 120.0  # a first start compiles Prefect's byte code: 20 s and more
HINT_AFTER_S = 3.0
GRACE_S = 15.0  # uvicorn ends its open connections first
ANSWER_S = 5.0


class ServerError(RuntimeError):
    """There is no Prefect server to report to; the message, of at most three lines, says what to do."""


@dataclass(frozen=True)
class Server:
    """A Prefect server that answers, and whether this call started it."""

    api_url: str
    ui_url: str
    started: bool


@dataclass(frozen=True)
class _Home:
    """The files by which a PREFECT_HOME knows its server.

    `alive` is locked by the server process itself for as long as it lives: the kernel lets go of the lock at
    its death, so a dead server, a pid that was given to another process, and a copied home are all told
    from a living server. `turn` is held while a server is being started or stopped.
    """

    path: Path

    @property
    def state(self) -> Path:
        return self.path / "zeromill-server.json"

    @property
    def alive(self) -> Path:
        return self.path / "zeromill-server.alive"

    @property
    def turn(self) -> Path:
        return self.path / "zeromill-server.turn"

    @property
    def log(self) -> Path:
        return self.path / "zeromill-server.log"


@dataclass(frozen=True)
class _Record:
    """What the state file says: the server's process and its port on loopback."""

    pid: int
    port: int

    @property
    def api_url(self) -> str:
        return f"http://{LOOPBACK}:{self.port}/api"

    def server(self, started: bool) -> Server:
        return Server(self.api_url, self.api_url.removesuffix("/api"), started)


def ensure_server() -> Server:
    """A server that answers, and Prefect in this process and its children pointed at it.

    PREFECT_API_URL, or an address in the active Prefect profile, is used as it is. Without one the local
    server of PREFECT_HOME is reused, or started on a free port of loopback; it outlives this process.

    Raises:
        ServerError: the configured server does not answer, or the local one does not start.
    """
    home = _home()
    configured = _configured_url(home)
    if configured:
        _require_health(configured)
        return _configured(configured)
    with _locked(home.turn):
        server = _reuse(home) or _start(home)
    _point_prefect_at(server.api_url)
    return server


def running_server() -> Server | None:
    """The server that the next command would use, where it already answers."""
    home = _home()
    configured = _configured_url(home)
    if configured:
        return None if _ill_health(configured) else _configured(configured)
    record = _recorded(home)
    if record is None or not _held(home.alive) or not _answers_for(home, record):
        return None
    return record.server(started=False)


def stop_server() -> bool:
    """End the local server of PREFECT_HOME and wait until it is gone; False where none was running.

    Raises:
        ServerError: it runs where this process cannot end it, in another container for instance.
    """
    home = _home()
    with _locked(home.turn):
        record = _recorded(home)
        running = _held(home.alive)
        if running:
            _end(home, record)
        home.state.unlink(missing_ok=True)
    if record and os.environ.get("PREFECT_API_URL") == record.api_url:
        del os.environ["PREFECT_API_URL"]
        _refresh_settings()
    return running


def run_url(server: Server, flow_run_id: UUID | str) -> str:
    """The page of a flow run in the server's UI."""
    return f"{server.ui_url}/runs/flow-run/{flow_run_id}"


def _reuse(home: _Home) -> Server | None:
    """The home's living server, waited for where another process has just started it."""
    if not _held(home.alive):
        return None
    record = _recorded(home)
    if record is None or not _wait_for_answer(home, record):
        raise ServerError(
            f"Another process holds {home.alive} but no Prefect server of this home answers here.\n"
            "Run `zeromill down` where it was started, or set PREFECT_HOME or PREFECT_API_URL."
        )
    return record.server(started=False)


def _start(home: _Home) -> Server:
    """Start the server on the port it had before, or on a free one, and wait until it answers."""
    last = _recorded(home)
    for port in (last.port if last else 0, 0, 0):  # another process may take the port before the server does
        record = _launch(home, _free_port(port))
        if _wait_for_answer(home, record):
            return record.server(started=True)
        if _held(home.alive):
            _end(home, record)
            raise ServerError(f"Prefect's server gave no answer in {PATIENCE_S:.0f} s; its log is {home.log}")
        if _is_free(record.port):
            break
    tail = home.log.read_text(errors="replace").strip().splitlines()[-1:] or ["it wrote nothing"]
    raise ServerError(f"Prefect's server ended while starting: {tail[0].strip()[:300]}\nIts log is {home.log}")


def _launch(home: _Home, port: int) -> _Record:
    """A server in a session of its own that holds the home's `alive` lock, put on record."""
    home.state.unlink(missing_ok=True)
    address = ["--host", LOOPBACK, "--port", str(port)]
    with open(home.alive, "a") as alive, open(home.log, "wb") as log:
        fcntl.flock(alive, fcntl.LOCK_EX)
        process = subprocess.Popen(
            [sys.executable, "-m", "prefect", "server", "start", *address],
            cwd=home.path,  # not the caller's folder: its prefect.toml is not the server's
            env=_server_environment(home, port),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            pass_fds=(alive.fileno(),),
        )
    record = _Record(process.pid, port)
    aside = home.state.with_suffix(".new")
    aside.write_text(json.dumps({"pid": record.pid, "port": record.port}))
    aside.replace(home.state)
    return record


def _server_environment(home: _Home, port: int) -> dict[str, str]:
    origins = f"http://{LOOPBACK}:{port},http://localhost:{port}"
    settings = {
        "DO_NOT_TRACK": "1",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_HOME": str(home.path),
        "PREFECT_SERVER_API_HOST": LOOPBACK,  # the UI learns the address of its API from these two
        "PREFECT_SERVER_API_PORT": str(port),
        "PREFECT_SERVER_API_CORS_ALLOWED_ORIGINS": origins,  # else any page in the browser may start runs
        "PREFECT_SERVER_UI_ENABLED": "true",
        "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
    }
    inherited = {key: value for key, value in os.environ.items() if key != "PREFECT_API_URL"}
    return inherited | settings


def _wait_for_answer(home: _Home, record: _Record) -> bool:
    """Whether the server answers within PATIENCE_S; False at once when its process dies."""
    begin, hinted = time.monotonic(), False
    while time.monotonic() - begin < PATIENCE_S:
        if _answers_for(home, record):
            return _held(home.alive)
        if not _held(home.alive):
            return False
        if not hinted and time.monotonic() - begin > HINT_AFTER_S:
            hinted = True
            print("Starting Prefect's server (the first time this takes up to a minute)", file=sys.stderr)
        time.sleep(0.1)
    return False


def _end(home: _Home, record: _Record | None) -> None:
    """Ask the server to end, insist after GRACE_S, and return when its lock is free."""
    if record is None or not _is_the_server(home, record):
        raise ServerError(f"A process that cannot be told from here holds {home.alive}; end it where it was started")
    for demand, patience in ((signal.SIGTERM, GRACE_S), (signal.SIGKILL, GRACE_S)):
        try:
            os.kill(record.pid, demand)
        except ProcessLookupError:
            return
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline:
            if not _held(home.alive):
                return
            time.sleep(0.05)
    raise ServerError(f"Prefect's server (process {record.pid}) does not end")


def _is_the_server(home: _Home, record: _Record) -> bool:
    """Whether the recorded pid is the process that holds the lock, not a later owner of the number."""
    open_files = Path(f"/proc/{record.pid}/fd")
    if not Path("/proc/self/fd").exists():  # not Linux: the answer of the API must do
        return _answers_for(home, record)
    try:
        return any(os.path.realpath(entry) == str(home.alive) for entry in open_files.iterdir())
    except OSError:
        return False


def _answers_for(home: _Home, record: _Record) -> bool:
    """Whether a Prefect server on the recorded port says that it serves this very home."""
    request = urllib.request.Request(f"{record.api_url}/admin/settings", headers=_authorization())
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # loopback is never behind a proxy
    try:
        with direct.open(request, timeout=ANSWER_S) as response:
            served = json.load(response)["home"]
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return Path(served).resolve() == home.path


def _authorization() -> dict[str, str]:
    from prefect.settings import get_current_settings

    secret = get_current_settings().api.auth_string
    if secret is None:
        return {}
    return {"Authorization": "Basic " + base64.b64encode(secret.get_secret_value().encode()).decode()}


def _configured_url(home: _Home) -> str | None:
    """The address that the user set, unless it is the one that an earlier call set for the local server."""
    from prefect.settings import get_current_settings

    url = get_current_settings().api.url
    record = _recorded(home)
    return None if record and url == record.api_url else url


def _configured(url: str) -> Server:
    from prefect.settings import PREFECT_UI_URL

    return Server(url, PREFECT_UI_URL.value() or url.removesuffix("/api"), started=False)


def _require_health(url: str) -> None:
    problem = _ill_health(url)
    if problem:
        raise ServerError(
            f"No Prefect server answers at PREFECT_API_URL={url}: {problem}\n"
            "Start it, or unset PREFECT_API_URL to let zeromill start a local one."
        )


def _ill_health(url: str) -> str | None:
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.settings import get_current_settings

    api = get_current_settings().api
    key, secret = (value.get_secret_value() if value else None for value in (api.key, api.auth_string))
    with SyncPrefectClient(url, api_key=key, auth_string=secret) as client:
        problem = client.api_healthcheck()
    return None if problem is None else str(problem).splitlines()[0][:200]


def _home() -> _Home:
    """PREFECT_HOME by Prefect's own rules, read anew, with its folder made.

    Raises:
        ServerError: the folder cannot be made or written.
    """
    os.environ.setdefault("DO_NOT_TRACK", "1")
    from prefect.settings import get_current_settings

    _refresh_settings()
    path = get_current_settings().home.expanduser().resolve()
    try:
        path.mkdir(parents=True, exist_ok=True)
        writable = os.access(path, os.W_OK)
    except OSError:
        writable = False
    if not writable:
        raise ServerError(f"PREFECT_HOME {path} cannot be written; set PREFECT_HOME to a folder of yours")
    return _Home(path)


def _refresh_settings() -> None:
    """Let Prefect, which reads the environment once at import, read it again, for every thread."""
    from prefect.context import refresh_global_settings_context

    refresh_global_settings_context()


def _point_prefect_at(api_url: str) -> None:
    os.environ["PREFECT_API_URL"] = api_url
    for name in ("NO_PROXY", "no_proxy"):
        spared = os.environ.get(name, "")
        if LOOPBACK not in spared:
            os.environ[name] = f"{spared},{LOOPBACK}".lstrip(",")
    _refresh_settings()


def _recorded(home: _Home) -> _Record | None:
    try:
        said = json.loads(home.state.read_text())
        return _Record(int(said["pid"]), int(said["port"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with open(path, "a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _held(path: Path) -> bool:
    """Whether another open file holds the lock; the question itself takes it for a moment, shared."""
    with open(path, "a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        return False


def _free_port(wanted: int) -> int:
    """The wanted port where nobody listens on it, else any free one."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, wanted if wanted and _is_free(wanted) else 0))
        return int(probe.getsockname()[1])


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
        return True
