"""The filters that a recipe chooses by name: those that come with Zeromill, and those of other packages."""

import difflib
import inspect
from collections.abc import Sequence
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, ValidationError

from filters import Filter, HeadFilter
from filters.personal import Personal
from filters.pictures import Aspect, Blank, Blurry, TooSmall, Unsafe
from filters.recipe import RecipeError
from filters.sensitive import Sensitive
from filters.text import Boilerplate, Filename, OtherLanguage, Repetitive, TooLong, TooShort

Kind = Literal["text", "picture"]

ENTRY_POINTS = "zeromill.filters"  # a package adds its own filters under this group, for texts and pictures alike

# In the order in which the ledger names reasons, whatever the order in the recipe.
BUILT_IN: dict[Kind, dict[str, type[BaseModel]]] = {
    "text": {
        "text_filename": Filename,
        "text_too_short": TooShort,
        "text_too_long": TooLong,
        "text_boilerplate": Boilerplate,
        "text_language": OtherLanguage,
        "text_pii": Personal,
        "text_sensitive": Sensitive,
        "text_repetitive": Repetitive,
    },
    "picture": {
        "image_too_small": TooSmall,
        "image_aspect": Aspect,
        "image_blank": Blank,
        "image_blurry": Blurry,
        "image_unsafe": Unsafe,
    },
}


def chosen(entries: Sequence[dict[str, Any]], kind: Kind) -> tuple[Filter, ...]:
    """The filters of a recipe's entries `{"filter": NAME, **settings}` in the ledger's order, other packages' last.

    RecipeError for a name or a setting that does not exist, its key relative to the entries.
    """
    order = list(BUILT_IN[kind])
    made = [(entry.get("filter"), _made(entry, kind, f"[{place}]")) for place, entry in enumerate(entries)]
    made.sort(key=lambda named: order.index(named[0]) if named[0] in order else len(order))
    return tuple(one for _, one in made)


def first_reasons(batch: pa.RecordBatch, filters: Sequence[Filter]) -> tuple[pa.StringArray, pa.StringArray]:
    """Per row the reason and the detail of the first filter that rejects it, null where none does.

    A filter is asked only about the rows that those before it let pass.
    """
    reasons: list[str | None] = [None] * batch.num_rows
    details: list[str | None] = [None] * batch.num_rows
    left = pa.array(range(batch.num_rows), pa.int64())
    for one in filters:
        said = one.rejects(batch.take(left))
        for row, detail in zip(left.filter(pc.is_valid(said)).to_pylist(), said.drop_null().to_pylist(), strict=True):
            reasons[row], details[row] = one.reason, detail
        left = left.filter(pc.is_null(said))
    return pa.array(reasons, pa.string()), pa.array(details, pa.string())


def around_embedding(filters: Sequence[Filter]) -> tuple[tuple[Filter, ...], tuple[HeadFilter, ...]]:
    """The filters of pictures that are asked before the embedding, and those that read a head's values after it."""
    by_head = tuple(one for one in filters if isinstance(one, HeadFilter))
    return tuple(one for one in filters if not isinstance(one, HeadFilter)), by_head


def boilerplate(filters: Sequence[Filter]) -> Boilerplate | None:
    """The one filter that needs a count over the whole input, where the recipe has it."""
    return next((one for one in filters if isinstance(one, Boilerplate)), None)


def _made(entry: dict[str, Any], kind: Kind, key: str) -> Filter:
    name = entry.get("filter")
    if not isinstance(name, str):
        raise RecipeError(f"{key}.filter", "no filter named", f"allowed: {', '.join(BUILT_IN[kind])}")
    settings = {setting: value for setting, value in entry.items() if setting != "filter"}
    built_in = BUILT_IN[kind].get(name)
    if built_in is None:
        return _installed(name, settings, kind, key)
    return _built(built_in, name, settings, key)


def _installed(name: str, settings: dict[str, Any], kind: Kind, key: str) -> Filter:
    offered: dict[str, EntryPoint] = {point.name: point for point in entry_points(group=ENTRY_POINTS)}
    if name not in offered:
        names = [*BUILT_IN[kind], *sorted(offered)]
        raise RecipeError(f"{key}.filter", f"there is no filter {name!r} for a {kind}", hint(name, names))
    try:
        made = offered[name].load()
    except (ImportError, AttributeError) as error:
        raise RecipeError(f"{key}.filter", f"{offered[name].value} does not load: {error}") from error
    return _built(made, name, settings, key)


def _built(made: Any, name: str, settings: dict[str, Any], key: str) -> Filter:
    try:
        one: Filter = made(**settings)
    except ValidationError as error:
        raise _invalid(made, name, error, key) from error
    except (TypeError, ValueError) as error:
        raise RecipeError(key, f"{name}: {error}", _allowed(made)) from error
    if not (isinstance(getattr(one, "reason", None), str) and callable(getattr(one, "rejects", None))):
        raise RecipeError(f"{key}.filter", f"{name} is no filter", "it needs a `reason` and a method `rejects(batch)`")
    return one


def _invalid(made: Any, name: str, error: ValidationError, key: str) -> RecipeError:
    first = error.errors(include_url=False)[0]
    path = key + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in first["loc"])
    if first["type"] == "extra_forbidden":
        settings = list(inspect.signature(made).parameters)
        advice = hint(str(first["loc"][-1]), settings) if settings else f"{name} has no settings"
        return RecipeError(path, f"not a setting of {name}", advice)
    return RecipeError(path, f"{first['msg']}, not {first['input']!r:.80}" if first["loc"] else first["msg"])


def _allowed(made: Any) -> str:
    try:
        settings = list(inspect.signature(made).parameters)
    except (TypeError, ValueError):
        return ""
    return f"allowed: {', '.join(settings)}" if settings else "it has no settings"


def hint(name: str, names: Sequence[str]) -> str:
    """Which names there are, the one that was probably meant first."""
    close = difflib.get_close_matches(name, names, n=1)
    return (f"did you mean {close[0]}? " if close else "") + f"allowed: {', '.join(names)}"
