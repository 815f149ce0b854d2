"""What the tests of actors share."""

import urllib.request
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def _opener() -> Iterator[None]:
    """A fetcher takes urllib's opener for good; the other tests of this process want theirs back."""
    before = getattr(urllib.request, "_opener", None)
    yield
    urllib.request.install_opener(before)
