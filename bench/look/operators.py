"""Data-Juicer's contestant, run by the interpreter of its own environment: `python -P operators.py ERRAND`.

ERRAND is JSON: `files` (a file of names, one a line), `processes`, `fused` (whether operators share a decode, the
package's `op_fusion`). The last line of what it says is JSON: seconds by operator, pictures left, version.
"""

import json
import sys
import time
from importlib.metadata import version
from pathlib import Path

from data_juicer.core.data import NestedDataset  # type: ignore[import-not-found]
from data_juicer.ops import load_ops  # type: ignore[import-not-found]
from data_juicer.ops.op_fusion import fuse_operators  # type: ignore[import-not-found]
from datasets import Dataset  # type: ignore[import-not-found]

# Bounds about as wide as those of the recipe `unscored`, so that next to nothing leaves before the hash
OPERATORS: tuple[tuple[str, dict[str, object]], ...] = (
    ("image_shape_filter", {"min_width": 200, "min_height": 200}),
    ("image_aspect_ratio_filter", {"min_ratio": 1 / 3, "max_ratio": 3.0}),
    ("image_size_filter", {"min_size": "1KB"}),
    ("image_deduplicator", {"method": "phash"}),
)


def main(errand: dict[str, object]) -> None:
    """Run the operators one after the other over the listed pictures; only they are timed, not the start."""
    files = Path(str(errand["files"])).read_text().splitlines()
    operators = load_ops([{name: {**bounds, "num_proc": errand["processes"]}} for name, bounds in OPERATORS])
    if errand["fused"]:
        operators = fuse_operators(operators)
    data = NestedDataset(Dataset.from_dict({"text": [""] * len(files), "images": [[file] for file in files]}))
    seconds = {}
    for operator in operators:
        began = time.monotonic()
        data = operator.run(data)
        seconds[operator._name] = time.monotonic() - began
    print()
    print(json.dumps({"seconds": seconds, "left": len(data), "version": version("py-data-juicer")}), flush=True)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
