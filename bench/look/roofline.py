"""What bounds a vision transformer's pictures a second: operations and bytes counted, ceilings measured beside it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from actors.pictures.decode import Fault, decode
from bench.look.place import Place
from bench.look.stages import MAX_PIXELS, SCALE_TO

if TYPE_CHECKING:
    import torch

LONG_S = 0.5
"""A ceiling is the best rate of tries for so many seconds."""

HALF = 2
"""Bytes of a number in both of our reduced precisions."""

_SIDES = {"cpu": 2048, "cuda": 8192}  # of the square matrices that are multiplied
_ROOM = {"cpu": 1 << 28, "cuda": 1 << 32}  # bytes that are copied, far more than any cache holds
_SENT = 1 << 28  # bytes of a batch on its way to the card


@dataclass(frozen=True)
class Ceiling:
    """A rate of the machine in `unit` a second, what a picture needs of it, and so how many it lets pass a second."""

    name: str
    rate: float
    unit: str
    each: float

    @property
    def pictures(self) -> float:
        return self.rate / self.each


@dataclass(frozen=True)
class Tower:
    """The sizes of a vision transformer, from open_clip's config of the whole model."""

    side: int
    patch: int
    width: int
    layers: int
    inner: int
    out: int

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> Tower:
        vision = config["vision_cfg"]
        width = vision["width"]
        inner = int(width * vision.get("mlp_ratio", 4.0))
        return cls(vision["image_size"], vision["patch_size"], width, vision["layers"], inner, config["embed_dim"])

    @property
    def tokens(self) -> int:
        return (self.side // self.patch) ** 2 + 1

    def operations(self) -> int:
        """Floating-point operations of a picture's forward: a multiplication and an addition are two."""
        patches = 2 * (self.tokens - 1) * 3 * self.patch**2 * self.width
        linear = 2 * self.tokens * (4 * self.width**2 + 2 * self.width * self.inner)
        attention = 4 * self.tokens**2 * self.width
        return patches + self.layers * (linear + attention) + 2 * self.width * self.out

    def weights(self) -> int:
        """Numbers in the matrices, which a batch reads once."""
        layer = 4 * self.width**2 + 2 * self.width * self.inner
        return 3 * self.patch**2 * self.width + self.layers * layer + self.width * self.out

    def activations(self) -> int:
        """Numbers of a picture that are read and written when each operator does both once and none is fused.

        Of a layer: two norms and two sums, the matrices' inputs and outputs, the activation between two of them; what
        attention does inside stays in the chip.
        """
        norms_and_sums = (2 * 2 + 2 * 3) * self.width
        matrices = (1 + 3 + 3 + 1 + 1 + 1) * self.width + 2 * (self.width + self.inner) + 2 * self.inner
        return self.layers * self.tokens * (norms_and_sums + matrices)

    def bytes_moved(self, batch: int) -> float:
        """To and from the device's memory, a picture."""
        return HALF * (self.weights() / batch + self.activations())


@dataclass(frozen=True)
class Machine:
    """Contestant that measures a device: operations a second, bytes moved in its memory and sent to it a second."""

    device: str

    def __call__(self) -> Callable[[], tuple[float, float, float]]:
        import torch

        from actors.models.encoder import precision

        dtype, side = precision(self.device), _SIDES[self.device]
        one, other = (torch.randn((side, side), device=self.device).to(dtype) for _ in range(2))
        room = torch.empty(_ROOM[self.device], dtype=torch.uint8, device=self.device)
        away = torch.empty(_SENT, dtype=torch.uint8, pin_memory=self.device == "cuda")
        here = torch.empty(_SENT, dtype=torch.uint8, device=self.device)
        return partial(_ceilings, one, other, room, away, here)


@dataclass(frozen=True)
class Decoding:
    """Contestant that decodes files and nothing else, at the scale that a model of `side` pixels needs."""

    files: tuple[Path, ...]
    side: int

    def __call__(self) -> Callable[[], int]:
        bodies = [file.read_bytes() for file in self.files]
        _decode(bodies[:1], self.side)
        return partial(_decode, bodies, self.side)


def ceilings(tower: Tower, place: Place, files: Sequence[Path], batch: int) -> list[Ceiling]:
    """What bounds pictures of `tower` here: matrix products, memory, the way to the card, decoding on all cores."""
    operations, moved, sent = place.race([Machine(place.device)]).gave[0]
    shares = [tuple(files[core :: place.cores]) for core in range(min(place.cores, len(files)))]
    side = max(tower.side, SCALE_TO)
    raced = place.race([Decoding(share, side) for share in shares])
    return [
        Ceiling("matrix", operations, "operations", tower.operations()),
        Ceiling("memory", moved, "bytes", tower.bytes_moved(batch)),
        Ceiling("sending", sent, "bytes", canvas(files[:batch], side)),
        Ceiling("decode", sum(raced.gave) / raced.seconds, "pictures", 1),
    ]


def canvas(files: Sequence[Path], side: int) -> int:
    """Bytes of a picture as a card is sent it: on a canvas that holds each of the batch, decoded for a `side`."""
    pictures = [decode(file.read_bytes(), MAX_PIXELS, side) for file in files]
    shapes = [picture.pixels.shape for picture in pictures if not isinstance(picture, Fault)]
    tall, wide = (int(max(shape[axis] for shape in shapes)) for axis in (0, 1))
    return 3 * tall * wide


def _ceilings(
    one: torch.Tensor, other: torch.Tensor, room: torch.Tensor, away: torch.Tensor, here: torch.Tensor
) -> tuple[float, float, float]:
    half = room.numel() // 2
    product = _fastest(lambda: one @ other, one.device.type)
    copied = _fastest(lambda: room[:half].copy_(room[half:]), one.device.type)
    sent = _fastest(lambda: here.copy_(away, non_blocking=True), one.device.type)
    return 2 * one.shape[0] ** 3 / product, 2 * half / copied, away.numel() / sent


def _fastest(run: Callable[[], object], device: str) -> float:
    """Seconds of the fastest of many runs; on a card of eight in a row, so that its start costs nothing."""
    from bench.look.loops import settle

    row = 8 if device == "cuda" else 1
    tries, end = list[float](), time.monotonic() + LONG_S
    while not tries or time.monotonic() < end:
        began = time.monotonic()
        for _ in range(row):
            run()
        settle(device)
        tries.append((time.monotonic() - began) / row)
    return min(tries)


def _decode(bodies: Sequence[bytes], side: int) -> int:
    """How many could be decoded."""
    return sum(not isinstance(decode(body, MAX_PIXELS, side), Fault) for body in bodies)
