"""The commands of the pages, typed in order by somebody with a small log and an empty folder."""

import json
import re
import shlex
import subprocess
import sys
from importlib.resources import files
from pathlib import Path
from typing import Any

import duckdb
import pytest

from warehouse.lake import load_extension

ROOT = Path(__file__).parents[2]
QUICK = "mine.yaml"  # as the README calls it
Done = subprocess.CompletedProcess[str]


def _text(page: str) -> str:
    return (ROOT / page).read_text("utf-8")


def _commands(page: str) -> list[list[str]]:
    """The words after `zeromill` of every line of a page's bash blocks that calls it."""
    found = re.findall(r"^```bash\n(.*?)^```$", _text(page), re.MULTILINE | re.DOTALL)
    words = [shlex.split(line, comments=True) for block in found for line in block.splitlines()]
    return [line[1:] for line in words if line and Path(line[0]).name == "zeromill"]


def _typed(newcomer: Any, words: list[str]) -> Done:
    """As typed, except for what a test has no room for: the pictures are on loopback, the training is short."""
    if words[0] == "curate":
        words = [QUICK if word == "unscored" else word for word in words] + ["--allow-host", newcomer.host]
    done: Done = newcomer.run(*words)
    return done


def _failed(told: list[tuple[list[str], Done]]) -> list[str]:
    return [
        f"{' '.join(words)}: {done.returncode} {done.stderr[-500:]}"
        for words, done in told
        if done.returncode != 0 or not (done.stdout or done.stderr).strip()
    ]


@pytest.fixture(scope="module")
def readme(newcomer: Any) -> list[tuple[list[str], Done]]:
    """What the commands of the README said, one after the other."""
    unscored = (files("recipes") / "unscored.yaml").read_text("utf-8")
    (newcomer.folder / QUICK).write_text(f"{unscored}\ntraining: {{samples: 64, batch: 32}}\n", "utf-8")
    return [(words, _typed(newcomer, words)) for words in _commands("README.md")]


def test_the_commands_of_the_readme_run_in_order(readme: list[tuple[list[str], Done]]) -> None:
    assert [words[0] for words, _ in readme] == ["doctor", "curate", "sql", "why", "train", "export"]
    assert _failed(readme) == []


@pytest.mark.usefixtures("readme")
@pytest.mark.parametrize("page", ["docs/warehouse.md", "docs/reasons.md", "docs/training.md"])
def test_every_question_of_the_pages_has_an_answer(newcomer: Any, page: str) -> None:
    asked = [words for words in _commands(page) if words[0] in ("sql", "why", "releases")]
    assert asked
    assert _failed([(words, newcomer.run(*words)) for words in asked]) == []


@pytest.mark.usefixtures("readme")
def test_any_duckdb_attaches_the_warehouse_as_the_readme_says(newcomer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(newcomer.folder)
    (shown,) = re.findall(r"^```sql\n(.*?)^```$", _text("README.md"), re.MULTILINE | re.DOTALL)
    statements = [one.strip() for one in shown.split(";") if one.strip()]
    assert [one for one in statements if one.startswith("INSTALL")] == ["INSTALL ducklake", "INSTALL sqlite"]
    with duckdb.connect() as con:
        for name in ("ducklake", "sqlite_scanner"):  # from their packages: a test has no network to install from
            load_extension(con, name)
        for statement in statements[2:]:
            answer = con.execute(statement).fetchall()
    assert [row[0] for row in answer] == ["first"]


@pytest.mark.usefixtures("readme")
def test_the_checkpoint_holds_what_the_page_says_and_loads_as_it_says(newcomer: Any) -> None:
    page = _text("docs/training.md")
    (trained,) = json.loads(
        "[" + newcomer.run("sql", "SELECT checkpoint, metrics FROM trainings", "--json").stdout + "]"
    )
    folder = Path(trained["checkpoint"])
    unknown = [name for name in [*json.loads(trained["metrics"]), *_names(folder)] if f"`{name}`" not in page]
    assert unknown == []
    (shown,) = re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    code = re.sub(r'^folder = ".*"$', f"folder = {str(folder)!r}", shown, flags=re.MULTILINE)
    assert str(folder) in code
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\nprint(model.visual.image_size)"], capture_output=True, text=True
    )
    assert done.stdout.strip() in ("64", "(64, 64)"), done.stderr


def _names(folder: Path) -> list[str]:
    return [file.name for file in folder.iterdir()]
