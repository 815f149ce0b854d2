"""A model that turns pictures and texts into unit vectors, loaded once: the fast way through it on this machine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from actors.models.files import FoundModel
from actors.models.prepare import Pixels, Placement, place, prepare

if TYPE_CHECKING:
    import torch

Vectors = NDArray[np.float32]
Begun = list["torch.Tensor"]
"""Vectors that may still be on their way, on the device."""

PICTURES = {"cpu": 32, "cuda": 512}
"""Pictures of a batch: on a CPU more are no faster, on a card it is halved where they do not fit."""

FULL = ("can't allocate memory", "could not create a primitive", "std::bad_alloc")
"""What torch's and oneDNN's allocators say on a CPU; the second means other faults too, which end a batch of one."""

# What a card resizes by itself is at most this large, so that a batch of them stays under 700 MB
_CANVAS = 672


class OutOfMemory(Exception):
    """Not even one picture goes through the model here; the message says what to do."""


@dataclass(frozen=True)
class Fitted:
    """A picture on its way to a model: uint8 (h, w, 3) RGB, and where the card has to put it; null: it is ready."""

    pixels: Pixels
    where: Placement | None


class Encoder:
    """Pictures and texts as float32 vectors of length 1 in the space of one model.

    `identity` names weights, preprocessing and tokenizer, `width` is the vectors' length, `device` is `cpu` or `cuda`.
    `scale`, `bias` and `sigmoid` make a probability of a cosine, as the model was trained to.
    """

    def __init__(self, found: FoundModel, device: str | None = None, threads: int | None = None) -> None:
        """Load the model on `device`, null: a card where there is one; `threads` compute on a CPU, null: torch's own.

        ModelMissing where the model's files are gone or are others.
        """
        import torch

        from actors.models.loading import load

        if threads is not None:
            torch.set_num_threads(threads)
        self.identity = found.identity
        self.device = device or best_device()
        self.dtype = precision(self.device)
        self._model = load(found, self.device, self.dtype)
        self.width = self._model.width
        self.preprocessing = to = self._model.preprocessing
        # made once: each copy of a few numbers to a card would wait for all that the card has yet to do
        self._mean, self._std = (
            torch.tensor(values, device=self.device).view(1, 3, 1, 1) * 255 for values in (to.mean, to.std)
        )
        self.scale, self.bias, self.sigmoid = self._model.scale, self._model.bias, self._model.sigmoid
        self.pictures = PICTURES[self.device]
        self.forwards = 0
        """Pictures that went through the model."""

    def fit(self, pixels: Pixels, height: int, width: int) -> Fitted:
        """What of `pixels`, which show a picture of `height` x `width`, the model needs; safe in any thread.

        A CPU gets the finished crop. A card gets the pixels and does the rest for a whole batch, unless they are
        large or the crop has a border.
        """
        if self.device == "cuda" and max(pixels.shape[:2]) <= _CANVAS:
            where = place(height, width, self.preprocessing)
            if min(where.top, where.left) >= 0:
                return Fitted(pixels, where)
        return Fitted(prepare(pixels, height, width, self.preprocessing), None)

    def begin(self, pictures: Sequence[Fitted]) -> Begun:
        """Send pictures through the model; on a card this returns before they are through."""
        vectors: Begun = []
        start = 0
        while start < len(pictures):
            piece = pictures[start : start + self.pictures]
            try:
                vectors.append(self._forward(piece))
            except (RuntimeError, MemoryError) as error:  # torch.OutOfMemoryError is a RuntimeError, as a CPU's is
                self._halve(error, len(piece))
            else:
                start += len(piece)
        self.forwards += len(pictures)
        return vectors

    def finish(self, begun: Begun) -> Vectors:
        """The unit vectors (n, width) of pictures that were sent through the model."""
        return np.concatenate([np.empty((0, self.width), np.float32), *map(_as_array, begun)])

    def encode_pictures(self, pictures: Sequence[Fitted]) -> Vectors:
        """Unit vectors (n, width), in the given order."""
        return self.finish(self.begin(pictures))

    def encode_texts(self, texts: Sequence[str]) -> Vectors:
        """Unit vectors (n, width) of texts, in the given order; what exceeds the context is cut off."""
        if not texts:
            return np.empty((0, self.width), np.float32)
        return _as_array(_unit(self._model.texts(texts)))

    def _forward(self, pictures: Sequence[Fitted]) -> torch.Tensor:
        import torch

        with torch.inference_mode():
            # normalised in single precision: in bfloat16 a pixel would lose most of its last three bits
            normal = (self._pixels(pictures) - self._mean) / self._std
            return _unit(self._model.pictures(normal.to(self.dtype)))

    def _pixels(self, pictures: Sequence[Fitted]) -> torch.Tensor:
        """float32 (n, 3, height, width), 0 to 255, on the device."""
        import torch

        from actors.models.resize import resize_batch

        to = self.preprocessing
        tall, wide = (max(one.pixels.shape[axis] for one in pictures) for axis in (0, 1))
        canvas = torch.empty((len(pictures), tall, wide, 3), dtype=torch.uint8, pin_memory=self.device == "cuda")
        slots = canvas.numpy()
        for slot, one in zip(slots, pictures, strict=True):
            slot[: one.pixels.shape[0], : one.pixels.shape[1]] = one.pixels
        moved = canvas.to(self.device, non_blocking=True)
        if all(one.where is None for one in pictures):
            return moved.permute(0, 3, 1, 2).float()
        whole = Placement(to.height, to.width, 0, 0)
        sizes = [one.pixels.shape[:2] for one in pictures]
        return resize_batch(moved, sizes, [one.where or whole for one in pictures], to)

    def _halve(self, error: Exception, tried: int) -> None:
        """Send fewer pictures at once from now on; whatever is no lack of memory is raised again."""
        import torch

        if not (isinstance(error, MemoryError | torch.OutOfMemoryError) or any(one in str(error) for one in FULL)):
            raise error
        if tried == 1:
            raise OutOfMemory(
                f"There is no memory on {self.device} to send one picture through the model.\n"
                "Free some, or take a smaller model; fewer actors (--workers) leave more to each."
            ) from error
        self.pictures = tried // 2
        if self.device == "cuda":
            torch.cuda.empty_cache()


def best_device() -> str:
    """`cuda` where this process has a card, else `cpu`."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def card_memory() -> int | None:
    """Bytes of memory of this process's first card; None where it has none."""
    import torch

    return int(torch.cuda.get_device_properties(0).total_memory) if torch.cuda.is_available() else None


def precision(device: str) -> torch.dtype:
    """The fastest type of numbers that keeps cosines: float16 on cards, bfloat16 where a CPU multiplies it.

    By torch's own calls ViT-B/32 does 143 pictures/s against 25 in float32 on 2 cores with AMX. With AVX512-BF16 a core
    multiplies 410 Gflop/s in bfloat16 and 98 in float32.
    """
    import torch

    if device == "cuda":
        return torch.float16
    return torch.bfloat16 if _has_bfloat16() else torch.float32


@lru_cache(maxsize=1)
def _has_bfloat16() -> bool:
    cpuinfo = Path("/proc/cpuinfo")
    return cpuinfo.is_file() and any(flag in cpuinfo.read_text() for flag in ("amx_bf16", "avx512_bf16"))


def _unit(vectors: torch.Tensor) -> torch.Tensor:
    # in single precision: in half precision lengths are off by up to a thousandth
    exact = vectors.float()
    unit: torch.Tensor = exact / exact.norm(dim=-1, keepdim=True).clamp_min(1e-12)
    return unit


def _as_array(vectors: torch.Tensor) -> Vectors:
    array: Vectors = vectors.cpu().numpy()
    return array
