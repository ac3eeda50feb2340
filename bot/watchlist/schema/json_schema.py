"""The JSON Schema of watchlists, with which editors complete and check keys. `shoal schema` prints it."""

from __future__ import annotations

import json

from bot.watchlist.schema.conditions import add_conditions
from bot.watchlist.watchlist import Watchlist


def watchlist_schema() -> str:
    """The schema as JSON text, ending in a line break."""
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **add_conditions(Watchlist.model_json_schema()),
        "title": "shoal watchlist",
    }
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"
