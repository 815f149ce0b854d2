"""Every work of bench.copies runs to its end on few rows, and finds what it is to find."""

import json
import subprocess
import sys
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch

from bench.copies import __main__ as copies
from bench.copies.hashes import PLANTED, _band_pairs, _multihash, crowd
from bench.environments import FAISS


@cache
def _told(*works: str) -> list[dict[str, Any]]:
    words = [sys.executable, "-m", "bench.copies", "--json", "--tiny", "--work", *works]
    said = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True).stdout
    return [json.loads(line) for line in said.splitlines()]


def test_new_pictures_are_matched_with_a_warehouse() -> None:
    _, found = _told("history")
    assert found["unit"] == "pairs"
    assert found["ratio"] >= 1.0


def test_the_device_is_measured_against_its_own_roofline() -> None:
    assert all(0 < line["ratio"] < 10 for line in _told("card"))


def test_hashes_that_are_planted_are_near_and_found_once(tmp_path: Any) -> None:
    hashes = crowd(20_000, 6)
    np.save(tmp_path / "hashes.npy", hashes)
    pairs = np.concatenate([_band_pairs((tmp_path / "hashes.npy", band, 6))[0] for band in range(3)])
    found = {(int(a), int(b)) for a, b in pairs}
    assert all(a < b for a, b in found)
    assert all(np.bitwise_count(hashes[a] ^ hashes[b]) <= 6 for a, b in found)
    assert len(found) >= 0.7 * 20_000 / PLANTED  # some are planted on one that moves away afterwards


def test_our_pairs_are_those_of_the_peer(tmp_path: Any) -> None:
    if not FAISS.built:
        pytest.skip("FAISS has no environment here: `make bench-env` builds it")
    lines = _told("hashes")
    assert [line["ratio"] for line in lines if line["unit"] == "pairs"] == [1.0, 1.0]
    file = tmp_path / "hashes.npy"
    np.save(file, crowd(2_000, 8))
    assert len({_multihash(FAISS.python(), file, 8, one, 0).pairs for one in ((3, 21, 2), (4, 16, 2))}) == 1


def test_without_a_card_the_command_says_what_to_do(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    if torch.cuda.is_available():
        pytest.skip("this process has a card")
    assert copies.main(["--device", "cuda"]) == 1
    assert "--device cpu --work card" in capsys.readouterr().err
