"""Recipes from YAML, every key of them checked before a row is touched, and what makes two of them the same."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError

from filters.captioning import Captions
from filters.captions import load_openings, openings_file, shipped_openings
from filters.chosen import Kind, chosen, hint
from filters.concepts import concepts_file, load_concepts, shipped_concepts
from filters.objects import load_objects, objects_file, shipped_objects
from filters.policies import files_of, with_files
from filters.recipe import PACE, Recipe, RecipeError
from filters.versioned import names_a_file

__all__ = ["RecipeError", "load_recipe", "recipe_fingerprint", "shipped"]

# They name a recipe or say what happens after a release: two that differ only here mill the same release.
NOT_OF_THE_RESULT = frozenset({"name", "about", "training"})

_FILTERS: dict[str, Kind] = {"texts": "text", "pictures": "picture"}


class _UniqueKeys(yaml.SafeLoader):
    """YAML without a key given twice, of which PyYAML would silently take the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if isinstance(key, str) and key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"key {key!r} stands here twice", key_node.start_mark
                )
            if isinstance(key, str):
                seen.add(key)
        return super().construct_mapping(node, deep)


def shipped() -> tuple[str, ...]:
    """The names of the recipes that come with Zeromill."""
    return tuple(sorted(file.name.removesuffix(".yaml") for file in files("recipes").iterdir() if _is_yaml(file.name)))


def load_recipe(name_or_path: str) -> Recipe:
    """A shipped recipe by its name, or the recipe in a YAML file. RecipeError says what is wrong and what is allowed.

    A word list, a list of concepts or a head's file that it names relative to its own folder becomes an absolute path.
    What heads hold is not looked at here: `zeromill head` reads the recipe that names the file which it is to write.
    """
    file, text = _read(name_or_path)
    try:
        recipe = _validated(_parsed(text), Path(name_or_path).parent)
        for section, kind in _FILTERS.items():
            _check_filters(recipe, section, kind)
        _check_concepts(recipe)
        _check_caption_lists(recipe)
    except RecipeError as error:
        raise RecipeError(error.key, error.problem, error.hint, file) from error
    return recipe


def recipe_fingerprint(recipe: Recipe) -> str:
    """sha256 (hex) over everything that determines a release: not names, training, and the pace of fetching.

    A word list, a list of concepts and a head count by their content, not by their path.
    """
    values = {key: value for key, value in recipe.model_dump(mode="json").items() if key not in NOT_OF_THE_RESULT}
    values["fetch"] = {key: value for key, value in values["fetch"].items() if key not in PACE}
    for section in _FILTERS:
        values[section]["filters"] = [_by_content(entry) for entry in values[section]["filters"]]
    values["heads"] = [_digest(f"heads[{place}].file", head.file) for place, head in enumerate(recipe.heads)]
    if recipe.tags is not None:
        values["tags"]["concepts"] = _digest("tags.concepts", concepts_file(recipe.tags.concepts))
    if recipe.captions is None:
        del values["captions"]  # recipes keep the fingerprint that they had before there were captions, and policies
    else:
        values["captions"]["checks"] |= {
            name: _digest(f"captions.checks.{name}", file) for name, file in _caption_lists(recipe.captions).items()
        }
    if not recipe.select.policies:
        del values["select"]["policies"]
    for place, policy in enumerate(recipe.select.policies):
        found = {name: _digest(f"select.policies[{place}].{name}", file) for name, file in files_of(policy).items()}
        values["select"]["policies"][place] = with_files(policy, found).model_dump(mode="json")
    canonical = json.dumps(values, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


def _read(name_or_path: str) -> tuple[str, str]:
    """The file's name for people, and its text."""
    names_a_file = _is_yaml(name_or_path) or "/" in name_or_path
    place = Path(name_or_path) if names_a_file else files("recipes") / f"{name_or_path}.yaml"
    if not place.is_file():
        problem = "there is no such file" if names_a_file else "there is no shipped recipe of this name"
        advice = f"{hint(name_or_path, shipped())}; or the path of a YAML file"
        raise RecipeError("", problem, advice, name_or_path)
    try:
        return str(name_or_path) if names_a_file else f"recipes/{place.name}", place.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError("", f"cannot be read: {error}", file=name_or_path) from error


def _parsed(text: str) -> dict[str, Any]:
    try:
        values = yaml.load(text, Loader=_UniqueKeys)  # a SafeLoader
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise RecipeError(where, str(error.problem or "not YAML")) from error
    except yaml.YAMLError as error:
        raise RecipeError("", f"not YAML: {error}") from error
    if not isinstance(values, dict):
        raise RecipeError("", "not a recipe, which is a YAML mapping", hint("", list(Recipe.model_fields)))
    return values


def _validated(values: dict[str, Any], folder: Path) -> Recipe:
    try:
        recipe = Recipe.model_validate(values)
    except ValidationError as error:
        raise _explained(error) from error
    texts = tuple(_anchored(entry, folder) for entry in recipe.texts.filters)
    heads = tuple(head.model_copy(update={"file": _beside(folder, head.file)}) for head in recipe.heads)
    changed = {"texts": recipe.texts.model_copy(update={"filters": texts}), "heads": heads}
    if recipe.select.policies:
        policies = tuple(
            with_files(one, {name: _beside(folder, file) for name, file in files_of(one).items()})
            for one in recipe.select.policies
        )
        changed["select"] = recipe.select.model_copy(update={"policies": policies})
    if recipe.tags is not None and names_a_file(recipe.tags.concepts):
        tags = recipe.tags.model_copy(update={"concepts": _beside(folder, recipe.tags.concepts)})
        changed["tags"] = tags
    if recipe.captions is not None:
        changed["captions"] = _captions_beside(folder, recipe.captions)
    return recipe.model_copy(update=changed)


def _captions_beside(folder: Path, captions: Captions) -> Captions:
    """The section with the lists of its checks, where they are files, found from the recipe's folder."""
    checks = captions.checks
    named = {"openings": checks.openings, "vocabulary": checks.vocabulary}
    own = {name: _beside(folder, one) for name, one in named.items() if one is not None and names_a_file(one)}
    return captions.model_copy(update={"checks": checks.model_copy(update=own)})


def _caption_lists(captions: Captions) -> dict[str, Traversable]:
    """The lists that the checks of captions read, by their keys."""
    checks = captions.checks
    lists = {} if checks.openings is None else {"openings": openings_file(checks.openings)}
    asked = checks.objects is not None or checks.polling is not None
    return lists | ({"vocabulary": objects_file(checks.vocabulary)} if asked else {})


def _anchored(entry: dict[str, Any], folder: Path) -> dict[str, Any]:
    """An entry with its word list, if it names one, found from the recipe's folder."""
    if entry.get("filter") == "text_sensitive" and isinstance(entry.get("list"), str):
        return entry | {"list": _beside(folder, entry["list"])}
    return entry


def _beside(folder: Path, file: str) -> str:
    return str((folder / file).absolute())


def _check_filters(recipe: Recipe, section: str, kind: Kind) -> None:
    try:
        chosen(getattr(recipe, section).filters, kind)
    except RecipeError as error:
        raise RecipeError(f"{section}.filters{error.key}", error.problem, error.hint) from error


def _check_concepts(recipe: Recipe) -> None:
    if recipe.tags is None:
        return
    try:
        load_concepts(recipe.tags.concepts)
    except ValueError as error:
        advice = f"shipped: {', '.join(shipped_concepts())}; or the path of a TSV file"
        raise RecipeError("tags.concepts", str(error), advice) from error


def _check_caption_lists(recipe: Recipe) -> None:
    if recipe.captions is None:
        return
    readers = {"openings": (load_openings, shipped_openings), "vocabulary": (load_objects, shipped_objects)}
    for key in _caption_lists(recipe.captions):
        read, known = readers[key]
        try:
            read(getattr(recipe.captions.checks, key))
        except ValueError as error:
            advice = f"shipped: {', '.join(known())}; or the path of a TSV file"
            raise RecipeError(f"captions.checks.{key}", str(error), advice) from error


def _explained(error: ValidationError) -> RecipeError:
    """The first thing that is wrong, with the keys or values that would be right."""
    found = error.errors(include_url=False)
    first = next(
        (one for one in found if one["type"] == "extra_forbidden"), found[0]
    )  # a misspelt key explains the rest
    key = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in first["loc"]).lstrip(".")
    more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
    if first["type"] == "extra_forbidden":
        section = _section(first["loc"][:-1])
        known = list(section.model_fields) if section else []
        return RecipeError(key, f"unknown key{more}", hint(str(first["loc"][-1]), known))
    if first["type"] == "union_tag_invalid":
        known = [one.strip(" '") for one in first["ctx"]["expected_tags"].split(",")]
        asked = str(first["ctx"]["tag"])
        return RecipeError(f"{key}.{_KIND}", f"there is no {_KIND} {asked!r}{more}", hint(asked, known))
    problem = first["msg"].removeprefix("Value error, ")
    value = "" if first["type"] in ("missing", "value_error") else f", not {first['input']!r:.80}"
    return RecipeError(key, problem + value + more)


def _section(loc: tuple[int | str, ...]) -> type[BaseModel] | None:
    """The model that validates the mapping at this place of a recipe."""
    found: list[type[BaseModel]] = [Recipe]
    for part in loc:
        if isinstance(part, int):
            continue
        if len(found) > 1:  # one of several kinds, of which the place names the one that was asked for
            found = [one for one in found if part in get_args(one.model_fields[_KIND].annotation)]
            continue
        field = found[0].model_fields.get(str(part))
        found = list(_sections_in(field.annotation)) if field else []
        if not found:
            return None
    return found[0] if len(found) == 1 else None


_KIND = "policy"
"""The key that tells which of several kinds a section is."""


def _sections_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from _sections_in(inner)


def _by_content(entry: Mapping[str, Any]) -> dict[str, Any]:
    if entry.get("filter") != "text_sensitive":
        return dict(entry)
    return {**entry, "list": hashlib.sha256(Path(entry["list"]).read_bytes()).hexdigest()}


def _digest(key: str, file: Traversable | str) -> str:
    try:
        return hashlib.sha256((Path(file) if isinstance(file, str) else file).read_bytes()).hexdigest()
    except OSError as error:
        advice = "a head's file is written with `zeromill head` or `zeromill cells`" if "heads" in key else ""
        raise RecipeError(key, f"cannot be read: {error}", advice) from error


def _is_yaml(name: str) -> bool:
    return name.endswith((".yaml", ".yml"))
