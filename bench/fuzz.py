"""What strangers send, made up by the million: `python -m bench.fuzz [--inputs 1000000] [--seed 0]`.

Every input goes through a parser and is held against the written rules in bench.oracles. Prints what was tried and how
long it took; ends with 1 where a parser raised what it must not, or disagreed.
"""

from __future__ import annotations

import argparse
import gzip
import sys
import time
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

from actors.web.consent import check_headers, refusal
from actors.web.failure import FetchFailure
from actors.web.robots import read_rules
from actors.web.target import Target, onward, parse
from app.show import say, table
from bench import oracles
from filters.blocked import BlockedUrls, prefix_fault
from filters.normalise import matching, normalise

SHOWN = 5
"""Faults that are told of one parser; the rest is counted."""

TOKENS = ("zeromill", "otherbot", "a_b-c")
ODD = (
    "\x00\t\n\r\x0b\x1c\x7f\x85\xa0\xad\u0130\u0301\u200b\u202e\u2028\u3000\ufeff"
    "\uff21\uff11\u2460\u3002\ud800\ufffd\U0001f600"
)
HEADER = (
    *("noai", "noimageai", "noindex", "noimageindex", "none", "all", "nofollow"),
    *("max-snippet", "max-image-preview", "max-video-preview", "unavailable_after"),
    *("zeromill", "ZeroMill/1.0", "otherbot", "a_b-c", "*", "zero mill", "2010 15:00:00 GMT", "large", "-1", "9bot"),
    *(":", ",", ", ", ": ", " ", ";", "/", '"', "'", "=", "\t", ",,", "::", "NoAI", "noaI"),
)
PATHS = (
    *("/", "//", "a", "b", "A", ".", "..", "...", "%", "%2", "%2F", "%2f", "%2e", "%2E", "%61", "%41", "%25", "%2A"),
    *("%24", "%zz", "%00", "%e7%8c%ab", "猫", "ü", "é", "?", "&", "=", "#", ";", "+", ":", "@", "\\", "[", "]", "{"),
    *(" ", "*", "$", "~", "!", "'", '"', "(", "|", "^", "`", "<", "x/y", "a.jpg", "ツ"),
)
HOSTS = (
    *(
        "h",
        "example.com",
        "H.Example",
        "127.0.0.1",
        "0177.0.0.1",
        "0x7f.1",
        "2130706433",
        "1.2.3",
        "localhost",
        "xn--a",
    ),
    *("bücher.example", "猫.jp", "１２７.0.0.1", "①.2.3.4", "[::1]", "[::ffff:10.0.0.1]", "[fe80::1%25lo]", "[v1.a]"),
    *(".", "..", "-", "_", ":", ":80", ":443", ":0", ":99999", ":8o", "@", "user:pw@", "%41", "[", "]", "。", "a" * 64),
)
SCHEMES = ("http://", "https://", "HTTP://", "//", "http:", "http:/", "ftp://", "file://", "javascript:", "", "", "")
ROBOTS = (
    *("User-agent: ", "user-agent:", "USER-AGENT :", "Disallow: ", "Allow: ", "disallow:", "allow :", "Sitemap: x"),
    *("zeromill", "zeromill/2", "zeromill2", "ZEROMILL-news", "zero", "otherbot", "*", "*bot", "a_b-c", "a_b-c*"),
    *("\n", "\n", "\n", "\r\n", "\r", "\n\n", "#", " # x", "\ufeff", "\x00", " ", "\t", "Crawl-delay: 1\n", ":"),
)
TEXTS = (
    *("&", "amp;", "am", "p;", "&amp;", "&nbsp", "&nbsp;", "&lt;", "&#38;", "&#x26;", "&#x200b;", "&#0;", "&#129;"),
    *(
        "&#99999999;",
        "&notit;",
        "&copy",
        "Ã",
        "©",
        "â",
        "€",
        "™",
        "ä¸\xad",
        "å›½",
        "Â",
        "CAFÉ’S",
        "図",
        "薴",
        "乾",
        "隆",
    ),
    *(
        "臺灣",
        "后",
        "裡",
        "，",
        "。",
        "、",
        "の",
        "カ",
        "ｶ",
        "한",
        "한",
        "Ａ",
        "ｚ",
        "１",
        "！",
        "\u3000",
        "  ",
        " ",
        "\n",
    ),
    *("e", "\u0301", "\u0327", "a dog", "iPhone", "\xa0", "\ufeff", "\u2060", "\u00e9", "Å", "ﬁ", "½", "\u1100\u1161"),
)


@dataclass(frozen=True)
class Subject:
    """A parser: what is made up for it, and what is wrong with how it took that (None: nothing)."""

    name: str
    make: Callable[[Random], tuple[str, ...]]
    judge: Callable[..., str | None]


@dataclass(frozen=True)
class Tried:
    """What came of one subject; `faults` of at most five inputs, `wrong` counts all."""

    name: str
    inputs: int
    seconds: float
    wrong: int
    faults: tuple[str, ...]


def fuzz(inputs: int, seed: int) -> list[Tried]:
    """So many inputs, the same share of them to every subject; the same ones for the same seed."""
    return [_try(subject, inputs // len(SUBJECTS), Random(f"{seed} {subject.name}")) for subject in SUBJECTS]


def _try(subject: Subject, inputs: int, random: Random) -> Tried:
    start = time.perf_counter()
    faults: list[str] = []
    wrong = 0
    for _ in range(inputs):
        made = subject.make(random)
        try:
            fault = subject.judge(*made)
        except Exception as error:  # any at all is what is looked for here
            fault = f"{type(error).__name__}: {error}"
        if fault:
            wrong += 1
            if len(faults) < SHOWN:
                faults.append(f"{fault}: {', '.join(map(ascii, made))}")
    return Tried(subject.name, inputs, time.perf_counter() - start, wrong, tuple(faults))


def _joined(random: Random, pieces: Sequence[str], most: int) -> str:
    """Pieces in a row, now and then with a character that does not belong there, or one too few."""
    text = "".join(random.choices(pieces, k=random.randint(0, most)))
    for _ in range(random.choice((0, 0, 0, 1, 2))):
        at = random.randint(0, len(text))
        text = text[:at] + random.choice((random.choice(ODD), chr(random.randrange(0x3000)), "")) + text[at + 1 :]
    return text


def _make_header(random: Random) -> tuple[str, ...]:
    return _joined(random, HEADER, 14), random.choice(TOKENS)


def _judge_header(value: str, token: str) -> str | None:
    word = refusal(value, token)
    if (word is not None) is not oracles.header_refuses(value, token):
        return f"refusal says {word}"
    try:
        check_headers({"x-robots-tag": ["all", value], "tdm-reservation": ["0"]}, token)
    except FetchFailure as failure:
        evidence = failure.consent or ""
        sound = word and failure.reason == "fetch_opted_out" and evidence.isascii() and evidence.isprintable()
        return None if sound else "a refusal without its evidence"
    return "a refusal is lost" if word else None


def _make_robots(random: Random) -> tuple[str, ...]:
    path = "/" + _joined(random, PATHS, 6)
    lines = [_robots_line(random, path) for _ in range(random.randint(0, 7))]
    return "".join(lines) + _joined(random, ROBOTS, 3), path, random.choice(TOKENS)


def _robots_line(random: Random, path: str) -> str:
    """A group's head, a rule that the path may break, or anything."""
    kind = random.random()
    if kind < 0.3:
        return f"User-agent: {random.choice((*TOKENS, *TOKENS, '*', '*', 'zero', 'zeromill-news', 'zeromill/1'))}\n"
    if kind > 0.9:
        return _joined(random, ROBOTS, 8)
    value = random.choice("/*") + _joined(random, PATHS, 4)
    if kind < 0.7:  # what is asked for, with a piece out of its middle
        start, end = sorted(random.choices(range(len(path) + 1), k=2))
        value = path[:start] + random.choice(("*", "", "**")) + path[end:] + random.choice(("", "$", "*"))
    return f"{random.choice(('Allow', 'Disallow', 'Disallow'))}: {value}\n"


def _judge_robots(text: str, path: str, token: str) -> str | None:
    target = _parsed("http://h.example" + path)
    if target is None:
        return "a path that is none"
    body = text.encode("utf-8", "surrogatepass")
    allows = read_rules(body).allows(target, token)
    if allows is not oracles.robots_allow(body, target.path, token):
        return f"allows says {allows}"
    if len(text) % 8 == 0 and read_rules(gzip.compress(body, 1), "gzip").allows(target, token) is not allows:
        return "another answer when it is packed"
    return None


def _make_url(random: Random) -> tuple[str, ...]:
    return _url(random), random.choice((_url(random), _joined(random, PATHS, 6)))


def _url(random: Random) -> str:
    """A URL, every other of which has a sound beginning."""
    scheme, host = random.choice(SCHEMES), _joined(random, HOSTS, 2)
    if random.random() < 0.5:
        scheme, host = random.choice(SCHEMES[:4]), random.choice(HOSTS[:2]) + _joined(random, HOSTS[14:], 1)
    return scheme + host + random.choice(("/", "/", "", "?")) + _joined(random, PATHS, 6)


def _judge_url(url: str, location: str) -> str | None:
    target = _parsed(url)
    if target is not None:
        fault = _target_fault(target)
        if fault:
            return fault
    here = target or Target("https", "h.example", 443, "/a/b;c?d/e")
    return _onward_fault(here, location)


def _target_fault(target: Target) -> str | None:
    """What is wrong with a request: every way of reading its URL gives the same one."""
    url = target.url
    read = oracles.URI.fullmatch(url)
    if _parsed(url) != target or read is None:
        return "reads differently when it is read again"
    if read[1] != target.scheme or read[2] != target.authority or read[5] is not None:
        return "reads differently by RFC 3986"
    if not all("!" <= char <= "~" and char not in '"<>\\^`{|}#' for char in url) or "@" in target.authority:
        return "not plain ASCII"
    kind = oracles.host_kind(target.host)
    if kind not in ("name", "v4", "v6"):
        return kind
    segments = read[3].lower().replace("%2e", ".").split("/")
    if not read[3].startswith("/") or "." in segments or ".." in segments or not 0 < target.port < 65536:
        return "dots in the path, or no port"
    if prefix_fault(url) or not BlockedUrls([url]).shut(url) or BlockedUrls(["http://other.example/"]).shut(url):
        return "a block list reads another URL"
    return None


def _onward_fault(here: Target, location: str) -> str | None:
    octets = location.encode("utf-8", "replace").decode("latin-1")
    try:
        there: Target | None = onward(here, octets)
    except FetchFailure:
        there = None
    if there is not None and _target_fault(there):
        return _target_fault(there)
    plain = octets.encode("latin-1").decode().strip("".join(map(chr, range(0x21))))
    plain = "".join(char for char in plain if char not in "\t\r\n")
    expected = _parsed(oracles.joined(here.url, plain))
    return None if there == expected else f"onward to {there}, not to {expected}"


def _parsed(url: str) -> Target | None:
    try:
        return parse(url)
    except FetchFailure:
        return None


def _make_text(random: Random) -> tuple[str, ...]:
    return (_joined(random, TEXTS, 12),)


def _judge_text(raw: str) -> str | None:
    norm = normalise(raw)
    if norm != oracles.normal(raw):
        return f"normal form {norm!a}"
    if normalise(norm) != norm or not unicodedata.is_normalized("NFC", norm):
        return "not at rest"
    if norm != norm.strip() or "  " in norm or any(unicodedata.category(char) in ("Cc", "Cf", "Cs") for char in norm):
        return "spaces or control characters are left"
    return "no word list could match it" if matching(norm) != matching(matching(norm)) else None


SUBJECTS = (
    Subject("headers", _make_header, _judge_header),
    Subject("robots.txt", _make_robots, _judge_robots),
    Subject("URLs and redirects", _make_url, _judge_url),
    Subject("texts", _make_text, _judge_text),
)


def main(argv: Sequence[str] | None = None) -> int:
    """Fuzzes, and says what came of it."""
    reader = argparse.ArgumentParser(prog="python -m bench.fuzz", description=(__doc__ or "").partition(":")[0])
    reader.add_argument("--inputs", type=int, default=1_000_000)
    reader.add_argument("--seed", type=int, default=0)
    asked = reader.parse_args(argv)
    tried = fuzz(asked.inputs, asked.seed)
    rows = [(one.name, one.inputs, round(one.seconds, 1), one.wrong) for one in tried]
    table(("parser", "inputs", "seconds", "disagreements"), rows)
    for one in tried:
        for fault in one.faults:
            say(f"{one.name}: {fault}")
    return 1 if any(one.wrong for one in tried) else 0


if __name__ == "__main__":
    sys.exit(main())
