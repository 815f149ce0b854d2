"""Which objects a text names, in English and Chinese, by a vocabulary that has an id and a version.

A vocabulary is UTF-8 lines: `# id: NAME` and `# version: WHEN` first, then an object a line, seven columns parted by
tabs: its id; how it stands in a prompt in English ("a dog") and in Chinese; the words that name it, English, Chinese;
phrases that hold such a word and do not name it ("hot dog", 斑马线), English, Chinese. Words are parted by commas.

What stands longest from where it begins counts, so that "hot dog" names no dog; English is read by whole words,
Chinese by characters. Words after CHAIR's question (Rohrbach et al. 2018, arXiv 1809.02156) with lists of our own.
"""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources.abc import Traversable
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from filters.concepts import Concept
from filters.normalise import matching
from filters.sentences import said
from filters.versioned import entries, list_file, read_list, shipped_lists

Words = tuple[str, ...]
"""A phrase as it is matched: words of letters, and single characters of scripts without spaces."""

HELD = pa.schema([("objects", pa.list_(pa.string())), ("absent", pa.string()), ("presence", pa.float32())])
"""What is known of a caption beside its picture: the objects that it names, each once, and of them that which is seen
least surely; that and its presence are null where it names none."""

_ID = re.compile(r"[a-z0-9][a-z0-9_-]*")
# A mark between two words keeps them apart ("hot, dog"); what stands within a word does not
_UNSPACED = r"\u3041-\u30ff\u3400-\u4dbf\u4e00-\u9fff\U00020000-\U000323af"
_TOKEN = re.compile(rf"[{_UNSPACED}]|[^\W_{_UNSPACED}]+|[^\w\s'’-]")
_COLUMNS = 7


@dataclass(frozen=True)
class Objects:
    """A vocabulary as it matches. `concepts`: each object as it stands in prompts, in the order of the list.

    `meant`: by phrase the objects that it names, none for a phrase that only holds such a word.
    `longest`: by a phrase's first word the most words that follow it.
    """

    id: str
    version: str
    concepts: tuple[Concept, ...]
    meant: Mapping[Words, tuple[str, ...]]
    longest: Mapping[str, int]

    def mentions(self, texts: Iterable[str]) -> list[tuple[str, ...]]:
        """Per text the ids of the objects that it names, in the order of its words, as often as it names them.

        Texts may be raw: case is all one, and Traditional characters are read as Simplified ones.
        """
        return [tuple(_named(_words(text), self.meant, self.longest)) for text in texts]


def judge_objects(held: pa.RecordBatch, min_presence: float) -> tuple[pa.StringArray, pa.StringArray]:
    """Per caption `caption_absent_object` and a detail where an object that it names is seen less surely; else null.

    `held` has the columns of HELD. A caption that names no object may stay.
    """
    surely, absent = held.column("presence"), held.column("absent")
    details = said(pc.less(surely, min_presence), [absent, ", presence ", pc.round(surely, 3), f" < {min_presence:g}"])
    return pc.if_else(pc.is_valid(details), "caption_absent_object", None).cast(pa.string()), details


class Chair(NamedTuple):
    """How often captions name what is not there: of all mentions (CHAIRi), of all captions (CHAIRs)."""

    of_mentions: float
    of_captions: float


def chair(mentions: Sequence[Sequence[str]], truth: Sequence[Collection[str]]) -> Chair:
    """CHAIR of captions that name `mentions`, on pictures that show `truth`; 0 where nothing is named."""
    wrong = [sum(one not in there for one in named) for named, there in zip(mentions, truth, strict=True)]
    of_mentions = sum(wrong) / max(1, sum(len(named) for named in mentions))
    return Chair(of_mentions, sum(one > 0 for one in wrong) / max(1, len(mentions)))


def shipped_objects() -> tuple[str, ...]:
    """The names of the vocabularies that come with Zeromill."""
    return shipped_lists("objects")


def objects_file(name_or_path: str) -> Traversable:
    """Where a vocabulary lies."""
    return list_file("objects", name_or_path)


@lru_cache(maxsize=8)
def load_objects(name_or_path: str) -> Objects:
    """A shipped vocabulary by its name, or the one in a file; ValueError names the line that is wrong."""
    called = f"the vocabulary {name_or_path}"
    head, lines = read_list(objects_file(name_or_path), called)
    objects: dict[str, _Object] = {}
    for place, line in entries(lines, called):
        one = _object(f"line {place} of {called}", line)
        if one.concept.id in objects:
            raise ValueError(f"line {place} of {called}: {one.concept.id} stands here twice")
        objects[one.concept.id] = one
    meant, longest = _meant(objects.values())
    return Objects(head["id"], head["version"], tuple(one.concept for one in objects.values()), meant, longest)


class _Object(NamedTuple):
    concept: Concept
    words: list[Words]
    others: list[Words]


def _object(where: str, line: str) -> _Object:
    fields = [field.strip() for field in line.split("\t")]
    fields += [""] * (_COLUMNS - len(fields))
    if len(fields) > _COLUMNS or not _ID.fullmatch(fields[0]) or not (fields[1] or fields[2]):
        raise ValueError(f"{where}: an id of a-z, 0-9, `_` and `-`, English and Chinese in a prompt, words, phrases")
    english, chinese, not_english, not_chinese = (_split(field) for field in fields[3:])
    words = [form for word in english for form in (word, _plural(word))] + chinese
    if not words:
        raise ValueError(f"{where}: no word names {fields[0]}")
    return _Object(
        Concept(*fields[:3]), [_words(one) for one in words], [_words(one) for one in not_english + not_chinese]
    )


def _meant(objects: Iterable[_Object]) -> tuple[dict[Words, tuple[str, ...]], dict[str, int]]:
    """By phrase the objects that it names, and by the first word of phrases the most words that one has.

    A phrase that one object lists as another thing may be the name of a second (a hot dog), or hold the name of one
    ("football player" is no ball and a person): it names what its words name without the objects that deny it.
    """
    meant: dict[Words, tuple[str, ...]] = {}
    denied: dict[Words, set[str]] = {}
    longest: dict[str, int] = {}
    for one in objects:
        for phrase in dict.fromkeys(one.words):
            meant[phrase] = (*meant.get(phrase, ()), one.concept.id)
        for phrase in one.others:
            denied.setdefault(phrase, set()).add(one.concept.id)
    for phrase in (*meant, *denied):
        longest[phrase[0]] = max(longest.get(phrase[0], 0), len(phrase))
    for phrase in sorted(denied.keys() - meant.keys(), key=lambda words: (len(words), words)):  # what it holds is known
        within = _named(phrase, meant, longest)
        meant[phrase] = tuple(one for one in within if one not in denied[phrase])
    return meant, longest


def _named(words: Words, meant: Mapping[Words, tuple[str, ...]], longest: Mapping[str, int]) -> Iterator[str]:
    place = 0
    while place < len(words):
        most = min(longest.get(words[place], 0), len(words) - place)
        length = next((n for n in range(most, 0, -1) if words[place : place + n] in meant), 0)
        yield from meant[words[place : place + length]] if length else ()
        place += max(1, length)


def _split(field: str) -> list[str]:
    return [word for word in (part.strip() for part in field.split(",")) if word]


def _words(text: str) -> Words:
    return tuple(_TOKEN.findall(matching(text)))


def _plural(word: str) -> str:
    """The regular plural of an English word or of the last one of a phrase."""
    if re.search(r"(?:s|x|z|ch|sh)$", word):
        return f"{word}es"
    if re.search(r"[^aeiou]y$", word):
        return f"{word[:-1]}ies"
    return f"{word}s"
