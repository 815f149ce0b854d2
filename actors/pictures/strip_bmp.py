"""BMP without what stands behind its pixels."""

from __future__ import annotations

import struct

_PLAIN = (0, 3, 6)  # compressions whose pixels take what their number and depth say
_OLD_HEADER = 12  # bytes; it has sides of 16 bits and no compression


def strip_bmp(data: bytes) -> bytes:
    """Left is all up to the last pixel; a profile behind it goes too, which decoders of BMP do not read."""
    if len(data) < 54:
        return data
    (begin, header) = struct.unpack_from("<II", data, 10)
    if header == _OLD_HEADER:
        width, height, _, bits = struct.unpack_from("<HHHH", data, 18)
        compression = 0
    else:
        width, height, _, bits, compression, size = struct.unpack_from("<iiHHII", data, 18)
    rows = -(-width * bits // 32) * 4 * abs(height)
    end = begin + (rows if compression in _PLAIN else size)
    return data[:end] if 54 <= end < len(data) else data
