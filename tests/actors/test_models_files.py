"""Which files a model is made of, and what is refused before it is loaded."""

import json
import pickle
import shutil
from pathlib import Path
from typing import Any

import huggingface_hub.constants
import pytest

from actors.models.files import FoundModel, ModelMissing, check_same, find_model
from actors.models.layouts import CONFIG
from actors.models.places import file_sha256
from filters.recipe import Model

SCORER = Path(__file__).parents[2] / "demo" / "scorer"
XLM_R = {"hf_model_name": "of/a-tower", "hf_tokenizer_name": "of/a-vocabulary"}


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty hub cache."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


def _cached(cache: Path, repository: str, files: dict[str, bytes]) -> Path:
    """Lay files into the hub cache as its client does: blobs, and links by name to them."""
    home = cache / f"models--{repository.replace('/', '--')}"
    for folder in (home / "refs", home / "blobs", home / "snapshots" / "c0ffee"):
        folder.mkdir(parents=True)
    (home / "refs" / "main").write_text("c0ffee")
    for number, (name, content) in enumerate(files.items()):
        (home / "blobs" / str(number)).write_bytes(content)
        (home / "snapshots" / "c0ffee" / name).symlink_to(f"../../blobs/{number}")
    return home / "snapshots" / "c0ffee"


def _files(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir() if file.is_file()}


def _copy(tmp_path: Path, **text: str) -> Path:
    """The scorer's folder once more, with another text tower in its config."""
    folder = shutil.copytree(SCORER, tmp_path / "m")
    config = json.loads((folder / CONFIG).read_text())
    config["model_cfg"]["text_cfg"] |= text
    (folder / CONFIG).write_text(json.dumps(config))
    return folder


def _found(folder: Path) -> FoundModel:
    return find_model(Model(path=str(folder)))


def _refused(**model: Any) -> str:
    """What a recipe's reader is told, which is short and leaves a way out."""
    with pytest.raises(ModelMissing) as missing:
        find_model(Model(**model))
    message = str(missing.value)
    assert len(message.splitlines()) <= 3
    assert "--recipe unscored" in message
    return message


def test_a_folder_is_found_within_an_installed_package() -> None:
    found = find_model(Model(path="demo/scorer", name="small", languages=("zh",)))
    assert (found.folder, found.weights) == (str(SCORER), str(SCORER / "open_clip_model.safetensors"))
    assert (found.name, found.languages, found.kind) == ("small", ("zh",), "open_clip")


@pytest.mark.parametrize("prefix", ["", "local-dir:"])
def test_an_absolute_folder_is_taken_as_it_is(tmp_path: Path, prefix: str) -> None:
    folder = shutil.copytree(SCORER, tmp_path / "m")
    assert find_model(Model(path=f"{prefix}{folder}")).folder == str(folder)


def test_a_repository_is_found_in_the_hub_cache(cache: Path) -> None:
    folder = _cached(cache, "acme/clip", _files(SCORER))
    found = find_model(Model(hub="acme/clip"))
    assert Path(found.weights).parent == folder
    assert found.identity == _found(SCORER).identity


def test_a_tag_of_open_clips_list_is_found_in_the_hub_cache_under_its_repository(cache: Path) -> None:
    assert "hf download laion/CLIP-ViT-B-32-laion2B-s34B-b79K" in _refused(open_clip="ViT-B-32/laion2b_s34b_b79k")
    folder = _cached(cache, "laion/CLIP-ViT-B-32-laion2B-s34B-b79K", _files(SCORER))
    assert Path(find_model(Model(open_clip="ViT-B-32/laion2b_s34b_b79k")).config).parent == folder


def test_a_repository_that_forgets_the_activation_of_its_weights_is_refused(cache: Path) -> None:
    _cached(cache, "timm/vit_base_patch32_clip_224.openai", _files(SCORER))
    assert "quick_gelu: False" in _refused(open_clip="ViT-B-32-quickgelu/openai")


def test_a_tag_that_open_clip_does_not_know_is_told_with_those_that_it_does(cache: Path) -> None:
    assert "openai, laion400m_e31" in _refused(open_clip="ViT-B-32/laion99b")


def test_a_tag_of_a_bare_file_wants_a_config(cache: Path) -> None:
    assert "model.config" in _refused(open_clip="ViTamin-S/datacomp1b")


def test_a_checkpoint_of_any_name_is_found_with_its_config_and_what_lies_beside_that(tmp_path: Path) -> None:
    weights = shutil.copy(SCORER / "open_clip_model.safetensors", tmp_path / "epoch_5.safetensors")
    found = find_model(Model(checkpoint=str(weights), config=str(SCORER / CONFIG)))
    assert (found.weights, found.folder, found.identity) == (str(weights), str(SCORER), _found(SCORER).identity)


def test_a_checkpoint_in_a_format_that_is_not_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "weights.npz").touch()
    assert ".safetensors, .bin" in _refused(checkpoint=str(tmp_path / "weights.npz"), config=str(SCORER / CONFIG))


@pytest.mark.parametrize("key", ["model_cfg", "preprocess_cfg"])
def test_a_config_that_leaves_architecture_or_preprocessing_open_is_refused(tmp_path: Path, key: str) -> None:
    config = json.loads((SCORER / CONFIG).read_text())
    del config[key]
    (tmp_path / "c.json").write_text(json.dumps(config))
    weights = str(SCORER / "open_clip_model.safetensors")
    assert "mean, std, interpolation" in _refused(checkpoint=weights, config=str(tmp_path / "c.json"))


@pytest.mark.parametrize(
    "model",
    [{"path": "no/such/folder"}, {"hub": "nobody/has-this-model"}, {"path": "demo"}],
    ids=["no folder", "not in the cache", "no model"],
)
def test_a_missing_model_names_both_ways_out(model: dict[str, str], cache: Path) -> None:
    message = _refused(**model)
    assert "hf download" in message
    assert "model.path" in message


def test_a_folder_without_weights_is_told(tmp_path: Path) -> None:
    shutil.copy(SCORER / CONFIG, tmp_path)
    assert "lacks weights" in _refused(path=str(tmp_path))


def test_other_weights_than_the_recipe_names_are_refused() -> None:
    right = file_sha256(SCORER / "open_clip_model.safetensors")
    assert find_model(Model(path="demo/scorer", sha256=right)).weights_sha256 == right
    assert right in _refused(path="demo/scorer", sha256="0" * 64)


def test_a_config_that_is_no_json_is_told_by_name(tmp_path: Path) -> None:
    folder = _copy(tmp_path)
    (folder / CONFIG).write_text("{")
    with pytest.raises(ModelMissing, match=f"{CONFIG} is no JSON"):
        _found(folder)


def test_a_text_tower_that_is_not_here_is_told_with_what_to_download(tmp_path: Path, cache: Path) -> None:
    message = _refused(path=str(_copy(tmp_path, **XLM_R)))
    assert "hf download of/a-vocabulary" in message
    assert "hf download of/a-tower" in message


def test_a_text_tower_and_its_vocabulary_are_found_in_the_hub_cache(tmp_path: Path, cache: Path) -> None:
    tower = _cached(cache, "of/a-tower", {"config.json": b"{}"})
    vocabulary = _cached(cache, "of/a-vocabulary", {"tokenizer.json": b"{}"})
    found = _found(_copy(tmp_path, **XLM_R))
    assert (found.tower, found.folder) == (str(tower), str(vocabulary))


def test_a_vocabulary_without_its_files_is_missing(tmp_path: Path, cache: Path) -> None:
    _cached(cache, "of/a-tower", {"config.json": b"{}"})
    _cached(cache, "of/a-vocabulary", {"README.md": b""})
    message = _refused(path=str(_copy(tmp_path, **XLM_R)))
    assert "of/a-vocabulary" in message
    assert "hf download of/a-tower" not in message


TRANSFORMERS = {
    "config.json": b'{"model_type": "chinese_clip"}',
    "preprocessor_config.json": b"{}",
    "model.safetensors": b"",
    "vocab.txt": b"[PAD]",
}


def _of_transformers(folder: Path, files: dict[str, bytes]) -> Path:
    folder.mkdir()
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


def test_a_folder_in_transformers_layout_is_known_by_its_type(tmp_path: Path) -> None:
    found = _found(_of_transformers(tmp_path / "m", TRANSFORMERS))
    assert (found.kind, Path(found.weights).name) == ("transformers", "model.safetensors")


@pytest.mark.parametrize("name", ["preprocessor_config.json", "model.safetensors", "vocab.txt"])
def test_a_folder_in_transformers_layout_that_lacks_a_file_is_refused(tmp_path: Path, name: str) -> None:
    folder = _of_transformers(tmp_path / "m", {file: told for file, told in TRANSFORMERS.items() if file != name})
    assert ("tokenizer" if name == "vocab.txt" else name) in _refused(path=str(folder))


@pytest.mark.parametrize("kind", ["siglip2", "bert", None])
def test_a_type_of_transformers_that_is_not_read_is_refused_with_those_that_are(
    tmp_path: Path, kind: str | None
) -> None:
    config = {"config.json": json.dumps({"model_type": kind}).encode()}
    assert "chinese_clip, clip, siglip" in _refused(path=str(_of_transformers(tmp_path / "m", TRANSFORMERS | config)))


def test_the_identity_of_a_model_is_that_of_the_vectors_in_warehouses() -> None:
    """Another way of making it would run every model over every picture again."""
    assert _found(SCORER).identity == "f4d5f1e468c73e6ffbb00e130ff2300c"


@pytest.mark.parametrize("name", ["open_clip_model.safetensors", "bpe_simple_vocab.txt.gz"])
def test_identity_changes_with_weights_and_with_the_tokenizer(tmp_path: Path, name: str) -> None:
    folder = _copy(tmp_path)
    assert _found(folder).identity == _found(SCORER).identity
    (folder / name).write_bytes((folder / name).read_bytes() + b" ")
    assert _found(folder).identity != _found(SCORER).identity
    assert (_found(folder).tokenizer != _found(SCORER).tokenizer) == (name == "bpe_simple_vocab.txt.gz")


def test_identity_changes_with_preprocessing_and_not_with_the_card(tmp_path: Path) -> None:
    folder = _copy(tmp_path)
    (folder / "README.md").write_text("another card")
    assert _found(folder).identity == _found(SCORER).identity
    config = json.loads((folder / CONFIG).read_text())
    config["preprocess_cfg"]["interpolation"] = "bilinear"
    (folder / CONFIG).write_text(json.dumps(config))
    assert _found(folder).identity != _found(SCORER).identity
    assert _found(folder).preprocessing != _found(SCORER).preprocessing
    assert _found(folder).tokenizer == _found(SCORER).tokenizer


@pytest.mark.parametrize("name", sorted(TRANSFORMERS))
def test_identity_in_transformers_layout_changes_with_every_file(tmp_path: Path, name: str) -> None:
    before = _found(_of_transformers(tmp_path / "a", TRANSFORMERS)).identity
    other = b'{"model_type": "chinese_clip", "more": 1}' if name.endswith(".json") else b"other"
    assert _found(_of_transformers(tmp_path / "b", TRANSFORMERS | {name: other})).identity != before


def test_a_found_model_travels_to_actors() -> None:
    assert pickle.loads(pickle.dumps(_found(SCORER))) == _found(SCORER)


def test_an_actor_takes_no_other_weights_than_those_that_were_found(tmp_path: Path) -> None:
    folder = _copy(tmp_path)
    found = _found(folder)
    check_same(found)
    (folder / "open_clip_model.safetensors").write_bytes(b"others")
    with pytest.raises(ModelMissing, match="every machine"):
        check_same(found)


def test_an_actor_without_the_files_says_which(tmp_path: Path) -> None:
    folder = _copy(tmp_path)
    found = _found(folder)
    (folder / CONFIG).unlink()
    with pytest.raises(ModelMissing, match=CONFIG):
        check_same(found)
