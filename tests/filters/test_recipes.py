import importlib
import sys
from collections.abc import Callable, Iterator
from importlib.resources import files
from pathlib import Path

import pyarrow as pa
import pytest

from filters.chosen import boilerplate, chosen, first_reasons
from filters.load import RecipeError, load_recipe, recipe_fingerprint, shipped
from filters.policies import files_of
from filters.recipe import Fetch, Recipe, contact_missing, fetch_facts
from filters.text import measure

Save = Callable[[str], str]
HERE = "path: models/one"
BASELINES = (
    "no_filter",
    "basic",
    "clip_score",
    "clip_score_b32",
    "laion2b",
    "text_based",
    "image_based",
    "image_based_clip_score",
)


@pytest.fixture
def saved(tmp_path: Path) -> Save:
    """Writes a recipe to a file and says where it is."""

    def save(text: str) -> str:
        file = tmp_path / "mine.yaml"
        file.write_text(text, encoding="utf-8")
        return str(file)

    return save


def message(saved: Save, text: str) -> str:
    with pytest.raises(RecipeError) as caught:
        load_recipe(saved(text))
    said = str(caught.value)
    assert len(said.splitlines()) <= 3
    assert "mine.yaml" in said
    return said


def test_every_shipped_recipe_loads_under_its_own_name() -> None:
    assert {"zero", "unscored", "deduplicate", "demo"} <= set(shipped())
    recipes = [load_recipe(name) for name in shipped()]
    assert [recipe.name for recipe in recipes] == list(shipped())
    whole = [recipe for recipe in recipes if not any(map(files_of, recipe.select.policies))]
    assert len({recipe_fingerprint(recipe) for recipe in whole}) == len(whole) >= len(recipes) - 3


def test_datacomps_baselines_are_shipped_with_their_rules() -> None:
    fraction, least = (
        {name: getattr(load_recipe(f"datacomp_{name}").select, key) for name in BASELINES}
        for key in ("top_fraction", "min_score")
    )
    assert {name: value for name, value in fraction.items() if value} == {
        "clip_score": 0.3,
        "image_based_clip_score": 0.3,
    }
    assert {name: value for name, value in least.items() if value} == {"clip_score_b32": 0.25, "laion2b": 0.28}
    policies = {name: [one.policy for one in load_recipe(f"datacomp_{name}").select.policies] for name in BASELINES}
    assert {name: kinds for name, kinds in policies.items() if kinds} == {
        "text_based": ["words"],
        "image_based": ["text", "clusters"],
        "image_based_clip_score": ["text", "clusters"],
    }
    pictures = chosen(load_recipe("datacomp_basic").pictures.filters, "picture")
    assert [one.reason for one in pictures] == ["image_too_small", "image_aspect"]


@pytest.mark.parametrize(
    ("raw", "stays"),
    [
        ("a b c", False),  # 5 characters
        ("aa b c", True),  # 6 characters and 3 words
        ("aaaaa bbbbb", False),  # 2 words
        ("1 2 3 4", True),  # theirs asks for no letters
    ],
)
def test_datacomps_basic_filter_counts_as_theirs_does(raw: str, stays: bool) -> None:
    short = next(
        one for one in chosen(load_recipe("datacomp_basic").texts.filters, "text") if one.reason == "text_too_short"
    )
    assert short.rejects(measure(pa.array([raw]))).is_null().to_pylist() == [stays]


def test_unscored_is_zero_without_model_and_cut() -> None:
    zero, unscored = load_recipe("zero").model_dump(), load_recipe("unscored").model_dump()
    assert {key for key in zero if zero[key] != unscored[key]} == {"name", "about", "models", "select"}


def test_zero_has_the_defaults_that_were_agreed_on() -> None:
    zero = load_recipe("zero")
    clicks = zero.click_through
    assert clicks is not None
    assert (clicks.min_impressions, clicks.min_rate, clicks.prior_clicks, clicks.prior_skips) == (10, 0.01, 1, 99)
    assert clicks.top_k is None
    assert (zero.fetch.max_bytes, zero.fetch.deadline_s, zero.copies.near_bits) == (32 << 20, 15, 64)
    assert [one.reason for one in chosen(zero.pictures.filters, "picture")] == [
        "image_too_small",
        "image_aspect",
        "image_blank",
    ]
    common = boilerplate(chosen(zero.texts.filters, "text"))
    assert common is not None
    assert common.urls == 10
    assert [bool(model.hub) for model in zero.models] == [True]
    assert zero.select.top_fraction == 0.3


def test_deduplicate_turns_nothing_away() -> None:
    recipe = load_recipe("deduplicate")
    assert recipe.click_through is None
    assert recipe.models == ()
    assert recipe.texts.filters == recipe.pictures.filters == ()


def test_a_recipe_is_found_by_path(tmp_path: Path) -> None:
    file = tmp_path / "other.yml"
    file.write_bytes((files("recipes") / "zero.yaml").read_bytes())
    assert recipe_fingerprint(load_recipe(str(file))) == recipe_fingerprint(load_recipe("zero"))


def test_names_and_training_do_not_change_what_is_milled() -> None:
    one = Recipe.model_validate({"name": "one", "about": "x", "training": {"samples": 5}})
    other = Recipe.model_validate({"name": "other"})
    third = Recipe.model_validate({"name": "one", "copies": {"near_bits": 7}})
    assert recipe_fingerprint(one) == recipe_fingerprint(other) != recipe_fingerprint(third)


@pytest.mark.parametrize(
    ("contact", "sound"),
    [
        ("https://example.org/bot", True),
        ("mailto:crawl@example.org", True),
        ("crawl+bot@example.org", True),
        ("example.org", False),
        ("https://", False),
        ("https:///path", False),
        ("https://example.org/(bot)", False),
        ("https://example.org/b t", False),
        ("https://例え.jp/", False),
        ("me@", False),
        ("", False),
    ],
)
def test_a_contact_is_a_place_where_one_is_reached(contact: str, sound: bool) -> None:
    try:
        assert Fetch.model_validate({"contact": contact}).contact == contact
    except ValueError:
        assert not sound
    else:
        assert sound


@pytest.mark.parametrize(
    ("agent", "token"),
    [("Zeromill/0.1", "zeromill"), ("Zero-Mill_X", "zero-mill_x"), ("Our-Bot/2 libfetch/1.0", "our-bot")],
)
def test_the_first_product_is_the_name_for_robots(agent: str, token: str) -> None:
    assert Fetch.model_validate({"agent": agent}).token == token


def test_a_slower_pace_is_the_same_recipe_and_the_same_part() -> None:
    usual = Recipe.model_validate({"name": "a"})
    slow = Recipe.model_validate({"name": "a", "fetch": {"per_host": 1, "per_host_rate": 0.5, "outage_wait_s": 0}})
    other = Recipe.model_validate({"name": "a", "fetch": {"ports": [80]}})
    assert fetch_facts(usual.fetch) == fetch_facts(slow.fetch) != fetch_facts(other.fetch)
    assert recipe_fingerprint(usual) == recipe_fingerprint(slow) != recipe_fingerprint(other)
    assert "per_host" not in fetch_facts(slow.fetch)


def test_without_a_contact_only_an_allow_list_may_be_asked() -> None:
    assert "fetch.contact" in (contact_missing(Fetch(), ()) or "")
    assert contact_missing(Fetch(), ("127.0.0.1:80",)) is None
    assert contact_missing(Fetch.model_validate({"contact": "a@example.org"}), ()) is None


def test_a_misspelt_key_is_named_with_the_one_that_was_meant(saved: Save) -> None:
    assert "click_throgh: unknown key" in (said := message(saved, "name: a\nclick_throgh: {}\n"))
    assert "did you mean click_through?" in said
    assert "pictures" in said
    said = message(saved, "name: a\nclick_through:\n  min_impresions: 3\n")
    assert "click_through.min_impresions" in said
    assert "did you mean min_impressions?" in said
    said = message(saved, "name: a\ntexts:\n  filters:\n    - {filter: text_too_shrt}\n")
    assert "texts.filters[0].filter" in said
    assert "did you mean text_too_short?" in said
    said = message(saved, "name: a\npictures:\n  filters:\n    - {filter: image_too_small, sdie: 3}\n")
    assert "pictures.filters[0].sdie: not a setting of image_too_small" in said
    assert "did you mean side?" in said


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("", ["mapping", "allowed: name"]),
        ("- a\n", ["mapping"]),
        ("name: a\nname: b\n", ["line 2", "'name'", "twice"]),
        ("name: a\nfetch:\n  retries: 1\n  retries: 2\n", ["line 4", "twice"]),
        ("name: [a\n", ["line"]),
        ("name: a\n\tb: c\n", ["line 2"]),
        ("about: x\n", ["name", "required"]),
        ("name: A B\n", ["name", "pattern"]),
        ("name: a\nfetch: {retries: many}\n", ["fetch.retries", "integer", "'many'"]),
        ("name: a\nclick_through: {min_rate: 2}\n", ["click_through.min_rate", "less than or equal to 1"]),
        ("name: a\ntexts: {roles: [query, tilte]}\n", ["texts.roles[1]", "'surrounding'", "'tilte'"]),
        ("name: a\nmodel: {}\n", ["model", "one of `path`, `hub`, `open_clip` and `checkpoint`"]),
        ("name: a\nselect: {min_score: 0.3}\n", ["without a model"]),
        ("name: a\ntexts:\n  filters:\n    - text_pii\n", ["texts.filters[0]", "dictionary"]),
        ("name: a\ntexts:\n  filters:\n    - {han: 3}\n", ["texts.filters[0].filter", "text_too_short"]),
        ("name: a\ntexts:\n  filters:\n    - {filter: image_blank}\n", ["no filter 'image_blank' for a text"]),
        ("name: a\ntexts:\n  filters:\n    - {filter: text_too_short, han: -1}\n", ["texts.filters[0].han", "greater"]),
        ("name: a\ntexts:\n  filters:\n    - {filter: text_filename, a: 0}\n", ["text_filename has no settings"]),
        ("name: a\ntexts:\n  filters:\n    - {filter: text_sensitive, list: no.tsv}\n", ["texts.filters[0]", "no.tsv"]),
        (
            "name: a\npictures:\n  filters:\n    - {filter: image_blurry, sharpness: 0}\n",
            ["pictures.filters[0].sharpness", "greater than 0"],
        ),
        ("name: a\nfetch: {contact: call me}\n", ["fetch.contact", "e-mail address"]),
        ('name: a\nfetch: {contact: "https://e.org/\\r\\nX: y"}\n', ["fetch.contact", "e-mail address"]),
        ("name: a\nfetch: {agent: Zero Mill 2.0 (me)}\n", ["fetch.agent", "NAME/VERSION"]),
        ("name: a\nfetch: {agent: zero2/1}\n", ["fetch.agent", "letters"]),
        ('name: a\nfetch: {agent: "a/1\\nX: y"}\n', ["fetch.agent"]),
        ("name: a\nfetch: {ports: [0]}\n", ["fetch.ports[0]", "greater than or equal to 1"]),
        ("name: a\nfetch: {blocked_urls: [example.com/a]}\n", ["fetch.blocked_urls", "http://", "example.com/a"]),
        ("name: a\nfetch: {stores: ['file:///data']}\n", ["fetch.stores", "slash", "file:///data"]),
        ("name: a\nfetch: {stores: ['file:///data/../']}\n", ["fetch.stores"]),
        ("name: a\nfetch: {stores: ['https://h/a/']}\n", ["fetch.stores", "not of the web"]),
        ("name: a\nfetch: {per_host: 0}\n", ["fetch.per_host"]),
        ("name: a\ncaptions: {captioners: []}\n", ["captions.captioners", "at least 1"]),
        (f"name: a\ncaptions: {{captioners: [{{{HERE}, endpoint: 'http://h/v1'}}]}}\n", ["is one of", "`endpoint`"]),
        ("name: a\ncaptions: {captioners: [{endpoint: 'http://h/v1'}]}\n", ["captioners[0]", "the `model` that it"]),
        (
            "name: a\ncaptions: {captioners: [{endpoint: 'http://me:secret@h/v1', model: q}]}\n",
            ["captioners[0].endpoint", "ZEROMILL_CAPTION_KEY"],
        ),
        (
            "name: a\ncaptions: {captioners: [{endpoint: 'http://h:abc/v1', model: q}]}\n",
            ["captioners[0].endpoint", "http://HOST:PORT"],
        ),
        (f"name: a\ncaptions: {{captioners: [{{{HERE}}}, {{{HERE}}}]}}\n", ["two captioners", "`name`"]),
        (f"name: a\ncaptions: {{captioners: [{{{HERE}}}], keep: 1}}\n", ["captions.keep", "name a model"]),
        (
            f"name: a\ncaptions: {{captioners: [{{{HERE}}}], checks: {{openings: no.tsv}}}}\n",
            ["captions.checks.openings", "no.tsv", "shipped: common"],
        ),
        (
            f"name: a\nmodel: {{{HERE}}}\ncaptions: {{captioners: [{{{HERE}}}], checks: "
            "{objects: {}, vocabulary: no-such}}\n",
            ["captions.checks.vocabulary", "no-such", "coco"],
        ),
        (
            f"name: a\nmodel: {{{HERE}}}\ncaptions: {{captioners: [{{{HERE}}}], checks: "
            "{agreement: {model: other, min_score: 0.2}}}\n",
            ["captions.checks.agreement.model", "clip"],
        ),
        (
            f"name: a\nmodel: {{{HERE}}}\ncaptions: {{captioners: [{{{HERE}}}], keep: 1, checks: "
            "{agreement: {model: clip, min_score: 0.2}}}\n",
            ["captions.keep", "second model"],
        ),
        ("name: a\n2: b\n", ["mine.yaml"]),
        ("name: a\nabout: !!python/object:os.system {}\n", ["line 2"]),
        ("? [a]\n: b\n", ["mine.yaml"]),
    ],
)
def test_what_is_wrong_is_said_in_three_lines(saved: Save, text: str, parts: list[str]) -> None:
    said = message(saved, text)
    assert [part for part in parts if part not in said] == []


def test_a_password_in_an_endpoint_is_not_repeated(saved: Save) -> None:
    text = "name: a\ncaptions: {captioners: [{endpoint: 'http://me:hunter2@h/v1', model: q}]}\n"
    assert "hunter2" not in message(saved, text)


def test_a_list_of_captions_counts_by_its_content(saved: Save, tmp_path: Path) -> None:
    lists = [tmp_path / "one.tsv", tmp_path / "two.tsv"]
    for file in lists:
        file.write_text("# id: mine\n# version: 1\nbehold\tstrip\n", "utf-8")
    prints = [_fingerprint_with_openings(saved, file.name) for file in lists]
    assert len(set(prints)) == 1
    lists[1].write_text("# id: mine\n# version: 1\nlook\tstrip\n", "utf-8")
    assert _fingerprint_with_openings(saved, "two.tsv") != prints[0]


def _fingerprint_with_openings(saved: Save, file: str) -> str:
    checks = f"{{openings: ./{file}}}"
    return recipe_fingerprint(
        load_recipe(saved(f"name: a\ncaptions: {{captioners: [{{{HERE}}}], checks: {checks}}}\n"))
    )


def test_an_unknown_recipe_lists_those_that_are_shipped(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"zreo: there is no shipped recipe(.|\n)*did you mean zero\?"):
        load_recipe("zreo")
    with pytest.raises(RecipeError, match=r"none\.yaml: there is no such file"):
        load_recipe(str(tmp_path / "none.yaml"))
    (tmp_path / "bytes.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(RecipeError, match="cannot be read"):
        load_recipe(str(tmp_path / "bytes.yaml"))


def test_a_word_list_is_found_beside_its_recipe_and_counts_by_content(tmp_path: Path) -> None:
    fingerprints = []
    for folder, version in (("a", 1), ("b", 1), ("c", 2)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "words.tsv").write_text(f"# id: x\n# version: {version}\n敏感\tall\n", encoding="utf-8")
        file = tmp_path / folder / "r.yaml"
        file.write_text("name: r\ntexts:\n  filters:\n    - {filter: text_sensitive, list: words.tsv}\n")
        recipe = load_recipe(str(file))
        assert chosen(recipe.texts.filters, "text")[0].reason == "text_sensitive"
        fingerprints.append(recipe_fingerprint(recipe))
    assert fingerprints[0] == fingerprints[1] != fingerprints[2]


HEADED = """
name: r
model: {{path: demo/scorer}}
heads:
  - file: {head}
tags:
  concepts: {concepts}
"""


def _headed(folder: Path, head: bytes, concepts: str) -> Recipe:
    folder.mkdir()
    (folder / "head.safetensors").write_bytes(head)
    (folder / "mine.tsv").write_text(f"# id: mine\n# version: {head.hex()}\na\tan ant\t蚂蚁\n", "utf-8")
    (folder / "r.yaml").write_text(HEADED.format(head="head.safetensors", concepts=concepts))
    return load_recipe(str(folder / "r.yaml"))


def test_heads_and_concepts_are_found_beside_their_recipe_and_count_by_content(tmp_path: Path) -> None:
    one, same = _headed(tmp_path / "a", b"1", "mine.tsv"), _headed(tmp_path / "b", b"1", "mine.tsv")
    other, shipped_list = _headed(tmp_path / "c", b"2", "mine.tsv"), _headed(tmp_path / "d", b"1", "everyday")
    assert one.heads[0].file == str(tmp_path / "a" / "head.safetensors")
    assert one.tags is not None
    assert one.tags.concepts == str(tmp_path / "a" / "mine.tsv")
    assert shipped_list.tags is not None
    assert shipped_list.tags.concepts == "everyday"
    assert recipe_fingerprint(one) == recipe_fingerprint(same)
    assert len({recipe_fingerprint(recipe) for recipe in (one, other, shipped_list)}) == 3
    (tmp_path / "b" / "mine.tsv").write_text("# id: mine\n# version: 9\na\tan ant\t蚂蚁\n", "utf-8")
    assert recipe_fingerprint(one) != recipe_fingerprint(same)
    (tmp_path / "b" / "head.safetensors").unlink()
    with pytest.raises(RecipeError, match=r"heads\[0\]\.file: cannot be read(.|\n)*zeromill head"):
        recipe_fingerprint(same)


@pytest.mark.parametrize(
    ("lines", "parts"),
    [
        ("tags: {concepts: no.tsv}", ["tags.concepts", "no.tsv", "shipped: everyday"]),
        ("tags: {concepts: every_day}", ["tags.concepts", "every_day", "shipped: everyday"]),
        ("pictures: {filters: [{filter: image_unsafe, head: A B}]}", ["pictures.filters[0].head", "pattern"]),
    ],
)
def test_a_list_or_a_name_of_a_head_that_is_none_is_said_before_a_row_is_touched(
    saved: Save, lines: str, parts: list[str]
) -> None:
    said = message(saved, f"name: a\nmodel: {{path: demo/scorer}}\n{lines}\n")
    assert [part for part in parts if part not in said] == []


OWN = """
from dataclasses import dataclass
import pyarrow as pa

@dataclass(frozen=True)
class Shouting:
    share: float = 0.8
    reason: str = "acme_shouting"

    def rejects(self, batch):
        def loud(text):
            return sum(c.isupper() for c in text) / max(len(text), 1)
        shares = [0 if text is None else loud(text) for text in batch.column("norm").to_pylist()]
        return pa.array([f"{s:.2f} > {self.share}" if s > self.share else None for s in shares], pa.string())

broken = "no filter at all"
"""


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Another package with filters of its own, installed as pip leaves one behind."""
    site, info = tmp_path / "site", tmp_path / "site" / "acme_filters-1.0.dist-info"
    info.mkdir(parents=True)
    (site / "acme_filters.py").write_text(OWN)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-filters\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[zeromill.filters]\nacme_shouting = acme_filters:Shouting\nacme_gone = acme_filters:Gone\n"
    )
    monkeypatch.syspath_prepend(str(site))
    importlib.invalidate_caches()
    yield
    sys.modules.pop("acme_filters", None)


@pytest.mark.usefixtures("installed")
def test_a_filter_of_another_package_judges_by_its_own_reason(saved: Save) -> None:
    text = "name: mine\ntexts:\n  filters:\n    - {filter: acme_shouting, share: 0.5}\n    - {filter: text_too_short}\n"
    recipe = load_recipe(saved(text))
    filters = chosen(recipe.texts.filters, "text")
    assert [one.reason for one in filters] == ["text_too_short", "acme_shouting"]
    reasons, details = first_reasons(measure(pa.array(["BUY NOW", "two dogs", "X"])), filters)
    assert reasons.to_pylist() == ["acme_shouting", None, "text_too_short"]
    assert details[0].as_py() == "0.86 > 0.5"


@pytest.mark.usefixtures("installed")
def test_a_filter_of_another_package_that_fails_is_named(saved: Save) -> None:
    said = message(saved, "name: a\ntexts:\n  filters:\n    - {filter: acme_shouting, sahre: 0.5}\n")
    assert "texts.filters[0]" in said
    assert "sahre" in said
    assert "allowed: share" in said
    assert "does not load" in message(saved, "name: a\ntexts:\n  filters:\n    - {filter: acme_gone}\n")
    assert "did you mean acme_shouting?" in message(
        saved, "name: a\ntexts:\n  filters:\n    - {filter: acme_shoutin}\n"
    )
