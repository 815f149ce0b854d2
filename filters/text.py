"""Which texts stay: filters over batches with the columns raw, norm, language and probability, and what measures them.

A null norm is a text that is not there, and no filter has anything to say about it.
"""

import re
from functools import lru_cache
from typing import Literal, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, ConfigDict, Field

from filters.language import language_of
from filters.normalise import normalise
from filters.sentences import said

# RE2 classes. Scripts without spaces between words are counted by characters.
_UNSPACED = r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}]"
_WORD = r"[\pL\pM\pN]+(?:['’-][\pL\pM\pN]+)*"

_SUFFIX = r"\.(?:jpe?g|jfif|png|gif|webp|bmp|tiff?|svg|heic|heif|avif|ico|psd|raw|cr2|nef|arw|dng|mp4|mov|pdf)"
_CAMERA = (
    r"(?:img|image|dsc|dscn|dscf|_dsc|p|pict|picture|pic|photo|mvi|vid|gopr|pxl|sam|cimg|imgp|hpim|wp|screen ?shot|"
    r"snapshot|scan|untitled|unnamed|download|mmexport|wx_camera|received|fb_img|"
    r"wechat ?image|wechatimg|微信图片|qq图片|屏幕截图|屏幕快照|截图|图片|照片|"
    r"未标题|无标题|未命名|新建(?:图片|图像|文件))"
)
_COUNTER = r"(?:[ _–.,:()（）0-9年月日时分秒-]|\b(?:at|am|pm|copy)\b|wa[0-9]|副本)*"
_FILENAME = (
    rf"(?i)^(?:\S+{_SUFFIX}|{_CAMERA}{_COUNTER}{_SUFFIX}|{_CAMERA}{_COUNTER}[0-9]{_COUNTER}"
    r"|screenshot_[0-9]{8}-[0-9]{6}_[\w.]+|[0-9a-f-]{16,}|[0-9]{6,}_[0-9a-z_-]+|(?:https?://|www\.)\S+)$"
)
_TOKEN = re.compile(r"[\u3041-\u30ff\u3400-\u4dbf\u4e00-\u9fff\U00020000-\U000323af]|[^\W_]+")


class TextFilter(BaseModel):
    """Settings of a filter: frozen, and one that it does not know is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Filename(TextFilter):
    """The text describes something, and is not the name of a file, a camera's counter, a hash or an address."""

    @property
    def reason(self) -> Literal["text_filename"]:
        """The reason code."""
        return "text_filename"

    def rejects(self, batch: pa.RecordBatch) -> pa.StringArray:
        """Null where the text may stay, else what it looks like."""
        norm = batch.column("norm")
        shown = pc.utf8_slice_codeunits(norm, 0, 60)
        return said(pc.match_substring_regex(norm, _FILENAME), [shown, "; a description, not the name of a file"])


class TooShort(TextFilter):
    """So many Han characters or so many words are long enough; less of both adds up (2 Han and 1 word at 4 and 2).

    Where one of the two is 0, the other is asked of every text, whatever its script. Words are runs of letters and
    digits; digits alone are no text. Scripts without spaces count as Han does. Beside that, or with 0 of both instead
    of it, DataComp's rule: a text has so many `parts` between white space, and so many `characters` of any kind (its
    basic filter: 3 and 6).
    """

    han: int = Field(default=4, ge=0, description="characters of Han or another script without spaces; 0: not asked")
    words: int = Field(default=2, ge=0, description="words of other scripts; 0: not asked")
    parts: int = Field(default=0, ge=0, description="between white space")
    characters: int = Field(default=0, ge=0, description="of any kind, white space too")

    @property
    def reason(self) -> Literal["text_too_short"]:
        """The reason code."""
        return "text_too_short"

    def rejects(self, batch: pa.RecordBatch) -> pa.StringArray:
        """Null where the text may stay, else its counts and the bounds."""
        norm = batch.column("norm")
        unspaced, words = counts(norm)
        told = self._few(unspaced, words)
        for least, found, things in (
            (self.parts, pc.count_substring_regex(norm, r"\S+"), "parts between white space"),
            (self.characters, pc.utf8_length(norm), "characters"),
        ):
            told = pc.coalesce(told, said(pc.less(found, least), [found, f" {things} < {least}"]))
        return told

    def _few(self, unspaced: pa.Int32Array, words: pa.Int32Array) -> pa.StringArray:
        """The same of Han characters and words alone."""
        if self.han and self.words:
            of_both = pc.add(pc.multiply(unspaced, self.words), pc.multiply(words, self.han))
            bound = f" words; at least {self.han} Han characters or {self.words} words"
            return said(pc.less(of_both, self.han * self.words), [unspaced, " Han characters and ", words, bound])
        found, least, things = (unspaced, self.han, "Han characters") if self.han else (words, self.words, "words")
        return said(pc.less(found, least), [found, f" {things}; at least {least} {things}"])


class TooLong(TextFilter):
    """The text has at most so many characters."""

    characters: int = Field(default=300, ge=1)

    @property
    def reason(self) -> Literal["text_too_long"]:
        """The reason code."""
        return "text_too_long"

    def rejects(self, batch: pa.RecordBatch) -> pa.StringArray:
        """Null where the text may stay, else its length and the bound."""
        length = pc.utf8_length(batch.column("norm"))
        return said(pc.greater(length, self.characters), [length, f" characters > {self.characters}"])


class Boilerplate(TextFilter):
    """The text stands with at most so many distinct URLs of the whole input (COYO: 10).

    Only SQL over the whole input can count them; it hands the count in as the column distinct_urls (int64).
    """

    urls: int = Field(default=10, ge=1)

    @property
    def reason(self) -> Literal["text_boilerplate"]:
        """The reason code."""
        return "text_boilerplate"

    def rejects(self, batch: pa.RecordBatch) -> pa.StringArray:
        """Null where the text may stay, else its count of URLs and the bound; KeyError without that column."""
        urls = batch.column("distinct_urls")
        return said(pc.greater(urls, self.urls), [urls, f" URLs > {self.urls}"])


class OtherLanguage(TextFilter):
    """The text is in one of these languages (ISO 639; `und` is what nobody can be sure about)."""

    languages: tuple[str, ...] = Field(default=("zh", "en", "und"), min_length=1)

    @property
    def reason(self) -> Literal["text_language"]:
        """The reason code."""
        return "text_language"

    def rejects(self, batch: pa.RecordBatch) -> pa.StringArray:
        """Null where the text may stay, else its language, the probability and the languages that stay."""
        language, probability = batch.column("language"), batch.column("probability")
        stays = pc.is_in(language, value_set=pa.array(self.languages, pa.string()))
        other = pc.and_(pc.invert(stays), pc.is_valid(language))
        bound = f"; stays: {', '.join(self.languages)}"
        return said(other, [language, ", probability ", pc.round(probability, 2), bound])


class Repetitive(TextFilter):
    """The text does not say the same again and again: at most so much of it has stood in it before.

    Measured as the share of its runs of three tokens (words, or single Han characters) that are not new.
    """

    share: float = Field(default=0.5, ge=0, le=1, description="of the runs of three tokens")

    @property
    def reason(self) -> Literal["text_repetitive"]:
        """The reason code."""
        return "text_repetitive"

    def rejects(self, batch: pa.RecordBatch) -> pa.StringArray:
        """Null where the text may stay, else the share that repeats and the bound."""
        shares = pa.array([_repeated(norm) for norm in batch.column("norm").to_pylist()], pa.float64())
        return said(pc.greater(shares, self.share), [pc.round(shares, 2), f" of it repeats > {self.share:g}"])


class Measured(NamedTuple):
    """What is known about a text before any filter asks."""

    norm: str
    language: str
    probability: float


def measure(raw: pa.StringArray) -> pa.RecordBatch:
    """Columns raw, norm, language, probability (float64) and measures (JSON: characters, han, words); null for null.

    `han` counts the characters of Han and other scripts without spaces, `words` the words of the others.
    """
    if isinstance(raw, pa.ChunkedArray):
        raw = raw.combine_chunks()
    known = [None if text is None else _measured(text) for text in raw.to_pylist()]
    norm = pa.array([text and text.norm for text in known], pa.string())
    han, words = counts(norm)
    length = pc.utf8_length(norm)
    parts = ['{"characters": ', length, ', "han": ', han, ', "words": ', words, "}"]
    columns = {
        "raw": raw.cast(pa.string()),
        "norm": norm,
        "language": pa.array([text and text.language for text in known], pa.string()),
        "probability": pa.array([text and text.probability for text in known], pa.float64()),
        "measures": said(pc.is_valid(norm), parts),
    }
    return pa.RecordBatch.from_pydict(columns)


def counts(norm: pa.StringArray) -> tuple[pa.Int32Array, pa.Int32Array]:
    """Per text the characters of scripts without spaces, and the words of the others (none where all are numbers)."""
    unspaced = pc.count_substring_regex(norm, _UNSPACED)
    rest = pc.replace_substring_regex(norm, _UNSPACED, " ")
    words = pc.if_else(pc.match_substring_regex(norm, r"\pL"), pc.count_substring_regex(rest, _WORD), 0)
    return unspaced, words


@lru_cache(maxsize=1 << 16)  # titles and surrounding texts repeat within a site
def _measured(raw: str) -> Measured:
    norm = normalise(raw)
    return Measured(norm, *language_of(norm))


def _repeated(norm: str | None) -> float | None:
    if norm is None:
        return None
    tokens = _TOKEN.findall(norm.casefold())
    runs = list(zip(tokens, tokens[1:], tokens[2:], strict=False))
    return 1 - len(set(runs)) / len(runs) if runs else 0.0
