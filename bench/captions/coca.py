"""Milliseconds a picture of our CoCa decoding, against the model's own in single precision, of random weights."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import open_clip
import torch

from actors.models.captioners.coca import picture_tower
from actors.models.captioners.decoder import CocaDecoder, Written
from actors.models.captioners.sampling import Draws
from app.show import say
from bench.captions.own import own_captions
from bench.report import Line

MOST = 29
"""Tokens behind the first mark: open_clip's `generate` stops at 30."""

RUNS = 3
"""Of which the fastest counts, of ours; the model's own takes so long that it runs once."""

GOALS = {torch.float32: 6.0, torch.bfloat16: 12.0}
TINY: dict[str, Any] = {
    "embed_dim": 32,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 32, "patch_size": 8, "head_width": 16}
    | {"output_tokens": True},
    "text_cfg": {"vocab_size": 64, "width": 32, "heads": 2, "layers": 1, "embed_cls": True, "output_tokens": True},
    "multimodal_cfg": {"vocab_size": 64, "width": 32, "heads": 2, "layers": 1},
}


@dataclass(frozen=True)
class Asked:
    """Normalised `pictures` (n, 3, h, w) and the marks of a text's beginning and end."""

    pictures: torch.Tensor
    begin: int
    end: int


def decoding(name: str, batch: int) -> Iterator[Line]:
    """A line for each precision of ours; `name` is an architecture of open_clip's, or `tiny`."""
    model = random_coca(name)
    side = model.visual.image_size[0] if isinstance(model.visual.image_size, tuple) else model.visual.image_size
    words = model.text.vocab_size
    asked = Asked(torch.randn(batch, 3, side, side, generator=torch.Generator().manual_seed(1)), words - 2, words - 1)
    began = time.monotonic()
    told = own_captions(model, asked.pictures, asked.begin, asked.end, MOST)
    own_ms = (time.monotonic() - began) * 1000 / batch
    del model
    for dtype in (torch.float32, torch.bfloat16):
        ours = Ours(name, dtype, asked)
        written, ms = min((_timed(ours) for _ in range(RUNS)), key=lambda run: run[1])
        same = sum(_is(one, text, asked.end) for one, text in zip(written, told.tolist(), strict=True))
        kind = str(dtype).removeprefix("torch.")
        say(f"{kind}: {same} of {batch} captions are the model's own, token for token")
        say(f"{kind}: the picture tower alone {ours.tower_ms(batch):.0f} ms/picture")
        work = f"{name}, batch of {batch}: {kind}, against its own way"
        yield Line(work, ms, own_ms, "ms/picture", own_ms / ms, GOALS[dtype])


class Ours:
    """Our decoding of one model in one precision, loaded."""

    def __init__(self, name: str, dtype: torch.dtype, asked: Asked) -> None:
        model = random_coca(name).to(dtype)
        self._pictures, self._begin = asked.pictures.to(dtype), asked.begin
        self._decoder, self._embed = CocaDecoder(model, asked.end), picture_tower(model.visual)

    def __call__(self) -> list[Written]:
        """Captions of all pictures, greedy."""
        greedy = Draws(torch.full((len(self._pictures), MOST), torch.nan), 1.0, 1.0)
        with torch.inference_mode():
            return self._decoder.write(self._decoder.hear(self._embed(self._pictures)), [self._begin], MOST, greedy)

    def tower_ms(self, batch: int) -> float:
        """Milliseconds a picture of the picture tower alone."""
        began = time.monotonic()
        with torch.inference_mode():
            self._embed(self._pictures)
        return (time.monotonic() - began) * 1000 / batch


def random_coca(name: str) -> Any:
    """The same random weights every time, also where open_clip leaves the memory as it was."""
    torch.manual_seed(0)
    model = open_clip.CoCa(**TINY) if name == "tiny" else open_clip.create_model(name)
    torch.nn.init.normal_(model.text_decoder.text_projection, std=0.02)
    return model.eval().requires_grad_(False)


def _timed(work: Callable[[], list[Written]]) -> tuple[list[Written], float]:
    began = time.monotonic()
    written = work()
    return written, (time.monotonic() - began) * 1000 / len(written)


def _is(written: Written, text: list[int], end: int) -> bool:
    stop = text.index(end) if end in text else len(text)
    return list(written.tokens) == text[1:stop]
