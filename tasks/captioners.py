"""Whether captions can be written and checked as a recipe asks, known before any row is touched."""

from __future__ import annotations

from collections.abc import Sequence

from actors.models.captioners.protocol import FoundCaptioner
from actors.models.concepts import prompts
from actors.models.files import FoundModel
from filters.objects import load_objects
from filters.recipe import Recipe


class CaptionsRefused(Exception):
    """Captions that were asked for in a way that cannot be followed; the message says which would do."""


def found_captioners(recipe: Recipe) -> tuple[FoundCaptioner, ...]:
    """The recipe's captioners; what find_captioner raises where one is not here, CaptionsRefused where two are one."""
    if recipe.captions is None:
        return ()
    from actors.models.captioners.finding import find_captioner

    found = tuple(map(find_captioner, recipe.captions.captioners))
    names = {one.identity: one.name for one in found}
    if len(names) < len(found):
        double = next(one.name for one in found if one.name not in names.values())
        raise CaptionsRefused(
            f"The captioner {double} of the recipe writes what another one writes.\n"
            "Name it once, or give one of them another prompt or seed."
        )
    return found


def check_captions(recipe: Recipe, models: Sequence[FoundModel], captioners: Sequence[FoundCaptioner]) -> None:
    """Raise CaptionsRefused or ConceptError where what captions are held against cannot read them."""
    if recipe.captions is None:
        return
    checks, named = recipe.captions.checks, {model.name: model for model in models}
    if checks.objects is not None:
        model = named[checks.objects.model] if checks.objects.model is not None else models[0]
        prompts(load_objects(checks.vocabulary).concepts, model.languages)
    if checks.agreement is not None:
        _check_languages(named[checks.agreement.model], captioners)
    polling = checks.polling
    if polling is not None and not next(one for one in captioners if one.name == polling.captioner).answers:
        raise CaptionsRefused(
            f"captions.checks.polling asks the captioner {polling.captioner}, which answers no questions.\n"
            "Name a chat model or an endpoint there, or drop the check."
        )


def _check_languages(model: FoundModel, captioners: Sequence[FoundCaptioner]) -> None:
    """Raise CaptionsRefused for a prompt in a language that the model which must agree does not read."""
    asked = {language for one in captioners for language in one.languages}
    unread = asked - set(model.languages) if model.languages is not None else set()
    if unread:
        raise CaptionsRefused(
            f"captions.checks.agreement asks the model {model.name}, which does not read {', '.join(sorted(unread))}: "
            "no such caption would stay.\nName a model that does, or leave out the prompts in it."
        )


def check_endpoints(captioners: Sequence[FoundCaptioner]) -> None:
    """Raise ModelMissing where an endpoint does not answer, or a prompt leaves no room for a caption."""
    if captioners:
        from actors.models.captioners.finding import check_captioner

        for one in captioners:
            check_captioner(one)
