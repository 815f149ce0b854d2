"""robots.txt by the letter of RFC 9309, and by the examples that its authors publish."""

from __future__ import annotations

import gzip
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.web.failure import FetchFailure, Reason
from actors.web.robots import MOST_BYTES, Rules, excuse, read_rules
from actors.web.target import parse


def may(text: str | bytes, path: str, token: str = "zeromill") -> bool:
    body = text if isinstance(text, bytes) else text.encode()
    return read_rules(body).allows(parse("http://h.example" + path), token)


# RFC 9309 5.1
SIMPLE = """
User-Agent: *
Disallow: *.gif$
Disallow: /example/
Allow: /publications/

User-Agent: foobot
Disallow:/
Allow:/example/page.html
Allow:/example/allowed.gif

User-Agent: barbot
User-Agent: bazbot
Disallow: /example/page.html

User-Agent: quxbot
"""


@pytest.mark.parametrize(
    ("token", "path", "allowed"),
    [
        ("zeromill", "/publications/a", True),
        ("zeromill", "/a", True),
        ("zeromill", "/example/a", False),
        ("zeromill", "/publications/a.gif", True),  # /publications/ is longer
        ("zeromill", "/a.gif", False),
        ("zeromill", "/a.gif?b", True),
        ("foobot", "/a", False),
        ("foobot", "/example/page.html", True),
        ("FooBot", "/example/allowed.gif", True),
        ("foobot", "/example/b.gif", False),
        ("barbot", "/example/page.html", False),
        ("bazbot", "/example/page.html", False),
        ("bazbot", "/example/b.gif", True),
        ("quxbot", "/example/page.html", True),
        ("quxbot", "/b.gif", True),
    ],
)
def test_the_simple_example_of_the_rfc(token: str, path: str, allowed: bool) -> None:
    assert may(SIMPLE, path, token) is allowed


def test_the_longest_match_of_the_rfc_decides() -> None:
    text = "User-Agent: foobot\nAllow: /example/page/\nDisallow: /example/page/disallowed.gif\n"  # 5.2
    assert not may(text, "/example/page/disallowed.gif", "foobot")
    assert may(text, "/example/page/a.gif", "foobot")


@pytest.mark.parametrize(
    ("rule", "path"),
    [
        # RFC 9309 2.2.2, the table
        ("/foo/bar?baz=quz", "/foo/bar?baz=quz"),
        ("/foo/bar?baz=https://foo.bar", "/foo/bar?baz=https%3A%2F%2Ffoo.bar"),
        ("/foo/bar?baz=https%3a%2F%2Ffoo.bar", "/foo/bar?baz=https://foo.bar"),
        ("/foo/bar/ツ", "/foo/bar/%E3%83%84"),
        ("/foo/bar/%e3%83%84", "/foo/bar/ツ"),
        ("/foo/bar/%62%61%7A", "/foo/bar/baz"),
        # RFC 9309 2.2.3: special characters taken by their letter
        ("/path/file-with-a-%2A.html", "/path/file-with-a-*.html"),
        ("/path/foo-%24", "/path/foo-$"),
    ],
)
def test_encoded_or_not_a_path_is_the_same(rule: str, path: str) -> None:
    assert not may(f"User-agent: *\nDisallow: {rule}\n", path)
    assert may(f"User-agent: *\nDisallow: {rule}\n", "/foo/bar?other")
    assert may(f"User-agent: *\nDisallow: {rule}x\n", path)


def test_a_star_in_octets_is_no_wildcard() -> None:
    assert may("User-agent: *\nDisallow: /a%2Ab\n", "/axb")
    assert may("User-agent: *\nDisallow: /a%24\n", "/a")
    assert may("User-agent: *\nDisallow: /%%341\n", "/A")  # decoded once


# https://developers.google.com/search/docs/crawling-indexing/robots/robots_txt, matching of paths
FISH = "/fish /fish.html /fish/salmon.html /fishheads /fishheads/yummy.html /fish.php?id=anything"
PHP = "/index.php /filename.php /folder/filename.php /folder/filename.php?parameters /folder/any.php.file.html"
GOOGLE = [  # and one whose ends must not overlap
    ("/", "/ /any /any/thing?x", ""),
    ("/*", "/ /any /any/thing?x", ""),
    ("/$", "/", "/any"),
    ("/fish", FISH, "/Fish.asp /catfish /?id=fish /desert/fish"),
    ("/fish*", FISH, "/Fish.asp /catfish /?id=fish /desert/fish"),
    ("/fish/", "/fish/ /fish/?id=anything /fish/salmon.htm", "/fish /fish.html /animals/fish/ /Fish/Salmon.asp"),
    ("/*.php", f"{PHP} /filename.php/", "/ /windows.PHP"),
    ("/*.php$", "/filename.php /folder/filename.php", "/filename.php?p /filename.php/ /filename.php5 /windows.PHP"),
    ("/a*a$", "/aa /aba /a/a", "/a /aab"),
    ("/fish*.php", "/fish.php /fishheads/catfish.php?parameters", "/Fish.PHP"),
]


@pytest.mark.parametrize(("rule", "matched", "others"), GOOGLE, ids=[row[0] for row in GOOGLE])
def test_paths_match_as_in_googles_table(rule: str, matched: str, others: str) -> None:
    text = f"User-agent: *\nDisallow: {rule}\n"
    assert [path for path in matched.split() if may(text, path)] == []
    assert [path for path in others.split() if not may(text, path)] == []


@pytest.mark.parametrize(
    ("allow", "disallow", "path", "allowed"),
    [  # the same page, order of precedence
        ("/p", "/", "/page", True),
        ("/folder", "/folder", "/folder/page", True),
        ("/page", "/*.htm", "/page.htm", False),
        ("/page", "/*.ph", "/page.php5", True),
        ("/$", "/", "/", True),
        ("/$", "/", "/page.htm", False),
        # octets are counted in the encoded form
        ("/*.jpg$", "/ツ", "/ツ.jpg", False),
        ("/baz", "/%62%61%7A", "/baz", True),
    ],
)
def test_the_most_specific_rule_wins_and_allowing_wins_ties(
    allow: str, disallow: str, path: str, allowed: bool
) -> None:
    for lines in (f"Allow: {allow}\nDisallow: {disallow}", f"Disallow: {disallow}\nAllow: {allow}"):
        assert may(f"User-agent: *\n{lines}\n", path) is allowed


NAMES = """
user-agent: zeromill-news
disallow: /1
user-agent: *
disallow: /2
user-agent: zero
disallow: /3
user-agent: ZeroMill/2.0 (a version)
disallow: /4
user-agent: zeromill2
disallow: /5
user-agent: mill
disallow: /6
"""


@pytest.mark.parametrize(
    ("token", "shut"),
    [("zeromill", "4"), ("zeromill-news", "1"), ("zero", "3"), ("zerom", "2"), ("other", "2"), ("mill", "6")],
)
def test_a_group_speaks_to_the_whole_name_only(token: str, shut: str) -> None:
    assert [digit for digit in "123456" if not may(NAMES, f"/{digit}", token)] == [shut]


def test_groups_of_one_name_are_merged() -> None:
    text = "user-agent: zeromill\ndisallow: /c\nuser-agent: *\ndisallow: /e\nuser-agent: zeromill\ndisallow: /d\n"
    assert [path for path in ("/c", "/d", "/e") if not may(text, path)] == ["/c", "/d"]


def test_lines_that_the_rfc_does_not_know_do_not_end_a_group() -> None:
    text = "user-agent: a\nsitemap: https://h.example/s.xml\n\nCrawl-delay: 5\nuser-agent: zeromill\ndisallow: /\n"
    assert not may(text, "/", "a")
    assert not may(text, "/")


@pytest.mark.parametrize(
    "text",
    [
        "\ufeffUser-agent: *\nDisallow: /no",
        "USER-AGENT : *\r\n  DISALLOW  :/no  # why\r\n",
        "User-agent: * # all\rDisallow:\t/no\r",
        "User-agent: zeromill\nDisallow: /no # but\nAllow:\n",
        b"\xff\xfe junk\nUser-agent: *\n\x00\x01\nDisallow: /no\xe9\nDisallow: /no",
    ],
)
def test_lines_are_read_in_every_dress(text: str | bytes) -> None:
    assert not may(text, "/no/a.jpg")
    assert may(text, "/yes.jpg")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Disallow: /",  # of nobody
        "User-agent: *\nDisallow:",
        "User-agent: *\nDisallow: a.jpg",  # no path
        "User-agent:\nDisallow: /",
        "User-agent: *bot\nDisallow: /",
        "<html><body>User-agent: *\nDisallow: /</body></html>",
        "User-agent: *\nDisallow /",
        "User-agent: *\nDisallow: /".encode("utf-16"),
    ],
)
def test_what_is_no_rule_forbids_nothing(text: str | bytes) -> None:
    assert may(text, "/a.jpg")


def test_500_kib_are_read_and_no_half_line() -> None:
    start = b"User-agent: *\nDisallow: /no/\n"
    filling = b"#" * (MOST_BYTES - len(start) - len(b"\nDisallow: /")) + b"\nDisallow: /"
    body = start + filling + b"yes/but/longer\n"
    assert may(body, "/other")
    assert not may(body, "/no/a")


PLAIN = b"User-agent: *\nDisallow: /no/\n"


def _raw_deflate(body: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(body) + packer.flush()


@pytest.mark.parametrize(
    ("body", "coding"),
    [
        (gzip.compress(PLAIN), "gzip"),
        (gzip.compress(PLAIN), " X-GZIP "),
        (zlib.compress(PLAIN), "deflate"),
        (_raw_deflate(PLAIN), "deflate"),
        (PLAIN, "identity"),
        (gzip.compress(PLAIN + b"Disallow: /")[:-9], "gzip"),  # cut off
    ],
)
def test_a_body_that_was_sent_packed_is_unpacked(body: bytes, coding: str) -> None:
    rules = read_rules(body, coding)
    assert not rules.allows(parse("http://h/no/a"), "zeromill")
    assert rules.allows(parse("http://h/a"), "zeromill")


def test_a_packed_bomb_is_unpacked_to_the_limit_only() -> None:
    bomb = gzip.compress(b"User-agent: *\nDisallow: /no/\n" + b"\n" * (64 << 20), 9)
    assert not read_rules(bomb[:MOST_BYTES], "gzip").allows(parse("http://h/no/a"), "zeromill")


@pytest.mark.parametrize("coding", ["br", "zstd", "gzip", "deflate"])
def test_what_cannot_be_unpacked_is_no_rule(coding: str) -> None:
    assert read_rules(b"User-agent: *\nDisallow: /\n", coding).allows(parse("http://h/a"), "zeromill")


def test_many_names_before_many_rules_take_no_room_of_their_product() -> None:
    text = "".join(f"User-agent: a{'b' * (n % 50)}-{'c' * (n // 50)}\n" for n in range(2500))
    rules = read_rules((text + "Disallow: /x\n" * 15_000).encode())
    assert not rules.allows(parse("http://h/x"), "a-")


@pytest.mark.parametrize(
    ("reason", "detail", "transient", "fate"),
    [
        ("fetch_http_status", "404", False, None),
        ("fetch_http_status", "403", False, None),
        ("fetch_redirects", "more than 5 redirects", False, None),
        ("fetch_http_status", "503", True, "fetch_robots"),
        ("fetch_http_status", "500", True, "fetch_robots"),
        ("fetch_http_status", "501", False, "fetch_robots"),
        ("fetch_http_status", "429", True, "fetch_robots"),
        ("fetch_dns", "no such host", False, "fetch_dns"),
        ("fetch_connect", "ECONNREFUSED", False, "fetch_connect"),
        ("fetch_timeout", "not over after 15 s", False, "fetch_timeout"),
        ("fetch_tls", "expired", False, "fetch_tls"),
        ("fetch_forbidden_address", "h is 10.0.0.1", False, "fetch_forbidden_address"),
    ],
)
def test_a_robots_txt_that_was_not_got_forbids_nothing_where_the_rfc_says_so(
    reason: Reason, detail: str, transient: bool, fate: str | None
) -> None:
    failure = FetchFailure(reason, detail, transient=transient, wait_s=7)
    if fate is None:
        rules: Rules = excuse(failure)
        assert rules.allows(parse("http://h/a"), "zeromill")
        assert rules.found.startswith("robots.txt ")
        return
    with pytest.raises(FetchFailure) as caught:
        excuse(failure)
    assert (caught.value.reason, caught.value.transient, caught.value.wait_s) == (fate, transient, 7)
    assert caught.value.later is transient


@settings(deadline=None)  # of a loaded machine
@given(st.binary(max_size=300), st.sampled_from(["", "gzip", "deflate", "br"]), st.text("/a*$%?é", max_size=9))
def test_every_body_is_rules(body: bytes, coding: str, path: str) -> None:
    assert read_rules(body, coding).allows(parse("http://h/" + path), "zeromill") in (True, False)
