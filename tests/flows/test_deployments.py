"""`prefect.yaml` against a real server: it deploys as it stands, and a published release starts training."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import pytest
import yaml
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterDeploymentId, FlowRunFilterId
from prefect.client.schemas.objects import FlowRun
from prefect.client.schemas.responses import DeploymentResponse
from prefect.events import emit_event

from demo.log import build, live_log
from demo.site import serve
from flows.bootstrap import SILENT_RUNS, WORK_POOL, prepare_server
from flows.server import ensure_server
from warehouse.releases import list_releases

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def deployed(in_own_home: Path) -> Iterator[SyncPrefectClient]:
    """A client of a server to which `prefect deploy --all` was run from the repository's root."""
    ensure_server()
    prepare_server()
    deploy = [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all"]
    done = subprocess.run(deploy, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    with get_client(sync_client=True) as client:
        yield client


def _deployment(client: SyncPrefectClient, name: str) -> DeploymentResponse:
    return client.read_deployment_by_name(f"{name}/{name}")


def _runs_after(client: SyncPrefectClient, releases: set[str]) -> dict[str, FlowRun]:
    """The `train` runs of the releases, waited for: the server works on events in its own time."""
    deployment = _deployment(client, "train")
    of_train = FlowRunFilter(deployment_id=FlowRunFilterDeploymentId(any_=[deployment.id]))
    deadline = time.monotonic() + 30
    runs: dict[str, FlowRun] = {}
    while time.monotonic() < deadline and not releases <= set(runs):
        time.sleep(0.2)
        runs = {run.parameters["release"]: run for run in client.read_flow_runs(flow_run_filter=of_train)}
    return runs


def _publish(release: str, payload: dict[str, Any]) -> None:
    emit_event(
        event="zeromill.release.published",
        resource={"prefect.resource.id": f"zeromill.release.{release}", "prefect.resource.name": release},
        payload=payload,
    )


@pytest.mark.parametrize("name", ["curate", "daily", "refetch", "train"])
def test_each_flow_is_deployed_to_the_work_pool_by_a_dotted_entrypoint(deployed: SyncPrefectClient, name: str) -> None:
    deployment = _deployment(deployed, name)
    assert deployment.entrypoint == f"flows.{name}.{name}"
    assert deployment.work_pool_name == WORK_POOL
    assert deployed.read_work_pool(WORK_POOL).type == "process"


def test_runs_start_in_the_folder_of_the_deploy_and_the_file_names_no_path(deployed: SyncPrefectClient) -> None:
    steps = _deployment(deployed, "curate").pull_steps or []
    assert [list(step) for step in steps] == [["prefect.deployments.steps.set_working_directory"]]
    assert str(ROOT) not in (ROOT / "prefect.yaml").read_text()


def test_only_the_daily_run_is_scheduled(deployed: SyncPrefectClient) -> None:
    schedules = {name: _deployment(deployed, name).schedules for name in ("curate", "daily", "refetch", "train")}
    assert [schedule.active for schedule in schedules["daily"]] == [True]
    assert getattr(schedules["daily"][0].schedule, "cron", None) == "0 3 * * *"
    assert schedules["curate"] == schedules["refetch"] == schedules["train"] == []


def test_each_published_release_starts_one_training_with_its_name_and_warehouse(deployed: SyncPrefectClient) -> None:
    one, other = f"log-zero-{uuid4().hex[:8]}", f"点击日志-zero-{uuid4().hex[:8]}"
    _publish(one, {"release": one, "warehouse": '/data/lake\'s "own"'})
    _publish(other, {"release": other, "warehouse": None})
    runs = _runs_after(deployed, {one, other})
    assert sorted(runs) == sorted([one, other])
    assert runs[one].parameters == {"release": one, "warehouse": '/data/lake\'s "own"'}
    assert runs[other].parameters == {"release": other, "warehouse": None}
    assert {run.work_pool_name for run in runs.values()} == {WORK_POOL}


def test_an_event_sent_by_hand_without_a_warehouse_starts_training_too(deployed: SyncPrefectClient) -> None:
    release = f"by-hand-{uuid4().hex[:8]}"
    _publish(release, {"release": release})
    assert _runs_after(deployed, {release})[release].parameters == {"release": release, "warehouse": None}


def test_preparing_a_server_twice_changes_nothing(deployed: SyncPrefectClient) -> None:
    prepare_server()
    (automation,) = deployed.read_automations_by_name(SILENT_RUNS)
    assert automation.enabled
    assert getattr(automation.trigger, "within", None) == timedelta(minutes=10)


@pytest.fixture
def worker(deployed: SyncPrefectClient, in_own_home: Path, tmp_path: Path) -> Iterator[Path]:
    """A real worker of the pool, ended after the test; the file of its log. No run of another test waits for it."""
    for run in deployed.read_flow_runs():
        deployed.delete_flow_run(run.id)
    log = tmp_path / "worker.log"
    command = [sys.executable, "-m", "prefect", "worker", "start", "--pool", WORK_POOL, "--type", "process"]
    with open(log, "w") as out:
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, cwd=tmp_path, start_new_session=True)
        yield log
        process.terminate()
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:  # a worker that does not end would train on what other tests publish
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _finished(client: SyncPrefectClient, flow_runs: FlowRunFilter, log: Path) -> FlowRun:
    """The one run of the filter, when it has ended."""
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        for run in client.read_flow_runs(flow_run_filter=flow_runs):
            if run.state is not None and run.state.is_final():
                return run
        time.sleep(1)
    raise AssertionError(f"no run ended in time; the worker said:\n{log.read_text()}")


def test_a_worker_curates_and_the_release_starts_a_training_that_is_recorded(
    deployed: SyncPrefectClient, worker: Path, tmp_path: Path
) -> None:
    recipe = yaml.safe_load((ROOT / "recipes" / "demo.yaml").read_text())
    recipe["training"] = {"model": "tiny", "samples": 256, "batch": 32}
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(recipe))
    lake = str(tmp_path / "lake")
    build(tmp_path / "world", rows=120)
    with serve(tmp_path / "world") as base:
        curate = deployed.create_flow_run_from_deployment(
            _deployment(deployed, "curate").id,
            parameters={
                "source": str(live_log(tmp_path / "world", base)),
                "recipe": str(tmp_path / "small.yaml"),
                "release": "by-event",
                "warehouse": lake,
                "allow_hosts": [urlsplit(base).netloc],
            },
        )
        milled = _finished(deployed, FlowRunFilter(id=FlowRunFilterId(any_=[curate.id])), worker)
    assert milled.state is not None
    assert milled.state.is_completed(), f"{milled.state.message}\n{worker.read_text()}"
    of_train = FlowRunFilterDeploymentId(any_=[_deployment(deployed, "train").id])
    trained = _finished(deployed, FlowRunFilter(deployment_id=of_train), worker)
    assert trained.state is not None
    assert trained.state.is_completed(), f"{trained.state.message}\n{worker.read_text()}"
    (release,) = list_releases(lake)
    assert (release.release, release.trainings) == ("by-event", 1)
