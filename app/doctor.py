"""Check this machine for what the mill needs, and say what to do about what is missing."""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass

from app.show import table

LEAST_FREE_GB = 5


@dataclass(frozen=True)
class Finding:
    """What was checked, whether it will do (null: will do, with a limit), what was found, and what to do."""

    what: str
    good: bool | None
    found: str
    to_do: str = ""


def doctor(asked: argparse.Namespace) -> int:
    """0 where everything that a run needs is here."""
    findings = [check(asked.warehouse) for check in CHECKS]
    if asked.json:
        print(json.dumps([asdict(finding) for finding in findings]))
    else:
        marks = {True: "ok", False: "MISSING", None: "note"}
        table(["", "what", "found", "what to do"], [(marks[f.good], f.what, f.found, f.to_do) for f in findings])
    return 1 if any(finding.good is False for finding in findings) else 0


def _python(warehouse: str) -> Finding:
    found = ".".join(map(str, sys.version_info[:3]))
    good = (3, 11) <= sys.version_info[:2] <= (3, 12)
    return Finding("Python", good, found, "" if good else "Use Python 3.11 or 3.12: img2dataset needs `imghdr`.")


def _packages(warehouse: str) -> Finding:
    wanted = ("prefect", "ray", "torch", "open_clip_torch", "pyarrow", "duckdb", "img2dataset", "great_expectations")
    have, lack = [], []
    for name in wanted:
        try:
            have.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            lack.append(name)
    if importlib.util.find_spec("dataclasses") and _shadowed():
        return Finding("packages", False, "the back-port `dataclasses`", "Run `make .venv`: it breaks Prefect.")
    return Finding(
        "packages", not lack, ", ".join(have), f"Run `make .venv`; missing: {', '.join(lack)}" if lack else ""
    )


def _shadowed() -> bool:
    import dataclasses

    return "site-packages" in (dataclasses.__file__ or "")


def _extensions(warehouse: str) -> Finding:
    from warehouse.lake import loadable

    told = loadable()
    missing = [name for name, why in told.items() if why]
    found = ", ".join(f"{name}{': ' + why if why else ''}" for name, why in told.items())
    return Finding("DuckDB extensions", not missing, found, "Run `make .venv` again." if missing else "")


def _warehouse(warehouse: str) -> Finding:
    from warehouse.errors import WarehouseError
    from warehouse.lake import exists, shown
    from warehouse.releases import list_releases

    try:
        if not exists(warehouse):
            return Finding("warehouse", None, f"none at {shown(warehouse)} yet", "`zeromill curate` makes it.")
        return Finding("warehouse", True, f"{shown(warehouse)}: {len(list_releases(warehouse))} releases")
    except (WarehouseError, OSError) as error:
        return Finding("warehouse", False, str(error), "Name another with --warehouse.")


def _disk(warehouse: str) -> Finding:
    from warehouse.lake import locate

    folder = locate(warehouse).work
    try:
        while not folder.exists():
            folder = folder.parent
        free = shutil.disk_usage(folder).free / 1e9
    except OSError as error:  # a folder on the way that may not be entered
        return Finding("disk", False, f"{folder}: {error.strerror}", "Name another with --warehouse.")
    good = free >= LEAST_FREE_GB
    return Finding("disk", good, f"{free:.0f} GB free at {folder}", "" if good else "Make room: pictures are large.")


def _gpu(warehouse: str) -> Finding:
    if shutil.which("nvidia-smi"):
        listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=False).stdout.splitlines()
        if listed:
            return Finding("GPU", True, "; ".join(line.split(" (UUID")[0] for line in listed))
    return Finding("GPU", None, "none", "Everything runs on CPUs too, slower.")


def _ray(warehouse: str) -> Finding:
    address = os.environ.get("RAY_ADDRESS")
    if address:
        return Finding("Ray", True, f"joins {address} (RAY_ADDRESS)")
    cores = os.cpu_count() or 1
    return Finding("Ray", True, f"starts locally on {cores} cores for each run")


def _prefect(warehouse: str) -> Finding:
    from flows.server import ServerError, running_server

    try:
        server = running_server()
    except ServerError as error:
        return Finding("Prefect", False, str(error), "Unset PREFECT_API_URL for a local server.")
    configured = os.environ.get("PREFECT_API_URL")
    if server is None and configured:
        return Finding("Prefect", False, f"nothing answers at {configured}", "Start it, or unset PREFECT_API_URL.")
    if server is None:
        return Finding("Prefect", None, "no server is running", "`zeromill curate` and `zeromill up` start one.")
    return Finding("Prefect", True, server.ui_url)


def _models(warehouse: str) -> Finding:
    from actors.models.files import ModelMissing, called, find_model
    from filters.load import load_recipe, shipped

    here, lack = [], []
    for name in shipped():
        for model in load_recipe(name).models:
            try:
                find_model(model)
                here.append(f"{name}: {called(model)}")
            except ModelMissing:
                lack.append(f"{name} ({called(model)})")
    to_do = "`hf download` its repository once, or use --recipe unscored." if lack else ""
    return Finding("scoring models", None if lack else True, "; ".join(here + [f"{x}: missing" for x in lack]), to_do)


CHECKS: tuple[Callable[[str], Finding], ...] = (
    _python,
    _packages,
    _extensions,
    _disk,
    _warehouse,
    _ray,
    _gpu,
    _prefect,
    _models,
)
