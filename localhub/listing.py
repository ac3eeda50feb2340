"""Choosing, ordering and paging the models of a list."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from localhub.errors import bad_request
from localhub.views import Model

_UNITS = {"": 1, "K": 10**3, "M": 10**6, "B": 10**9, "T": 10**12}
_NUMBER = re.compile(r"(\d+(?:\.\d+)?)([KMBT]?)", re.IGNORECASE)
SORTS: dict[str, Callable[[Model], Any]] = {
    "lastModified": lambda model: model.last_modified,
    "createdAt": lambda model: model.settings.created_at,
    "downloads": lambda model: model.settings.downloads,
    "likes": lambda model: model.settings.likes,
    "trendingScore": lambda model: model.settings.likes,
}


@dataclass(frozen=True)
class Query:
    """What a list is asked for; empty fields ask for nothing. Every one of `tags` must be there."""

    tags: tuple[str, ...] = ()
    author: str | None = None
    search: str | None = None
    pipeline: str | None = None
    gated: bool | None = None
    parameters: tuple[float, float] | None = None
    sort: str = "trendingScore"

    def wants(self, model: Model) -> bool:
        """Whether a model belongs in the list."""
        total = model.facts.total
        return (
            all(tag in model.facts.tags for tag in self.tags)
            and (self.author is None or model.repo.owner == self.author)
            and (self.search is None or all(word in model.repo.id.lower() for word in self.search.lower().split()))
            and (self.pipeline is None or model.facts.pipeline == self.pipeline)
            and (self.gated is None or bool(model.settings.gated) == self.gated)
            and (self.parameters is None or (total is not None and self.parameters[0] <= total <= self.parameters[1]))
        )


def parameter_range(text: str) -> tuple[float, float]:
    """The bounds of "min:0.1B,max:7B", either of which may be absent; raises a 400."""
    bounds = {"min": 0.0, "max": float("inf")}
    for part in text.split(","):
        name, _, value = part.strip().partition(":")
        match = _NUMBER.fullmatch(value)
        if name not in bounds or match is None:
            raise bad_request(f"Invalid num_parameters {text!r}: use min:0.1B,max:7B")
        bounds[name] = float(match[1]) * _UNITS[match[2].upper()]
    return bounds["min"], bounds["max"]


def truth(name: str, text: str | None) -> bool | None:
    """A query's true or false; raises a 400 for another word."""
    if text is None:
        return None
    known = {"true": True, "1": True, "false": False, "0": False, "": False}
    if text.lower() not in known:
        raise bad_request(f'"{name}" must be true or false, not {text!r}')
    return known[text.lower()]


def page(models: Iterable[Model], query: Query, *, size: int, cursor: str | None) -> tuple[Sequence[Model], str | None]:
    """The page after `cursor`, best first, and the cursor of the next one (None at the end)."""
    if query.sort not in SORTS:
        raise bad_request(f'"sort" must be one of {", ".join(SORTS)}, not {query.sort!r}')
    rank = SORTS[query.sort]
    ordered = sorted((model for model in models if query.wants(model)), key=lambda model: model.repo.id)
    ordered.sort(key=rank, reverse=True)
    if cursor:
        value, id = _read_cursor(cursor)
        ordered = [model for model in ordered if _after(rank(model), model.repo.id, value, id)]
    chosen = ordered[:size]
    more = len(ordered) > size
    return chosen, _write_cursor(rank(chosen[-1]), chosen[-1].repo.id) if more else None


def _after(rank: Any, id: str, last_rank: Any, last_id: str) -> bool:
    if type(rank) is not type(last_rank):
        raise bad_request("Invalid cursor: it belongs to another order")
    return rank < last_rank or (rank == last_rank and id > last_id)


def _write_cursor(rank: Any, id: str) -> str:
    return base64.urlsafe_b64encode(json.dumps([rank, id]).encode()).decode()


def _read_cursor(text: str) -> tuple[Any, str]:
    try:
        rank, id = json.loads(base64.urlsafe_b64decode(text))
    except (ValueError, TypeError):
        raise bad_request(f"Invalid cursor {text[:100]!r}") from None
    return rank, str(id)
