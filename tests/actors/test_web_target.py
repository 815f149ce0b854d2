"""URLs as requests: one reading of each, and nothing in it that a library would read another way."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.web.failure import FetchFailure
from actors.web.target import Target, onward, parse


@pytest.mark.parametrize("url", [None, "", "not a url", "http://", "http://h:99999/", "http://[::1/", "//h/a"])
def test_what_is_no_address_fails_without_a_name_asked_for(url: str | None) -> None:
    with pytest.raises(FetchFailure) as caught:
        parse(url)
    assert caught.value.reason == "fetch_failed"


def test_spaces_umlauts_and_chinese_become_an_ascii_request() -> None:
    target = parse(" HTTP://Bücher.example:80/a b/猫.jpg?q=ü&x=%20#top ")
    assert target == Target("http", "xn--bcher-kva.example", 80, "/a%20b/%E7%8C%AB.jpg?q=%C3%BC&x=%20")
    assert target.url == "http://xn--bcher-kva.example/a%20b/%E7%8C%AB.jpg?q=%C3%BC&x=%20"


def test_a_redirect_is_read_against_the_page_that_sent_it() -> None:
    here = parse("https://h.example/a/b?c")
    assert onward(here, "../d").url == "https://h.example/d"
    assert onward(here, "//other.example/e").url == "https://other.example/e"
    assert onward(here, "?d").url == "https://h.example/a/b?d"
    assert onward(here, " /e \n").url == "https://h.example/e"
    assert onward(here, "HTTPS:d").url == "https://h.example/a/d"
    assert onward(here, "c//d").url == "https://h.example/a/c//d"
    assert onward(here, "").url == here.url
    assert onward(here, "#x").url == here.url
    for nowhere in ("file:///etc/passwd", "//", "///x", "http:x", "https:///x", "javascript:x"):
        with pytest.raises(FetchFailure):
            onward(here, nowhere)


def test_a_redirect_in_octets_of_another_time_is_asked_for_as_it_came() -> None:
    here = parse("https://h.example/a")
    assert onward(here, "/猫.jpg".encode().decode("latin-1")).path == "/%E7%8C%AB.jpg"
    assert onward(here, "/国.jpg".encode("gbk").decode("latin-1")).path == "/%B9%FA.jpg"
    assert onward(here, "//bücher.example/".encode().decode("latin-1")).host == "xn--bcher-kva.example"


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("http://h/a/../b", "/b"),
        ("http://h/a/%2e%2E/b", "/b"),
        ("http://h/../../b/.", "/b/"),
        ("http://h/a/./b/..", "/a/"),
        ("http://h/a/..%2fb", "/a/..%2fb"),
        ("http://h//a//b", "//a//b"),
        ("http://h?x=../y", "/?x=../y"),
        ("http://h/a/...", "/a/..."),
        ("http://h/\ud800", "/%EF%BF%BD"),
    ],
)
def test_what_is_asked_for_has_no_dot_segments(url: str, path: str) -> None:
    assert parse(url).path == path


@pytest.mark.parametrize(
    "host",
    ["０１７７.0.0.1", "①②⑦.1", "0x7F。1", "127.0.0.0x1", "2130706433.", "[::1%25lo]", "[::ffff:127.0.0.1%1]"],
)
def test_numbers_in_disguise_are_no_host(host: str) -> None:
    with pytest.raises(FetchFailure) as caught:
        parse(f"http://{host}/")
    assert caught.value.reason == "fetch_forbidden_address"


@pytest.mark.parametrize("host", ["[v1.a]", "a..b", "a b", "h%41", "-" * 64, "a." * 130 + "b", "h\\@b", ".", "x:y:80"])
def test_what_is_no_host_is_told_so(host: str) -> None:
    with pytest.raises(FetchFailure) as caught:
        parse(f"http://{host}/")
    assert caught.value.reason in ("fetch_failed", "fetch_forbidden_address")


@pytest.mark.parametrize("host", ["１２７.0.0.1", "127。0。0。1", "127.0.0.1."])
def test_one_address_has_one_spelling(host: str) -> None:
    assert parse(f"http://{host}/").host == "127.0.0.1"
    assert parse("http://[0:0::FFFF:1.2.3.4]/").host == "::ffff:102:304"


@settings(deadline=None)  # of a loaded machine
@given(st.text(), st.text(max_size=20))
def test_every_text_is_a_target_that_reads_as_itself_or_a_failure(path: str, host: str) -> None:
    for url in (f"http://h.example/{path}", f"http://{host}/{path}"):
        try:
            target = parse(url)
        except FetchFailure:
            continue
        assert parse(target.url) == target
        assert target.url.isascii()
        assert target.url.isprintable()
        assert not set(target.authority) & set("/@ \r\n\\")
        assert " " not in target.url
