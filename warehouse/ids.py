"""Ids are 63-bit integers made from content: the same input gives the same ids, in any order, anywhere."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path


def content_id(data: bytes) -> int:
    """The upper 63 bits of the first 8 bytes of the sha256 of `data`, as an unsigned integer."""
    return int.from_bytes(hashlib.sha256(data).digest()[:8], "big") >> 1


def content_id_sql(expression: str) -> str:
    """The same id of a VARCHAR expression, in DuckDB's SQL."""
    return f"(('0x' || substr(sha256({expression}), 1, 16))::UBIGINT >> 1)::BIGINT"


def fingerprint(*facts: str) -> str:
    """Sixteen hexadecimal digits that change when any of the facts does."""
    return hashlib.sha256("\0".join(facts).encode()).hexdigest()[:16]


def file_hash(paths: Iterable[Path]) -> str:
    """sha256 over files, read in blocks, in the order given."""
    digest = hashlib.sha256()
    for path in paths:
        with open(path, "rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()
