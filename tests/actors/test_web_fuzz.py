"""A handful of the fuzzer's inputs, new ones with every change of the seed, and that it finds what is broken."""

from __future__ import annotations

import pytest

from actors.web.robots import read_rules
from bench import fuzz as fuzzing
from bench.fuzz import fuzz, main

INPUTS = 20_000


def test_no_input_is_taken_otherwise_than_the_rules_say() -> None:
    tried = fuzz(INPUTS, seed=3)
    assert sum(one.inputs for one in tried) == INPUTS
    assert [one.faults for one in tried if one.wrong] == []


def test_the_same_seed_makes_the_same_inputs(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--inputs", "400", "--seed", "5"]) == 0
    assert "disagreements" in capsys.readouterr().out
    assert [one.inputs for one in fuzz(400, 5)] == [100] * len(fuzzing.SUBJECTS)


@pytest.mark.parametrize(
    ("name", "broken", "subject"),
    [
        ("refusal", lambda value, token: None, "headers"),
        ("read_rules", lambda body, coding="": read_rules(b""), "robots.txt"),
        ("parse", lambda url: 1 / 0, "URLs and redirects"),
        ("normalise", str.strip, "texts"),
    ],
)
def test_a_parser_that_is_broken_is_found_out(
    name: str, broken: object, subject: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fuzzing, name, broken)
    (tried,) = [one for one in fuzz(2_000, 1) if one.name == subject]
    assert tried.wrong > 0
    assert len(tried.faults) <= fuzzing.SHOWN
    assert main(["--inputs", "2000"]) == 1
