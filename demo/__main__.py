"""The main job on a rendered world: a raw click log becomes a published release that a model is trained on."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from app.main import main as zeromill
from app.show import say, table
from demo.log import build, held_out, live_log, raw_pool
from demo.site import serve
from tasks.plan import make_plan
from warehouse.query import query
from warehouse.releases import find_release

FOLDER = Path("demo-lake")


def main() -> int:
    """Every step is skipped where its result stands already; 0 where all of them stand at the end."""
    lake, world = str(FOLDER / "lake"), FOLDER / "world"
    say("1/4  a small web with faults, and a click log over it (served on loopback only)")
    build(world)
    evaluation = held_out(world) if not (world / "held_out.parquet").exists() else world / "held_out.parquet"
    with serve(world) as base:
        log = live_log(world, base)
        say(f"     {log}: half of its rows have texts of another picture, many have other faults\n")
        say("2/4  zeromill curate: the log becomes a release")
        host = urlsplit(base).netloc
        release = make_plan(str(log), "demo", lake, allow=(host,)).release
        status = zeromill(["curate", str(log), "--recipe", "demo", "--warehouse", lake, "--allow-host", host])
    if status:
        return status
    say("\n3/4  training the same small model on the release, and on the raw rows")
    if not _trained(lake, release):
        status = zeromill(["train", release, "--evaluate", str(evaluation), "--warehouse", lake])
        if status:
            return status
    raw = _raw_training(world, evaluation, lake)
    say("\n4/4  what came of it\n")
    _summary(lake, release, raw)
    return 0


def _trained(lake: str, release: str) -> bool:
    return find_release(lake, release).trainings > 0


def _raw_training(world: Path, evaluation: Path, lake: str) -> dict[str, Any]:
    """The same training on every row whose picture opens, as a trainer without curation would do it."""
    out = FOLDER / "raw-training"
    done = out / "metrics.json"
    if not done.exists():
        from filters.load import load_recipe
        from tasks.progress import Progress
        from training.contrastive import TrainJob, train

        training = load_recipe("demo").training
        with Progress("train raw", training.samples, "steps") as progress:
            job = TrainJob((str(raw_pool(world)),), str(out), training, str(evaluation))
            train(job, lambda step, steps, loss: progress.reach(step, steps, f"loss {loss:.3f}"))
    told: dict[str, Any] = json.loads(done.read_text())
    return told


def _summary(lake: str, release: str, raw: dict[str, Any]) -> None:
    """The funnel, rows kept and rejected, the release, the trainings, and what to type next."""
    _, funnel = query(
        lake,
        """SELECT stage, coalesce(reason, outcome) AS fate, count(*) AS rows FROM ledger
           GROUP BY stage, fate ORDER BY fate = 'kept', rows DESC""",
    )
    print("What became of every row of the log:")
    table(["stage", "fate", "rows"], funnel)
    print("Five rows that were kept:")
    table(["row", "picture", "title"], _rows(lake, "outcome = 'kept'", "l.image_id"))
    print("Five that were not, and why:")
    table(["row", "reason", "detail", "title"], _rows(lake, "reason IS NOT NULL", "reason, detail"))
    listed = find_release(lake, release)
    metrics = listed.metrics
    print(f"The release `{release}`: {metrics['pairs']} pairs of {metrics['images']} pictures, cut at {listed.cuts}.\n")
    _compare(lake, release, raw)
    _next(lake, release)


def _rows(lake: str, test: str, columns: str) -> list[tuple[Any, ...]]:
    """Five rows, for rejections one of each of the commonest reasons."""
    _, rows = query(
        lake,
        f"""SELECT l.source_row, {columns}, left(coalesce(c.title, c.query, ''), 60)
            FROM ledger l JOIN candidates c USING (candidate_id, source) WHERE {test}
            QUALIFY row_number() OVER (PARTITION BY coalesce(reason, l.source_row::VARCHAR) ORDER BY l.source_row) = 1
            ORDER BY count(*) OVER (PARTITION BY reason) DESC, l.source_row LIMIT 5""",
    )
    return rows


def _compare(lake: str, release: str, raw: dict[str, Any]) -> None:
    _, rows = query(lake, f"SELECT metrics FROM trainings WHERE release = '{release}' ORDER BY started_at DESC LIMIT 1")
    curated = json.loads(rows[0][0])
    print("The same model, the same number of samples, tested on 500 true pairs that neither saw:")
    names = [name for name in curated if name.startswith(("image_to_text", "text_to_image", "r_mean"))]
    shown = [(name, f"{raw[name]:.3f}", f"{curated[name]:.3f}") for name in names]
    table(["retrieval", "raw rows", "curated release"], [("pictures", raw["images"], curated["images"]), *shown])


def _next(lake: str, release: str) -> None:
    command = "zeromill" if os.environ.get("VIRTUAL_ENV") else ".venv/bin/zeromill"
    print("What to try now:")
    for words, about in (
        (f"sql --warehouse {lake}", "a prompt; SHOW TABLES; lists what there is"),
        (f"why --row 3 --warehouse {lake}", "everything decided about a row"),
        (f"export {release} --to shards --warehouse {lake}", "WebDataset for your own trainer"),
        ("up", "where the Prefect UI is, with this run's funnel and report"),
        ("curate YOUR_LOG.parquet --recipe MINE.yaml", "your own: recipes/unscored.yaml with your fetch.contact in it"),
        ("down", "end the local server"),
    ):
        print(f"  {command + ' ' + words:<72} # {about}")


if __name__ == "__main__":
    sys.exit(main())
