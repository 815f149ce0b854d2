"""Pictures without the metadata that may hold private data, taken out of the container without decoding."""

from __future__ import annotations

from collections.abc import Callable

from actors.pictures.kinds import kind_of
from actors.pictures.strip_avif import strip_avif
from actors.pictures.strip_bmp import strip_bmp
from actors.pictures.strip_gif import strip_gif
from actors.pictures.strip_jpeg import strip_jpeg
from actors.pictures.strip_png import strip_png
from actors.pictures.strip_tiff import strip_tiff
from actors.pictures.strip_webp import strip_webp

_BY_KIND: dict[str, Callable[[bytes], bytes]] = {
    "jpeg": strip_jpeg,
    "png": strip_png,
    "gif": strip_gif,
    "webp": strip_webp,
    "avif": strip_avif,
    "heif": strip_avif,
    "tiff": strip_tiff,
    "bmp": strip_bmp,
}


def strip(data: bytes) -> bytes:
    """The picture without what is not needed to see it; `data` itself where nothing has to go.

    Pixels, colour (ICC profile, gamma), animation and the orientation stay. EXIF with its places, thumbnails and
    makers' notes goes, and so do XMP, IPTC, Photoshop's resources, comments, texts, other pictures behind the
    first and whatever else no decoder needs. Provenance (C2PA) goes too: it names people and places, holds
    thumbnails, and is signed over bytes that are no longer there. Linear in time; never raises.
    """
    kind = kind_of(data)
    cleaner = _BY_KIND.get(kind) if kind else None
    return cleaner(data) if cleaner else data
