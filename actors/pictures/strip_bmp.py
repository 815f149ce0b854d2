"""BMP without what stands behind its pixels."""

from __future__ import annotations

import struct

_PLAIN = (0, 3, 6)  # compressions whose pixels take what their number and depth say
_OLD_HEADER = 12  # bytes; it has sides of 16 bits and no compression


def strip_bmp(data: bytes) -> bytes:
    """Left is all up to the last pixel; a profile behind it goes too, which decoders of BMP do not read."""
    if len(data) < 54:
        return data
    told, header = struct.unpack_from("<II", data, 10)
    if header == _OLD_HEADER:
        width, height, _, bits = struct.unpack_from("<HHHH", data, 18)
        compression = colours = 0
    else:
        width, height, _, bits, compression, colours = struct.unpack_from("<iiHHI12xI", data, 18)
    palette = 4 * (colours or 1 << bits) if bits <= 8 else 0
    begin = max(told, 14 + header + palette)  # decoders do not trust what is told
    end = begin + -(-width * bits // 32) * 4 * abs(height)
    return data[:end] if compression in _PLAIN and end >= 54 else data
