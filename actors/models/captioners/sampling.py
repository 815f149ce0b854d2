"""Which token comes next: the likeliest, or one drawn out of the nucleus by numbers that belong to one picture."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from actors.models.captioners.protocol import Asking

_MOST = 512  # of the likeliest tokens, which nearly always make up the nucleus; sorting 49,408 takes far longer


@dataclass(frozen=True)
class Draws:
    """How rows of samples go on: `numbers` float32 (rows, steps) of 0 to 1, one a token; NaN: the row is greedy."""

    numbers: torch.Tensor
    top_p: float
    temperature: float

    def of(self, rows: torch.Tensor, step: int, logits: torch.Tensor) -> torch.Tensor:
        """The next tokens (n,) of these `rows` (n,) from their `logits` (n, vocabulary) in single precision."""
        best = logits.argmax(-1)
        numbers = self.numbers[rows, step].to(logits.device)
        drawn = ~numbers.isnan()
        if drawn.any():
            best[drawn] = nucleus(logits[drawn] / self.temperature, numbers[drawn], self.top_p)
        return best


def draws(image_ids: list[int], asking: Asking, steps: int) -> Draws:
    """For rows by picture and then by sample: the first sample greedy, the others by numbers of their own."""
    numbers = [numbers_of(image, sample, asking.seed, steps) for image in image_ids for sample in range(asking.samples)]
    return Draws(torch.from_numpy(np.stack(numbers)), asking.top_p, asking.temperature)


def numbers_of(image_id: int, sample: int, seed: int, steps: int) -> NDArray[np.float32]:
    """`steps` numbers from 0 to 1 that depend on nothing else: neither on the batch nor on the worker."""
    if sample == 0:
        return np.full(steps, np.nan, np.float32)
    return np.random.default_rng((seed, image_id, sample)).random(steps, np.float32)


def nucleus(logits: torch.Tensor, numbers: torch.Tensor, top_p: float) -> torch.Tensor:
    """Tokens (n,) drawn by `numbers` (n,) from the fewest likeliest tokens that hold `top_p` of the probability.

    Holtzman et al. 2020 (arXiv 1904.09751); the token that crosses `top_p` is still in, as in transformers' warper.
    """
    shares = logits.softmax(-1)
    held, tokens = shares.topk(min(_MOST, shares.shape[1]))
    if bool((held.sum(-1) < top_p).any()):
        held, tokens = shares.sort(-1, descending=True)
    reached = held.cumsum(-1)
    reached = reached.where(reached - held < top_p, 0.0).cummax(-1).values
    place = torch.searchsorted(reached, (numbers * reached[:, -1]).unsqueeze(-1), right=True)
    last = (reached < reached[:, -1:]).sum(-1, keepdim=True)
    return tokens.gather(1, place.minimum(last)).squeeze(1)
