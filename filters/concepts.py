"""Lists of concepts that pictures are compared with, in English and Chinese: a shipped one, and files of your own.

A file is UTF-8: lines `# id: NAME` and `# version: WHEN` first, then a concept a line: its id, a tab, English, a tab,
Chinese. English comes with the article that it takes in a sentence ("a dog", "food"). One of the two may be empty.
"""

import re
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

from filters.versioned import read_list

_ID = re.compile(r"[a-z0-9][a-z0-9_-]*")


@dataclass(frozen=True)
class Concept:
    """Something that may be seen on a picture; `en` and `zh` as they stand within a sentence, empty where not given."""

    id: str
    en: str
    zh: str


def load_concepts(name_or_path: str) -> tuple[Concept, ...]:
    """A shipped list by its name, or the list in a file, in its order; ValueError names the line that is wrong."""
    _, lines = read_list(concepts_file(name_or_path), f"the list of concepts {name_or_path}")
    concepts: dict[str, Concept] = {}
    for place, line in enumerate(lines, 1):
        if line.strip() and not line.startswith("#"):
            concept = _concept(name_or_path, place, line)
            if concept.id in concepts:
                raise ValueError(f"line {place} of the list of concepts {name_or_path}: {concept.id} stands here twice")
            concepts[concept.id] = concept
    if not concepts:
        raise ValueError(f"the list of concepts {name_or_path} is empty")
    return tuple(concepts.values())


def shipped_concepts() -> tuple[str, ...]:
    """The names of the lists that come with Zeromill."""
    return tuple(sorted(file.name.removesuffix(".tsv") for file in _shipped().iterdir() if file.name.endswith(".tsv")))


def concepts_file(name_or_path: str) -> Traversable:
    """Where a list lies."""
    return Path(name_or_path) if names_a_file(name_or_path) else _shipped() / f"{name_or_path}.tsv"


def names_a_file(name_or_path: str) -> bool:
    """False for a shipped list: its name has no slash and no `.tsv`."""
    return "/" in name_or_path or name_or_path.endswith(".tsv")


def _shipped() -> Traversable:
    return files("recipes") / "concepts"


def _concept(name: str, place: int, line: str) -> Concept:
    fields = [field.strip() for field in line.split("\t")]
    if len(fields) != 3 or not _ID.fullmatch(fields[0]) or not (fields[1] or fields[2]):
        wanted = "an id of a-z, 0-9, `_` and `-`, a tab, English, a tab, Chinese"
        raise ValueError(f"line {place} of the list of concepts {name}: {wanted}")
    return Concept(*fields)
