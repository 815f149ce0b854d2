"""Pictures that lie in a folder are milled like those of the web where the recipe names the folder, and only there."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from PIL import Image

from warehouse.lake import connect

PATIENCE_S = 400
ROOT = Path(__file__).parents[2]
KEPT = 4


def _picture(number: int) -> bytes:
    """Soft colours that no other number has."""
    coarse = np.random.default_rng(number).integers(0, 256, (9, 9, 3), np.uint8)
    made = io.BytesIO()
    Image.fromarray(coarse).resize((240, 240), Image.Resampling.BICUBIC).save(made, "JPEG")
    return made.getvalue()


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """A folder of pictures, and beside it one that nobody may read, with a link that leads there."""
    for name in ("pictures", "private"):
        (tmp_path / name).mkdir()
    for number in range(KEPT):
        (tmp_path / "pictures" / f"{number}.jpg").write_bytes(_picture(number))
    (tmp_path / "private" / "secret.jpg").write_bytes(_picture(99))
    (tmp_path / "pictures" / "link.jpg").symlink_to(tmp_path / "private" / "secret.jpg")
    (tmp_path / "pictures" / "large.jpg").write_bytes(bytes(1 << 20))
    return tmp_path


def _fates(base: Path) -> dict[str, str | None]:
    """URLs of a log, and the reason that each has to get."""
    inside = {f"file://{base}/pictures/{number}.jpg": None for number in range(KEPT)}
    forbidden = (
        f"file://{base}/private/secret.jpg",
        f"file://{base}/pictures/../private/secret.jpg",
        f"file://{base}/pictures/%2e%2e/private/secret.jpg",
        f"file://{base}/pictures/link.jpg",
        f"file://elsewhere.example{base}/pictures/0.jpg",
    )
    return {
        **inside,
        **dict.fromkeys(forbidden, "fetch_forbidden_address"),
        f"file://{base}/pictures/none.jpg": "fetch_failed",
        f"file://{base}/pictures/large.jpg": "fetch_too_large",
        "s3://bucket/a.jpg": "fetch_bad_scheme",
    }


def _recipe(base: Path, stores: list[str]) -> Path:
    recipe = yaml.safe_load((ROOT / "recipes" / "unscored.yaml").read_text())
    recipe["fetch"] |= {"stores": stores, "max_bytes": 1 << 18, "contact": "https://example.org/bot"}
    recipe["validation"] = {"min_pairs": 0}
    path = base / f"stores-{len(stores)}.yaml"
    path.write_text(yaml.safe_dump(recipe))
    return path


def _curated(home: Path, base: Path, stores: list[str]) -> dict[str, str | None]:
    """Reasons by URL, after a whole run."""
    rows = [{"url": url, "title": f"A quiet harbour, number {n}"} for n, url in enumerate(_fates(base))]
    pq.write_table(pa.Table.from_pylist(rows), base / "log.parquet")
    lake, recipe = base / f"lake-{len(stores)}", _recipe(base, stores)
    environment = {**os.environ, "PREFECT_HOME": str(home)}
    environment.pop("PREFECT_API_URL", None)
    words = ["curate", str(base / "log.parquet"), "--recipe", str(recipe), "--warehouse", str(lake), "--json"]
    command = [sys.executable, "-m", "app", *words]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == 0, done.stderr
    counts: dict[str, Any] = json.loads(done.stdout)["counts"]
    assert counts["candidates"] == len(rows)
    with connect(str(lake), read_only=True) as con:
        told = con.execute("SELECT url, reason, detail FROM lake.ledger").fetchall()
    assert [detail for _, _, detail in told if detail and str(base) in detail] == []
    return {url: reason for url, reason, _ in told}


def test_a_run_reads_its_stores_and_nothing_beside_them(own_home: Path, base: Path) -> None:
    assert _curated(own_home, base, [f"file://{base}/pictures/"]) == _fates(base)


def test_without_a_store_no_file_is_read(own_home: Path, base: Path) -> None:
    assert set(_curated(own_home, base, []).values()) == {"fetch_bad_scheme"}
