"""The recipes of the page on policies load, and the commands of the page on comparing do what it says."""

import json
import re
import shlex
from importlib.resources import files
from pathlib import Path
from typing import Any, get_args

import pytest

from filters.load import load_recipe
from filters.policies import Policy

DOCS = Path(__file__).parents[2] / "docs"
POLICIES = (DOCS / "policies.md").read_text("utf-8")


def _blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", page, re.M | re.S)


@pytest.mark.parametrize("number", range(len(_blocks(POLICIES, "yaml"))))
def test_every_recipe_of_the_page_loads(number: int, tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(_blocks(POLICIES, "yaml")[number], "utf-8")
    assert load_recipe(str(file)).name == "mine"


def test_every_policy_is_told_with_its_reason_and_an_example() -> None:
    kinds = [get_args(one.model_fields["policy"].annotation)[0] for one in get_args(get_args(Policy)[0])]
    told = re.findall(r"^\| \[`(\w+)`\]\(#[\w-]+\) \|", POLICIES, re.M)
    assert sorted(told) == sorted(
        [*kinds, "max_score"]
    )  # the bounds of the score are policies too, with keys of their own
    examples = " ".join(_blocks(POLICIES, "yaml"))
    assert [kind for kind in kinds if f"policy: {kind}" not in examples] == []


def test_two_recipes_and_two_releases_are_compared_and_a_run_follows_a_policy(newcomer: Any) -> None:
    unscored = (files("recipes") / "unscored.yaml").read_text("utf-8")
    longer = "\nselect:\n  policies: [{policy: text, characters: 20}]\n"
    for name, release, text in (("mine", "first", unscored), ("other", "second", unscored + longer)):
        (newcomer.folder / f"{name}.yaml").write_text(text.replace("name: unscored", f"name: {name}"), "utf-8")
        words = ["--recipe", f"{name}.yaml", "--release", release, "--allow-host", newcomer.host]
        done = newcomer.run("curate", "clicks.parquet", *words)
        assert done.returncode == 0, done.stderr[-500:]
    told = []
    for line in _blocks((DOCS / "compare.md").read_text("utf-8"), "bash")[0].splitlines():
        done = newcomer.run(*shlex.split(line)[1:])
        assert (done.returncode, bool(done.stdout.strip())) == (0, True), f"{line}: {done.stderr[-500:]}"
        told += [json.loads(done.stdout)] if "--json" in line else []
    assert (newcomer.folder / "page.html").read_text("utf-8").count("<img") > 5
    mine, other = told[0]["sides"]
    assert mine["kept"] == told[0]["pairs"] > other["kept"] > 0
    assert other["reasons"] == {"not_selected": mine["only"]}
    assert told[0]["notes"] == []
    question = "SELECT release, count(*) AS n FROM release_pairs GROUP BY release ORDER BY release"
    held = [json.loads(line)["n"] for line in newcomer.run("sql", question, "--json").stdout.splitlines()]
    assert held == [mine["kept"], other["kept"]]
