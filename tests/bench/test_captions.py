"""The bench of captions measures ours and the model's own way in one run, and both say the same."""

import json
import subprocess
import sys

import torch

from bench.captions.coca import TINY, random_coca
from bench.captions.own import own_captions


def test_both_precisions_are_told_as_ratios_and_single_precision_writes_the_models_own() -> None:
    words = [sys.executable, "-m", "bench.captions", "--json", "--tiny"]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    single, half = (json.loads(line) for line in done.stdout.splitlines())
    assert (single["goal"], half["goal"]) == (6.0, 12.0)
    assert all(line["ratio"] == line["peer"] / line["ours"] > 0 for line in (single, half))
    assert "float32: 4 of 4 captions are the model's own" in done.stderr


def test_weights_are_the_same_every_time() -> None:
    pictures = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(2))
    end = TINY["text_cfg"]["vocab_size"] - 1
    one, other = (own_captions(random_coca("tiny"), pictures, end - 1, end, 12) for _ in range(2))
    assert one.tolist() == other.tolist()
    assert one[:, 0].tolist() == [end - 1] * 3
