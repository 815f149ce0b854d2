"""Lists of concepts that pictures are compared with, in English and Chinese: a shipped one, and files of your own.

A file is UTF-8: lines `# id: NAME` and `# version: WHEN` first, then a concept a line: its id, a tab, English, a tab,
Chinese. English comes with the article that it takes in a sentence ("a dog", "food"). One of the two may be empty.
"""

import re
from dataclasses import dataclass
from importlib.resources.abc import Traversable

from filters.versioned import entries, list_file, read_list, shipped_lists

_ID = re.compile(r"[a-z0-9][a-z0-9_-]*")


@dataclass(frozen=True)
class Concept:
    """Something that may be seen on a picture; `en` and `zh` as they stand within a sentence, empty where not given."""

    id: str
    en: str
    zh: str


def load_concepts(name_or_path: str) -> tuple[Concept, ...]:
    """A shipped list by its name, or the list in a file, in its order; ValueError names the line that is wrong."""
    called = f"the list of concepts {name_or_path}"
    _, lines = read_list(concepts_file(name_or_path), called)
    concepts: dict[str, Concept] = {}
    for place, line in entries(lines, called):
        concept = _concept(name_or_path, place, line)
        if concept.id in concepts:
            raise ValueError(f"line {place} of {called}: {concept.id} stands here twice")
        concepts[concept.id] = concept
    return tuple(concepts.values())


def shipped_concepts() -> tuple[str, ...]:
    """The names of the lists that come with Zeromill."""
    return shipped_lists("concepts")


def concepts_file(name_or_path: str) -> Traversable:
    """Where a list lies."""
    return list_file("concepts", name_or_path)


def _concept(name: str, place: int, line: str) -> Concept:
    fields = [field.strip() for field in line.split("\t")]
    if len(fields) != 3 or not _ID.fullmatch(fields[0]) or not (fields[1] or fields[2]):
        wanted = "an id of a-z, 0-9, `_` and `-`, a tab, English, a tab, Chinese"
        raise ValueError(f"line {place} of the list of concepts {name}: {wanted}")
    return Concept(*fields)
