"""The fetching room's codes and the ledger's."""

from typing import get_args

from actors.web.failure import Reason
from warehouse.reasons import STAGES


def test_the_fetching_room_gives_the_reasons_that_the_ledger_orders() -> None:
    assert get_args(Reason) == dict(STAGES)["fetch"]
