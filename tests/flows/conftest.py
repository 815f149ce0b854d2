"""One real Prefect server for all tests of the flows, in a PREFECT_HOME of their own."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def own_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A PREFECT_HOME whose server is ended after the session, whatever the tests did."""
    home = tmp_path_factory.mktemp("prefect")
    yield home
    subprocess.run(
        [sys.executable, "-c", "from flows.server import stop_server; stop_server()"],
        env=os.environ | {"PREFECT_HOME": str(home), "PREFECT_API_URL": ""},
        check=True,
    )


@pytest.fixture(scope="module")
def in_own_home(own_home: Path) -> Iterator[Path]:
    """This process sees that home and no configured server, until the module ends."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PREFECT_HOME", str(own_home))
        patch.setenv("PREFECT_API_URL", "")  # noted, so that what the tests set is undone
        patch.setenv("NO_PROXY", os.environ.get("NO_PROXY", ""))
        patch.setenv("no_proxy", os.environ.get("no_proxy", ""))
        patch.delenv("PREFECT_API_URL")
        yield own_home
    _read_environment_again()


def _read_environment_again() -> None:
    from prefect.context import refresh_global_settings_context

    refresh_global_settings_context()
