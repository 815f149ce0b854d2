"""Which rows stay: pure questions over Arrow batches, text normalisation, and recipes as types."""

from typing import Protocol, runtime_checkable

import pyarrow as pa


class Filter(Protocol):
    """A named question about each row of a batch, answered for the whole batch at once."""

    @property
    def reason(self) -> str:
        """The reason code that the ledger shows for a row that this filter turns away."""

    def rejects(self, batch: pa.RecordBatch) -> pa.StringArray:
        """Null where the row may stay, else the value and the bound that it broke, for people."""


@runtime_checkable
class HeadFilter(Filter, Protocol):
    """A filter of pictures by what a head says of their embedding: it is asked after the embedding.

    Its batches have the head's values, float32, in the column `head:NAME`; null where nothing was embedded.
    """

    @property
    def reads_head(self) -> str:
        """The name of the head."""
