"""What one actor does with captions that name objects: it asks a model about each object on its picture."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from actors.captions.reading import CHECKS, KEY
from actors.captions.shown import bodies, see
from actors.models.captioners.loading import load_captioner
from actors.models.captioners.protocol import FoundCaptioner, LoadedCaptioner, Shown
from actors.models.vectors import write
from filters.objects import load_objects
from filters.polling import Poll, absent, polls, says_yes

Answers = Mapping[tuple[int, str], bool | None]
"""What was said to a question about a picture; null: nothing that could be read."""


@dataclass(frozen=True)
class PollJob:
    """`fetched`: a part that a fetch wrote. `asked`: Parquet of KEY, `url`, `language` and `objects`, a row a caption.

    `out` is to be written, in a folder that exists.
    """

    fetched: str
    asked: str
    out: str


class Poller:
    """Holds a captioner that answers questions, loaded with the first of them."""

    def __init__(self, found: FoundCaptioner, vocabulary: str, max_pixels: int, threads: int | None = None) -> None:
        self._found, self._max_pixels, self._threads = found, max_pixels, threads
        self._concepts = load_objects(vocabulary).concepts
        self._captioner: LoadedCaptioner | None = None

    def __call__(self, job: PollJob) -> str:
        """Write a row of CHECKS for each caption: the share of its objects that are said to be there.

        A caption goes for the first object that is denied; where no answer could be had it stays, with a null value.
        """
        rows = pq.read_table(job.asked).to_pylist()
        asked = polls([row["objects"] for row in rows], [row["language"] for row in rows], self._concepts)
        questions: dict[int, dict[str, None]] = defaultdict(dict)
        for poll in asked:
            questions[rows[poll.caption]["image_id"]][poll.question] = None
        answers = self._answers(job.fetched, {row["url"]: row["image_id"] for row in rows}, questions)
        write(pa.Table.from_pylist(list(_told(rows, asked, answers)), schema=CHECKS), job.out)
        return job.out

    def _answers(self, fetched: str, ids: dict[str, int], questions: Mapping[int, Mapping[str, None]]) -> Answers:
        """Each question about each picture once, as many at a time as the model wants."""
        answers: dict[tuple[int, str], bool | None] = {}
        asked = self._asked(fetched, ids, questions)
        while batch := list(islice(asked, self._loaded().batch)):
            said = self._loaded().answer([shown for shown, _ in batch], [question for _, question in batch])
            answers |= {
                (shown.image_id, question): says_yes(one) for (shown, question), one in zip(batch, said, strict=True)
            }
        return answers

    def _asked(
        self, fetched: str, ids: dict[str, int], questions: Mapping[int, Mapping[str, None]]
    ) -> Iterator[tuple[Shown, str]]:
        for image_id, data in bodies(fetched, ids):
            shown = see(image_id, data, self._max_pixels, self._loaded().side)
            if isinstance(shown, Shown):
                yield from ((shown, question) for question in questions.get(image_id, {}))

    def _loaded(self) -> LoadedCaptioner:
        if self._captioner is None:
            self._captioner = load_captioner(self._found, threads=self._threads)
        return self._captioner


def _told(rows: Sequence[dict[str, Any]], asked: Sequence[Poll], answers: Answers) -> Iterator[dict[str, Any]]:
    """A row of CHECKS for each caption."""
    said: dict[int, list[tuple[str, bool | None]]] = defaultdict(list)
    for poll in asked:
        answer = answers.get((rows[poll.caption]["image_id"], poll.question))
        said[poll.caption].append((poll.object, answer))
    for place, row in enumerate(rows):
        read = [there for _, there in said[place] if there is not None]
        denied = absent(said[place])
        yield {name: row[name] for name in KEY} | {
            "metric": "polled",
            "value": sum(read) / len(read) if read else None,
            "reason": None if denied is None else "caption_denied",
            "detail": f"no {denied}, says the model" if denied is not None else None if read else "no answer",
        }
