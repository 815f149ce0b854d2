"""The commands that run flows, and the local server that shows them."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from contextlib import redirect_stdout
from typing import Any

from app.show import say, table


def curate(asked: argparse.Namespace) -> int:
    """Preflight without a server; then the flow, and its funnel."""
    from tasks.plan import already, make_plan

    plan = make_plan(
        asked.source,
        asked.recipe,
        asked.warehouse,
        release=asked.release,
        allow=tuple(asked.allow_host),
        limit=asked.limit,
        workers=asked.workers,
        gpu_share=asked.gpu_share,
    )
    names = already(plan)
    if names:
        from flows.curate import known_already

        result = known_already(plan, names, named=asked.release is not None)
        if asked.train:
            result["training"] = _train_flow(result["release"], asked.warehouse, None)
    else:
        result = _curate_flow(asked)
    if asked.json:
        print(json.dumps(result, default=str))
    else:
        _tell(result, asked.warehouse)
    return 0


def refetch(asked: argparse.Namespace) -> int:
    """Look at the past run without a server; where anything may be asked again the flow, and its funnel."""
    from tasks.rounds import plan_round

    allow = tuple(asked.allow_host)
    again = plan_round(
        asked.past,
        asked.warehouse,
        named=asked.release,
        allow=allow,
        workers=asked.workers,
        gpu_share=asked.gpu_share,
    )
    if again.left.transient:
        result = _refetch_flow(asked)
    else:
        from flows.refetch import nothing_left

        result = nothing_left(again)
    if asked.json:
        print(json.dumps(result, default=str))
    elif result["no_op"]:
        print(
            f"Nothing to ask again: {result['permanent']} permanent failures, {result['refusals']} refusals. "
            f"{result['release'] or 'The run'} stays as it is."
        )
    else:
        _tell(result, asked.warehouse)
    return 0


def _refetch_flow(asked: argparse.Namespace) -> dict[str, Any]:
    server()
    from flows.refetch import refetch as flow

    with redirect_stdout(sys.stderr):
        result: dict[str, Any] = flow(
            asked.past,
            named=asked.release,
            warehouse=asked.warehouse,
            workers=asked.workers,
            gpu_share=asked.gpu_share,
            allow_hosts=asked.allow_host,
        )
    return result


def _curate_flow(asked: argparse.Namespace) -> dict[str, Any]:
    from warehouse.lake import prepare

    prepare(asked.warehouse)
    server()
    from flows.curate import curate as flow

    with redirect_stdout(sys.stderr):  # Ray prints there when a worker dies; ours is for the answer alone
        result: dict[str, Any] = flow(
            asked.source,
            recipe=asked.recipe,
            release=asked.release,
            warehouse=asked.warehouse,
            limit=asked.limit,
            workers=asked.workers,
            gpu_share=asked.gpu_share,
            allow_hosts=asked.allow_host,
            train=asked.train,
        )
    return result


def server() -> str:
    """The API address of a Prefect server for what follows; where it shows is said before the work begins."""
    from flows.bootstrap import prepare_server
    from flows.server import ensure_server

    server = ensure_server()
    if server.started:
        prepare_server()
    say(f"Prefect UI: {server.ui_url}" + ("  (started; `zeromill down` ends it)" if server.started else ""))
    return server.api_url


def _tell(result: dict[str, Any], warehouse: str) -> None:
    """What became of the rows, and what to type next."""
    release = result["release"]
    if result["no_op"]:
        also = f" (also {', '.join(result['also'])})" if result["also"] else ""
        done = "Named" if result["added"] else "Already published as"
        print(f"{done} {release}{also}: the same source and recipe, nothing to run.")
    else:
        counts = result["counts"]
        rows = [(step["stage"], step["reason"], step["rows"]) for step in result["funnel"]]
        table(
            ["stage", "reason", "rows"], [("", "candidates", counts["candidates"]), *rows, ("", "kept", counts["kept"])]
        )
        metrics = result["metrics"]
        made = f"{metrics['pairs']} pairs of {metrics['images']} pictures and {metrics['texts']} texts"
        print(f"Published {release}: {made}.")
        if result["copies"]:
            print(f"Which pictures were taken for one: {result['copies']}")
        if result["may_be_asked_again"]:
            print(f"{result['may_be_asked_again']} URLs failed for a while only: `zeromill refetch` asks them again.")
    if "training" in result:
        _tell_training(result["training"])
    where = "" if warehouse == "lake" else f" --warehouse {shlex.quote(warehouse)}"
    print(f'Next: zeromill sql "SELECT * FROM ledger LIMIT 5"{where}   or: zeromill train {release}{where}')


def train(asked: argparse.Namespace) -> int:
    """Check the release without a server; then the flow, and what was measured."""
    from warehouse.releases import find_release

    find_release(asked.warehouse, asked.release)
    result = _train_flow(asked.release, asked.warehouse, asked.evaluate)
    if asked.json:
        print(json.dumps(result, default=str))
    else:
        _tell_training(result)
    return 0


def _train_flow(release: str, warehouse: str, evaluate: str | None) -> dict[str, Any]:
    server()
    from flows.train import train as flow

    result: dict[str, Any] = flow(release, warehouse, evaluate=evaluate)
    return result


def _tell_training(result: dict[str, Any]) -> None:
    metrics = result["metrics"]
    rows = [(name, f"{value:.4f}" if isinstance(value, float) else value) for name, value in metrics.items()]
    table(["metric", "value"], rows)
    print(f"Trained on {result['release']}; checkpoint: {result['checkpoint']}")


def up(asked: argparse.Namespace) -> int:
    """Start the server or find it; the line that points other Prefect commands at it."""
    print(f"export PREFECT_API_URL={server()}")
    return 0


def down(asked: argparse.Namespace) -> int:
    """End the server that belongs to this PREFECT_HOME."""
    from flows.server import stop_server

    print(
        "The Prefect server is ended." if stop_server() else "No Prefect server of ours was running.", file=sys.stderr
    )
    return 0
