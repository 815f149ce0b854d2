"""What looking costs: `python -m bench.look [--device cpu|cuda] [--json] [--work NAME ...] [--charts FOLDER]`.

The look stage's own Looker against peers that do the same work on the same pictures, in turns, each in processes of its
own that start together when all is loaded. Models have random weights: those are as fast as trained ones.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from app.show import say
from bench.look.card import card
from bench.look.pictures import DATA, photos
from bench.look.place import Place
from bench.look.shares import draw
from bench.look.works import embed, measures, scores, second
from bench.report import Line, machine, tell

Work = Callable[[Place], Iterator[Line]]

ROUNDS = 3

WORKS: dict[str, Work] = {
    "embed": embed, "measures": measures, "scores": scores, "second": second, "card": card,
}  # fmt: skip
USUAL = {"cpu": ("embed", "measures", "scores", "second"), "cuda": ("card", "scores", "second")}
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
    if options.device == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""  # for the contestants, who take a card where they see one
    say(f"{machine()}; {_numbers()}; {_pictures()}")
    return tell(_measure(options), as_json=options.json)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    asked = argparse.ArgumentParser(prog="python -m bench.look", description=__doc__)
    asked.add_argument("--device", choices=tuple(USUAL), default="cpu")
    asked.add_argument("--json", action="store_true", help="one object a line on standard output, nothing else")
    asked.add_argument("--work", nargs="+", choices=tuple(WORKS), help="only these; else all that suit the device")
    asked.add_argument("--rounds", type=int, default=ROUNDS)
    asked.add_argument("--charts", type=Path, help="a folder for pictures of where the time goes, on one core")
    asked.add_argument("--pictures", type=int, help=argparse.SUPPRESS)  # few, and a tiny model, for the test
    asked.add_argument("--tiny", action="store_true", help=argparse.SUPPRESS)
    return asked.parse_args(arguments)


def _measure(options: argparse.Namespace) -> Iterator[Line]:
    with tempfile.TemporaryDirectory(prefix="zeromill-bench-") as name:
        place = Place(Path(name), options.device, options.rounds, options.pictures, options.tiny)
        for work in options.work or USUAL[options.device]:
            say(f"\n{work}")
            yield from WORKS[work](place)
        if options.charts is not None:
            draw(place, options.charts)


def _has_card() -> bool:
    import torch

    return torch.cuda.is_available()


def _numbers() -> str:
    """The instructions that decide how fast a CPU multiplies bfloat16."""
    cpuinfo = Path("/proc/cpuinfo")
    flags = cpuinfo.read_text().split() if cpuinfo.is_file() else []
    found = [flag for flag in ("amx_bf16", "avx512_bf16") if flag in flags]
    return " and ".join(found) or "neither amx_bf16 nor avx512_bf16"


def _pictures() -> str:
    real = len(photos())
    if real:
        return f"{real} real photos, at 640x480"
    return f"rendered pictures, not photos: set {DATA} to a folder of real ones for figures that mean something"


if __name__ == "__main__":
    sys.exit(main())
