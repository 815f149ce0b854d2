"""The commands that write heads: out of somebody's weights, and of the cells that a release falls into."""

from __future__ import annotations

import argparse

from filters.recipe import Model, Recipe

PICTURES_A_CELL = 256
MOST_PICTURES = 1 << 18
"""That cells are fitted on; more make them no better, and take memory: half a gigabyte with 512 numbers a picture."""

ROUNDS = 30
"""Of averaging; what moves after that is few pictures at the edges of cells."""


class NoModel(Exception):
    """A command was told of no model that it can find; the message says how to name one."""


def head(asked: argparse.Namespace) -> int:
    """Write a head file out of a state_dict, for the model whose vectors it was trained on."""
    from actors.models.files import find_model
    from actors.models.heads import HeadError, Network, write_head
    from actors.models.layers import read_layers

    model = find_model(_told_model(asked.model))
    layers = read_layers(asked.weights)
    if len(layers) > 1 and asked.activation is None:
        raise HeadError(
            f"{asked.weights} has {len(layers)} layers, and weights do not say what stands between them.\n"
            "Say it with --activation relu, gelu or none."
        )
    try:
        made = Network(asked.name, model.identity, layers, asked.activation or "none", asked.output)
    except HeadError as error:
        raise HeadError(f"{asked.weights} cannot be a head: {error}.\nSee docs/heads.md for what can.") from error
    write_head(made, asked.to)
    print(f"{asked.to}: the head {made.name} ({made.kind}) over {made.width} numbers of the model {made.model}")
    return 0


def cells(asked: argparse.Namespace) -> int:
    """Write a head file of cells, fitted on the stored vectors of a release's pictures."""
    from actors.models.cells import fit_cells
    from actors.models.files import find_model
    from actors.models.heads import Cells, write_head
    from warehouse.releases import find_release
    from warehouse.vectors import picture_vectors

    recipe = Recipe.model_validate(find_release(asked.warehouse, asked.release).recipe)
    model = find_model(_named(recipe, asked.model))
    most = min(asked.count * PICTURES_A_CELL, MOST_PICTURES)
    vectors = picture_vectors(asked.warehouse, asked.release, model.identity, most)
    write_head(Cells(asked.name, model.identity, fit_cells(vectors, asked.count, 0, ROUNDS)), asked.to)
    print(f"{asked.to}: {asked.count} cells of {len(vectors)} pictures by the model {model.identity}")
    return 0


def _told_model(told: str) -> Model:
    """The model of `--model`: of a shipped recipe or a YAML file, after a colon which of its models; else a folder."""
    from filters.load import load_recipe, shipped

    recipe, _, name = told.partition(":")
    if recipe in shipped() or recipe.endswith((".yaml", ".yml")):
        return _named(load_recipe(recipe), name or None)
    return Model(path=told)


def _named(recipe: Recipe, name: str | None) -> Model:
    """The recipe's model of that name; null: its first one, which ranks pairs."""
    for model in recipe.models:
        if name in (None, model.name):
            return model
    names = ", ".join(model.name for model in recipe.models) or "none"
    wanted = f"no model {name}" if name else "no model"
    raise NoModel(f"The recipe {recipe.name} has {wanted}; there are: {names}.\nName one of them, or its folder.")
