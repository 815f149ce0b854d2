"""Which pictures are one: against everything that was kept, the same whatever the order and in however many runs."""

from __future__ import annotations

import math
import random
from typing import TYPE_CHECKING

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.copies.matching import match
from filters.recipe import Copies, Semantic
from tasks.overlaps import ProtectedChanged, Stood, remove_overlaps
from warehouse import schemas
from warehouse.copies import write_accepted, write_outsiders
from warehouse.errors import WarehouseError
from warehouse.lake import connect
from warehouse.overlaps import overlaps
from warehouse.protected import protected_hash, register

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Milled, Shot, World

EXACT = Copies(near_bits=None)
COPIES = Copies()
NEAR = Copies(near_bits=32)


def _signed(value: int) -> int:
    return value - (1 << 64) if value >= 1 << 63 else value


def _flipped(value: int, bits: int, chance: random.Random) -> int:
    for bit in chance.sample(range(64), bits):
        value ^= 1 << bit
    return value


def _shown(*shots: Shot) -> dict[str, Shot | None]:
    return {f"http://a.example/{n}": shot for n, shot in enumerate(shots)}


@pytest.mark.parametrize("bits", [0, 12, 32])
def test_a_picture_is_joined_at_its_distance_and_not_beyond(bare: World, bits: int) -> None:
    chance = random.Random(bits)
    value = chance.getrandbits(64)
    near, far = (_signed(_flipped(value, flipped, chance)) for flipped in (bits // 4, bits // 4 + 1))
    for other, together in ((near, 1), (far, 2)):
        shots = [bare.shot(f"{n}", phash=one) for n, one in enumerate((_signed(value), other))]
        joined = bare.join(_shown(*shots), Copies(near_bits=bits))
        assert len({row["survivor"] for row in joined.values()}) == together
        assert {row["distance"] for row in joined.values() if row["rule"]} <= {bits}


def test_flat_pictures_and_those_without_a_hash_are_joined_only_by_their_bytes(bare: World) -> None:
    flat = [bare.shot(f"flat {n}", phash=0, quality=49) for n in range(2)]
    mute = [bare.shot(f"mute {n}", phash=None) for n in range(2)]
    joined = bare.join(_shown(*flat, *mute, flat[0]))
    assert len(joined) == 4
    assert all(row["survivor"] == one for one, row in joined.items())


def test_equal_bytes_at_many_urls_are_one_picture_even_without_hashes(bare: World) -> None:
    shot = bare.shot("the same", phash=5)
    joined = bare.join({"http://a.example/1": shot, "http://b.example/2": shot, "http://a.example/3": None}, EXACT)
    assert list(joined) == [shot.image_id]


def test_many_pictures_with_equal_hashes_are_one(bare: World) -> None:
    shots = [bare.shot(f"{n}", phash=7, width=300 + n) for n in range(40)]
    joined = bare.join(_shown(*shots))
    assert {row["survivor"] for row in joined.values()} == {shots[-1].image_id}
    assert {row["component"] for row in joined.values()} == {min(shot.image_id for shot in shots)}


def _published(
    world: World, name: str, shots: dict[str, Shot], asked: Copies, clicks: int | dict[str, int] = 1
) -> Milled:
    log = [
        {
            "candidate_id": 1000 * int(name) + n,
            "url": url,
            "clicks": clicks if isinstance(clicks, int) else clicks[url],
            "texts": [f"text {url}"],
        }
        for n, url in enumerate(shots)
    ]
    milled = world.mill(log, dict(shots), source=name, run_id=f"run-{name}", asked=asked)
    world.publish(milled, f"release-{name}")
    return milled


def _survivors(world: World) -> dict[int, tuple[int, int]]:
    """Who stands for each picture that was ever kept, and what it hangs together with."""
    rows = world.ask("SELECT image_id, coalesce(duplicate_of, image_id), component FROM images WHERE passed")
    return {image: (survivor, component) for image, survivor, component in rows}


# few distinct bits, so that chains, ties and groups that merge are common
DRAWN = st.lists(
    st.tuples(st.integers(0, (1 << 16) - 1), st.integers(1, 3), st.integers(1, 9)), min_size=4, max_size=24
)


@settings(max_examples=4, deadline=None)
@given(drawn=DRAWN, order=st.randoms(use_true_random=False), runs=st.integers(2, 10))
def test_survivors_are_the_same_in_any_order_and_in_one_run_or_ten(
    made: Callable[[], World], drawn: list[tuple[int, int, int]], order: random.Random, runs: int
) -> None:
    asked, whole, parted = Copies(near_bits=12), made(), made()
    shots = {
        f"http://a.example/{n}": whole.shot(f"picture {n}", phash=bits, width=300 * area)
        for n, (bits, area, _) in enumerate(drawn)
    }
    clicks = {f"http://a.example/{n}": one for n, (_, _, one) in enumerate(drawn)}
    _published(whole, "0", shots, asked, clicks)
    mixed = order.sample(sorted(shots), len(shots))
    for run in range(runs):
        some = {url: shots[url] for url in mixed[run::runs]}
        if some:
            _published(parted, str(run + 1), some, asked, clicks)
    assert _survivors(parted) == _survivors(whole)


def test_a_better_copy_that_comes_later_stands_in_the_new_release_and_not_in_the_old(world: World) -> None:
    old, better = world.shot("old", phash=1), world.shot("better", phash=3, width=900)
    _published(world, "1", {"http://a.example/old": old}, Copies())
    milled = _published(world, "2", {"http://a.example/better": better}, Copies())
    assert _survivors(world) == {
        one: (better.image_id, min(old.image_id, better.image_id)) for one in (old.image_id, better.image_id)
    }
    held = world.ask("SELECT release, image_id FROM release_pairs ORDER BY release")
    assert held == [("release-1", old.image_id), ("release-2", better.image_id)]
    assert milled.ledger[2000]["detail"] == f"image {better.image_id} takes the place of {old.image_id}"
    assert world.ask("SELECT count(*) FROM pixels") == [(2,)]


def test_what_was_published_stays_where_the_recipe_says_first(world: World) -> None:
    asked = Copies(survivor="first")
    old, better = world.shot("old", phash=1), world.shot("better", phash=3, width=900)
    _published(world, "1", {"http://a.example/old": old}, asked)
    milled = _published(world, "2", {"http://a.example/better": better}, asked)
    assert {survivor for survivor, _ in _survivors(world).values()} == {old.image_id}
    assert milled.ledger[2000]["image_id"] == old.image_id
    assert milled.ledger[2000]["detail"] == f"image {old.image_id} stays, though image {better.image_id} is better"


def test_clicks_of_every_source_count_and_those_of_a_source_once(world: World) -> None:
    one, other = world.shot("one", phash=1), world.shot("other", phash=3)
    low, high = sorted((one, other), key=lambda shot: shot.image_id)
    for again in range(2):
        _published(world, "1", {"http://a.example/low": low}, Copies(), clicks=5 + again)
    _published(world, "2", {"http://a.example/high": high}, Copies(), clicks=4)
    assert {survivor for survivor, _ in _survivors(world).values()} == {low.image_id}
    _published(world, "3", {"http://b.example/high": high}, Copies(), clicks=4)
    assert {survivor for survivor, _ in _survivors(world).values()} == {high.image_id}
    assert world.ask(f"SELECT clicks FROM images WHERE image_id = {high.image_id}") == [(8,)]


def test_pictures_near_by_their_hashes_are_two_where_their_vectors_differ(world: World) -> None:
    burst = [world.shot(f"shot {n}", phash=n, vector=vector) for n, vector in enumerate(((1.0, 0.0), (0.0, 1.0)))]
    twins = [world.shot(f"twin {n}", phash=0xFFFF << 16 | n, vector=(0.6, 0.8)) for n in range(2)]
    shots = _shown(*burst, *twins)
    sifted = world.sifted([{"candidate_id": n, "url": url, "clicks": 0} for n, url in enumerate(shots)])
    held = {shot.image_id: shot.vector for shot in (*burst, *twins) if shot.vector}
    part, _ = world.joined(
        sifted, world.looked(shots), Copies(min_similarity=0.9), "s", world.folder(), [world.vectors("m", held)], "m"
    )
    survivors = {row["image_id"]: row["survivor"] for row in world.rows_in(part)}
    assert len({survivors[shot.image_id] for shot in burst}) == 2
    assert len({survivors[shot.image_id] for shot in twins}) == 1


def test_vectors_that_differ_keep_pictures_apart_whoever_stands_between(world: World) -> None:
    """A and C hang together through B; their hashes are near enough for one to stand for the other."""
    turns = {"a": 0.0, "b": 0.4, "c": 0.8}
    shots = [world.shot(name, phash=n, width=900 - n) for n, name in enumerate(turns)]
    held = {shot.image_id: (math.cos(turn), math.sin(turn)) for shot, turn in zip(shots, turns.values(), strict=True)}
    sifted = world.sifted([{"candidate_id": n, "url": url, "clicks": 0} for n, url in enumerate(_shown(*shots))])
    part, _ = world.joined(
        sifted, world.looked(_shown(*shots)), Copies(min_similarity=0.9), "s", world.folder(),
        [world.vectors("m", held)], "m",
    )  # fmt: skip
    a, b, c = (shot.image_id for shot in shots)
    assert {row["image_id"]: row["survivor"] for row in world.rows_in(part)} == {a: a, b: a, c: c}


def test_a_run_whose_pictures_another_run_joined_meanwhile_is_not_published(world: World) -> None:
    old, better = world.shot("old", phash=1), world.shot("better", phash=3, width=900)
    _published(world, "1", {"http://a.example/old": old}, Copies())
    log = [{"candidate_id": 1, "url": "http://b.example/copy", "texts": ["x"]}]
    slow = world.mill(log, {"http://b.example/copy": world.shot("copy", phash=0, width=5)}, source="2", run_id="slow")
    _published(world, "3", {"http://a.example/better": better}, Copies())
    with pytest.raises(WarehouseError, match="Run again"):
        world.publish(slow, "slow")
    again = world.mill(log, {"http://b.example/copy": world.shot("copy", phash=0, width=5)}, source="2", run_id="slow")
    world.publish(again, "slow")
    assert {survivor for survivor, _ in _survivors(world).values()} == {better.image_id}


def test_pictures_of_an_older_warehouse_are_compared_once_they_are_shown_again(world: World) -> None:
    old, copy = world.shot("old", phash=1, width=900), world.shot("copy", phash=3)
    _published(world, "1", {"http://a.example/old": old}, Copies())
    with connect(world.warehouse) as con:  # as it was before there was PDQ
        con.execute("UPDATE lake.images SET pdq = NULL, pdq_quality = NULL, dhash = NULL, component = NULL")
        con.execute("DELETE FROM lake.bands")
        con.execute("DELETE FROM lake.sightings")
    _published(world, "2", {"http://b.example/copy": copy}, Copies())
    assert len({survivor for survivor, _ in _survivors(world).values()}) == 2
    _published(world, "3", {"http://b.example/old": old}, Copies())
    assert {survivor for survivor, _ in _survivors(world).values()} == {old.image_id}
    assert world.ask("SELECT count(DISTINCT image_id) FROM bands") == [(2,)]


def test_a_set_that_is_protected_before_publication_holds_the_release_back(world: World) -> None:
    shot = world.shot("late", phash=1)
    log = [{"candidate_id": 1, "url": "http://a.example/late", "texts": ["x"]}]
    milled = world.mill(log, {"http://a.example/late": shot})
    with connect(world.warehouse) as con:
        con.execute("INSERT INTO lake.protected BY NAME SELECT 'late' AS name, $1 AS sha256", [shot.sha256])
    with pytest.raises(WarehouseError, match="Other sets are protected"):
        world.publish(milled)


def test_clicks_that_a_source_no_longer_tells_count_no_more(world: World) -> None:
    one, other = (world.shot(f"{n}", phash=n) for n in range(2))
    low, high = sorted((one, other), key=lambda shot: shot.image_id)
    _published(
        world,
        "1",
        {"http://a.example/high": high, "http://a.example/low": low},
        Copies(),
        {"http://a.example/high": 9, "http://a.example/low": 1},
    )
    assert {survivor for survivor, _ in _survivors(world).values()} == {high.image_id}
    log = [{"candidate_id": 1, "url": "http://a.example/alone", "texts": ["x"]}]
    world.publish(
        world.mill(log, {"http://a.example/alone": world.shot("alone", phash=-1)}, source="1", run_id="later")
    )
    assert _survivors(world)[high.image_id][0] == low.image_id


def test_a_survivor_that_the_recipe_turns_away_is_stood_for_in_its_release_by_the_best_of_the_run(world: World) -> None:
    old = world.shot("old", phash=1, width=900)
    _published(world, "1", {"http://a.example/old": old}, Copies())
    small, better = world.shot("small", phash=1), world.shot("better", phash=3, width=400)
    shots, out = _shown(small, better), world.folder()
    sifted = world.sifted([{"candidate_id": n, "url": url, "clicks": 0} for n, url in enumerate(shots)])
    joined, _ = world.joined(sifted, world.looked(shots), Copies(), "s", out)
    seen = str(out / "seen.parquet")
    (held,) = world.rows_in(write_outsiders(world.warehouse, seen, joined, out))
    assert (held["image_id"], held["width"], held["std"]) == (old.image_id, 900, 50.0)
    refused = pa.table({"image_id": [old.image_id], "reason": ["image_blank"], "detail": ["std 50"]})
    rows = world.rows_in(write_accepted(world.warehouse, seen, joined, refused, out))
    told = {row["image_id"]: (row["survivor"], row["root"], row["note"]) for row in rows if row["shown"]}
    note = f"stands for image {old.image_id}, which this recipe turns away: image_blank (std 50)"
    assert told == {one.image_id: (better.image_id, old.image_id, note) for one in (small, better)}


def _protect(world: World, *shots: Shot, name: str = "coco", model: str = "m") -> None:
    """Register the pictures as the command does, of parts of looks and vectors."""
    looked = world.looked({f"{n}.jpg": shot for n, shot in enumerate(shots)})
    held = {shot.image_id: shot.vector for shot in shots if shot.vector}
    register(world.warehouse, name, [looked], [world.vectors(model, held)])


def _cleared(world: World, shots: dict[str, Shot | None], asked: Copies = COPIES) -> dict[int, tuple[int, str | None]]:
    """Who stands for each picture of a run, and why it may not."""
    out = world.folder()
    sifted = world.sifted([{"candidate_id": n, "url": url, "clicks": 0} for n, url in enumerate(shots)])
    held = {shot.image_id: shot.vector for shot in shots.values() if shot and shot.vector}
    vectors = [world.vectors("m", held)]
    joined, _ = world.joined(sifted, world.looked(shots), asked, "/logs/new.csv", out, vectors, "m")
    stood = Stood(world.warehouse, protected_hash(world.warehouse), str(out / "seen.parquet"), joined, vectors, out)
    cleared = remove_overlaps(stood, asked, "m", lambda jobs, pictures: [match(job) for job in jobs])
    rows = world.rows_in(cleared)
    assert {row["reason"] for row in rows if row["detail"]} <= {"benchmark_overlap"}
    assert all(row["detail"] for row in rows if row["reason"])
    return {row["image_id"]: (row["survivor"], row["detail"]) for row in rows}


def test_nothing_is_compared_where_nothing_is_protected(world: World) -> None:
    shot = world.shot("alone", phash=1)
    assert _cleared(world, _shown(shot)) == {shot.image_id: (shot.image_id, None)}
    assert not list(world.parts.folder.rglob("protected"))


def test_copies_of_protected_pictures_are_removed_and_no_other(world: World) -> None:
    exact, near = world.shot("exact", phash=-1), world.shot("near", phash=0b111)
    _protect(world, exact)
    _protect(world, near, name="flickr")
    at = world.shot("at the bound", phash=0b111 ^ (0xFF << 8))
    over = world.shot("over the bound", phash=0b111 ^ (0x1FF << 32))
    other = world.shot("other", phash=0x00FF00FF00FF0000)
    told = _cleared(world, _shown(exact, at, over, other), NEAR)
    assert {one: detail for one, (_, detail) in told.items()} == {
        exact.image_id: "in the protected set coco: equal bytes",
        at.image_id: "in the protected set flickr: 32 <= 32 bits",
        over.image_id: None,
        other.image_id: None,
    }


def test_a_picture_with_the_hashes_of_a_protected_one_is_removed_beside_it(world: World) -> None:
    shots = [world.shot(f"{n}", phash=7) for n in range(3)]
    _protect(world, shots[1])
    details = {one: detail for one, (_, detail) in _cleared(world, _shown(*shots), NEAR).items()}
    assert details == {
        shot.image_id: f"in the protected set coco: {'equal bytes' if place == 1 else '0 <= 32 bits'}"
        for place, shot in enumerate(shots)
    }


def test_a_group_is_removed_whole_where_one_of_it_overlaps(world: World) -> None:
    protected = world.shot("protected", phash=0)
    _protect(world, protected)
    near = world.shot("near", phash=0xFF)
    # 40 bits from what is protected, and thus none of it, but joined to a picture that is
    far = world.shot("far", phash=0x3FF, width=900)
    alone = world.shot("alone", phash=0xFF << 40)
    told = _cleared(world, _shown(near, far, alone), Copies(near_bits=31))
    assert told[far.image_id] == (far.image_id, None)
    told = _cleared(world, _shown(near, far, alone), NEAR)
    assert told == {
        near.image_id: (far.image_id, "in the protected set coco: 32 <= 32 bits"),
        far.image_id: (
            far.image_id,
            f"a copy of image {near.image_id}, which is in the protected set coco: 32 <= 32 bits",
        ),
        alone.image_id: (alone.image_id, "in the protected set coco: 32 <= 32 bits"),
    }


def test_flat_pictures_overlap_only_by_their_bytes_on_either_side(world: World) -> None:
    flat, sharp = world.shot("flat", phash=0, quality=49), world.shot("sharp", phash=-1)
    _protect(world, flat, sharp)
    like_flat, like_sharp = world.shot("like flat", phash=0), world.shot("like sharp", phash=-1, quality=49)
    told = _cleared(world, _shown(flat, like_flat, like_sharp), NEAR)
    assert {one for one, (_, detail) in told.items() if detail} == {flat.image_id}


def test_vectors_overlap_above_the_cosine_that_joins_and_only_of_the_same_model(world: World) -> None:
    asked = Copies(near_bits=None, semantic=Semantic(join=0.9))
    seen, far = world.shot("seen", vector=(0.8, 0.6)), world.shot("far", vector=(0.0, 1.0))
    _protect(world, world.shot("scene", vector=(0.6, 0.8)), model="another")
    assert {detail for _, detail in _cleared(world, _shown(seen, far), asked).values()} == {None}
    _protect(world, world.shot("scene", vector=(0.6, 0.8)), world.shot("else", vector=(-1.0, 0.0)))
    told = _cleared(world, _shown(seen, far), asked)
    assert told[seen.image_id][1] == "in the protected set coco: cosine 0.9600 > 0.9000"
    assert told[far.image_id][1] is None
    assert _cleared(world, _shown(seen), Copies(near_bits=None))[seen.image_id][1] is None


def test_a_set_that_is_protected_later_removes_what_history_stands_for(world: World) -> None:
    old = world.shot("old", phash=1)
    _published(world, "1", {"http://a.example/old": old}, Copies())
    _protect(world, old)
    new = world.shot("new", phash=0b111)
    told = _cleared(world, _shown(new))
    assert told[new.image_id] == (old.image_id, "in the protected set coco: 8 <= 64 bits")
    _protect(world, world.shot("old", phash=None))
    told = _cleared(world, _shown(new))
    detail = f"a copy of image {old.image_id}, which is in the protected set coco: equal bytes"
    assert told[new.image_id] == (old.image_id, detail)
    assert world.ask("SELECT image_id FROM release_pairs") == [(old.image_id,)]


def test_members_of_a_group_count_though_the_run_does_not_tell_of_them(world: World) -> None:
    best, copy, new = (world.shot(name, phash=1, width=width) for name, width in (("a", 900), ("b", 300), ("c", 200)))
    _published(world, "1", {f"http://a.example/{n}": shot for n, shot in enumerate((best, copy))}, Copies())
    _protect(world, world.shot("b", phash=None))
    seen = world.part(schemas.SEEN, [{"image_id": new.image_id, "sha256": new.sha256}])
    joined = world.part(schemas.JOINED, [{"image_id": new.image_id, "survivor": best.image_id}])
    stood = Stood(world.warehouse, protected_hash(world.warehouse), seen, joined, [], world.folder())
    cleared = remove_overlaps(stood, EXACT, None, lambda *_: [])
    detail = f"a copy of image {copy.image_id}, which is in the protected set coco: equal bytes"
    assert [row["detail"] for row in world.rows_in(cleared)] == [detail]


def test_a_run_that_was_named_before_a_set_was_protected_stops(world: World) -> None:
    stood = Stood(world.warehouse, protected_hash(world.warehouse), "seen", "joined", [], world.folder())
    assert remove_overlaps(stood, EXACT, None, lambda *_: []) == "joined"
    _protect(world, world.shot("late"))
    with pytest.raises(ProtectedChanged, match="Run again"):
        remove_overlaps(stood, EXACT, None, lambda *_: [])


def test_what_is_removed_is_told_by_its_set_in_the_ledger(world: World) -> None:
    shots = [world.shot(f"{n}", phash=n << 32) for n in (0x0F0F, 0xF0F0, 0xFFFFFF)]
    _protect(world, shots[0])
    _protect(world, shots[1], name="flickr_30k.test")
    cleared = _cleared(world, _shown(*shots))
    rows = [{"candidate_id": n, "reason": "benchmark_overlap", "detail": d} for n, (_, d) in cleared.items() if d]
    ledger = world.part(schemas.LEDGER, [*rows, {"candidate_id": -1, "outcome": "kept"}])
    assert overlaps(world.warehouse, ledger) == {"coco": 1, "flickr_30k.test": 1}
