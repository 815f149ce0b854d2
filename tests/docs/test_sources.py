"""What the page on sources says of formats, stores and columns is what is read."""

import re
from pathlib import Path

from actors.web.stores import PACKAGES
from filters.load import load_recipe
from warehouse.ingest import COLUMNS, READERS

PAGE = (Path(__file__).parents[2] / "docs" / "sources.md").read_text("utf-8")


def test_every_format_column_and_store_is_told() -> None:
    words = set(re.findall(r"`([^`\n]+)`", PAGE))
    unknown = [name for name in (*READERS, *COLUMNS, *PACKAGES) if name not in words and f"`{name}://" not in PAGE]
    assert [name for name in unknown if name not in ("memory", "s3a", "gcs")] == []  # one of tests, and two aliases
    assert [package for package in PACKAGES.values() if package and package not in words] == []


def test_the_recipe_of_the_page_loads(tmp_path: Path) -> None:
    (text,) = re.findall(r"^```yaml\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    (tmp_path / "stored.yaml").write_text(text, "utf-8")
    assert load_recipe(str(tmp_path / "stored.yaml")).fetch.stores == (
        "file:///data/pictures/",
        "s3://our-bucket/photos/",
    )
