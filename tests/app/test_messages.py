"""Bad input by the command: at most three lines with the next step, a status that is not 0, nothing half-published."""

import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from app.main import main, parser

ROWS = {"url": ["http://127.0.0.1:9/a.jpg"] * 3, "query": ["a red ball on the grass"] * 3}


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "log.parquet"
    pq.write_table(pa.table(ROWS), path)
    return path


def _fails(capfd: pytest.CaptureFixture[str], *words: str) -> str:
    assert main(words) != 0
    said = capfd.readouterr().err
    assert said.count("\n") <= 3
    assert "Traceback" not in said
    return said


def test_a_missing_source_is_named(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert "no file" in _fails(capfd, "curate", str(tmp_path / "none.csv"), "--recipe", "unscored")


def test_an_empty_source_is_named(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "log.csv").touch()
    assert "is empty" in _fails(capfd, "curate", str(tmp_path / "log.csv"), "--recipe", "unscored")


def test_a_recipe_with_a_misspelt_key_names_file_key_and_what_is_allowed(
    capfd: pytest.CaptureFixture[str], log: Path, tmp_path: Path
) -> None:
    recipe = tmp_path / "mine.yaml"
    recipe.write_text("name: mine\ncopies:\n  near_bit: 8\n")
    said = _fails(capfd, "curate", str(log), "--recipe", str(recipe))
    assert "mine.yaml" in said
    assert "copies.near_bit" in said
    assert "near_bits" in said


def test_an_unknown_recipe_names_those_that_there_are(capfd: pytest.CaptureFixture[str], log: Path) -> None:
    assert "unscored" in _fails(capfd, "curate", str(log), "--recipe", "unscord")


def test_zero_without_its_weights_fails_before_a_row_is_touched_and_names_both_ways_out(
    capfd: pytest.CaptureFixture[str], log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "no-hub"))
    lake = tmp_path / "lake"
    said = _fails(capfd, "curate", str(log), "--recipe", "zero", "--warehouse", str(lake))
    assert "hf download" in said
    assert "--recipe unscored" in said
    assert not lake.exists()


def test_a_warehouse_that_cannot_be_written_is_named(
    capfd: pytest.CaptureFixture[str], log: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    said = _fails(
        capfd,
        "curate",
        str(log),
        "--recipe",
        "unscored",
        "--allow-host",
        "h:80",
        "--warehouse",
        str(tmp_path / "file" / "lake"),
    )
    assert "--warehouse" in said


def test_questions_to_a_warehouse_that_is_not_there_say_how_to_make_one(
    capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert "zeromill curate" in _fails(capfd, "sql", "SELECT 1", "--warehouse", str(tmp_path / "none"))
    assert "zeromill releases" in _fails(capfd, "train", "nix", "--warehouse", str(tmp_path / "none"))


@pytest.mark.parametrize("name", ["../elsewhere", "a/b", "", "two words"])
def test_a_release_is_not_named_what_no_folder_may_be_named(
    capfd: pytest.CaptureFixture[str], log: Path, name: str
) -> None:
    assert "cannot be named" in _fails(capfd, "curate", str(log), "--recipe", "unscored", "--release", name)


@pytest.mark.parametrize("host", ["127.0.0.1", "http://127.0.0.1:80"])
def test_an_allowed_host_without_effect_is_refused(capfd: pytest.CaptureFixture[str], log: Path, host: str) -> None:
    assert "HOST:PORT" in _fails(capfd, "curate", str(log), "--recipe", "unscored", "--allow-host", host)


def test_a_script_of_statements_fails_where_one_was_refused(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "app", "sql", "--warehouse", str(tmp_path / "none")]
    done = subprocess.run(words, input="SELECT 1;\n", capture_output=True, text=True)
    assert done.returncode == 1
    assert "zeromill curate" in done.stderr


def test_why_asks_for_one_thing(capfd: pytest.CaptureFixture[str]) -> None:
    assert "one thing" in _fails(capfd, "why")


def test_doctor_finds_what_a_run_needs(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["doctor", "--warehouse", str(tmp_path / "lake")]) == 0
    assert "DuckDB extensions" in capfd.readouterr().out


@pytest.mark.parametrize(
    "command",
    ["curate", "refetch", "train", "sql", "why", "releases", "export", "head", "cells", "doctor", "up", "down"],
)
def test_every_command_has_help(command: str, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        parser().parse_args([command, "--help"])
    assert stopped.value.code == 0
    assert "--warehouse" in capfd.readouterr().out


def test_the_command_stands_beside_the_module(tmp_path: Path) -> None:
    command = Path(sys.executable).with_name("zeromill")
    for words in ([str(command)], [sys.executable, "-m", "app"]):
        done = subprocess.run([*words, "releases", "--warehouse", str(tmp_path)], capture_output=True, env=os.environ)
        assert done.returncode == 0
