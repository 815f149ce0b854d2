"""Models that cannot fit in memory are refused with what to do, before any row is touched."""

from __future__ import annotations

import pytest

from tasks.memory import ACTOR_BYTES, TooLarge, check_memory, memory_here, needed


def test_a_model_that_no_actor_could_load_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with pytest.raises(TooLarge) as told:
        check_memory({"The captioner tiny": 1 << 20, "The captioner huge": 1 << 50})
    lines = str(told.value).splitlines()
    assert lines[0].startswith("The captioner huge needs 2097152.7 GiB of memory, this machine has ")
    assert "smaller model" in lines[1]


def test_what_fits_and_what_asks_nothing_is_let_through(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    check_memory({"The captioner far": 0, "The captioner tiny": 1 << 20})
    with pytest.raises(TooLarge):  # loaded twice over, once as the file has it: this one does not fit
        check_memory({"The captioner": (memory_here() - ACTOR_BYTES) // 2 + 1})
    assert needed((memory_here() - ACTOR_BYTES) // 2) <= memory_here()


def test_of_a_cluster_elsewhere_this_machine_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.7:6379")
    check_memory({"The captioner huge": 1 << 50})
