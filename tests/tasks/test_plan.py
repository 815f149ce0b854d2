"""What names a run: everything that determines its result, and nothing else."""

from filters.recipe import Recipe
from tasks.plan import run_identity


def test_a_first_execution_keeps_its_name_and_every_later_round_has_its_own() -> None:
    recipe = Recipe(name="small")
    first = run_identity("aa", recipe, None, ("10.0.0.7:80",), None)

    assert run_identity("aa", recipe, None, ("10.0.0.7:80",), None, round=0) == first
    assert len({first, *(run_identity("aa", recipe, None, ("10.0.0.7:80",), None, n) for n in (1, 2))}) == 3
