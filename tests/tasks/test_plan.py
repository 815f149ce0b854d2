"""What names a run: everything that determines its result, and nothing else."""

from dataclasses import replace
from pathlib import Path

import pytest

from actors.models.captioners.protocol import Asking, FoundCaptioner
from actors.models.concepts import ConceptError
from actors.models.files import FoundModel, ModelMissing
from filters.recipe import Recipe
from tasks.captioners import CaptionsRefused, check_captions, found_captioners
from tasks.memory import TooLarge, check_memory
from tasks.plan import PlanError, make_plan, memory_asked, run_identity


def test_a_first_execution_keeps_its_name_and_every_later_round_has_its_own() -> None:
    recipe = Recipe(name="small")
    first = run_identity("aa", recipe, (), ("10.0.0.7:80",), None)

    assert run_identity("aa", recipe, (), ("10.0.0.7:80",), None, round=0) == first
    assert len({first, *(run_identity("aa", recipe, (), ("10.0.0.7:80",), None, n) for n in (1, 2))}) == 3


def test_what_is_protected_names_the_run_and_nothing_protected_leaves_its_name() -> None:
    asked = ("aa", Recipe(name="small"), (), (), None)
    names = [run_identity(*asked), run_identity(*asked, 1), *(run_identity(*asked, n, "ab") for n in (0, 1))]

    assert run_identity(*asked, protected="") == names[0]
    assert len({*names, run_identity(*asked, protected="cd")}) == 5


def test_a_store_that_nothing_here_reads_stops_the_run_before_a_row_is_touched(tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text("url,query\noss://bucket/a.jpg,a red ball\n")
    (tmp_path / "mine.yaml").write_text("name: mine\nfetch:\n  stores: ['oss://bucket/']\n")
    with pytest.raises(PlanError, match="pip install ossfs"):
        make_plan(str(tmp_path / "log.csv"), str(tmp_path / "mine.yaml"), str(tmp_path / "lake"))
    assert not (tmp_path / "lake").exists()


@pytest.mark.parametrize(("name", "stem"), [("laion.2024", "laion.2024"), ("day.csv", "day")])
def test_a_release_is_named_after_its_source(tmp_path: Path, name: str, stem: str) -> None:
    source = tmp_path / name
    if name.endswith(".csv"):
        source.write_text("url,query\nhttp://a.example/a.jpg,a red ball\n")
    else:
        source.mkdir()
        for file in ("00000.parquet", "00000.tar", "00000_stats.json"):
            (source / file).touch()
    plan = make_plan(str(source), "unscored", str(tmp_path / "lake"), allow=("a.example:80",))
    assert plan.release.startswith(f"{stem}-unscored-")
    assert plan.of_folder == source.is_dir()


def test_a_run_that_could_ask_strangers_only_and_names_no_contact_stops_before_a_row_is_touched(tmp_path: Path) -> None:
    log, mine = tmp_path / "log.csv", tmp_path / "mine.yaml"
    log.write_text("url,query\nhttp://a.example/a.jpg,a red ball\n")
    with pytest.raises(PlanError, match=r"fetch\.contact"):
        make_plan(str(log), "unscored", str(tmp_path / "lake"))
    mine.write_text("name: mine\nfetch:\n  contact: https://example.org/bot\n")
    assert make_plan(str(log), str(mine), str(tmp_path / "lake")).recipe.fetch.contact


def captioner(identity: str = "c" * 32, nbytes: int = 0) -> FoundCaptioner:
    return FoundCaptioner("coca", "coca", "a folder", identity, Asking(((None, ""),), 1, 1.0, 1.0, 30, 0), nbytes)


def test_who_captions_names_the_run_and_no_captioner_leaves_its_name() -> None:
    asked = ("aa", Recipe(name="small"), (), (), None)
    names = [run_identity(*asked), *(run_identity(*asked, captioners=[captioner(one)]) for one in ("a", "b"))]

    assert run_identity(*asked, captioners=()) == names[0]
    assert len(set(names)) == 3


@pytest.mark.parametrize(
    ("captions", "said"),
    [
        ("captioners: [{hub: no-such/captioner}]", "no-such/captioner"),
        ("captioners: [{path: no/such/folder}]", "no/such/folder"),
        ("captioners: [{endpoint: 'http://127.0.0.1:9/v1', model: q, prompts: {en: Describe.}}]", "127.0.0.1:9"),
    ],
)
def test_a_captioner_that_is_not_there_stops_the_run_before_a_row_is_touched(
    tmp_path: Path, captions: str, said: str
) -> None:
    (tmp_path / "log.csv").write_text("url,query\nhttp://a.example/a.jpg,a red ball\n")
    (tmp_path / "mine.yaml").write_text(f"name: mine\ncaptions:\n  {captions}\n")
    with pytest.raises(ModelMissing) as caught:
        make_plan(str(tmp_path / "log.csv"), str(tmp_path / "mine.yaml"), str(tmp_path / "lake"), allow=("a:80",))
    assert said in str(caught.value)
    assert len(str(caught.value).splitlines()) <= 3
    assert not (tmp_path / "lake").exists()


def test_a_captioner_that_does_not_fit_in_memory_is_told_by_its_name() -> None:
    with pytest.raises(TooLarge, match="captioner coca needs"):
        check_memory(memory_asked((), [captioner(nbytes=1 << 50)]))


def test_captions_that_could_not_stay_are_refused_before_they_are_paid_for() -> None:
    asked = {
        "captioners": [{"path": "a", "prompts": {"zh": "描述。"}}],
        "checks": {"agreement": {"model": "clip", "min_score": 0.2}},
    }
    recipe = Recipe.model_validate({"name": "small", "model": {"path": "m"}, "captions": asked})
    model = FoundModel("clip", ("en",), "open_clip", "", "", "", "i", "", "", "")
    chinese = replace(captioner(), asking=Asking((("zh", "描述。"),), 1, 1.0, 1.0, 30, 0))
    with pytest.raises(CaptionsRefused, match="does not read zh"):
        check_captions(recipe, [model], [chinese])
    check_captions(recipe, [replace(model, languages=None)], [chinese])


def test_objects_need_a_model_that_reads_their_words() -> None:
    asked = {"captioners": [{"path": "a"}], "checks": {"objects": {}}}
    recipe = Recipe.model_validate({"name": "small", "model": {"path": "m"}, "captions": asked})
    model = FoundModel("clip", ("de",), "open_clip", "", "", "", "i", "", "", "")
    with pytest.raises(ConceptError, match="no words in a language of the model"):
        check_captions(recipe, [model], [captioner()])
    check_captions(recipe, [replace(model, languages=("zh",))], [captioner()])


def test_two_captioners_that_would_write_the_same_are_refused(tmp_path: Path) -> None:
    one = {"endpoint": "http://127.0.0.1:9/v1", "model": "q", "prompts": {"en": "Describe."}}
    asked = {"captioners": [{"name": "one", **one}, {"name": "two", **one}]}
    with pytest.raises(CaptionsRefused, match="writes what another one writes"):
        found_captioners(Recipe.model_validate({"name": "small", "captions": asked}))
    asked["captioners"][1]["seed"] = 1  # type: ignore[assignment]
    assert len(found_captioners(Recipe.model_validate({"name": "small", "captions": asked}))) == 2
