"""Which exceptions are expected: their messages were written for people, with the next step."""

from __future__ import annotations


def expected() -> tuple[type[Exception], ...]:
    """Imported late, so that a command that succeeds never pays for it."""
    from actors.models.files import ModelMissing
    from app.ask import Unanswerable
    from filters.recipe import RecipeError
    from flows.curate import NotPublished
    from flows.server import ServerError
    from tasks.training import TrainingError
    from warehouse.errors import WarehouseError

    return (ModelMissing, NotPublished, RecipeError, ServerError, TrainingError, Unanswerable, WarehouseError)
