"""Ids are made from content, alike in Python and in SQL."""

import hashlib

import duckdb
from hypothesis import given, settings
from hypothesis import strategies as st

from warehouse.ids import content_id, content_id_sql, fingerprint

WRITABLE = st.text(st.characters(codec="utf-8"), max_size=40)


@settings(max_examples=20, deadline=None)
@given(st.lists(WRITABLE, min_size=1, max_size=30))
def test_python_and_sql_give_the_same_id(texts: list[str]) -> None:
    with duckdb.connect() as con:
        rows = con.execute(f"SELECT {content_id_sql('t')} FROM unnest($1) u(t)", [texts]).fetchall()
    assert [row[0] for row in rows] == [content_id(text.encode()) for text in texts]


@given(st.binary(max_size=100))
def test_an_id_is_the_upper_63_bits_of_the_hash(data: bytes) -> None:
    assert content_id(data) == int(hashlib.sha256(data).hexdigest()[:16], 16) >> 1
    assert 0 <= content_id(data) < 1 << 63


def test_a_fingerprint_tells_facts_from_their_concatenation() -> None:
    assert fingerprint("a", "bc") != fingerprint("ab", "c") != fingerprint("abc")
    assert fingerprint("a", "bc") == fingerprint("a", "bc")
