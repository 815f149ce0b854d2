"""What finding copies costs: `python -m bench.copies [--device cpu|cuda] [--json] [--work NAME ...]`.

Which edits of real photos are found; near pairs of a million hashes beside FAISS's multi-hash index; new pictures
against histories of a warehouse; the most similar by embeddings beside NumPy's brute force; and brute force on a device
beside its roofline.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

from app.show import say
from bench.copies.card import card
from bench.copies.edits import edits
from bench.copies.hashes import HASHES, HISTORIES, NEW, all_pairs, histories
from bench.copies.semantic import COUNT, NEWCOMERS, growing, semantic
from bench.copies.semantic import HISTORIES as COLLECTIONS
from bench.look.pictures import photos
from bench.report import Line, machine, tell

Work = Callable[[Path], Iterator[Line]]

WORKS = ("edits", "hashes", "history", "semantic", "collection", "card")
USUAL = {"cpu": ("edits", "hashes", "history", "semantic", "collection"), "cuda": ("card",)}
"""What is done on a device unless --work says otherwise."""

NO_CARD = """There is no CUDA device here that torch can use.
On a machine with one, see that `python -c "import torch; print(torch.cuda.is_available())"` says True;
here, `--device cpu --work card` runs the same code."""


def main(arguments: Sequence[str] | None = None) -> int:
    """0 when all was measured, whether or not the goals are met; 1 where that cannot be done here."""
    options = _options(arguments)
    if options.device == "cuda" and not _has_card():
        say(NO_CARD)
        return 1
    say(f"{machine()}; hashes of {len(photos()) or 'no'} real photos")
    return tell(_measure(options), as_json=options.json)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    asked = argparse.ArgumentParser(prog="python -m bench.copies", description=__doc__)
    asked.add_argument("--device", choices=tuple(USUAL), default="cpu")
    asked.add_argument("--json", action="store_true", help="one object a line on standard output, nothing else")
    asked.add_argument("--work", nargs="+", choices=WORKS, help="only these; else all that suit the device")
    asked.add_argument("--tiny", action="store_true", help=argparse.SUPPRESS)  # a hundredth of the rows, for the test
    return asked.parse_args(arguments)


def _measure(options: argparse.Namespace) -> Iterator[Line]:
    works = _works(options.device, 100 if options.tiny else 1)
    for name in options.work or USUAL[options.device]:
        say(f"\n{name}")
        with tempfile.TemporaryDirectory(prefix="zeromill-bench-") as folder:
            yield from works[name](Path(folder))


def _works(device: str, share: int) -> dict[str, Work]:
    """What each name does, with one in `share` of the rows."""
    return {
        "edits": lambda folder: edits(),
        "hashes": partial(all_pairs, count=HASHES // share),
        "history": partial(histories, sizes=[size // share for size in HISTORIES], new=NEW // share),
        "semantic": partial(semantic, count=COUNT // share),
        "collection": partial(growing, histories=[size // share for size in COLLECTIONS], count=NEWCOMERS // share),
        "card": lambda folder: card(device, 1000 if share > 1 else None),
    }


def _has_card() -> bool:
    import torch

    return torch.cuda.is_available()


if __name__ == "__main__":
    sys.exit(main())
