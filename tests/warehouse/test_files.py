"""A table's rows as files: what is live is in them once, and what was deleted is not."""

from pathlib import Path

import pyarrow.parquet as pq

from warehouse.files import files_of
from warehouse.lake import connect, prepare

FEW, MANY = range(3), range(100, 300)


def _run(warehouse: str, *statements: str) -> None:
    with connect(warehouse) as con:
        for statement in statements:
            con.execute(statement)


def _insert(name: str, hashes: range) -> str:
    made = f"range({hashes.start}, {hashes.stop}) r(i)"
    return f"INSERT INTO lake.protected BY NAME SELECT '{name}' AS name, i AS phash FROM {made}"


def _held(files: list[str]) -> list[tuple[str, int]]:
    columns = ["name", "phash"]
    rows = [row for file in files for row in pq.read_table(file, columns=columns).to_pylist()]
    return sorted((row["name"], row["phash"]) for row in rows)


def test_the_files_of_a_table_hold_its_live_rows_once(tmp_path: Path) -> None:
    lake = str(tmp_path / "lake")
    prepare(lake)
    assert files_of(lake, "protected", tmp_path) == []
    _run(lake, _insert("a", MANY))
    first = files_of(lake, "protected", tmp_path)
    assert _held(first) == [("a", i) for i in MANY]
    _run(lake, "DELETE FROM lake.protected WHERE phash >= 200")
    assert _held(files_of(lake, "protected", tmp_path)) == [("a", i) for i in range(100, 200)]
    _run(lake, _insert("b", FEW), _insert("c", MANY))
    expected = [("a", i) for i in range(100, 200)] + [("b", i) for i in FEW] + [("c", i) for i in MANY]
    assert _held(files_of(lake, "protected", tmp_path)) == expected
    _run(lake, "DELETE FROM lake.protected WHERE name = 'a'")
    assert _held(files_of(lake, "protected", tmp_path)) == expected[100:]


def test_a_file_of_live_rows_only_is_read_where_it_lies(tmp_path: Path) -> None:
    lake = str(tmp_path / "lake")
    prepare(lake)
    _run(lake, _insert("a", MANY), _insert("b", FEW))
    own, few = files_of(lake, "protected", tmp_path / "out")
    assert own.startswith(f"{lake}/data/")
    assert few.startswith(str(tmp_path / "out"))
    assert _held([few]) == [("b", i) for i in FEW]
    _run(lake, "DELETE FROM lake.protected WHERE name = 'b'")
    assert files_of(lake, "protected", tmp_path / "out") == [own]


def test_rows_replaced_by_others_as_many_are_not_taken_for_those_before(tmp_path: Path) -> None:
    lake = str(tmp_path / "lake")
    prepare(lake)
    _run(lake, _insert("a", MANY))
    for gone in (150, 151):
        _run(lake, f"DELETE FROM lake.protected WHERE phash = {gone}")
        _run(lake, f"INSERT INTO lake.protected BY NAME SELECT 'a' AS name, {gone - 1000} AS phash")
        assert ("a", gone) not in _held(files_of(lake, "protected", tmp_path))
    assert len(_held(files_of(lake, "protected", tmp_path))) == len(MANY)
