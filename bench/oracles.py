"""The written rules once more, slowly and by the letter, for the fuzzer to hold the parsers against."""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Iterator
from html.entities import html5

from filters.normalise import simplified

REFUSING = ("noai", "noimageai", "noindex", "noimageindex", "none")
VALUED = ("max-snippet", "max-image-preview", "max-video-preview", "unavailable_after")
NAME_START = "abcdefghijklmnopqrstuvwxyz_"
NAME = NAME_START + "0123456789.-"

LETTERS = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
DIGITS = b"0123456789"
HEX = b"0123456789abcdefABCDEF"
STAR, END = -1, -2

# RFC 3986, appendix B, with the scheme of 3.1
URI = re.compile(r"(?:([A-Za-z][A-Za-z0-9+.-]*):)?(?://([^/?#]*))?([^?#]*)(?:\?([^#]*))?(?:#(.*))?", re.DOTALL)

HAN = (
    (0x3400, 0x4DBF),
    (0x4E00, 0x9FFF),
    (0xF900, 0xFAFF),
    (0x20000, 0x2A6DF),
    (0x2A700, 0x2EBEF),
    (0x2F800, 0x2FA1F),
    (0x30000, 0x323AF),
)
CJK_MARKS = ((0x3001, 0x303F), (0x3041, 0x30FF), (0xFF01, 0xFF0F), (0xFF1A, 0xFF20), (0xFF3B, 0xFF40), (0xFF5B, 0xFF9F))


def header_refuses(value: str, token: str) -> bool:
    """X-Robots-Tag: comma parts each on their own, agents open a scope, directives with a value name nobody."""
    ours = True
    for part in value.lower().split(","):
        rest = part
        while ":" in rest:
            colon = rest.index(":")
            head, rest = rest[:colon].strip(), rest[colon + 1 :]
            if head in VALUED:
                rest = ""
            elif head in REFUSING:
                rest = head
            elif _is_agent(head):
                ours = head.split("/")[0] in ("*", token)
        if ours and any(word in REFUSING for word in _words(rest)):
            return True
    return False


def _is_agent(head: str) -> bool:
    name = head.split("/")[0]
    return name == "*" or (name[:1] in tuple(NAME_START) and all(char in NAME for char in name))


def _words(text: str) -> list[str]:
    return "".join(" " if char in ";\"'" or char.isspace() else char for char in text).split()


def robots_allow(body: bytes, path: str, token: str) -> bool:
    """RFC 9309 2.2: the groups of our token together, else those of `*`; of the matching rules the longest."""
    groups = list(_groups(body))
    chosen = [rules for tokens, rules in groups if token.encode() in tokens]
    chosen = chosen or [rules for tokens, rules in groups if b"*" in tokens]
    octets = tuple(symbol for symbol, _ in _symbols(path.encode()))
    best, allowed = -1, True
    for allow, value in (rule for rules in chosen for rule in rules):
        symbols = list(_symbols(value))
        length = sum(size for _, size in symbols)
        pattern = [STAR if sign == b"*"[0] and size == 1 else sign for sign, size in symbols]
        if symbols[-1] == (b"$"[0], 1):
            pattern[-1] = END
        if length >= best and _match(tuple(pattern), octets):
            allowed = allow or (allowed and length == best)
            best = length
    return allowed


def _groups(body: bytes) -> Iterator[tuple[set[bytes], list[tuple[bool, bytes]]]]:
    if body[:3] == b"\xef\xbb\xbf":
        body = body[3:]
    tokens: set[bytes] = set()
    rules: list[tuple[bool, bytes]] = []
    naming = False
    for line in body.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n"):
        key, colon, value = line.split(b"#")[0].partition(b":")
        key, value = key.strip().lower(), value.strip()
        if not colon or key not in (b"user-agent", b"allow", b"disallow"):
            continue
        if key == b"user-agent":
            if not naming:
                yield tokens, rules
                tokens, rules = set(), []
            tokens.add(_product(value))
        elif value:
            rules.append((key == b"allow", value))
        naming = key == b"user-agent"
    yield tokens, rules


def _product(value: bytes) -> bytes:
    if value.split()[:1] == [b"*"]:
        return b"*"
    end = 0
    while end < len(value) and (value[end] in LETTERS or value[end] in b"_-"):
        end += 1
    return b"" if value[end : end + 1] and value[end] in DIGITS else value[:end].lower()


def _symbols(path: bytes) -> Iterator[tuple[int, int]]:
    """The octets that a path means, each with the length that it has in the encoded form."""
    place = 0
    while place < len(path):
        octet = path[place]
        code = path[place + 1 : place + 3]
        if octet == b"%"[0] and len(code) == 2 and all(digit in HEX for digit in code):
            meant = int(code, 16)
            yield meant, 1 if meant in LETTERS + DIGITS + b"-._~" else 3
            place += 3
        else:
            yield octet, 1 if 0x21 <= octet <= 0x7E else 3
            place += 1


def _match(pattern: tuple[int, ...], path: tuple[int, ...]) -> bool:
    """Every way of reading the wildcards is tried: `ways` are the places of the path that are reached."""
    ways = {0}
    for sign in pattern:
        if sign == END:
            return len(path) in ways
        if sign == STAR:
            ways = set(range(min(ways, default=len(path) + 1), len(path) + 1))
        else:
            ways = {at + 1 for at in ways if at < len(path) and path[at] == sign}
    return bool(ways)


def joined(base: str, reference: str) -> str:
    """RFC 3986 5.2.2, not strict about a scheme that is the base's own; its `#` keeps a space at the end."""
    _, base_authority, base_path, base_query = _parts(base)
    scheme, authority, path, query = _parts(reference)
    own = base.split(":")[0]
    if scheme is not None and scheme.lower() != own:
        return reference + "#"
    if authority is None:
        authority = base_authority
        if not path:
            path, query = base_path, base_query if query is None else query
        elif not path.startswith("/"):
            path = base_path[: base_path.rindex("/") + 1] + path
    return f"{own}://{authority}{path}" + ("" if query is None else f"?{query}") + "#"


def _parts(url: str) -> tuple[str | None, str | None, str, str | None]:
    found = URI.fullmatch(url)
    assert found is not None, "the expression takes every text"
    return found[1], found[2], found[3], found[4]


def host_kind(host: str) -> str:
    """What a host is, read by hand: `v4`, `v6`, `name`, or what is wrong with it."""
    if ":" in host:
        return "v6" if all(char in "0123456789abcdef:" for char in host) else "not IPv6"
    labels = host.split(".")
    if all(label.isascii() and label.isdigit() for label in labels):
        plain = len(labels) == 4 and all(str(int(label)) == label and int(label) < 256 for label in labels)
        return "v4" if plain else "numbers that are no address"
    last = labels[-1]
    if last.isdigit() or (last[:2] == "0x" and all(char in "0123456789abcdef" for char in last[2:])):
        return "a number at the end"
    sound = all(label and len(label) < 64 and all(char in NAME and char != "." for char in label) for label in labels)
    return "name" if sound and len(host) < 254 else "not a name"


def normal(raw: str) -> str:
    """The normal form, character by character, until nothing changes."""
    while True:
        text = _fold(unicodedata.normalize("NFC", _visible(_mended(_entities(raw)))))
        text = simplified(_closed(" ".join(text.split())))
        if text == raw:
            return text
        raw = text


def _entities(text: str) -> str:
    """HTML's entities with their semicolon, `&nbsp` also without; an ampersand escaped n times is one."""
    while "&amp;amp;" in text:
        text = text.replace("&amp;amp;", "&amp;")
    out, place = [], 0
    while place < len(text):
        end = _entity_end(text, place) if text[place] == "&" else 0
        out.append(html.unescape(text[place:end]) if end else text[place])
        place = end or place + 1
    return "".join(out)


def _entity_end(text: str, start: int) -> int:
    """Where the entity at `start` ends; 0 where there is none."""
    end = text.find(";", start, start + 34)
    body = text[start + 1 : end] if end > 0 else ""
    number = body[1:] if body[:1] == "#" else ""
    if number[:1] in ("x", "X"):
        digits = number[1:]
        sound = 0 < len(digits) < 7 and all(char in "0123456789abcdefABCDEF" for char in digits)
    elif body[:1] == "#":
        sound = 0 < len(number) < 8 and all(char in "0123456789" for char in number)
    else:
        sound = 1 < len(body) < 33 and body.isascii() and body.isalnum() and body[0].isalpha()
    if sound:
        return end + 1
    return start + 5 if text.startswith("&nbsp", start) else 0


def _mended(text: str) -> str:
    """UTF-8 that was read as Windows-1252, where a pair or two triples show it and all of it is UTF-8."""
    octets = [_octet(char) for char in text]
    if not _looks_broken(text, octets) or None in octets:
        return text
    try:
        return bytes(octet for octet in octets if octet is not None).decode("utf-8")
    except UnicodeDecodeError:
        return text


def _octet(char: str) -> int | None:
    try:
        return char.encode("cp1252")[0]
    except UnicodeEncodeError:
        return ord(char) if ord(char) < 256 else None


def _looks_broken(text: str, octets: list[int | None]) -> bool:
    follows = [octet is not None and 0x80 <= octet < 0xC0 for octet in octets] + [False, False]
    if any(char in "ÂÃ" and follows[place + 1] for place, char in enumerate(text)):
        return True
    triples, place = 0, 0
    while place < len(text):
        hit = "à" <= text[place] <= "ï" and follows[place + 1] and follows[place + 2]
        triples, place = triples + hit, place + (3 if hit else 1)
    return triples > 1


def _visible(text: str) -> str:
    return "".join(char for char in text if char.isspace() or unicodedata.category(char) not in ("Cc", "Cf", "Cs"))


def _fold(text: str) -> str:
    return "".join(
        unicodedata.normalize("NFKC", char)
        if "\uff01" <= char <= "\uff5e" and unicodedata.normalize("NFKC", char).isalnum()
        else char
        for char in text
    ).replace("\u3000", " ")


def _closed(text: str) -> str:
    """Without the spaces that stand between two CJK characters."""
    return "".join(
        char
        for place, char in enumerate(text)
        if not (char == " " and 0 < place < len(text) - 1 and _is_cjk(text[place - 1]) and _is_cjk(text[place + 1]))
    )


def _is_cjk(char: str) -> bool:
    return any(first <= ord(char) <= last for first, last in HAN + CJK_MARKS)


KNOWN_ENTITIES = tuple(f"&{name}" for name in sorted(html5) if name.endswith(";"))
