"""Many pictures of different sizes resized and cut at once, on the device that will look at them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from actors.models.prepare import Placement, Preprocessing

if TYPE_CHECKING:
    import torch

_CUBIC = -0.5  # Pillow's bicubic (Keys 1981); its support is 2, that of the triangle of bilinear 1


def resize_batch(
    canvas: torch.Tensor,
    sizes: Sequence[tuple[int, int]],
    places: Sequence[Placement],
    to: Preprocessing,
) -> torch.Tensor:
    """float32 (n, 3, to.height, to.width), 0 to 255, on the canvas's device.

    `canvas` uint8 (n, H, W, 3) holds picture i in its upper left `sizes[i]` (height, width), to be resized to
    `places[i]` and cut from there; no place may need padding. Both directions are matrix products with the weights of
    Pillow's antialiased filters, but for its rounding between them; on a card in half precision, which holds every
    value of a pixel.
    """
    import torch

    dtype = torch.float16 if canvas.is_cuda else torch.float32
    tall, wide = canvas.shape[1:3]
    ways = [(*size, p.height, p.width, p.top, p.left) for size, p in zip(sizes, places, strict=True)]
    pinned = torch.tensor(ways, dtype=torch.float32, pin_memory=canvas.is_cuda)
    h, w, to_h, to_w, top, left = pinned.to(canvas.device, non_blocking=True).unbind(1)
    down = _weights(h, to_h, top, to.height, tall, to.interpolation).to(dtype)
    across = _weights(w, to_w, left, to.width, wide, to.interpolation).to(dtype)
    pixels = canvas.permute(0, 3, 1, 2).to(dtype)  # (n, 3, H, W)
    rows = torch.einsum("nchw,nxw->nchx", pixels, across)
    return torch.einsum("nchx,nyh->ncyx", rows, down).float().clamp_(0, 255)


def _weights(
    sides: torch.Tensor, resized: torch.Tensor, starts: torch.Tensor, count: int, room: int, interpolation: str
) -> torch.Tensor:
    """(n, count, room): what each of `room` source pixels gives to each of `count` from `starts` on; rows sum to 1."""
    import torch

    scale = (sides / resized).view(-1, 1, 1)
    stretch = scale.clamp_min(1)
    places = torch.arange(count, device=sides.device).view(1, -1, 1) + starts.view(-1, 1, 1)
    centres = (places + 0.5) * scale
    pixels = torch.arange(room, device=sides.device).view(1, 1, -1)
    offsets = ((pixels + 0.5 - centres) / stretch).abs_()
    weights = _bicubic(offsets) if interpolation == "bicubic" else (1 - offsets).clamp_min_(0)
    weights = weights.masked_fill_(pixels >= sides.view(-1, 1, 1), 0)
    return weights / weights.sum(-1, keepdim=True)


def _bicubic(x: torch.Tensor) -> torch.Tensor:
    import torch

    near = ((_CUBIC + 2) * x - (_CUBIC + 3)) * x * x + 1
    far = _CUBIC * (((x - 5) * x + 8) * x - 4)
    return torch.where(x < 1, near, torch.where(x < 2, far, torch.zeros((), device=x.device)))
