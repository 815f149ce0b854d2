"""One spelling for one text: what `norm`, whose hash is the text's id, is made of.

`norm` is the raw text without HTML entities, mojibake, full-width letters and digits, control and zero-width
characters and superfluous spaces, in Unicode NFC and in simplified Chinese (phrase-aware `t2s`, which changes
characters and not words). It keeps case and Chinese punctuation: NFKC would leave a mixed style, `,` next to `。`.
"""

import html
import re
import unicodedata
from functools import cache

import opencc

_HAN = (
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0002a6df\U0002a700-\U0002ebef"
    "\U0002f800-\U0002fa1f\U00030000-\U000323af"
)
# Hangul is left out: Korean puts spaces between words.
_CJK = _HAN + "\u3001-\u303f\u3041-\u30ff\uff01-\uff0f\uff1a-\uff20\uff3b-\uff40\uff5b-\uff9f"

_PLAIN = re.compile(r"[!-%'-~]+(?: [!-%'-~]+)*")  # printable ASCII, single spaces, no "&": nothing to do
_ENTITY = re.compile(r"&(?:#[0-9]{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});|&nbsp")
_ESCAPED_AMPERSANDS = re.compile(r"&(?:amp;)+")
_HAS_HAN = re.compile(f"[{_HAN}]")
_SPACE_IN_CJK = re.compile(f"(?<=[{_CJK}]) (?=[{_CJK}])")
_SPACES = re.compile(r"\s+")
# General categories Cc (white space aside), Cf and Cs as of Unicode 14 (Python 3.11); a test holds this list to them.
_INVISIBLE = re.compile(
    "[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\xad\u0600-\u0605\u061c\u06dd\u070f\u0890\u0891\u08e2\u180e\u200b-\u200f"
    "\u202a-\u202e\u2060-\u2064\u2066-\u206f\ud800-\udfff\ufeff\ufff9-\ufffb\U000110bd\U000110cd"
    "\U00013430-\U0001343f\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0001\U000e0020-\U000e007f]"
)
_WIDE = {wide: wide - 0xFEE0 for wide in (*range(0xFF10, 0xFF1A), *range(0xFF21, 0xFF3B), *range(0xFF41, 0xFF5B))}
_WIDE[0x3000] = 0x20
# What a byte of UTF-8 looks like when it was read as Windows-1252 (Latin-1 where that has no character).
_BYTES = {byte: byte for byte in range(256)} | {
    ord(bytes([byte]).decode("cp1252")): byte
    for byte in range(0x80, 0xA0)
    if byte not in (0x81, 0x8D, 0x8F, 0x90, 0x9D)
}
_CONTINUATION = "[" + re.escape("".join(chr(seen) for seen, byte in _BYTES.items() if 0x80 <= byte < 0xC0)) + "]"
# One such pair after Â or Ã is telling, else it takes two triples: "CAFÉ’S" is what somebody wrote.
_MOJIBAKE = re.compile(f"[ÂÃ]{_CONTINUATION}|(?:[à-ï]{_CONTINUATION}{{2}}.*){{2}}", re.DOTALL)


def normalise(raw: str) -> str:
    """The normal form of a text; idempotent, and the same on every machine."""
    text = raw
    # A step can bring to light what an earlier one looks for ("&am" + zero width + "p;"), so until nothing changes.
    while not _PLAIN.fullmatch(text):
        once = _pass(text)
        if once == text:
            break
        text = once
    return text


def matching(norm: str) -> str:
    """A text as lists of words are held against it: simplified Chinese, without case."""
    return simplified(norm).casefold()


def simplified(text: str) -> str:
    """The text in simplified Chinese characters; its words stay."""
    return str(_converter().convert(text)) if _HAS_HAN.search(text) else text


def _pass(text: str) -> str:
    if "&" in text:
        text = _ENTITY.sub(lambda found: html.unescape(found[0]), _ESCAPED_AMPERSANDS.sub("&amp;", text))
    text = _INVISIBLE.sub("", _read_as_utf8(text))
    text = unicodedata.normalize("NFC", text).translate(_WIDE)
    text = _SPACES.sub(" ", text).strip()
    return simplified(_SPACE_IN_CJK.sub("", text))


def _read_as_utf8(text: str) -> str:
    """The text that was meant, where UTF-8 was read as Windows-1252: only when all of it then is valid UTF-8."""
    if not _MOJIBAKE.search(text):
        return text
    try:
        return bytes(_BYTES[ord(character)] for character in text).decode("utf-8")
    except (KeyError, UnicodeDecodeError):
        return text


@cache
def _converter() -> opencc.OpenCC:
    return opencc.OpenCC("t2s")
