"""The local Prefect server: one for each PREFECT_HOME, never another home's, gone when told to go."""

import fcntl
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from flows.server import Server, ServerError, ensure_server, run_url, running_server, stop_server

STARTER = "from flows.server import ensure_server as e; s = e(); print(s.api_url, s.started)"


@pytest.fixture(autouse=True)
def no_server_configured(in_own_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test begins as a command does: with a PREFECT_HOME and nothing else."""
    monkeypatch.setenv("PREFECT_API_URL", "")  # noted, so that what the test sets is undone
    monkeypatch.delenv("PREFECT_API_URL")


def _environment(home: Path) -> dict[str, str]:
    return {k: v for k, v in os.environ.items() if k != "PREFECT_API_URL"} | {"PREFECT_HOME": str(home)}


def _record(home: Path) -> dict[str, int]:
    record: dict[str, int] = json.loads((home / "zeromill-server.json").read_text())
    return record


def test_two_commands_at_once_start_one_server_and_the_next_one_reuses_it(in_own_home: Path) -> None:
    stop_server()
    both = [
        subprocess.Popen(
            [sys.executable, "-c", STARTER], env=_environment(in_own_home), stdout=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    said = [process.communicate(timeout=150)[0].split() for process in both]
    assert said[0][0] == said[1][0]
    assert sorted(started for _, started in said) == ["False", "True"]
    server = ensure_server()
    assert (server.api_url, server.started) == (said[0][0], False)
    assert running_server() == server


def test_prefect_in_this_process_talks_to_the_server(in_own_home: Path) -> None:
    from prefect.client.orchestration import get_client

    server = ensure_server()
    client = get_client(sync_client=True)
    assert str(client.api_url).rstrip("/") == server.api_url
    assert client.api_healthcheck() is None


def test_another_homes_server_is_not_taken_for_ours(
    in_own_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ensure_server()
    monkeypatch.delenv("PREFECT_API_URL")
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path))
    (tmp_path / "zeromill-server.json").write_text(json.dumps(_record(in_own_home)))
    assert running_server() is None
    assert stop_server() is False
    (tmp_path / "zeromill-server.json").write_text(json.dumps(_record(in_own_home)))
    with open(tmp_path / "zeromill-server.alive", "a") as alive:  # as if a server of this home lived too
        fcntl.flock(alive, fcntl.LOCK_EX)
        assert running_server() is None
    monkeypatch.setenv("PREFECT_HOME", str(in_own_home))
    assert running_server() is not None


def test_a_living_server_whose_record_names_anothers_port_is_not_believed(
    in_own_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ensure_server()
    monkeypatch.delenv("PREFECT_API_URL")
    true_record = _record(in_own_home)
    with socket.create_server(("127.0.0.1", 0)) as stranger:
        stranger.settimeout(0.1)
        lie = true_record | {"port": stranger.getsockname()[1]}
        (in_own_home / "zeromill-server.json").write_text(json.dumps(lie))
        monkeypatch.setattr("flows.server.PATIENCE_S", 0.2)
        monkeypatch.setattr("flows.server.ANSWER_S", 0.2)
        assert running_server() is None
        with pytest.raises(ServerError, match="no Prefect server of this home answers"):
            ensure_server()
    (in_own_home / "zeromill-server.json").write_text(json.dumps(true_record))
    assert running_server() is not None


def test_a_recorded_pid_that_became_another_process_is_left_alone(
    in_own_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ensure_server()
    monkeypatch.delenv("PREFECT_API_URL")
    true_record = _record(in_own_home)
    bystander = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        (in_own_home / "zeromill-server.json").write_text(json.dumps(true_record | {"pid": bystander.pid}))
        with pytest.raises(ServerError, match="cannot be told from here"):
            stop_server()
        assert bystander.poll() is None
    finally:
        bystander.communicate(b"\n")
        (in_own_home / "zeromill-server.json").write_text(json.dumps(true_record))


def test_a_configured_server_is_used_as_it_is(
    in_own_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = ensure_server()
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path))
    assert ensure_server() == server
    assert not (tmp_path / "zeromill-server.json").exists()


def test_a_configured_server_that_does_not_answer_is_named_in_three_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path))
    with socket.create_server(("127.0.0.1", 0)) as closed:
        url = f"http://127.0.0.1:{closed.getsockname()[1]}/api"
    monkeypatch.setenv("PREFECT_API_URL", url)
    with pytest.raises(ServerError) as refused:
        ensure_server()
    assert url in str(refused.value)
    assert len(str(refused.value).splitlines()) <= 3
    assert running_server() is None


def test_a_home_that_cannot_be_made_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path / "file" / "home"))
    with pytest.raises(ServerError, match="PREFECT_HOME"):
        ensure_server()


def test_stop_ends_the_server_and_says_so_once(in_own_home: Path) -> None:
    ensure_server()
    record = _record(in_own_home)
    assert stop_server() is True
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", record["port"]), timeout=1)
    assert running_server() is None
    assert stop_server() is False
    assert "PREFECT_API_URL" not in os.environ


def test_a_run_has_a_page_in_the_ui() -> None:
    server = Server("http://127.0.0.1:1/api", "http://127.0.0.1:1", started=False)
    assert run_url(server, "an-id") == "http://127.0.0.1:1/runs/flow-run/an-id"
