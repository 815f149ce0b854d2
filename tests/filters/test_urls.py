import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from filters.urls import BlockedHost, host_of, url_fault


@pytest.mark.parametrize("url", [None, "", "  ", "\t\n"])
def test_a_row_without_a_url_is_malformed(url: str | None) -> None:
    assert url_fault(url) == ("malformed_row", "no url")


@pytest.mark.parametrize(
    "url",
    [
        "not a url",
        "http://",
        "https:///a.jpg",
        "http:/a.jpg",
        "//a.example/b.jpg",
        "a.example/b.jpg",
        "a.example:80/b.jpg",
        "www.example.com:b.jpg",
        "localhost:8080/b.jpg",
        "http://a.example:x/b.jpg",
        "http://a.example:99999/b.jpg",
        "http://a.example:0/",
        "http://[::1/",
        "http://a b.example/c.jpg",
        "http://a..example/b.jpg",
        "http://.../",
        "http://?x",
        "http://a.example/b\nc",
        "http://:80/",
        "http://" + "a" * 64 + ".example/",
        "c.jpg",
        "http://a<b>/",
    ],
)
def test_what_nobody_can_ask_for_is_malformed(url: str) -> None:
    fault = url_fault(url)
    assert fault is not None
    assert fault[0] == "malformed_url"


@pytest.mark.parametrize(
    "url",
    [
        "http://a.example/b.jpg",
        " https://a.example/b c.jpg?d=e#f ",
        "HTTP://A.example:8080",
        "http://127.0.0.1:1/",
        "http://[::1]/a",
        "http://user:word@a.example/b",
        "https://图片.example/狗.jpg",
        "http://a_b.example/",
        "http://h0.invalid/x.jpg",
        "http://a.example./",
        # other schemes are refused where pictures are fetched, by name, unless the recipe has a store of theirs
        "file:///etc/hostname",
        "file:///data/../etc/hostname",
        "file:/data/a.jpg",
        "FILE://localhost/data/%E7%8C%AB.jpg",
        "s3://our-bucket/photos/a b.jpg",
        "gs://our-bucket/a.jpg",
        "memory://bucket/a.jpg",
        "ftp://a.example/b.jpg",
        "gopher://a.example/1",
        "data:image/png;base64,AAAA",
        "mailto:a@b.example",
    ],
)
def test_an_absolute_url_is_sound(url: str) -> None:
    assert url_fault(url) is None


@given(st.text() | st.text().map("http://".__add__))
def test_any_text_gets_an_answer(url: str) -> None:
    fault = url_fault(url)
    if fault is None and url.strip().lower().startswith(("http:", "https:")):
        assert host_of(url)


def test_hosts_are_compared_in_one_form() -> None:
    assert host_of("HTTP://WWW.Example.COM.:80/x") == "www.example.com"
    assert host_of("http://图片.example/狗.jpg") == "xn--" + "图片".encode("punycode").decode() + ".example"
    assert host_of("file:///etc/hostname") is None
    assert host_of("http://[::1/") is None
    assert host_of(None) is None


def test_a_blocked_host_blocks_the_hosts_under_it() -> None:
    one = BlockedHost(hosts=("Bad.example", "图片.example"))
    urls = [
        "http://bad.example/a",
        "https://cdn.bad.example:81/a",
        "http://notbad.example/a",
        "http://bad.example.org/a",
        None,
    ]
    urls += ["http://a.图片.example/b", "nonsense"]
    said = one.rejects(pa.RecordBatch.from_pydict({"url": pa.array(urls, pa.string())})).to_pylist()
    assert [detail is None for detail in said] == [False, False, True, True, True, False, True]
    assert said[1] == "host cdn.bad.example; blocked: bad.example"
    assert one.reason == "blocked_host"
