"""Pictures in folders and object stores that the recipe names: read through fsspec, and nothing beside them."""

from __future__ import annotations

import errno
import os
import re
import stat
from typing import Any
from urllib.parse import unquote, urlsplit

import fsspec

from actors.web.failure import FetchFailure

FILE = "file"
PACKAGES = {
    FILE: "",
    "memory": "",
    "s3": "s3fs",
    "s3a": "s3fs",
    "gs": "gcsfs",
    "gcs": "gcsfs",
    "az": "adlfs",
    "abfs": "adlfs",
    "oss": "ossfs",
    "oci": "ocifs",
    "tos": "tosfs",
    "hdfs": "pyarrow",
}
"""What reads a scheme, as fsspec knows it. Only stores of files stand here: fsspec also has schemes that ask the web
without our guard (http, ftp, github) and that wrap another address (zip, reference, simplecache)."""

BUSY = (errno.EBUSY, errno.EIO, errno.EAGAIN, errno.ESTALE)
"""What a network's file system or a store that is overrun says; another try may do."""

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")
_MOST_DECODINGS = 4


class StoreError(Exception):
    """A store of the recipe that cannot be read here; the message says what to do next."""


class Stores:
    """Reads what lies under `prefixes`, at most `max_bytes` of a file; blocking, and safe to be used by many threads.

    A prefix is a folder: `file:///data/pictures/`, `s3://bucket/`, `s3://bucket/folder/`.
    """

    def __init__(self, prefixes: tuple[str, ...], max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._schemes = {_scheme(prefix) for prefix in prefixes}
        self._prefixes = tuple(_folder(prefix) for prefix in prefixes if _scheme(prefix) != FILE)
        self._roots = tuple(os.path.realpath(_path(prefix)) for prefix in prefixes if _scheme(prefix) == FILE)

    def covers(self, url: str) -> bool:
        """Whether the URL is of a scheme that one of the prefixes has; what is not under a prefix is refused later."""
        return _scheme(url.strip()) in self._schemes

    def read(self, url: str) -> bytes:
        """The bytes of a file.

        Raises FetchFailure: fetch_forbidden_address for what is under no prefix, fetch_too_large, fetch_failed for a
        file that is not there or may not be read; fetch_timeout and fetch_connect, which are transient.
        """
        try:
            return self._of_disk(url.strip()) if _scheme(url.strip()) == FILE else self._of_store(url.strip())
        except FetchFailure:
            raise
        except Exception as error:  # whatever a store's client raises is about this row; its message may hold the URL
            raise _failure(error) from None

    def _of_disk(self, url: str) -> bytes:
        """By the system itself: fsspec would follow every link."""
        real = os.path.realpath(_path(url))
        self._hold_inside(real)
        with open(real, "rb", opener=_opener) as file:
            self._hold_inside(_opened(file.fileno(), real))
            facts = os.fstat(file.fileno())
            if not stat.S_ISREG(facts.st_mode):
                raise FetchFailure("fetch_failed", "not a regular file")
            return self._bounded(file, facts.st_size)

    def _of_store(self, url: str) -> bytes:
        if not self._may_be_read(url):
            raise FetchFailure("fetch_forbidden_address", f"{_scheme(url)}, under none of the recipe's stores")
        system, path = fsspec.core.url_to_fs(_lowered(url))
        with system.open(path, "rb") as file:
            return self._bounded(file, getattr(file, "size", None))

    def _may_be_read(self, url: str) -> bool:
        """Keys are opaque to a store, but clients and gateways on the way may decode them or resolve dots."""
        decoded = _decoded(url)
        dots = {".", ".."} & set(re.split(r"[/\\]", decoded))
        return _lowered(url).startswith(self._prefixes) and not dots and "::" not in decoded

    def _hold_inside(self, path: str) -> None:
        if not any(os.path.commonpath([root, path]) == root for root in self._roots):
            raise FetchFailure("fetch_forbidden_address", "file, under none of the recipe's stores")

    def _bounded(self, file: Any, size: int | None) -> bytes:
        """All of an open file of `size` bytes, where that is known before."""
        if size is not None and size > self._max_bytes:
            raise FetchFailure("fetch_too_large", f"{size} bytes, over {self._max_bytes} bytes")
        body = bytes(file.read(self._max_bytes + 1))
        if len(body) > self._max_bytes:
            raise FetchFailure("fetch_too_large", f"over {self._max_bytes} bytes")
        if size is not None and len(body) < size:
            raise FetchFailure("fetch_incomplete", f"{len(body)} of {size} bytes", transient=True)
        return body


def check_stores(prefixes: tuple[str, ...]) -> None:
    """Raise StoreError for a prefix that nothing here can read, before a row is touched."""
    for prefix in prefixes:
        scheme = _scheme(prefix)
        if scheme not in PACKAGES:
            raise StoreError(
                f"fetch.stores: {scheme or 'a prefix without a scheme'} is no store of files that is read here.\n"
                f"Read are {', '.join(PACKAGES)}; pictures of the web need no store."
            )
        split = urlsplit(prefix)
        if split.password is not None:
            raise StoreError(
                f"fetch.stores: a prefix of {scheme} carries a password, which every reader of the recipe would see.\n"
                "Take it out, and give the store's client its credentials by its own environment variables."
            )
        if not split.netloc and not split.path.strip("/"):
            raise StoreError(
                f"fetch.stores: {scheme}:// with nothing behind it would open everything.\n"
                "Name a folder or a bucket: file:///data/pictures/ or s3://bucket/."
            )
        _check_readable(prefix, scheme)


def _check_readable(prefix: str, scheme: str) -> None:
    if scheme == FILE:
        if not os.path.isdir(_path(prefix)):
            raise StoreError(
                f"fetch.stores: there is no folder {_path(prefix)}.\nMake it, or take it out of the recipe."
            )
        return
    try:
        fsspec.get_filesystem_class(scheme)
    except ImportError as error:
        raise StoreError(
            f"fetch.stores: nothing here reads {scheme}://.\nInstall what does, on every node: pip install "
            f"{PACKAGES[scheme]}"
        ) from error


def _scheme(url: str) -> str:
    found = _SCHEME.match(url)
    return found[1].lower() if found else ""


def _lowered(url: str) -> str:
    """The URL with its scheme in lower case, the rest as it is: keys and buckets are compared to the letter."""
    return _scheme(url) + url[len(_scheme(url)) :]


def _folder(prefix: str) -> str:
    return _lowered(prefix).rstrip("/") + "/"


def _path(url: str) -> str:
    """The path of a file URL (RFC 8089). Raises FetchFailure for one that is on another host, or is no path."""
    split = urlsplit(url)
    if split.netloc.lower() not in ("", "localhost"):
        raise FetchFailure("fetch_forbidden_address", f"file on {split.hostname}, only on this machine")
    if split.query or split.fragment:
        raise FetchFailure("fetch_failed", "a file URL with a query or a fragment: write ? as %3F, # as %23")
    path = unquote(split.path)
    if not path.startswith("/") or "\0" in path:
        raise FetchFailure("fetch_failed", "a file URL without an absolute path")
    return path


def _decoded(url: str) -> str:
    for _ in range(_MOST_DECODINGS):
        url = unquote(url)
    return url


def _opener(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK)  # a pipe would be waited for


def _opened(descriptor: int, path: str) -> str:
    """Where an open file lies: a folder on the way may have become a link after its path was resolved."""
    try:
        return os.readlink(f"/proc/self/fd/{descriptor}")
    except OSError:  # not on this system
        return path


def _failure(error: Exception) -> FetchFailure:
    kinds = " ".join(kind.__name__ for kind in type(error).__mro__)  # botocore's and aiohttp's are not the system's own
    if isinstance(error, FileNotFoundError):
        return FetchFailure("fetch_failed", "no such file")
    if isinstance(error, PermissionError):
        return FetchFailure("fetch_failed", "permission denied")
    if isinstance(error, IsADirectoryError | NotADirectoryError):
        return FetchFailure("fetch_failed", "not a file")
    if isinstance(error, TimeoutError) or "Timeout" in kinds:
        return FetchFailure("fetch_timeout", type(error).__name__, transient=True)
    if isinstance(error, ConnectionError) or "Connect" in kinds:
        return FetchFailure("fetch_connect", type(error).__name__, transient=True)
    busy = isinstance(error, OSError) and error.errno in BUSY
    return FetchFailure("fetch_failed", type(error).__name__, transient=busy)
