"""What the command `plan` refuses before anything is asked for, and how it draws what it says."""

from pathlib import Path
from xml.etree import ElementTree

import pytest

from app.funnel import funnel, page
from app.main import main
from app.plan import PriceUnclear, money, read_prices

ONE = {"value": 0.5, "low": 0.4, "high": 0.6}


def _log(folder: Path) -> Path:
    file = folder / "log.csv"
    file.write_text("url,title\nhttp://127.0.0.1:9/1.jpg,a quiet harbour at night\n")
    return file


def _told(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main(["plan", *words]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert "not expected" not in said.err
    assert "Prefect" not in said.err
    return said.err


def test_what_a_recipe_lacks_is_said_before_a_server_is_started(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path / "home"))
    (tmp_path / "mine.yaml").write_text("name: mine\nmodel:\n  path: no/such/model\n")
    lake = str(tmp_path / "lake")
    said = _told(capsys, str(_log(tmp_path)), "--recipe", str(tmp_path / "mine.yaml"), "--warehouse", lake)
    assert "no/such/model" in said
    assert "contact" in _told(capsys, str(_log(tmp_path)), "--recipe", "unscored", "--warehouse", lake)
    assert "There is no file" in _told(capsys, str(tmp_path / "gone.csv"), "--recipe", "unscored", "--warehouse", lake)
    assert not (tmp_path / "lake").exists()


def test_a_price_that_names_no_device_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = _told(capsys, str(_log(tmp_path)), "--recipe", "unscored", "--price", "abacus=3")
    assert "DEVICE=USD_PER_HOUR" in said
    assert "a100" in said
    for wrong in ("here", "here=", "here=-1", "here=nan", "here=inf", "=1"):
        with pytest.raises(PriceUnclear):
            read_prices([wrong], {"here"})
    assert read_prices(["here=1.5"], {"here"}) == {"here": 1.5}


def test_a_folder_that_cannot_be_written_is_refused_before_anything_is_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path / "home"))
    (tmp_path / "taken").write_text("a file")
    said = _told(
        capsys, str(_log(tmp_path)), "--recipe", "unscored", "--to", str(tmp_path / "taken" / "page"),
        "--allow-host", "127.0.0.1:9", "--warehouse", str(tmp_path / "lake"),
    )  # fmt: skip
    assert "--to" in said
    assert not (tmp_path / "home").exists()


def test_money_is_hours_times_price_of_all_here_and_of_the_embedding_elsewhere() -> None:
    result = {"hours_in_all": ONE, "devices": [{"name": "a", "model": "m", "hours": ONE}, {"name": "b", "hours": ONE}]}
    told = money(result, {"here": 2.0, "a": 10.0})
    assert [(one["device"], one["work"]) for one in told] == [("here", "all stages"), ("a", "m")]
    assert [one["usd"]["high"] for one in told] == pytest.approx([1.2, 6.0])


def test_the_funnel_is_a_picture_whose_bars_are_as_wide_as_what_is_left() -> None:
    drawn = funnel(100, [{"stage": "sift", "share": ONE, "rows": {"value": 50}}])
    bars = [one for one in ElementTree.fromstring(drawn).iter("{http://www.w3.org/2000/svg}rect")][1:]
    wide = [float(bar.attrib["width"]) for bar in bars]
    assert wide[2] / wide[0] == pytest.approx(0.6)
    assert wide[3] / wide[0] == pytest.approx(0.4)


def test_what_a_page_shows_of_a_log_is_text_and_never_markup() -> None:
    shown = page("<b>", funnel(1, []), [("t", ["<i>"], [("<script>",)])])
    assert "<script>" not in shown
    assert "<b>" not in shown.replace("<body>", "")
