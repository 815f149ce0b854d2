"""Consent: headers read as their owners mean them."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.web.consent import POLICY, check_headers, refusal
from actors.web.failure import FetchFailure


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
