"""What captions say, without a model: their texts as they join the pairs, and what is wrong with their words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from actors.captions.making import SCHEMA as CAPTIONS
from actors.models.vectors import write
from filters import Filter
from filters.captioning import CaptionChecks
from filters.captions import judge_captions, measure_captions
from filters.chosen import first_reasons
from filters.objects import Objects, load_objects
from filters.text import Boilerplate, measure
from warehouse.ids import content_id

_AS_WRITTEN = [field for field in CAPTIONS if field.name not in ("reason", "detail")]

WORDS = pa.schema(
    [
        *(field.with_name("prompt_language") if field.name == "language" else field for field in _AS_WRITTEN),
        ("norm", pa.string()),
        ("language", pa.string()),
        ("text_id", pa.int64()),
        ("objects", pa.list_(pa.string())),
    ]
)
"""A caption as it was written, and as it is read."""

CHECKS = pa.schema(
    {
        "image_id": pa.int64(),
        "captioner": pa.string(),
        "model": pa.string(),
        "prompt_language": pa.string(),
        "sample": pa.int32(),
        "text_id": pa.int64(),
        "metric": pa.string(),
        "value": pa.float64(),
        "reason": pa.string(),
        "detail": pa.string(),
    }
)

KEY = ("image_id", "captioner", "model", "prompt_language", "sample", "text_id")
"""Of one caption, in both."""

METRICS = {
    "repetition": ("caption_repetitive",),
    "length": ("caption_too_long",),
    "opening": ("caption_opening", "caption_empty"),
    "text": (),
}
"""What is measured of words, each with the reasons that it gives; `text` has those of the recipe's filters of texts."""


class CaptionReader:
    """Reads parts of captions by the checks of a recipe, and by its filters of texts: what people may not say in a
    release, such as a telephone number, models may not say either."""

    def __init__(self, checks: CaptionChecks, filters: Sequence[Filter], names: Mapping[str, str]) -> None:
        """`names`: what the recipe calls captioners, by identity. ValueError where a list cannot be read.

        A filter that counts texts over the input (text_boilerplate) is not asked.
        """
        self._checks, self._names = checks, names
        self._filters = [one for one in filters if not isinstance(one, Boilerplate)]
        asked = checks.objects is not None or checks.polling is not None
        self._objects: Objects | None = load_objects(checks.vocabulary) if asked else None

    def __call__(self, part: str, folder: Path) -> tuple[str, str]:
        """Read a part of captions; the names of its parts of WORDS and of CHECKS, which are written to `folder`."""
        captions = self._called(pq.read_table(part).rename_columns({"language": "prompt_language"}))
        written = captions.filter(pc.is_null(captions["reason"]))
        failed = captions.filter(pc.is_valid(captions["reason"]))
        raw = written["raw"].combine_chunks().cast(pa.string())
        measured = measure_captions(raw, written["ended"].combine_chunks(), self._checks.openings)
        norms = measured.column("norm").to_pylist()
        words = pa.table(
            {name: written[name] for name in WORDS.names if name in written.column_names}
            | {
                "norm": measured.column("norm"),
                "language": _language(measured.column("language"), written["prompt_language"].combine_chunks()),
                "text_id": pa.array([content_id(norm.encode()) for norm in norms], pa.int64()),
                "objects": pa.array(self._named(norms), pa.list_(pa.string())),
            },
        ).select(WORDS.names)
        checks = pa.concat_tables([self._checked(words, measured), _failures(failed)])
        folder.mkdir(parents=True, exist_ok=True)
        names = str(folder / f"words-{Path(part).name}"), str(folder / f"checks-{Path(part).name}")
        write(words.cast(WORDS), names[0])
        write(checks, names[1])
        return names

    def _called(self, captions: pa.Table) -> pa.Table:
        """The captions by the names of this recipe, whatever the one that wrote them called their captioner."""
        names = [self._names.get(model, name) for model, name in _pairs(captions)]
        place = captions.schema.get_field_index("captioner")
        return captions.set_column(place, captions.schema.field(place), pa.array(names, pa.string()))

    def _named(self, norms: Sequence[str]) -> Sequence[Sequence[str] | None]:
        """The objects that each text names, null where nobody asks."""
        return [None] * len(norms) if self._objects is None else self._objects.mentions(norms)

    def _checked(self, words: pa.Table, measured: pa.RecordBatch) -> pa.Table:
        """A row a caption and metric; the reason for which a caption goes stands at the metric that gave it."""
        reason, detail = judge_captions(measured, self._checks)
        filtered, why = first_reasons(measure(measured.column("norm")), self._filters)
        reason, detail = pc.coalesce(reason, filtered), pc.coalesce(detail, pc.if_else(pc.is_null(reason), why, None))
        own = pa.array([one for reasons in METRICS.values() for one in reasons])
        tables = []
        for metric, reasons in METRICS.items():
            known = pc.is_in(reason, value_set=pa.array(reasons) if reasons else own)
            mine = pc.and_(pc.is_valid(reason), known if reasons else pc.invert(known))
            numeric = metric in measured.schema.names and metric != "opening"
            columns = {name: words[name] for name in KEY} | {
                "metric": pa.array([metric] * words.num_rows, pa.string()),
                "value": measured.column(metric).cast(pa.float64()) if numeric else pa.nulls(len(mine), pa.float64()),
                "reason": pc.if_else(mine, reason, None),
                "detail": pc.if_else(mine, detail, measured.column("opening") if metric == "opening" else None),
            }
            tables.append(pa.table(columns).cast(CHECKS))
        return pa.concat_tables(tables)


def _pairs(captions: pa.Table) -> Iterator[tuple[str, str]]:
    return zip(captions["model"].to_pylist(), captions["captioner"].to_pylist(), strict=True)


def _language(told: pa.StringArray, asked: pa.StringArray) -> pa.StringArray:
    """What a text is in; of one too short to tell, what its prompt was in."""
    return pc.if_else(pc.and_(pc.equal(told, "und"), pc.is_valid(asked)), asked, told)


def _failures(failed: pa.Table) -> pa.Table:
    """A row for each picture that could not be captioned."""
    told = {name: failed[name] for name in KEY if name != "text_id"} | {
        "text_id": pa.nulls(failed.num_rows, pa.int64()),
        "metric": pa.array(["written"] * failed.num_rows, pa.string()),
        "value": pa.nulls(failed.num_rows, pa.float64()),
        "reason": failed["reason"],
        "detail": failed["detail"],
    }
    return pa.table(told).select(CHECKS.names).cast(CHECKS)
