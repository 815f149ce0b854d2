"""Consent: headers and robots.txt read as their owners mean them."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.web.consent import POLICY, check_headers, refusal
from actors.web.failure import FetchFailure, Reason
from actors.web.robots import Robots
from actors.web.target import Target, parse


@pytest.mark.parametrize(
    ("value", "word"),
    [
        ("noai", "noai"),
        ("NoImageAI, nofollow", "noimageai"),
        ("max-image-preview:large, noai", "noai"),
        ("nofollow, noindex", "noindex"),
        ("none", "none"),
        ("zeromill: noai", "noai"),
        ("ZeroMill/1.0: noimageindex", "noimageindex"),
        ("otherbot: noai, zeromill: noindex", "noindex"),
        ("unavailable_after: Saturday, 25 Jun 2010 15:00:00 GMT, noai", "noai"),
        ("noai; noimageai", "noai"),
        ("*: noai", "noai"),
        ("noai: true", "noai"),
        ("zeromill: max-snippet: 5, noai", "noai"),
        ('"noai"', "noai"),
        ("noindex nofollow", "noindex"),
        ("otherbot: noai, *: noindex", "noindex"),
        ("otherbot: noai", None),
        ("zeromill-news: noai", None),
        ("zero: noai", None),
        ("zerobot: noai", None),
        ("otherbot: unavailable_after: Saturday, 25 Jun 2010 15:00:00 GMT, noai", None),
        ("otherbot: nofollow, noai", None),
        ("all", None),
        ("", None),
        ("max-snippet: 20, max-video-preview: -1", None),
        ("index, follow", None),
        ("unavailable_after: 25 Jun 2010 15:00:00 PST", None),
    ],
)
def test_x_robots_tag_refuses_whom_it_names(value: str, word: str | None) -> None:
    assert refusal(value, "zeromill") == word


@settings(deadline=None)  # of a loaded machine
@given(st.text(alphabet="noaindex,:; *-zeromil/", max_size=40))
def test_every_header_is_read_without_an_exception(value: str) -> None:
    assert refusal(value, "zeromill") is None or any(word in value for word in ("noai", "index", "none", "noimageai"))


@settings(deadline=None)  # of a loaded machine
@given(
    st.lists(st.sampled_from(["nofollow", "max-snippet:5", "noarchive", "all"])),
    st.sampled_from(["noai", "none"]),
)
def test_a_refusal_counts_wherever_it_stands(others: list[str], word: str) -> None:
    for place in range(len(others) + 1):
        assert refusal(", ".join([*others[:place], word, *others[place:]]), "zeromill") == word


@pytest.mark.parametrize(
    ("value", "refused"),
    [("1", True), (" 1 ; x", True), ("0, 1", True), ('"1"', True), ("0", False), ("", False), ("10", False)],
)
def test_tdm_reservation_refuses_at_one(value: str, refused: bool) -> None:
    headers = {"tdm-reservation": ["0", value]}
    if not refused:
        assert check_headers(headers, "zeromill") == "no opt-out header"
        return
    with pytest.raises(FetchFailure) as caught:
        check_headers(headers, "zeromill")
    assert (caught.value.reason, caught.value.transient) == ("fetch_opted_out", False)
    assert "tdm-reservation" in (caught.value.consent or "")


def test_every_value_of_a_header_counts_and_the_deciding_one_is_the_evidence() -> None:
    with pytest.raises(FetchFailure) as caught:
        check_headers(
            {"x-robots-tag": ["otherbot: noai", "nofollow", "ZeroMill: NoIndex"], "via": ["noai"]}, "zeromill"
        )
    assert caught.value.consent == f"{POLICY}; X-Robots-Tag: ZeroMill: NoIndex"
    assert check_headers({"via": ["noai"]}, "zeromill") == "no opt-out header"


def may(text: str, path: str, token: str = "zeromill") -> bool:
    robots = Robots(token, lambda site: text.encode())
    try:
        robots.check(parse("http://h.example" + path))
    except FetchFailure as failure:
        return failure.reason != "fetch_robots"
    return True


def test_robots_goes_by_the_longest_match_and_wildcards() -> None:
    text = "User-agent: *\nDisallow: /a/\nAllow: /a/b/\nDisallow: /*.gif$\n"
    assert not may(text, "/a/x.jpg")
    assert may(text, "/a/b/x.jpg")
    assert not may(text, "/c/x.gif")
    assert may(text, "/c/x.gif?y")


def test_robots_of_our_own_group_wins_over_everybodys() -> None:
    text = "\ufeffUser-agent: *\nDisallow: /\n\nUser-Agent: Zeromill\nDisallow: /no/\n"
    assert may(text, "/yes.jpg")
    assert not may(text, "/no/a.jpg")
    assert not may(text, "/yes.jpg", token="otherbot")


@pytest.mark.parametrize(
    ("reason", "detail", "transient", "fate"),
    [
        ("fetch_http_status", "404", False, None),
        ("fetch_http_status", "403", False, None),
        ("fetch_redirects", "more than 5 redirects", False, None),
        ("fetch_http_status", "503", True, "fetch_robots"),
        ("fetch_http_status", "429", True, "fetch_robots"),
        ("fetch_dns", "no such host", False, "fetch_dns"),
        ("fetch_connect", "ECONNREFUSED", False, "fetch_connect"),
        ("fetch_timeout", "not over after 15 s", False, "fetch_timeout"),
    ],
)
def test_a_robots_txt_that_was_not_got_follows_rfc_9309(
    reason: Reason, detail: str, transient: bool, fate: str | None
) -> None:
    def read(site: Target) -> bytes:
        raise FetchFailure(reason, detail, transient=transient)

    robots = Robots("zeromill", read)
    if fate is None:
        assert detail.split()[0] in robots.check(parse("http://h.example/a")) or reason == "fetch_redirects"
        return
    with pytest.raises(FetchFailure) as caught:
        robots.check(parse("http://h.example/a"))
    assert (caught.value.reason, caught.value.transient) == (fate, transient)
    assert caught.value.detail.startswith("robots.txt: ")


def test_robots_txt_is_asked_once_for_a_site() -> None:
    asked: list[str] = []

    def read(site: Target) -> bytes:
        asked.append(site.url)
        return b""

    robots = Robots("zeromill", read)
    for url in ("http://h.example/a", "http://h.example/b", "https://h.example/a", "http://h.example:81/a"):
        robots.check(parse(url))
    assert asked == [
        "http://h.example/robots.txt",
        "https://h.example/robots.txt",
        "http://h.example:81/robots.txt",
    ]
