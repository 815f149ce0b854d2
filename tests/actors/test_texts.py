"""What is read off a row before anything is fetched."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from actors.texts import Reader, ReadJob
from filters.load import load_recipe
from filters.recipe import NearTexts, Recipe
from warehouse.ids import content_id

COLUMNS = ("url", "page_url", "query", "title", "surrounding", "alt", "ts", "impressions", "clicks", "fault")


def _read(
    folder: Path, recipe: Recipe, rows: list[dict[str, Any]]
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    kinds = {name: pa.int64() if name in ("impressions", "clicks") else pa.string() for name in COLUMNS}
    schema = pa.schema([("candidate_id", pa.int64()), ("source_row", pa.int64()), *kinds.items()])
    table = pa.Table.from_pylist(
        [{"candidate_id": n, "source_row": n, "url": "http://host/a.jpg", **row} for n, row in enumerate(rows)], schema
    )
    pq.write_table(table, folder / "in.parquet")
    job = ReadJob(str(folder / "in.parquet"), 0, str(folder / "rows.parquet"), str(folder / "texts.parquet"))
    assert Reader(recipe)(job) == len(rows)
    return pq.read_table(job.rows).to_pylist(), pq.read_table(job.texts).to_pylist()


def test_a_row_without_any_text_is_malformed_and_one_of_blanks_too(tmp_path: Path) -> None:
    rows, texts = _read(tmp_path, load_recipe("unscored"), [{}, {"title": " \u200b "}, {"title": "a dog on a lawn"}])
    assert [row["reason"] for row in rows] == ["malformed_row", "malformed_row", None]
    assert [text["candidate_id"] for text in texts] == [2]


def test_a_row_whose_texts_are_of_roles_that_the_recipe_does_not_read_is_rejected_not_malformed(tmp_path: Path) -> None:
    recipe = load_recipe("unscored")
    titles = recipe.model_copy(update={"texts": recipe.texts.model_copy(update={"roles": ("title",)})})
    rows, texts = _read(tmp_path, titles, [{"query": "a dog on a lawn"}, {"query": "x", "title": "a cat on a mat"}])
    assert [(row["reason"], row["detail"]) for row in rows] == [("text_too_short", "no text as title"), (None, None)]
    assert [text["role"] for text in texts] == ["title"]


def test_counts_that_cannot_be_and_blocked_hosts_are_told(tmp_path: Path) -> None:
    recipe = load_recipe("unscored")
    wary = recipe.model_copy(update={"fetch": recipe.fetch.model_copy(update={"blocked_hosts": ("host",)})})
    said = {"title": "a dog on a lawn", "impressions": 10}
    rows, _ = _read(tmp_path, wary, [said | {"clicks": 11}, said | {"clicks": -1}, said | {"clicks": 1}])
    assert [row["reason"] for row in rows] == ["malformed_row", "malformed_row", "blocked_host"]


def test_a_url_that_the_recipe_shuts_is_blocked_before_anybody_is_asked(tmp_path: Path) -> None:
    recipe = load_recipe("unscored")
    wary = recipe.model_copy(update={"fetch": recipe.fetch.model_copy(update={"blocked_urls": ("http://host/a",)})})
    said = {"title": "a dog on a lawn"}
    rows, _ = _read(tmp_path, wary, [said, said | {"url": "https://HOST/%61.png"}, said | {"url": "http://host/b.jpg"}])
    blocked = ("blocked_host", "URL on the list of blocked URLs")
    assert [(row["reason"], row["detail"]) for row in rows] == [blocked, blocked, (None, None)]


def test_texts_that_are_one_when_normalised_have_one_id(tmp_path: Path) -> None:
    _, texts = _read(
        tmp_path, load_recipe("unscored"), [{"title": "a  dog on&nbsp;a lawn"}, {"query": "a dog on a lawn"}]
    )
    assert {text["text_id"] for text in texts} == {content_id(b"a dog on a lawn")}


def test_long_texts_that_are_near_share_a_band_where_the_recipe_asks(tmp_path: Path) -> None:
    recipe = load_recipe("unscored")
    near = recipe.model_copy(update={"texts": recipe.texts.model_copy(update={"near": NearTexts()})})
    plain = recipe.model_copy(update={"texts": recipe.texts.model_copy(update={"near": None})})
    said = "an old wooden boat on the shore of a quiet lake in the mountains, model number 1047"
    rows = [{"title": said}, {"title": said.replace("1047", "1048")}, {"query": said}, {"title": said[:59]}]
    _, texts = _read(tmp_path, near, rows)
    bands = [text["bands"] for text in texts]
    assert bands[0] == bands[2]
    assert set(bands[0]) & set(bands[1])
    assert bands[3] is None
    assert {str(text["bands"]) for text in _read(tmp_path, plain, rows)[1]} == {"None"}
