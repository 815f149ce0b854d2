"""How a filter says, over a whole column, what it found and which bound that broke."""

import pyarrow as pa
import pyarrow.compute as pc


def said(rejected: pa.BooleanArray, parts: list[pa.Array | str]) -> pa.StringArray:
    """The parts joined to one string where a row is rejected; null elsewhere and where nothing was measured."""
    words = [part if isinstance(part, str) else pc.coalesce(pc.cast(part, pa.string()), "?") for part in parts]
    sentence = pc.binary_join_element_wise(*words, "")
    return pc.if_else(pc.fill_null(rejected, False), sentence, pa.scalar(None, pa.string()))
