"""Where a picture's time goes: the steps of our look and of the plain loop, one after the other on one core."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from PIL import Image

from actors.models.files import FoundModel
from actors.pictures.decode import Fault, decode
from actors.pictures.measures import measure
from bench.look.loops import PLAIN_BATCH, open_model

MAX_PIXELS = 100_000_000

SCALE_TO = 224
"""What the shipped recipes' pictures are decoded to, unless a model needs more."""


@dataclass
class Clock:
    """Milliseconds that this thread was on a core, by step: what else the machine does is not counted."""

    steps: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def on(self, step: str) -> Iterator[None]:
        began = time.thread_time()
        yield
        self.steps[step] = self.steps.get(step, 0.0) + (time.thread_time() - began) * 1000

    def each(self, count: int) -> dict[str, float]:
        """Of one picture of so many."""
        return {step: spent / count for step, spent in self.steps.items()}


@dataclass(frozen=True)
class OurSteps:
    """Contestant that does the Looker's work by hand, by the same functions, one picture after the other.

    Gives milliseconds a picture by step; without a model those of a look without one.
    """

    files: tuple[Path, ...]
    model: FoundModel | None
    scale_to: int

    def __call__(self) -> Callable[[], dict[str, float]]:
        import cv2

        cv2.setNumThreads(0)
        bodies = [file.read_bytes() for file in self.files]
        if self.model is None:
            return partial(_measured, bodies, self.scale_to)
        import torch

        from actors.models.encoder import Encoder

        torch.set_num_threads(1)
        encoder = Encoder(self.model, "cpu")
        _embedded(bodies[:2], encoder, self.scale_to)
        return partial(_embedded, bodies, encoder, self.scale_to)


@dataclass(frozen=True)
class PlainSteps:
    """Contestant that takes the plain loop apart: milliseconds a picture of decode, transform and forward."""

    files: tuple[Path, ...]
    folder: Path

    def __call__(self) -> Callable[[], dict[str, float]]:
        import torch

        torch.set_num_threads(1)
        model, transform, _ = open_model(self.folder, "cpu")
        bodies = [file.read_bytes() for file in self.files]
        _plainly(bodies[:2], model, transform)
        return partial(_plainly, bodies, model, transform)


def _measured(bodies: list[bytes], scale_to: int) -> dict[str, float]:
    clock = Clock()
    for body in bodies:
        with clock.on("decode"):
            picture = decode(body, MAX_PIXELS, scale_to)
        if not isinstance(picture, Fault):
            with clock.on("measures and hash"):
                measure(picture.pixels)
    return clock.each(len(bodies))


def _embedded(bodies: list[bytes], encoder: Any, scale_to: int) -> dict[str, float]:
    clock = Clock()
    for start in range(0, len(bodies), encoder.pictures):
        fitted = []
        for body in bodies[start : start + encoder.pictures]:
            with clock.on("decode"):
                picture = decode(body, MAX_PIXELS, scale_to)
            if isinstance(picture, Fault):
                continue
            with clock.on("measures and hash"):
                measure(picture.pixels)
            with clock.on("resize and crop"):
                fitted.append(encoder.fit(picture.pixels, picture.height, picture.width))
        with clock.on("forward"):
            encoder.encode_pictures(fitted)
    return clock.each(len(bodies))


def _plainly(bodies: list[bytes], model: Any, transform: Any) -> dict[str, float]:
    import torch

    clock = Clock()
    for start in range(0, len(bodies), PLAIN_BATCH):
        ready = []
        for body in bodies[start : start + PLAIN_BATCH]:
            with clock.on("decode"):
                picture = Image.open(io.BytesIO(body))
                picture.load()
            with clock.on("resize and crop"):
                ready.append(transform(picture))
        with clock.on("forward"), torch.inference_mode():
            model.encode_image(torch.stack(ready), normalize=True)
    return clock.each(len(bodies))
