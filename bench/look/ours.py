"""Our contestants of a looking bench: the stage's own Looker over fetched parts, and texts beside it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from actors.models.files import FoundModel
from actors.models.vectors import recalled
from actors.pictures.look import Looked, Looker, Looking, LookJob
from filters.load import load_recipe
from filters.recipe import Pictures


@dataclass(frozen=True)
class Ours:
    """A Looker gets ready by looking at the part `warm`, and then looks at `parts`, which become files of `out`.

    With `earlier`, a folder that the same parts were looked at into, it looks as a second recipe does: at what that
    one left.
    """

    parts: tuple[Path, ...]
    warm: Path
    out: Path
    pictures: Pictures
    model: FoundModel | None = None
    threads: int = 1
    earlier: Path | None = None

    def __call__(self) -> Callable[[], list[Looked]]:
        looker = Looker(Looking(self.pictures, () if self.model is None else (self.model,)), self.threads)
        for folder in (self.out, self.out / "warm"):
            folder.mkdir(parents=True, exist_ok=True)
        looker(_job(self.warm, self.out / "warm", None))
        return partial(_look, looker, [_job(part, self.out, self.earlier) for part in self.parts])


@dataclass(frozen=True)
class OursScored:
    """The same, and each picture's text beside it: embedded, and its cosine with the picture written.

    `texts` stand in the order of the rows of all parts.
    """

    ours: Ours
    texts: tuple[str, ...]

    def __call__(self) -> Callable[[], int]:
        assert self.ours.model is not None
        from actors.models.texts import TextEmbedder

        words = self.ours.out / "words.parquet"
        embedder, work = TextEmbedder(self.ours.model), self.ours()
        write_words(self.texts[:32], words)
        embedder(WordsJob(str(words), str(self.ours.out / "warm.texts.parquet")))
        return partial(_score, work, embedder, self)


@dataclass(frozen=True)
class WordsJob:
    """A Parquet file of text_id and norm, and the part of vectors to write."""

    texts: str
    out: str


def looked(part: Path, out: Path) -> Path:
    """Where a Looker writes what it saw of a part."""
    return out / f"{part.stem}.look.parquet"


def embedded(part: Path, out: Path) -> Path:
    """Where a Looker writes a part's vectors."""
    return out / f"{part.stem}.vectors.parquet"


def unscored() -> Pictures:
    """The picture filters of the shipped recipe `unscored`: size, aspect, blank."""
    return load_recipe("unscored").pictures


def write_words(texts: Sequence[str], file: Path) -> None:
    """Texts as the align stage asks for them to be embedded."""
    pq.write_table(pa.table({"text_id": pa.array(range(len(texts)), pa.int64()), "norm": list(texts)}), file)


def _job(part: Path, out: Path, earlier: Path | None) -> LookJob:
    seen = () if earlier is None else (str(looked(part, earlier)),)
    known = () if earlier is None else (str(embedded(part, earlier)),)
    return LookJob(str(part), str(looked(part, out)), str(embedded(part, out)), seen, known)


def _look(looker: Looker, jobs: Sequence[LookJob]) -> list[Looked]:
    return [looker(job) for job in jobs]


def _score(work: Callable[[], list[Looked]], embedder: Callable[[WordsJob], str], scored: OursScored) -> int:
    """How many pairs have a cosine, once all that is written."""
    assert scored.ours.model is not None
    out, identity, texts = scored.ours.out, scored.ours.model.identity, scored.texts
    done = work()
    write_words(texts, out / "words.parquet")
    spoken = embedder(WordsJob(str(out / "words.parquet"), str(out / "texts.parquet")))
    ids = [one for part in done for one in pq.read_table(part.out, columns=["image_id"])["image_id"].to_pylist()]
    shown = [str(embedded(part, out)) for part in scored.ours.parts]
    pictures = recalled(shown, ids, [identity])[identity]
    words = recalled([spoken], range(len(texts)), [identity])[identity]
    cosines = [(one, text, float(pictures[one] @ words[text])) for text, one in enumerate(ids) if one in pictures]
    columns = dict(zip(("image_id", "text_id", "value"), zip(*cosines, strict=True), strict=True))
    pq.write_table(pa.table(columns), out / "scores.parquet")
    return len(cosines)
