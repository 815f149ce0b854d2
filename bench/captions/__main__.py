"""What a caption costs: `python -m bench.captions [--model coca_ViT-B-32] [--batch 32] [--json]`.

Our decoding of a CoCa of random weights, in single precision and in bfloat16, beside the model's own way in single
precision, which runs the whole text through the model anew for each token.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence

from app.show import say
from bench.report import machine, tell


def main(arguments: Sequence[str] | None = None) -> int:
    """0 when all was measured, whether or not the goals are met."""
    options = _options(arguments)
    logging.getLogger().setLevel(logging.ERROR)  # open_clip warns that the weights are random, as they are to be
    from bench.captions.coca import decoding

    say(machine())
    name, batch = ("tiny", 4) if options.tiny else (options.model, options.batch)
    return tell(decoding(name, batch), as_json=options.json)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    asked = argparse.ArgumentParser(prog="python -m bench.captions", description=__doc__)
    asked.add_argument("--model", default="coca_ViT-B-32", help="an architecture of open_clip's")
    asked.add_argument("--batch", type=int, default=32, help="pictures at once")
    asked.add_argument("--json", action="store_true", help="one object a line on standard output, nothing else")
    asked.add_argument("--tiny", action="store_true", help=argparse.SUPPRESS)  # for the test
    return asked.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
