"""Tokens through a text tower in batches of like length, so that it sees as little padding as it may."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

Forward = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""Vectors (n, width) of tokens (n, length) and of the mask (n, length) that is 1 where a token is no padding."""

BATCH = {"cpu": 128, "cuda": 1024}
"""Texts of a batch: bounds memory; more give no more texts a second on a CPU."""


@dataclass(frozen=True)
class Tokens:
    """`ids` and `mask` (n, context) int64, padded at the end. `lengths` (n,): what the tower must see of each text."""

    ids: torch.Tensor
    mask: torch.Tensor
    lengths: torch.Tensor


def encode(tokens: Tokens, forward: Forward, device: torch.device) -> torch.Tensor:
    """The vectors (n, width) of `tokens` in their order, each batch cut to its longest text; on `device`."""
    order = torch.argsort(tokens.lengths, stable=True)
    parts = []
    with torch.inference_mode():
        for rows in torch.split(order, BATCH[device.type]):
            longest = int(tokens.lengths[rows].max())
            ids, mask = (every[rows, :longest].to(device) for every in (tokens.ids, tokens.mask))
            parts.append(forward(ids, mask))
        return torch.cat(parts)[torch.argsort(order).to(device)]
