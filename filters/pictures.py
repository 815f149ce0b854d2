"""Which pictures stay, by what was measured at the one decode and by what heads say of the one embedding.

The columns are width, height, std, entropy and sharpness; for filters by a head `head:NAME`.
"""

from typing import Literal

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, ConfigDict, Field

from filters.sentences import said

HEAD_NAME = r"^[a-z0-9][a-z0-9_-]*$"


class PictureFilter(BaseModel):
    """Settings of a filter: frozen, and one that it does not know is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class TooSmall(PictureFilter):
    """Both sides have at least so many pixels (Wukong, COYO and DataComp: 200)."""

    side: int = Field(default=200, ge=1, description="pixels of the shorter side")

    @property
    def reason(self) -> Literal["image_too_small"]:
        """The reason code."""
        return "image_too_small"

    def rejects(self, batch: pa.RecordBatch) -> pa.StringArray:
        """Null where the picture may stay, else its size and the bound."""
        width, height = batch.column("width"), batch.column("height")
        small = pc.less(pc.min_element_wise(width, height, skip_nulls=False), self.side)
        return said(small, [width, "x", height, f" pixels; at least {self.side} a side"])


class Aspect(PictureFilter):
    """The longer side is at most so many times the shorter one (DataComp, COYO, Wukong, DanQing: 3)."""

    limit: float = Field(default=3, ge=1)

    @property
    def reason(self) -> Literal["image_aspect"]:
        """The reason code."""
        return "image_aspect"

    def rejects(self, batch: pa.RecordBatch) -> pa.StringArray:
        """Null where the picture may stay, else its size and the bound; 600x200 stays at 3, 601x200 does not."""
        width, height = batch.column("width"), batch.column("height")
        longer = pc.max_element_wise(width, height, skip_nulls=False)
        shorter = pc.min_element_wise(width, height, skip_nulls=False)
        bound = pc.multiply(pc.cast(shorter, pa.float64()), self.limit)
        wide = pc.greater(pc.cast(longer, pa.float64()), bound)
        return said(wide, [width, "x", height, f" pixels; at most {self.limit:g} to 1"])


class Blank(PictureFilter):
    """There is something to see: grey values vary and their histogram holds some bits."""

    std: float = Field(default=2, ge=0, description="standard deviation of the pixels, of 255 (DanQing: 2)")
    entropy: float = Field(default=3, ge=0, description="of the grey histogram, in bits (DanQing: 3)")

    @property
    def reason(self) -> Literal["image_blank"]:
        """The reason code."""
        return "image_blank"

    def rejects(self, batch: pa.RecordBatch) -> pa.StringArray:
        """Null where the picture may stay, else its measures and the bounds."""
        std, entropy = batch.column("std"), batch.column("entropy")
        blank = pc.or_kleene(pc.less(std, self.std), pc.less(entropy, self.entropy))
        bounds = f" bits; at least {self.std:g} and {self.entropy:g}"
        return said(blank, ["standard deviation ", pc.round(std, 2), ", entropy ", pc.round(entropy, 2), bounds])


class Blurry(PictureFilter):
    """Some part is sharp: less than 1 % of sharp photos do not reach the default (docs/measures.md)."""

    sharpness: float = Field(default=500, gt=0, description="least variance of the Laplacian in the sharpest tile")

    @property
    def reason(self) -> Literal["image_blurry"]:
        """The reason code."""
        return "image_blurry"

    def rejects(self, batch: pa.RecordBatch) -> pa.StringArray:
        """Null where the picture may stay, else its sharpness and the bound."""
        sharpness = batch.column("sharpness")
        blurred = pc.less(sharpness, self.sharpness)
        return said(blurred, ["sharpness ", pc.round(sharpness, 1), f"; at least {self.sharpness:g}"])


class Unsafe(PictureFilter):
    """A head finds the picture less unsafe than a bound (LAION judges by 0.5, Re-LAION's research-safe set by 0.45)."""

    head: str = Field(default="unsafe", pattern=HEAD_NAME, description="of the recipe's heads, by its name")
    limit: float = Field(default=0.5, description="least value that turns a picture away")

    @property
    def reason(self) -> Literal["image_unsafe"]:
        """The reason code."""
        return "image_unsafe"

    @property
    def reads_head(self) -> str:
        """The name of the head."""
        return self.head

    def rejects(self, batch: pa.RecordBatch) -> pa.StringArray:
        """Null where the picture may stay or was not embedded, else the head's value and the bound."""
        values = batch.column(head_column(self.head))
        limit = pa.scalar(self.limit, values.type)  # 0.45 in single precision is below 0.45
        unsafe = pc.invert(pc.less(values, limit))  # so that a value that is no number does not pass
        return said(unsafe, [f"{self.head} ", pc.round(values, 2), f"; under {self.limit:g}"])


def head_column(head: str) -> str:
    """The column of a batch that has the values of the head of that name."""
    return f"head:{head}"
