"""Ask again, for one past run, what failed for a while only, and mill it once more with what came."""

from __future__ import annotations

from typing import Any

from prefect import flow
from prefect.runtime import flow_run

from flows.curate import mill
from tasks.plan import default_warehouse
from tasks.rounds import Round, plan_round


def _run_name() -> str:
    return f"refetch {flow_run.parameters.get('release') or 'the latest run'}"


@flow(name="refetch", flow_run_name=_run_name)
def refetch(
    release: str | None = None,
    named: str | None = None,
    warehouse: str | None = None,
    workers: int | None = None,
    gpu_share: float = 1,
    allow_hosts: list[str] | None = None,
) -> dict[str, Any]:
    """Mill the run that became `release` once more, as the release `named`; without `release` the latest run.

    URLs that failed for good, and those of who refused, are never asked again. A killed run goes on with the parts
    that it left. Raises NotPublished where validation fails.
    """
    again = plan_round(
        release,
        warehouse or default_warehouse(),
        named=named,
        allow=tuple(allow_hosts or ()),
        workers=workers,
        gpu_share=gpu_share,
    )
    return mill(again.plan, again.past.run_id) if again.left.transient else nothing_left(again)


def nothing_left(again: Round) -> dict[str, Any]:
    """The answer for a run of which nobody would say anything else."""
    return {
        "release": again.past.release,
        "run_id": again.past.run_id,
        "no_op": True,
        "permanent": again.left.permanent,
        "refusals": again.left.refusals,
    }
