"""What a stage does when the network is down, and which recipes share the parts of what was read."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from filters.load import load_recipe
from filters.recipe import NearTexts
from tasks.stages import read_facts

RECIPE = {
    "name": "cut-off",
    "click_through": None,
    "fetch": {"contact": "https://a.invalid/contact", "outage_wait_s": 0, "retries": 0},
}
ALONE = ["unshare", "--user", "--map-root-user", "--net"]
"""A command for which there is no network at all: it has a loopback of its own."""

SCRIPT = """
import fcntl, socket, struct, sys
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:  # the loopback of a new network is down
    fcntl.ioctl(one, 0x8914, struct.pack("16sh14x", b"lo", 0x49))  # SIOCSIFFLAGS: up, loopback, running
from tasks.plan import make_plan
from tasks.pool import cluster
from tasks.stages import FetchStopped, fetch
from warehouse.lake import prepare
source, recipe, lake, sifted = sys.argv[1:]
prepare(lake)
with cluster(1):
    try:
        fetch.fn(make_plan(source, recipe, lake, workers=1), sifted)
    except FetchStopped as stopped:
        print(stopped)
"""


@pytest.fixture
def alone() -> list[str]:
    if shutil.which("unshare") is None or subprocess.run([*ALONE, "true"], capture_output=True).returncode:
        pytest.skip("no network namespace can be made here, so the network cannot be down")
    return ALONE


def test_without_a_resolver_the_fetch_stops_and_no_row_is_rejected_for_it(alone: list[str], tmp_path: Path) -> None:
    urls = [f"http://{host}.example.com/{n}.jpg" for host in "abcde" for n in range(2)]
    pq.write_table(pa.table({"url": urls}), tmp_path / "log.parquet")
    rows = [{"candidate_id": n, "source_row": n, "url": url, "host": url.split("/")[2]} for n, url in enumerate(urls)]
    columns = {"clicks": pa.int64(), "reason": pa.string(), "detail": pa.string()}
    sifted = pa.Table.from_pylist(rows)
    for name, kind in columns.items():
        sifted = sifted.append_column(name, pa.nulls(len(rows), kind))
    pq.write_table(sifted, tmp_path / "sifted.parquet")
    (tmp_path / "cut-off.yaml").write_text(yaml.safe_dump(RECIPE))
    names = [str(tmp_path / name) for name in ("log.parquet", "cut-off.yaml", "lake", "sifted.parquet")]
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    done = subprocess.run(
        [*alone, sys.executable, "-c", SCRIPT, *names], capture_output=True, text=True, env=environment, timeout=200
    )
    assert done.returncode == 0, done.stderr[-3000:]
    said = done.stdout.strip().splitlines()
    assert "resolver" in said[-3]
    assert said[-2].startswith("No row was rejected for it: 0 of 1 parts of URLs are done")
    assert "the same command goes on from there" in said[-1]
    assert list((tmp_path / "lake" / "work" / "fetch").glob("[!.]*.parquet")) == []


def test_texts_are_read_anew_when_their_hashes_would_be_others_and_only_then() -> None:
    recipe = load_recipe("unscored")

    def read_by(near: NearTexts | None) -> tuple[str, str]:
        return read_facts(recipe.model_copy(update={"texts": recipe.texts.model_copy(update={"near": near})}))

    plain, asked = read_by(None), read_by(NearTexts(similarity=0.8, characters=60))
    assert len({plain, asked, read_by(NearTexts(similarity=0.6)), read_by(NearTexts(characters=80))}) == 4
    assert read_by(NearTexts(similarity=0.81)) == asked
    roles = recipe.model_copy(update={"texts": recipe.texts.model_copy(update={"roles": ("title",)})})
    assert read_facts(roles) != read_facts(recipe)
    assert read_facts(recipe.model_copy(update={"click_through": None})) == read_facts(recipe)
