"""Our contestant of a fetch bench: the fetch stage's actors over its own pool; `python -m bench.ours ERRAND`."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

from actors.web import Fetcher, FetchJob
from bench.errand import Errand, Held, Leash
from filters.recipe import Fetch
from tasks.pool import SetAside, cluster, run_pool
from tasks.stages import FETCH_LANES, FETCH_THREADS


def holders(parts: int, workers: int) -> int:
    """How many actors will have work, and so be built: one has its lanes filled before the next has any."""
    return min(workers, -(-parts // FETCH_LANES))


def run(errand: Errand) -> None:
    """The fetch stage's actors over the stage's own pool, with all that they check."""
    leash = Leash()
    policy = Fetch.model_validate_json(errand.policy)
    build = partial(Held, partial(Fetcher, policy, errand.allow, FETCH_THREADS), errand)
    jobs = [FetchJob(str(part), str(Path(errand.out) / part.name)) for part in errand.parts()]
    with cluster(errand.workers):
        results = run_pool(build, jobs, workers=errand.workers, lanes=FETCH_LANES)
        for _ in jobs:
            job, result = next(results)
            if isinstance(result, SetAside):
                raise RuntimeError(f"Part {Path(job.out).stem} {result.why}; there is nothing to compare.")
        leash.over()
        list(results)  # the pool ends


if __name__ == "__main__":
    run(Errand.load(sys.argv[1]))
