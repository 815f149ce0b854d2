"""The `zeromill` command: its words, its options, and one place where errors become messages."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path

QUIET = {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "GX_ANALYTICS_ENABLED": "false",
    "NO_ALBUMENTATIONS_UPDATE": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
    # Prefect's own lines go to its UI; the terminal has ours
    "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",
}
"""Telemetry off everywhere, and one voice on the terminal; what a person has set stays."""

ROOMS = ("app", "flows", "tasks", "training", "actors", "filters", "warehouse")
"""An exception class of ours is expected: its message was written for people, with the next step."""

EXAMPLES = """examples:
  zeromill curate clicks.parquet --recipe zero        mill a log into a release
  zeromill curate clicks.parquet --recipe unscored    the same without a scoring model
  zeromill refetch                                    ask again what failed for a while
  zeromill why http://host/picture.jpg                everything decided about it, in plain words
  zeromill sql "SELECT reason, count(*) FROM ledger GROUP BY 1 ORDER BY 2 DESC"
  zeromill train RELEASE                              train on what was published
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; 0 only where it did what was asked."""
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    asked = parser().parse_args(arguments)
    try:
        status: int = asked.run(asked)
        return status
    except KeyboardInterrupt:
        resumed = asked.command in ("curate", "refetch")
        kept = " What was done is kept: the same command goes on from here." if resumed else ""
        print(f"Stopped.{kept}", file=sys.stderr)
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except Exception as error:  # the last place: every failure is told with its next step
        print(f"zeromill: {_told(error)}", file=sys.stderr)
        return 1


def _told(error: Exception) -> str:
    """An expected failure in its own words; of any other, where its trace was written."""
    if type(error).__module__.split(".")[0] in ROOMS:
        return "\n".join(str(error).splitlines()[:3])
    with tempfile.NamedTemporaryFile("w", prefix="zeromill-", suffix=".log", delete=False) as log:
        traceback.print_exception(error, file=log)
    first = (str(error).strip().splitlines() or [""])[0][:300]
    kind = type(error).__name__
    return f"{kind}: {first}\nThis was not expected. The trace is in {log.name}; `zeromill doctor` may help."


def parser() -> argparse.ArgumentParser:
    """Every command with its options."""
    top = argparse.ArgumentParser(
        prog="zeromill",
        description="Mill click logs and crawls into aligned image-text releases, and set training off on them.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _curate(_command(commands, "curate", "mill a log into a published release", "app.run:curate"))
    _plan(_command(commands, "plan", "say what milling a log would come to, by a sample of it", "app.plan:plan"))
    _refetch(_command(commands, "refetch", "ask again what failed for a while, into a new release", "app.run:refetch"))
    _train(_command(commands, "train", "train on a published release", "app.run:train"))
    _sql(_command(commands, "sql", "ask the warehouse; without a query: a prompt", "app.ask:sql"))
    _why(_command(commands, "why", "everything decided about a URL, a row or a picture", "app.ask:why"))
    releases = _command(commands, "releases", "list what was published", "app.ask:releases")
    _json(releases)
    export = _command(commands, "export", "write a release as WebDataset, in img2dataset's layout", "app.ask:export")
    export.add_argument("release", metavar="RELEASE")
    export.add_argument("--to", required=True, metavar="DIR", help="an empty or missing folder")
    _head(_command(commands, "head", "write a head file out of a trained network's weights", "app.heads:head"))
    _cells(_command(commands, "cells", "write a head file that tells alike pictures of a release", "app.heads:cells"))
    _protect(
        _command(commands, "protect", "keep benchmark pictures out of releases, or list them", "app.protect:protect")
    )
    _compare(
        _command(commands, "compare", "what one recipe or release keeps that another drops", "app.compare:compare")
    )
    doctor = _command(commands, "doctor", "check this machine, and say what to do", "app.doctor:doctor")
    _json(doctor)
    _command(commands, "up", "start the local Prefect server, or tell where it is", "app.run:up")
    _command(commands, "down", "end the local Prefect server", "app.run:down")
    return top


def _command(
    commands: argparse._SubParsersAction[argparse.ArgumentParser], name: str, about: str, where: str
) -> argparse.ArgumentParser:
    """A sub-command whose code is imported only when it is asked for."""
    made = commands.add_parser(name, help=about, description=about[0].upper() + about[1:] + ".")
    made.add_argument(
        "--warehouse",
        metavar="W",
        default=None,
        help="folder (or postgres:... of a team); default: $ZEROMILL_WAREHOUSE or ./lake",
    )
    made.set_defaults(run=_later(where))
    return made


def _later(where: str) -> Callable[[argparse.Namespace], int]:
    def run(asked: argparse.Namespace) -> int:
        from importlib import import_module

        module, name = where.split(":")
        if asked.warehouse is None:
            asked.warehouse = os.environ.get("ZEROMILL_WAREHOUSE") or "lake"
        status: int = getattr(import_module(module), name)(asked)
        return status

    return run


def _json(made: argparse.ArgumentParser) -> None:
    made.add_argument("--json", action="store_true", help="one JSON document on standard output, for scripts")


def _curate(made: argparse.ArgumentParser) -> None:
    made.add_argument(
        "source", metavar="SOURCE", help="a log (.parquet, .csv, .tsv, .jsonl, each also .gz) or an img2dataset folder"
    )
    made.add_argument("--recipe", default="zero", metavar="R", help="a shipped name or a YAML file (default: zero)")
    made.add_argument("--limit", type=_count, metavar="N", help="only the first N rows")
    made.add_argument("--train", action="store_true", help="train on the release when it is published")
    _run_of(made)


def _plan(made: argparse.ArgumentParser) -> None:
    made.add_argument("source", metavar="SOURCE", help="a log (.parquet, .csv, .tsv, .jsonl, each also .gz)")
    made.add_argument("--recipe", default="zero", metavar="R", help="a shipped name or a YAML file (default: zero)")
    made.add_argument("--sample", type=_count, default=1000, metavar="N", help="rows that are drawn (default: 1000)")
    made.add_argument("--seed", type=int, default=0, metavar="N", help="of the draw: another one draws other rows")
    made.add_argument(
        "--price", action="append", default=[], metavar="DEVICE=USD", help="an hour of `here`, or of a known device"
    )
    made.add_argument("--to", type=Path, metavar="DIR", help="write the funnel as a page into this folder")
    _machine(made)


def _refetch(made: argparse.ArgumentParser) -> None:
    made.add_argument(
        "past", nargs="?", metavar="RELEASE", help="whose run; default: the latest run, published or held back"
    )
    _run_of(made)


def _run_of(made: argparse.ArgumentParser) -> None:
    """What a run is told, whatever it mills."""
    made.add_argument("--release", metavar="NAME", help="default: source, recipe and a fingerprint")
    _machine(made)


def _machine(made: argparse.ArgumentParser) -> None:
    """Whom a run may ask, and what of the machine it may take."""
    made.add_argument(
        "--allow-host", action="append", default=[], metavar="HOST:PORT", help="a private address that may be asked"
    )
    made.add_argument("--workers", type=_count, metavar="N", help="actors at once (default: one a core)")
    made.add_argument(
        "--gpu-share",
        type=float,
        default=1,
        metavar="X",
        help="of a card that each actor with a model has (default: 1)",
    )
    _json(made)


def _train(made: argparse.ArgumentParser) -> None:
    made.add_argument("release", metavar="RELEASE")
    made.add_argument("--evaluate", metavar="F.parquet", help="pairs (bytes, text) to measure retrieval on")
    _json(made)


def _sql(made: argparse.ArgumentParser) -> None:
    made.add_argument("query", nargs="?", metavar="QUERY", help="any SELECT; the tables are those of the warehouse")
    made.add_argument("--out", type=Path, metavar="F", help="write the answer to F.parquet or F.csv")
    made.add_argument("--json", action="store_true", help="one JSON object a row on standard output, for scripts")


def _why(made: argparse.ArgumentParser) -> None:
    made.add_argument("url", nargs="?", metavar="URL")
    made.add_argument("--row", type=int, metavar="N", help="the source's row")
    made.add_argument("--image", type=int, metavar="ID", help="an image_id")
    _json(made)


def _head(made: argparse.ArgumentParser) -> None:
    made.add_argument("weights", metavar="WEIGHTS", help="a state_dict of linear layers, .pth or .safetensors")
    made.add_argument("--name", required=True, metavar="NAME", help="of its values, such as aesthetic or unsafe")
    made.add_argument(
        "--model", required=True, metavar="M", help="whose vectors it reads: a folder, or a recipe (R, or R:NAME)"
    )
    made.add_argument("--to", required=True, metavar="F.safetensors", help="the file to write")
    made.add_argument("--activation", choices=("relu", "gelu", "none"), help="between its layers, where it has several")
    made.add_argument("--output", choices=("none", "sigmoid"), default="none", help="behind its last layer")


def _cells(made: argparse.ArgumentParser) -> None:
    made.add_argument("release", metavar="RELEASE", help="on whose pictures the cells are fitted")
    made.add_argument("--count", type=_count, required=True, metavar="K", help="of cells")
    made.add_argument("--to", required=True, metavar="F.safetensors", help="the file to write")
    made.add_argument("--model", metavar="NAME", help="of the release's recipe (default: its first)")
    made.add_argument("--name", default="cell", metavar="NAME", help="of its values (default: cell)")


def _protect(made: argparse.ArgumentParser) -> None:
    made.add_argument("name", nargs="?", metavar="NAME", help="of the set; what it held before is replaced")
    made.add_argument("folder", nargs="?", metavar="FOLDER", help="of pictures and tars of pictures, also in folders")
    made.add_argument("--recipe", metavar="R", help="embed them too, by its first model (default: hashes only)")
    made.add_argument("--workers", type=_count, metavar="N", help="actors at once (default: one a core)")
    made.add_argument("--remove", action="store_true", help="protect the set no more")
    _json(made)


def _compare(made: argparse.ArgumentParser) -> None:
    made.add_argument("first", metavar="R1", help="a recipe (a shipped name or a YAML file), or a release")
    made.add_argument("second", metavar="R2", help="another one")
    made.add_argument("--on", metavar="RELEASE|RUN", help="whose pairs (default: those of the latest release)")
    made.add_argument("--to", metavar="FILE.html", help="write a page with pictures of what only one of them keeps")
    made.add_argument("--seed", type=int, default=0, metavar="N", help="of which examples are drawn (default: 0)")
    _json(made)


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a count: give 1 or more")
    return int(text)
