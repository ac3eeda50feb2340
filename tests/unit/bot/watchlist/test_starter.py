"""What `shoal init` fills in by itself."""

from __future__ import annotations

import pytest

from bot.watchlist.starter import short_amount, size_in
from bot.watchlist.values import parse_amount


@pytest.mark.parametrize("size", ["360M", "1.7B", "4B"])
def test_the_size_that_a_name_tells_is_offered_as_people_write_it(size: str) -> None:
    found = size_in(f"reef/cod-{size}-Instruct")
    assert found is not None
    assert short_amount(found) == size and parse_amount(size) == found
