"""What a script reads of the bench: lines of JSON and nothing else, each with the agreed keys."""

import json
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from bench import command, source

KEYS = {"work", "ours", "peer", "unit", "ratio", "goal"}


@cache
def _measured() -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-m", "bench.run", "--json", "--rows", "20"]
    return subprocess.run(words, capture_output=True, text=True, check=True)


def test_standard_output_is_one_object_a_line_with_exactly_the_agreed_keys() -> None:
    lines = [json.loads(line) for line in _measured().stdout.splitlines()]
    assert lines
    for line in lines:
        assert set(line) == KEYS
        assert line["ours"] > 0
        assert line["peer"] > 0


def test_a_larger_ratio_is_better_also_where_the_figure_is_seconds() -> None:
    for line in map(json.loads, _measured().stdout.splitlines()):
        better = line["peer"] / line["ours"] if line["unit"] == "s" else line["ours"] / line["peer"]
        assert line["ratio"] == pytest.approx(better)


@pytest.mark.parametrize("told", ["sift ", "publish ", "peak memory of flow", "peak memory of fetch actor", "left out"])
def test_what_has_no_peer_is_told_on_standard_error(told: str) -> None:
    assert told in _measured().stderr


def test_every_picture_of_the_source_but_the_copies_is_another(tmp_path: Path) -> None:
    rows = 2 * source.COPIES_EVERY
    source.build(tmp_path, rows)
    assert len(set(_bodies(tmp_path))) == rows - 2


def test_a_command_that_fails_is_no_measurement(tmp_path: Path) -> None:
    with pytest.raises(command.CommandFailed, match="no file"):
        command.run(tmp_path, "curate", str(tmp_path / "none.csv"), "--recipe", "unscored")


def _bodies(folder: Path) -> Iterator[bytes]:
    for file in sorted((folder / "files").iterdir()):
        yield file.read_bytes()
