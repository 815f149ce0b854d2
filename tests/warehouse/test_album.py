"""The page of copies shows who stands for whom, with the pictures, and hides what URLs may hold."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING

from filters.recipe import Copies
from tasks.album import write_album
from warehouse.album import album

if TYPE_CHECKING:
    from conftest import World

SECRET = "http://user:password@a.example/secret/path/<b>.jpg?token=1"


class _Tags(HTMLParser):
    """Counts what a browser would make of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.seen: list[tuple[str, str]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attributes).get("class") or ""))


def _joined(world: World) -> tuple[list[str], str]:
    """A group of three around the largest, one of two, and a picture of its own."""
    three = [world.shot(f"three {n}", phash=(1 << n) - 1, width=300 + (n == 0)) for n in range(3)]
    two = [world.shot(f"two {n}", phash=0xFFFF << 16 | n * 7, width=300 + (n == 0)) for n in range(2)]
    shots = dict(zip((SECRET, *"bcdef"), [*three, *two, world.shot("alone", phash=-1)], strict=True))
    sifted = world.sifted([{"candidate_id": n, "url": url, "clicks": 3} for n, url in enumerate(shots)])
    looked = world.looked(dict(shots))
    return [looked], world.joined(sifted, looked, Copies(), "s", world.folder())[0]


def test_groups_are_told_by_size_and_by_distance_the_survivor_first(world: World) -> None:
    seen = album(world.warehouse, *_joined(world), groups=5, members=9)
    assert (seen.pictures, seen.copies, seen.by_embedding) == (6, 3, 0)
    assert seen.distances == {4: 1, 8: 1, 12: 1}
    assert [len(group) for group in seen.largest] == [3, 2]
    assert [[one.distance for one in group] for group in seen.farthest] == [[None, 12], [None, 4, 8]]
    assert all(group[0].image_id == group[0].survivor for group in seen.largest)
    assert all((one.thumbnail or b"").startswith(b"small ") for group in seen.largest for one in group)


def test_the_page_has_a_picture_a_member_and_nothing_of_a_url_but_host_and_name(world: World, tmp_path: Path) -> None:
    looked, joined = _joined(world)
    page = write_album(world.warehouse, looked, joined, 64, tmp_path / "copies.html")
    assert page is not None
    text = Path(page).read_text(encoding="utf-8")
    tags = _Tags(text).seen
    assert tags.count(("figure", "survivor")) == 2 * 2  # in each of two lists of groups
    assert tags.count(("figure", "copy")) == 2 * 3
    assert sum(tag == "img" for tag, _ in tags) == 10
    assert sum(tag == "rect" for tag, _ in tags) > 20
    assert not any(tag == "b" for tag, _ in tags)
    assert "a.example &lt;b&gt;.jpg" in text
    assert not re.search("password|token|secret", text)


def test_without_copies_there_is_no_page(world: World, tmp_path: Path) -> None:
    shots = {"a": world.shot("one", phash=0), "b": world.shot("two", phash=-1)}
    sifted = world.sifted([{"candidate_id": n, "url": url, "clicks": 3} for n, url in enumerate(shots)])
    looked = world.looked(dict(shots))
    joined, _ = world.joined(sifted, looked, Copies(), "s", world.folder())
    assert write_album(world.warehouse, [looked], joined, 64, tmp_path / "copies.html") is None
    assert not (tmp_path / "copies.html").exists()


def test_copies_of_earlier_runs_are_shown_with_their_group(world: World) -> None:
    old, small = world.shot("old", phash=1, width=900), world.shot("small", phash=3)
    first = world.mill([{"candidate_id": 1, "url": "a", "texts": ["x"]}], {"a": old})
    world.publish(first)
    sifted = world.sifted([{"candidate_id": 1, "url": "b", "clicks": 1}])
    looked = world.looked({"b": small})
    joined, _ = world.joined(sifted, looked, Copies(), "later", world.folder())
    (group,) = album(world.warehouse, [looked], joined, 5, 9).largest
    assert [(one.image_id, one.thumbnail) for one in group] == [
        (old.image_id, b"small old"),
        (small.image_id, b"small small"),
    ]


def test_the_view_of_copies_has_a_row_a_group(world: World) -> None:
    old, small = world.shot("old", phash=1, width=900), world.shot("small", phash=3)
    log = [{"candidate_id": n, "url": url, "texts": ["x"]} for n, url in enumerate("abc")]
    world.publish(world.mill(log, {"a": old, "b": small, "c": world.shot("alone", phash=-1)}))
    rows = world.ask("SELECT group_id, survivor, members, distances, similarities, rule FROM copies")
    ids = [old.image_id, small.image_id]
    assert rows == [(min(ids), old.image_id, ids, [0, 4], [None, None], "pdq")]
