"""All near pairs by FAISS's binary multi-hash index, for an interpreter that has faiss and NumPy and nothing of ours.

Arguments: a .npy file of uint64 hashes, the bound in bits, tables, bits a table, flips, and rows to ask about (0: all).
"""

import json
import re
import sys
import time
from pathlib import Path

import faiss
import numpy as np


def main() -> None:
    """Print one JSON object: seconds to build and to search, pairs found once each, peak bytes, threads, version."""
    file, bound, tables, bits, flips, rows = sys.argv[1], *map(int, sys.argv[2:7])
    hashes = np.load(file).view(np.uint8).reshape(-1, 8)
    began = time.perf_counter()
    index = faiss.IndexBinaryMultiHash(64, tables, bits)
    index.add(hashes)
    index.nflip = flips
    built = time.perf_counter()
    asked = hashes[:rows] if rows else hashes
    limits, _, found = index.range_search(asked, bound + 1)  # its bound is exclusive
    searched = time.perf_counter()
    asking = np.repeat(np.arange(len(asked)), np.diff(limits.astype(np.int64)))
    told = {
        "build": built - began,
        "search": searched - built,
        "pairs": int((asking < found).sum()),
        "peak": int(re.findall(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[0]) << 10,
        "threads": faiss.omp_get_max_threads(),
        "version": faiss.__version__,
    }
    print(json.dumps(told))


if __name__ == "__main__":
    main()
