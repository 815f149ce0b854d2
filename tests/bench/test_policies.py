"""The bench of policies runs to its end at a small size, and switching is measured of every policy."""

import json
from pathlib import Path

import pytest

from bench.policies import PAIRS, main, policies


def test_every_policy_is_measured_the_first_time_and_again(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--pairs", "300", "--json"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    names = list(policies(Path()))
    assert [line["work"] for line in lines[: len(names)]] == [f"{name}, the first time" for name in names]
    assert [line["goal"] for line in lines] == [0] * len(names) + [1] * len(names)
    assert all(line["ratio"] > 0 for line in lines)
    assert PAIRS == 100_000
