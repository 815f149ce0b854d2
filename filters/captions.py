"""What is known about a caption from its words alone: how it begins, how long it is, and whether it goes in circles.

Captioners fail in ways of their own. They loop ("a dog and a dog and a dog"), they are cut where their tokens end, and
they begin every caption alike. An opening such as "this image showcases" is taken off and the rest stays, as LAION-POP
does: what follows it is as good as any caption, was paid for, and is what a user would keep by hand; under text_ids of
their own, a caption with and without it are one text. Only what is no caption at all (a refusal) is rejected.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources.abc import Traversable
from itertools import pairwise
from typing import Literal, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from filters.captioning import CaptionChecks
from filters.normalise import matching, normalise
from filters.sentences import said
from filters.text import counts, measure
from filters.versioned import entries, list_file, read_list, shipped_lists

Reason = Literal["caption_empty", "caption_opening", "caption_repetitive", "caption_too_long"]

REASONS: tuple[Reason, ...] = ("caption_empty", "caption_opening", "caption_repetitive", "caption_too_long")
"""In the order in which they are asked: the first that applies is a caption's reason."""

MEASURED = pa.schema(
    [
        ("norm", pa.string()),
        ("language", pa.string()),
        ("probability", pa.float64()),
        ("opening", pa.string()),
        ("refused", pa.bool_()),
        ("repetition", pa.float64()),
        ("length", pa.int32()),
        ("ended", pa.bool_()),
    ]
)

_UNSPACED = r"\u3041-\u30ff\u3400-\u4dbf\u4e00-\u9fff\U00020000-\U000323af"
_TOKEN = re.compile(rf"[{_UNSPACED}]|[^\W_{_UNSPACED}]+(?:['’][^\W_{_UNSPACED}]+)*")
_LETTER = re.compile(r"[^\W_]")
_AFTER = re.compile(r"[\s:：,，;；.。!！、-]*(?:that\b\s*|的)?")  # what joins an opening to what follows
_PATTERN = re.compile(r"[^\\\[\]{}*+^$.?]+")


class Opening(NamedTuple):
    """How a caption begins: so many characters of it, and whether it is no caption for that."""

    end: int
    refused: bool


@dataclass(frozen=True)
class Openings:
    """A list of openings as it matches."""

    id: str
    version: str
    patterns: tuple[tuple[re.Pattern[str], bool], ...]

    def of(self, norm: str) -> Opening | None:
        """The longest opening of the list that the text begins with."""
        folded = norm.lower().replace("’", "'")
        found = [(one, refused) for pattern, refused in self.patterns if (one := pattern.match(folded))]
        if not found:
            return None
        longest, refused = max(found, key=lambda match: match[0].end())
        return Opening(longest.end(), refused)


def measure_captions(raw: pa.StringArray, ended: pa.BooleanArray, openings: str | None) -> pa.RecordBatch:
    """What can be measured of captions (see MEASURED), a row each; null where the caption is null.

    `norm` is the text that joins the pairs: normalised, without its `opening`. `repetition` is the share of its pairs
    of neighbouring tokens that stood in it before (1 - distinct-2 of Li et al. 2016, arXiv 1510.03055), tokens being
    words, and single characters in scripts without spaces. `length` counts words, and characters of such scripts.
    """
    norms = [None if text is None else normalise(text) for text in raw.to_pylist()]
    begun = [None if norm is None else _stripped(norm, openings) for norm in norms]
    known = measure(pa.array([one and one[0] for one in begun], pa.string()))
    norm = known.column("norm")
    unspaced, words = counts(norm)
    columns = {
        "norm": norm,
        "language": known.column("language"),
        "probability": known.column("probability"),
        "opening": pa.array([one and one[1] for one in begun], pa.string()),
        "refused": pa.array([one and one[2] for one in begun], pa.bool_()),
        "repetition": pa.array([repetition(text) for text in norm.to_pylist()], pa.float64()),
        "length": pc.add(unspaced, words),
        "ended": pc.if_else(pc.is_valid(norm), ended, pa.scalar(None, pa.bool_())),
    }
    return pa.RecordBatch.from_pydict(columns, schema=MEASURED)


def judge_captions(measured: pa.RecordBatch, checks: CaptionChecks) -> tuple[pa.StringArray, pa.StringArray]:
    """Per caption the first reason to drop it and a detail, the value and its bound; null where it may stay."""
    asked = [_empty(measured)]
    if checks.openings is not None:
        asked.append(_refused(measured))
    if checks.repetition is not None:
        asked.append(_repetitive(measured, checks.repetition))
    if not checks.cut:
        asked.append(_cut(measured))
    if checks.length is not None:
        asked.append(_too_long(measured, checks.length))
    nothing = pa.nulls(measured.num_rows, pa.string())
    reasons = [pc.if_else(pc.is_valid(detail), reason, None) for reason, detail in asked]
    details = [detail for _, detail in asked]
    return pc.coalesce(*reasons, nothing).cast(pa.string()), pc.coalesce(*details, nothing)


def repetition(norm: str | None) -> float | None:
    """The share of the pairs of neighbouring tokens that are not new; null for null, 0 where there is no pair."""
    if norm is None:
        return None
    pairs = list(pairwise(_TOKEN.findall(norm.casefold())))
    return (len(pairs) - len(set(pairs))) / len(pairs) if pairs else 0.0


def shipped_openings() -> tuple[str, ...]:
    """The names of the lists that come with Zeromill."""
    return shipped_lists("openings")


def openings_file(name_or_path: str) -> Traversable:
    """Where a list lies."""
    return list_file("openings", name_or_path)


@lru_cache(maxsize=8)
def load_openings(name_or_path: str) -> Openings:
    """A shipped list by its name, or the list in a file; ValueError names the line that is wrong."""
    called = f"the list of openings {name_or_path}"
    head, lines = read_list(openings_file(name_or_path), called)
    patterns = tuple(_entry(called, place, line) for place, line in entries(lines, called))
    return Openings(head["id"], head["version"], patterns)


def _entry(called: str, place: int, line: str) -> tuple[re.Pattern[str], bool]:
    opening, _, fate = (field.strip() for field in line.partition("\t"))
    key = matching(opening).replace("’", "'")
    if fate not in ("strip", "reject") or not _PATTERN.fullmatch(key) or not _LETTER.search(key):
        raise ValueError(f"line {place} of {called}: an opening of words, (a|b) and (a|), a tab, `strip` or `reject`")
    end = r"(?!(?<=[a-z])[a-z0-9])"
    try:
        return re.compile(f"(?:{key}){end}"), fate == "reject"
    except re.error as error:
        raise ValueError(f"line {place} of {called}: {error}") from error


def _stripped(norm: str, openings: str | None) -> tuple[str, str | None, bool]:
    """What is left of the text, what was its opening, and whether it is no caption; a refusal keeps its words."""
    opening = load_openings(openings).of(norm) if openings is not None else None
    if opening is None:
        return norm, None, False
    if opening.refused:
        return norm, norm[: opening.end], True
    rest = norm[opening.end :]
    rest = _AFTER.sub("", rest, count=1)
    return (rest if _LETTER.search(rest) else ""), norm[: opening.end], False


Asked = tuple[Reason, pa.StringArray]


def _empty(measured: pa.RecordBatch) -> Asked:
    norm, opening = measured.column("norm"), measured.column("opening")
    nothing = pc.equal(norm, "")
    after = pc.if_else(pc.is_valid(opening), pc.binary_join_element_wise(" after ", opening, ""), "")
    return "caption_empty", said(nothing, ["0 characters", after, "; something said"])


def _refused(measured: pa.RecordBatch) -> Asked:
    bound = "; a caption, not a refusal"
    return "caption_opening", said(measured.column("refused"), ["begins with ", measured.column("opening"), bound])


def _repetitive(measured: pa.RecordBatch, bound: float) -> Asked:
    shares = measured.column("repetition")
    words = [pc.round(shares, 2), f" of its word pairs repeat > {bound:g}"]
    return "caption_repetitive", said(pc.greater(shares, bound), words)


def _cut(measured: pa.RecordBatch) -> Asked:
    words: Sequence[pa.Array | str] = [measured.column("length"), " words or Han characters, cut at the most tokens"]
    return "caption_too_long", said(pc.invert(measured.column("ended")), list(words))


def _too_long(measured: pa.RecordBatch, bound: int) -> Asked:
    length = measured.column("length")
    return "caption_too_long", said(pc.greater(length, bound), [length, f" words or Han characters > {bound}"])
