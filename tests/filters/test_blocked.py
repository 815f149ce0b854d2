from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from filters.blocked import BlockedUrls, prefix_fault, without_dots


@pytest.mark.parametrize(
    ("prefix", "url", "shut"),
    [
        ("https://h.example/private/", "http://h.example/private/a.jpg", True),
        ("http://H.Example/private/", "https://h.EXAMPLE./private/", True),
        ("https://h.example/private/", "https://h.example/private", False),
        ("https://h.example/pri", "https://h.example/private/a", True),
        ("https://h.example/private/", "https://h.example/Private/a", False),
        ("https://h.example/private/", "https://sub.h.example/private/a", False),
        ("https://h.example/private/", "https://h.example/%70rivate/a", True),
        ("https://h.example/private/", "https://h.example/x/../private/a", True),
        ("https://h.example/private/", "https://h.example/x/%2E%2e/private/a", True),
        ("https://h.example/private/", "https://h.example/private/../open", False),
        ("https://h.example/猫/", "http://h.example/%E7%8C%AB/1.jpg", True),
        ("https://bücher.example/", "http://xn--bcher-kva.example/1.jpg", True),
        ("https://h.example", "http://h.example:8080/a", True),
        ("https://h.example:8080/", "http://h.example:8080/a", True),
        ("https://h.example:8080/", "http://h.example/a", False),
        ("http://h.example:80/", "http://h.example/a", True),
        ("https://h.example/a?user=", "https://h.example/a?user=7", True),
        ("https://h.example/a?user=", "https://h.example/a", False),
        ("https://h.example/", "ftp://h.example/a", False),
        ("https://h.example/", "http://h.example:x/a", False),
        ("https://h.example/", "not a url", False),
        ("https://h.example/", None, False),
    ],
)
def test_a_prefix_shuts_what_lies_under_it_in_any_spelling(prefix: str, url: str | None, shut: bool) -> None:
    assert BlockedUrls((prefix,)).shut(url) is shut


def test_an_empty_list_shuts_nothing() -> None:
    assert not BlockedUrls(()).shut("http://h.example/")


@pytest.mark.parametrize(
    "prefix", ["h.example/a", "ftp://h/a", "https://", "https:///a", "http://u:p@h/", "http://h:x/", "http://h/a#b", ""]
)
def test_a_prefix_that_means_no_place_is_told(prefix: str) -> None:
    assert prefix_fault(prefix)


@given(st.text("ab/.%2e-", max_size=20))
def test_paths_without_dots_stay_as_they_are(path: str) -> None:
    plain = without_dots("/" + path)
    assert without_dots(plain) == plain
    assert plain.startswith("/")
    assert not {".", ".."} & set(plain.lower().replace("%2e", ".").split("/"))


@given(st.text(min_size=1, max_size=8).filter(lambda text: text.isprintable() and not set(text) & set("./?#")))
def test_a_path_is_shut_however_it_is_encoded(text: str) -> None:
    try:
        octets = "".join(f"%{octet:02x}" for octet in text.encode())
    except UnicodeEncodeError:
        return
    for spelling in (quote(text), octets):
        assert BlockedUrls((f"http://h/{quote(text)}",)).shut(f"http://h/{spelling}/x")
