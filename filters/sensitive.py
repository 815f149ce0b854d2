"""Texts that hold a word of a list; no list is shipped, a recipe names its own file.

The file is UTF-8: lines `# id: NAME` and `# version: WHEN` first, then a word, a tab and its category a line. A word of
the category `allowed` protects what lies within it (毒 within 消毒). A word has at least two characters.
"""

import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

import pyarrow as pa
from pydantic import Field, model_validator

from filters.normalise import matching, normalise
from filters.text import TextFilter
from filters.versioned import read_list

ALLOWED = "allowed"

_CJK = re.compile(r"[\u3041-\u30ff\u3400-\u4dbf\u4e00-\u9fff\U00020000-\U000323af]")
_SEPARATORS = re.compile(r"[\W_]+")
_SPELT_OUT = re.compile(r"(?<![a-z0-9])([a-z0-9])[\W_]+(?=[a-z0-9](?![a-z0-9]))")


@dataclass(frozen=True)
class WordList:
    """A list as it matches: categories by word, the lengths that words have, what is protected."""

    id: str
    version: str
    words: dict[str, str]
    allowed: frozenset[str]
    lengths: tuple[int, ...]

    def category_in(self, text: str) -> str | None:
        """The category of the first word that the text holds outside of protected ones."""
        end = 0  # of the protected word that reaches furthest
        for start in range(len(text)):
            for length in self.lengths:  # longest first
                piece = text[start : start + length]
                if piece in self.allowed:
                    end = max(end, start + length)
                elif piece in self.words and start + length > end and _stands_alone(text, start, start + length):
                    return self.words[piece]
        return None


class Sensitive(TextFilter):
    """The text holds no word of this list, nor one with separators within it."""

    list: str = Field(description="path of the file; in a recipe relative to the recipe's folder")

    @model_validator(mode="after")
    def _readable(self) -> "Sensitive":
        read_words(self.list)
        return self

    @property
    def reason(self) -> Literal["text_sensitive"]:
        """The reason code."""
        return "text_sensitive"

    def rejects(self, batch: pa.RecordBatch) -> pa.StringArray:
        """Null where the text may stay, else the list's id and version and the category, never the word."""
        words = read_words(self.list)
        found = [text and _category(words, matching(text)) for text in batch.column("norm").to_pylist()]
        said = [category and f"list {words.id}, version {words.version}: {category}" for category in found]
        return pa.array([text or None for text in said], pa.string())


@lru_cache(maxsize=8)
def read_words(path: str) -> WordList:
    """The list in a file; ValueError names the line that is wrong."""
    head, lines = read_list(Path(path), f"the word list {path}")
    entries = dict(_entry(path, place, line) for place, line in enumerate(lines, 1) if line[:1] not in ("", "#"))
    words = {word: category for word, category in entries.items() if category != ALLOWED}
    lengths = tuple(sorted({len(word) for word in entries}, reverse=True))
    return WordList(head["id"], head["version"], words, frozenset(entries.keys() - words.keys()), lengths)


def _entry(path: str, place: int, line: str) -> tuple[str, str]:
    word, tab, category = line.partition("\t")
    key = matching(normalise(word))
    if not tab or not category.strip() or len(key) < 2:
        raise ValueError(f"line {place} of the word list {path}: a word of two characters or more, a tab, a category")
    return key, category.strip()


def _category(words: WordList, text: str) -> str | None:
    found = words.category_in(text) or words.category_in(_SPELT_OUT.sub(r"\1", text))
    if found is None and _CJK.search(text):
        found = words.category_in(_SEPARATORS.sub("", text))
    return found


def _stands_alone(text: str, start: int, end: int) -> bool:
    """Whether a word of letters is a whole word (not "ass" in "class"); Chinese has no such bounds."""
    left = start > 0 and _joined(text[start - 1], text[start])
    right = end < len(text) and _joined(text[end - 1], text[end])
    return not (left or right)


def _joined(first: str, second: str) -> bool:
    return first.isalnum() and second.isalnum() and not _CJK.match(first) and not _CJK.match(second)
