"""A folder of daily logs: each new one is milled once, and one that is still being written waits for the next time."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from prefect import flow, get_run_logger

from filters.load import load_recipe
from flows.curate import curate
from tasks.plan import default_warehouse, published
from warehouse.ingest import READERS, suffix_of
from warehouse.lake import exists

SETTLED_S = 60.0
"""A log that changed within these seconds is still being written."""

LOOK_AGAIN_S = 1.0
"""Between two looks at the sizes: a copy that keeps the old file's time still grows."""


@flow(name="daily", flow_run_name="daily {folder} ({recipe})")
def daily(
    folder: str,
    recipe: str = "zero",
    warehouse: str | None = None,
    allow_hosts: list[str] | None = None,
) -> list[dict[str, Any]]:
    """Curate every log of the folder that this recipe has not yet published, each in a run of its own.

    Returns what `curate` said of each, in the order of the file names.

    Raises:
        FileNotFoundError: there is no such folder.
        RuntimeError: some logs failed, after all others were milled; it names them.
    """
    logger = get_run_logger()
    done: list[dict[str, Any]] = []
    failed: list[str] = []
    for log in new_logs(Path(folder), recipe, warehouse or default_warehouse(), tuple(allow_hosts or ())):
        logger.info("Milling %s", log.name)
        state = curate(str(log), recipe=recipe, warehouse=warehouse, allow_hosts=allow_hosts, return_state=True)
        if state.is_completed():
            done.append(state.result())
        else:
            failed.append(f"{log.name} ({state.message or state.name})")
    if failed:
        raise RuntimeError(f"{len(failed)} of {len(failed) + len(done)} new logs failed: {'; '.join(failed)}")
    logger.info("%d new logs milled from %s", len(done), folder)
    return done


def new_logs(folder: Path, recipe: str, warehouse: str, allow_hosts: tuple[str, ...]) -> list[Path]:
    """The folder's settled logs that are no release of this recipe yet, by name."""
    chosen = load_recipe(recipe)
    logs = settled_logs(folder)
    if not exists(warehouse):
        return logs
    return [log for log in logs if published(str(log), chosen, warehouse, allow_hosts) is None]


def settled_logs(folder: Path) -> list[Path]:
    """The folder's own files of a format that is read, by name, without those that are being written.

    Names that begin with a dot or an underscore are other programs' marks, not logs.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"There is no folder {folder} of daily logs: set the deployment's parameter `folder`.")
    old_enough = time.time() - SETTLED_S
    logs = {path: path.stat() for path in sorted(folder.iterdir()) if _is_log(path)}
    sizes = {path: stat.st_size for path, stat in logs.items() if stat.st_mtime <= old_enough}
    if sizes:
        time.sleep(LOOK_AGAIN_S)
    return [path for path, size in sizes.items() if path.exists() and path.stat().st_size == size]


def _is_log(path: Path) -> bool:
    return path.is_file() and not path.name.startswith((".", "_")) and suffix_of(path.name) in READERS
