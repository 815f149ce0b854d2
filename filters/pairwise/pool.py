"""A pool of pairs of one model: their ids, and where the vectors of their pictures and texts are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from filters.pairwise.mixing import Ids

Floats = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Pool:
    """Pairs (n,) by their ids; row `picture_rows[i]` of `pictures` and `text_rows[i]` of `texts` are pair i's vectors.

    Vectors are of length 1. They may be memory-mapped: what needs them reads the rows of a part at a time.
    """

    images: Ids
    text_ids: Ids
    pictures: Floats
    picture_rows: Ids
    texts: Floats
    text_rows: Ids

    def vectors(self, places: Ids) -> tuple[Floats, Floats]:
        """Pictures and texts (m, width) of the pairs at these places."""
        return self.pictures[self.picture_rows[places]], self.texts[self.text_rows[places]]
