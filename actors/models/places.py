"""Where on this machine the name of a model's file or folder points to; the network is never asked."""

from __future__ import annotations

import hashlib
import importlib.util
import os
from functools import lru_cache
from pathlib import Path


def locate(path: str) -> Path | None:
    """A file or folder by absolute path, from the working directory, or within an installed package; else None.

    Links stay links: in the hub cache only a link has the name of a file, and with it its format.
    """
    given = Path(path).expanduser()
    if given.exists():
        return Path(os.path.abspath(given))
    package, _, rest = path.partition("/")
    if given.is_absolute() or not package.isidentifier():
        return None
    spec = importlib.util.find_spec(package)
    for place in (spec.submodule_search_locations or []) if spec else []:
        if (Path(place) / rest).exists():
            return Path(os.path.abspath(Path(place) / rest))
    return None


def hub_folder(repository: str) -> Path | None:
    """The snapshot of `owner/name` in the local hub cache, None where there is none."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(repository, local_files_only=True))
    except (LocalEntryNotFoundError, HFValidationError):
        return None


def file_sha256(file: Path) -> str:
    """Hex sha256 of a file's bytes, remembered for as long as its size and time stay the same."""
    stat = file.stat()
    return _hash_file(str(file), stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=64)
def _hash_file(file: str, size: int, changed_ns: int) -> str:
    with open(file, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
