"""What a recipe names as its stores is read; whatever lies beside them, by whatever trick, is not."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import fsspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.web.failure import FetchFailure
from actors.web.stores import StoreError, Stores, check_stores

SECRET = b"nobody may read this"
CAP = 1000


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """`pictures` with a picture and a folder in it, and beside it what nobody may read."""
    pictures = tmp_path / "pictures"
    (pictures / "more").mkdir(parents=True)
    (pictures / "a.jpg").write_bytes(b"a picture")
    (pictures / "more" / "猫 #1?.jpg").write_bytes(b"a cat")
    (tmp_path / "secret").write_bytes(SECRET)
    (tmp_path / "pictures-secret").mkdir()
    (tmp_path / "pictures-secret" / "b.jpg").write_bytes(SECRET)
    return pictures


@pytest.fixture
def stores(folder: Path) -> Stores:
    return Stores((f"file://{folder}/",), CAP)


@pytest.fixture
def memory() -> Iterator[Stores]:
    """A bucket in fsspec's own memory, with something beside it."""
    system = fsspec.filesystem("memory")
    for path, body in (("/bucket/a.jpg", b"a picture"), ("/bucket-secret/b.jpg", SECRET), ("/secret", SECRET)):
        system.pipe_file(path, body)
    yield Stores(("memory://bucket/",), CAP)
    system.store.clear()


def _refused(stores: Stores, url: str) -> tuple[str, str, bool]:
    with pytest.raises(FetchFailure) as caught:
        stores.read(url)
    return caught.value.reason, caught.value.detail, caught.value.transient


def test_a_file_is_read_by_its_url(stores: Stores, folder: Path) -> None:
    assert stores.read(f"file://{folder}/a.jpg") == b"a picture"
    assert stores.read(f" FILE://localhost{folder}/a.jpg ") == b"a picture"
    assert stores.read(f"file:{folder}/a.jpg") == b"a picture"
    assert stores.read(f"file://{folder}/more/{quote('猫 #1?.jpg')}") == b"a cat"
    assert stores.read(f"file://{folder}/more/../a.jpg") == b"a picture"


@pytest.mark.parametrize(
    "path",
    [
        "{up}/secret",
        "{up}/what-is-not-there",
        "{in}/../secret",
        "{in}/more/../../secret",
        "{in}/%2e%2e/secret",
        "{in}/..%2fsecret",
        "{in}/%2E%2E%2Fsecret",
        "{up}/pictures-secret/b.jpg",
        "{in}-secret/b.jpg",
        "/etc/hostname",
        "//etc/hostname",
        "{in}//..//secret",
        "{in}/./.././secret",
    ],
)
def test_what_lies_beside_the_folder_is_forbidden(stores: Stores, folder: Path, path: str) -> None:
    url = "file://" + path.replace("{in}", str(folder)).replace("{up}", str(folder.parent))
    assert _refused(stores, url)[0] == "fetch_forbidden_address"


def test_a_link_that_leads_outside_is_forbidden_and_one_inside_is_not(stores: Stores, folder: Path) -> None:
    (folder / "link.jpg").symlink_to(folder.parent / "secret")
    (folder / "hop.jpg").symlink_to("link.jpg")
    (folder / "door").symlink_to(folder.parent)
    (folder / "inside.jpg").symlink_to(folder / "a.jpg")
    for name in ("link.jpg", "hop.jpg", "door/secret", "door/pictures-secret/b.jpg"):
        assert _refused(stores, f"file://{folder}/{name}")[0] == "fetch_forbidden_address"
    assert stores.read(f"file://{folder}/inside.jpg") == b"a picture"


def test_a_folder_that_becomes_a_link_after_its_path_was_resolved_is_forbidden(
    stores: Stores, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "door").symlink_to(folder.parent)
    monkeypatch.setattr(os.path, "realpath", lambda path, **_: str(path))
    assert _refused(stores, f"file://{folder}/door/secret")[0] == "fetch_forbidden_address"


def test_a_prefix_that_is_itself_a_link_is_the_folder_behind_it(folder: Path) -> None:
    (folder.parent / "door").symlink_to(folder)
    stores = Stores((f"file://{folder.parent}/door/",), CAP)
    assert stores.read(f"file://{folder.parent}/door/a.jpg") == b"a picture"
    assert stores.read(f"file://{folder}/a.jpg") == b"a picture"
    assert _refused(stores, f"file://{folder.parent}/secret")[0] == "fetch_forbidden_address"


def test_a_file_that_cannot_be_had_says_why_without_its_path(stores: Stores, folder: Path) -> None:
    os.mkfifo(folder / "pipe")
    (folder / "loop").symlink_to("loop")
    told = {
        f"file://{folder}/none.jpg": "no such file",
        f"file://{folder}/a.jpg/b": "not a file",
        f"file://{folder}/more": "not a file",
        f"file://{folder}/pipe": "not a regular file",
        f"file://{folder}/a.jpg?v=1": "a query",
        f"file://{folder}/a%00b": "absolute path",
        "file:a.jpg": "absolute path",
    }
    for url, why in told.items():
        reason, detail, transient = _refused(stores, url)
        assert (reason, transient) == ("fetch_failed", False)
        assert why in detail
        assert str(folder) not in detail
    assert _refused(stores, f"file://{folder}/loop")[0] == "fetch_failed"
    assert _refused(stores, f"file://elsewhere.example{folder}/a.jpg")[0] == "fetch_forbidden_address"


def test_no_more_than_the_cap_is_read(stores: Stores, folder: Path, memory: Stores) -> None:
    (folder / "full").write_bytes(bytes(CAP))
    (folder / "over").write_bytes(bytes(CAP + 1))
    os.truncate(folder / "over", 1 << 40)  # a terabyte with nothing in it
    fsspec.filesystem("memory").pipe_file("/bucket/over", bytes(CAP + 1))
    assert len(stores.read(f"file://{folder}/full")) == CAP
    assert _refused(stores, f"file://{folder}/over") == (
        "fetch_too_large",
        f"{1 << 40} bytes, over {CAP} bytes",
        False,
    )
    assert _refused(memory, "memory://bucket/over")[0] == "fetch_too_large"


def test_a_file_without_a_size_is_cut_at_the_cap() -> None:
    stores = Stores(("file:///proc/self/",), CAP)  # its files say that they are empty
    assert _refused(stores, f"file:///proc/{os.getpid()}/maps") == ("fetch_too_large", f"over {CAP} bytes", False)


def test_a_bucket_is_read_and_nothing_beside_it(memory: Stores) -> None:
    assert memory.read("memory://bucket/a.jpg") == b"a picture"
    assert memory.read("MEMORY://bucket/a.jpg") == b"a picture"
    assert _refused(memory, "memory://bucket/none.jpg") == ("fetch_failed", "no such file", False)
    for url in (
        "memory://bucket-secret/b.jpg",
        "memory://secret",
        "memory://bucket/../secret",
        "memory://bucket/%2e%2e/secret",
        "memory://bucket/%252e%252e/secret",
        "memory://bucket/..\\secret",
        "memory:///bucket/../secret",
        "memory://BUCKET/a.jpg",
        "memory://bucket/a.jpg::file:///etc/hostname",
        "s3://bucket/a.jpg",
    ):
        assert _refused(memory, url)[0] == "fetch_forbidden_address", url


def test_only_the_schemes_of_the_prefixes_are_covered(stores: Stores, memory: Stores) -> None:
    both = Stores(("file:///data/", "s3://bucket/"), CAP)
    covered = [url for url in ("file:///etc", "S3://x", "http://a.example/", "gs://x", "a", "") if both.covers(url)]
    assert covered == ["file:///etc", "S3://x"]
    assert not Stores((), CAP).covers("file:///etc/hostname")


class _ReadTimeoutError(Exception):
    """Named as a store's client names it."""


class _EndpointConnectionError(Exception):
    """Named as a store's client names it."""


@pytest.mark.parametrize(
    ("error", "reason", "transient"),
    [
        (TimeoutError("http://secret"), "fetch_timeout", True),
        (_ReadTimeoutError("http://secret"), "fetch_timeout", True),
        (ConnectionResetError("http://secret"), "fetch_connect", True),
        (_EndpointConnectionError("http://secret"), "fetch_connect", True),
        (OSError(16, "http://secret"), "fetch_failed", True),
        (PermissionError("http://secret"), "fetch_failed", False),
        (ValueError("http://secret"), "fetch_failed", False),
    ],
)
def test_what_a_client_raises_is_a_reason(
    memory: Stores, monkeypatch: pytest.MonkeyPatch, error: Exception, reason: str, transient: bool
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(fsspec.get_filesystem_class("memory"), "_open", fail)
    said = _refused(memory, "memory://bucket/a.jpg")
    assert (said[0], said[2]) == (reason, transient)
    assert "secret" not in said[1]


NAMES = ["secret", "pictures", "pictures-secret", "b.jpg", "a.jpg", "more", "door", "猫"]
TRICKS = ["..", ".", "%2e%2e", "%2E.", "..%2f", "%252e%252e", "", "\\..\\", "::", "file:", "?", "#", "%00"]
PIECES = st.sampled_from([*NAMES, *TRICKS])


@pytest.fixture(scope="module")
def trap(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder beside a secret, with a link that leads out of it."""
    base = tmp_path_factory.mktemp("trap")
    (base / "pictures" / "more").mkdir(parents=True)
    (base / "pictures" / "a.jpg").write_bytes(b"a picture")
    (base / "pictures" / "door").symlink_to(base)
    (base / "pictures-secret").mkdir()
    for name in ("secret", "pictures-secret/b.jpg"):
        (base / name).write_bytes(SECRET)
    return base


@given(pieces=st.lists(PIECES, max_size=8), between=st.sampled_from(["/", "%2f", "//", "/./"]))
def test_no_path_leads_to_a_secret(trap: Path, pieces: list[str], between: str) -> None:
    stores = Stores((f"file://{trap}/pictures/", "memory://bucket/"), CAP)
    tail = between.join(pieces)
    for start in (f"file://{trap}/pictures/", f"file://{trap}/", f"file:{trap}/pictures", "memory://bucket/"):
        with contextlib.suppress(FetchFailure):
            assert stores.read(start + tail) == b"a picture"


@pytest.mark.parametrize(
    ("prefix", "said"),
    [
        ("http://a.example/", "is no store"),
        ("https://a.example/", "is no store"),
        ("zip://x.zip/", "is no store"),
        ("simplecache::s3://bucket/", "no store"),
        ("pictures/", "without a scheme"),
        ("file:///", "would open everything"),
        ("s3:///", "would open everything"),
        ("file:///no/such/folder/", "there is no folder"),
        ("oss://key:word@bucket/", "carries a password"),
        ("oss://bucket/", "pip install ossfs"),
    ],
)
def test_a_store_that_cannot_be_read_says_what_to_do(prefix: str, said: str) -> None:
    with pytest.raises(StoreError, match=said):
        check_stores((prefix,))


def test_stores_that_can_be_read_pass(folder: Path) -> None:
    check_stores((f"file://{folder}/", "memory://bucket/"))
