"""A model of transformers' writes on from what it is given, each token chosen by numbers that belong to the picture."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import AutoModelForImageTextToText, LogitsProcessor, LogitsProcessorList

from actors.models.captioners.decoder import Written
from actors.models.captioners.protocol import FoundCaptioner, Shown
from actors.models.captioners.sampling import Draws, numbers_of
from actors.models.encoder import precision

BATCH = {"cpu": 8, "cuda": 64}
"""Pictures at once: what a card of 24 GB has room for beside a model of 7 billion weights."""


class Generator:
    """A model in memory and how it writes: without transformers' own sampling, whose draws depend on the batch."""

    def __init__(self, found: FoundCaptioner, device: str) -> None:
        """ValueError where weights are missing, which transformers would fill with random numbers."""
        self._dtype, self._device = precision(device), device
        transformers.utils.logging.disable_progress_bar()
        self.model, told = AutoModelForImageTextToText.from_pretrained(
            Path(found.place), dtype=self._dtype, local_files_only=True, output_loading_info=True
        )
        wrong = [*told["missing_keys"], *told["mismatched_keys"]]
        if wrong:
            raise ValueError(f"{len(wrong)} of its weights are missing or of another shape, the first: {wrong[0]}")
        self.model.eval().requires_grad_(False).to(device)

    def write(self, inputs: Mapping[str, Any], drawn: Draws, most: int, ends: frozenset[int]) -> list[Written]:
        """What follows for each row of `drawn`, of `most` tokens at most; any of `ends` is its end."""
        choosing = _Choosing(drawn)
        here = {name: self._placed(value) for name, value in inputs.items()}
        with torch.inference_mode():
            self.model.generate(
                **here,
                max_new_tokens=most,
                do_sample=False,
                num_beams=1,
                logits_processor=LogitsProcessorList([choosing]),
            )
        return [_until(tokens, ends | self._ends()) for tokens in choosing.chosen()]

    def _placed(self, value: Any) -> Any:
        if not isinstance(value, torch.Tensor):
            return value
        return value.to(self._device, self._dtype if value.is_floating_point() else None)

    def _ends(self) -> frozenset[int]:
        told = self.model.generation_config.eos_token_id
        return frozenset(told if isinstance(told, list) else [] if told is None else [told])


class _Choosing(LogitsProcessor):  # type: ignore[misc]  # transformers is typed in part
    """Leaves of each row's logits the one token that its numbers choose, and remembers it."""

    def __init__(self, drawn: Draws) -> None:
        self._drawn, self._steps = drawn, list[torch.Tensor]()

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        rows = torch.arange(len(scores))
        tokens = self._drawn.of(rows, len(self._steps), scores.float())
        self._steps.append(tokens)
        only = torch.full_like(scores, -torch.inf)
        return only.scatter(1, tokens.unsqueeze(1), 0.0)

    def chosen(self) -> list[list[int]]:
        """For each row the tokens of all steps, also those behind its end."""
        rows: list[list[int]] = torch.stack(self._steps, 1).tolist()
        return rows


def drawn_for(pictures: list[Shown], found: FoundCaptioner, sample: int, steps: int) -> Draws:
    """One sample of each picture."""
    asking = found.asking
    numbers = [torch.from_numpy(numbers_of(one.image_id, sample, asking.seed, steps)) for one in pictures]
    return Draws(torch.stack(numbers), asking.top_p, asking.temperature)


def anew(found: FoundCaptioner) -> str:
    """What to do about files that cannot be loaded."""
    return f"Get all files of {found.place} anew from one place, or name another captioner in the recipe."


def _until(tokens: list[int], ends: frozenset[int]) -> Written:
    for place, token in enumerate(tokens):
        if token in ends:
            return Written(tuple(tokens[:place]), True)
    return Written(tuple(tokens), False)
