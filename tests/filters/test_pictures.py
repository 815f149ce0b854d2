from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from filters import Filter
from filters.chosen import BUILT_IN, around_embedding, chosen, first_reasons
from filters.pictures import Aspect, Blank, Blurry, TooSmall, Unsafe, head_column
from warehouse.reasons import ORDER


def batch(**columns: Sequence[float | None]) -> pa.RecordBatch:
    kinds = {"width": pa.int32(), "height": pa.int32()}
    return pa.RecordBatch.from_pydict({k: pa.array(v, kinds.get(k, pa.float32())) for k, v in columns.items()})


def stays(one: Filter, rows: pa.RecordBatch) -> list[bool]:
    return [detail is None for detail in one.rejects(rows).to_pylist()]


def test_both_sides_reach_the_bound() -> None:
    rows = batch(width=[200, 199, 4000, 200], height=[200, 300, 199, None])
    assert stays(TooSmall(), rows) == [True, False, False, True]
    assert TooSmall().rejects(rows)[1].as_py() == "199x300 pixels; at least 200 a side"


def test_three_to_one_is_the_widest() -> None:
    rows = batch(width=[600, 601, 200, 200, 1400], height=[200, 200, 600, 601, 210])
    assert stays(Aspect(), rows) == [True, False, True, False, False]
    assert Aspect().rejects(rows)[1].as_py() == "601x200 pixels; at most 3 to 1"


@given(st.integers(1, 10_000), st.integers(1, 10_000))
def test_turning_a_picture_changes_neither_verdict(width: int, height: int) -> None:
    upright, turned = batch(width=[width], height=[height]), batch(width=[height], height=[width])
    for one in (TooSmall(), Aspect()):
        assert stays(one, upright) == stays(one, turned)


def test_a_flat_picture_is_blank() -> None:
    rows = batch(std=[0.0, 1.9, 60.0, 60.0, None], entropy=[0.0, 5.0, 2.9, 5.0, None])
    assert stays(Blank(), rows) == [False, False, False, True, True]
    assert stays(Blank(std=2, entropy=0), rows) == [False, False, True, True, True]
    assert Blank().rejects(rows)[0].as_py() == "standard deviation 0, entropy 0 bits; at least 2 and 3"


def test_blur_is_judged_by_the_bound() -> None:
    assert stays(Blurry(sharpness=100), batch(sharpness=[99.9, 100.0, None])) == [False, True, True]
    assert stays(Blurry(), batch(sharpness=[499.9, 500.0, None])) == [False, True, True]


def test_a_picture_is_unsafe_from_the_limit_on_and_not_judged_without_a_value() -> None:
    rows = batch(**{"head:unsafe": [0.93, 0.5, 0.49, None, float("nan")]})
    assert stays(Unsafe(), rows) == [False, False, True, True, False]
    assert Unsafe().rejects(rows)[0].as_py() == "unsafe 0.93; under 0.5"
    violent = batch(**{head_column("violent"): [0.45, 0.44]})
    assert stays(Unsafe(head="violent", limit=0.45), violent) == [False, True]


def test_a_head_whose_values_are_not_there_is_no_pass() -> None:
    with pytest.raises(KeyError, match="head:unsafe"):
        Unsafe().rejects(batch(width=[1]))


def test_filters_by_a_head_are_asked_after_the_embedding_and_the_cheap_ones_before() -> None:
    entries: list[dict[str, Any]] = [{"filter": "image_unsafe"}, {"filter": "image_too_small", "side": 10}]
    before, after = around_embedding(chosen(entries, "picture"))
    assert [one.reason for one in before] == ["image_too_small"]
    assert [(one.reason, one.reads_head) for one in after] == [("image_unsafe", "unsafe")]
    rows = batch(width=[5, 20], height=[20, 20], **{"head:unsafe": [0.9, 0.9]})
    assert first_reasons(rows, [*before, *after])[0].to_pylist() == ["image_too_small", "image_unsafe"]


def test_the_filters_stand_in_the_order_of_the_ledger() -> None:
    for named in BUILT_IN.values():
        assert list(named) == sorted(named, key=ORDER.__getitem__)
