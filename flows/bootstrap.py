"""What a Prefect server needs besides the runs: a work pool for the deployments, and an end for runs that died."""

from datetime import timedelta

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.objects import StateType
from prefect.events.actions import ChangeFlowRunState
from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture
from prefect.events.schemas.events import ResourceSpecification
from prefect.exceptions import ObjectAlreadyExists

WORK_POOL = "zeromill"
SILENT_RUNS = "zeromill: a silent run has crashed"
SILENCE = timedelta(minutes=10)
"""Three of Prefect's heartbeats, which come every 180 s by default, and a margin."""


def prepare_server() -> None:
    """Make the work pool of `prefect.yaml` and the automation for silent runs where they are missing."""
    client = get_client(sync_client=True)
    _make_work_pool(client)
    if not client.read_automations_by_name(SILENT_RUNS):
        client.create_automation(_crash_silent_runs())


def _make_work_pool(client: SyncPrefectClient) -> None:
    from prefect.workers.process import ProcessWorker

    template = ProcessWorker.get_default_base_job_template()
    pool = WorkPoolCreate(name=WORK_POOL, type=ProcessWorker.type, base_job_template=template)
    try:
        client.create_work_pool(pool)
    except ObjectAlreadyExists:
        return


def _crash_silent_runs() -> AutomationCore:
    """A run whose process was killed stays `Running` for ever: only Prefect's cloud looks for those by itself.

    Any event of the run is a sign of life, so that one that ended, or waits on purpose, is left alone
    (after Prefect's guide "How to detect and respond to zombie flows", whose list of states misses the paused).
    """
    return AutomationCore(
        name=SILENT_RUNS,
        description="Marks a flow run as crashed when its process has sent no heartbeat for ten minutes.",
        trigger=EventTrigger(
            after={"prefect.flow-run.heartbeat"},
            expect={"prefect.flow-run.*"},
            match=ResourceSpecification({"prefect.resource.id": ["prefect.flow-run.*"]}),
            for_each={"prefect.resource.id"},
            posture=Posture.Proactive,
            threshold=1,
            within=SILENCE,
        ),
        actions=[
            ChangeFlowRunState(state=StateType.CRASHED, name=None, message="No heartbeat for ten minutes.", force=False)
        ],
    )
