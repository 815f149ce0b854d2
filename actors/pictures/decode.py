"""Bytes to upright RGB pixels at the scale that is needed, or the reason why not."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Literal

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from actors.pictures.exif import orientation
from actors.pictures.kinds import DECODED, ends_early, jpeg_bits, kind_of

Pixels = NDArray[np.uint8]
FaultReason = Literal["image_not_image", "image_unsupported", "image_bomb", "image_truncated", "image_failed"]

# Pillow's own guard is one bound for the whole process; every picture is held to `max_pixels` here instead.
Image.MAX_IMAGE_PIXELS = None

_SIDEWAYS = (5, 6, 7, 8)  # orientations that exchange width and height
_EXIF_BYTES = 1 << 16  # an APP1 segment holds no more
_PASSES = 20  # a progressive JPEG takes about ten scans, each a pass over all pixels; hostile ones have thousands
_LONGEST = 8192  # pixels of a longer side that are of use to anyone, after reduction
_GRADED = {"1": "L", "P": "RGB", "PA": "RGBA", "La": "LA", "RGBa": "RGBA"}  # modes that cannot be averaged


@dataclass(frozen=True)
class Picture:
    """A decoded picture: `width`, `height` of the upright original in pixels, `pixels` uint8 (h, w, 3) RGB.

    The pixels are upright too, and may be smaller than the original, but no side shorter than was asked for
    unless the original's is, or it is a strip of more than 32 to 1.
    """

    format: str
    width: int
    height: int
    pixels: Pixels


@dataclass(frozen=True)
class Fault:
    """Why there is no picture: reason code, value and bound for people, and what the header said."""

    reason: FaultReason
    detail: str
    format: str | None = None
    width: int | None = None
    height: int | None = None


class _Refused(Exception):
    """Carries a fault out of a decoder."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.detail)
        self.fault = fault


def decode(data: bytes, max_pixels: int, scale_to: int) -> Picture | Fault:
    """Decode the first frame upright, no side under `scale_to` pixels where the original has them.

    The size in the header is held to `max_pixels` before any pixel is decoded. Transparent pixels lie on
    white, 16 bits become the upper 8, CMYK becomes RGB without its colour profile. Never raises, whatever
    `data` holds.
    """
    if not data:
        return Fault("image_not_image", "0 bytes; at least a signature")
    kind = kind_of(data)
    if kind is None:
        return Fault("image_not_image", f"begins with {data[:16]!r}; no signature of a picture")
    if kind not in DECODED:
        return Fault("image_unsupported", f"{kind}; of {', '.join(DECODED)}", kind)
    try:
        return _decode_kind(data, kind, max_pixels, scale_to)
    except _Refused as refused:
        return refused.fault
    except Exception as error:  # codecs raise anything on hostile bytes, and one picture may not stop a part
        return _fault_of(error, data, kind)


def _decode_kind(data: bytes, kind: str, max_pixels: int, scale_to: int) -> Picture:
    if kind == "jpeg":
        picture = _fast_jpeg(data, max_pixels, scale_to)
        if picture is not None:
            return picture
    return _with_pillow(data, kind, max_pixels, scale_to)


def _fast_jpeg(data: bytes, max_pixels: int, scale_to: int) -> Picture | None:
    """The picture by libjpeg-turbo's scaled decode; null where Pillow has to decide.

    Strict, since otherwise a cut file gives grey pixels without a word; but strict also refuses files with
    harmless faults. Scales of less than 2 are left alone: they are slower than a full decode, and move the
    perceptual hash (803 photos: 92 % against 100 % equal to that of the full decode).
    """
    try:
        height, width, colours, _ = simplejpeg.decode_jpeg_header(data)
    except ValueError:
        return None
    _hold(width, height, "jpeg", max_pixels)
    scans = data.count(b"\xff\xda")
    if scans * width * height > _PASSES * max_pixels:
        detail = f"{scans} scans of {width}x{height} pixels; at most {_PASSES} times {max_pixels}"
        raise _Refused(Fault("image_bomb", detail, "jpeg", width, height))
    if colours in ("CMYK", "YCCK"):
        return None
    try:
        pixels = simplejpeg.decode_jpeg(data, "RGB", min_height=scale_to, min_width=scale_to, min_factor=2)
    except ValueError:
        return None
    return _upright(pixels, "jpeg", width, height, orientation(_jpeg_exif(data)))


def _with_pillow(data: bytes, kind: str, max_pixels: int, scale_to: int) -> Picture:
    with Image.open(io.BytesIO(data), formats=(kind.upper(),)) as image:
        tile: tuple[int, int] = getattr(image, "_tile_size", image.size)  # of a TIFF: can exceed its picture
        for width, height in (image.size, tile):
            _hold(width, height, kind, max_pixels)
        image.load()
        width, height = image.size  # after load: Pillow turns TIFFs upright by itself, then
        turn = 1 if kind == "tiff" else orientation(image.info.get("exif", b""))
        pixels = np.asarray(_flattened(_reduced(_graded(image), scale_to)))
    return _upright(pixels, kind, width, height, turn)


def _hold(width: int, height: int, kind: str, max_pixels: int) -> None:
    if width * height > max_pixels:
        detail = f"{width}x{height} pixels; at most {max_pixels}"
        raise _Refused(Fault("image_bomb", detail, kind, width, height))


def _graded(image: Image.Image) -> Image.Image:
    """The picture in a mode of 8 bits a channel whose neighbours can be averaged."""
    if image.mode.startswith("I;16"):
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.mode in ("I", "F"):  # no bound is defined: black and white are the data's own extremes
        values = np.nan_to_num(np.asarray(image, np.float64))
        span = float(np.ptp(values)) or 1.0
        return Image.fromarray(((values - values.min()) * (255 / span)).astype(np.uint8))
    if "transparency" in image.info:
        return image.convert("RGBA")
    return image.convert(_GRADED[image.mode]) if image.mode in _GRADED else image


def _reduced(image: Image.Image, scale_to: int) -> Image.Image:
    """Averaged over whole blocks of pixels, as far as the shorter side stays `scale_to`."""
    factor = max(min(image.size) // scale_to, 1)
    across, down = (max(factor, -(-side // _LONGEST)) for side in image.size)
    return image if across == down == 1 else image.reduce((across, down))


def _flattened(image: Image.Image) -> Image.Image:
    """RGB, what is transparent on white."""
    if image.mode not in ("RGBA", "LA"):
        return image.convert("RGB")
    solid = image.convert("RGBA")
    paper = Image.new("RGBA", solid.size, "white")
    return Image.alpha_composite(paper, solid).convert("RGB")


def _jpeg_exif(data: bytes) -> bytes:
    """The payload of a JPEG's EXIF segment, empty without one."""
    at = data.find(b"Exif\0\0", 0, _EXIF_BYTES)
    if at < 6 or data[at - 4 : at - 2] != b"\xff\xe1":
        return b""
    return data[at : at + _EXIF_BYTES]


def _upright(pixels: Pixels, kind: str, width: int, height: int, turn: int) -> Picture:
    """Undo the orientation (EXIF 2.3, section 4.6.4 A) on the pixels and on the size of the original."""
    if turn in _SIDEWAYS:
        pixels, width, height = pixels.transpose(1, 0, 2), height, width
    if turn in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if turn in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return Picture(kind, width, height, np.ascontiguousarray(pixels))


def _fault_of(error: Exception, data: bytes, kind: str) -> Fault:
    if kind == "jpeg" and jpeg_bits(data) not in (0, 8):
        return Fault("image_unsupported", f"jpeg of {jpeg_bits(data)} bits a sample; of 8", kind)
    said = f"{type(error).__name__}: {error}"
    if isinstance(error, UnidentifiedImageError):
        said = f"{type(error).__name__}: not a {kind} that can be read"  # the message holds a memory address
    message = said.lower()
    cut = isinstance(error, EOFError) or "truncat" in message or "premature" in message
    if cut or ends_early(data, kind):
        return Fault("image_truncated", f"{len(data)} bytes; {said}", kind)
    return Fault("image_failed", said, kind)
