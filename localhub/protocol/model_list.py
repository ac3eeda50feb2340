"""Choosing, ordering and paging the models of a list."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterable, Sequence

from pydantic import BaseModel, Field, TypeAdapter

from localhub.errors import bad_request
from localhub.store.facts import Model

_UNITS = {"": 1, "K": 10**3, "M": 10**6, "B": 10**9, "T": 10**12}
_NUMBER = re.compile(r"(\d+(?:\.\d+)?)([KMBT]?)", re.IGNORECASE)
Rank = tuple[int, str]  # a number or, where that is 0, a date
SORTS: dict[str, Callable[[Model], Rank]] = {
    "lastModified": lambda model: (0, model.last_modified),
    "createdAt": lambda model: (0, model.settings.created_at),
    "downloads": lambda model: (model.settings.downloads, ""),
    "likes": lambda model: (model.settings.likes, ""),
    "trendingScore": lambda model: (model.settings.likes, ""),
}
_CURSOR = TypeAdapter(tuple[str, Rank, str])  # the order, and the rank and id of the last model shown


class ListQuery(BaseModel):
    """The query of a list, with the protocol's names; a condition that is None or empty is met by every model."""

    filter: list[str] = []
    author: str | None = None
    search: str = ""
    pipeline_tag: str | None = None
    gated: bool | None = None
    num_parameters: str = ""
    sort: str = "trendingScore"
    expand: list[str] = []
    full: bool = False
    cardData: bool = False  # noqa: N815  as sent
    config: bool = False
    limit: int = Field(default=1000, ge=1)
    cursor: str | None = None

    def accepts(self, model: Model, low: float, high: float) -> bool:
        """Whether a model meets all conditions; `low` and `high` are the bounds in `num_parameters`."""
        tags, total = model.facts.tags, model.facts.total
        return (
            # An item of the filter may be several tags, separated by commas.
            all(item in tags or all(tag in tags for tag in item.split(",") if tag) for item in self.filter)
            and (self.author is None or model.repo.owner == self.author)
            and all(word in model.repo.id.lower() for word in self.search.lower().split())
            and (self.pipeline_tag is None or model.facts.pipeline == self.pipeline_tag)
            and (self.gated is None or bool(model.settings.gated) == self.gated)
            and (not self.num_parameters or (total is not None and low <= total <= high))
        )


def parse_parameter_range(text: str) -> tuple[float, float]:
    """The bounds of "min:0.1B,max:7B", either of which may be absent; a 400 for another text."""
    bounds = {"min": 0.0, "max": float("inf")}
    for part in text.split(",") if text else []:
        name, _, value = part.strip().partition(":")
        match = _NUMBER.fullmatch(value)
        if name not in bounds or match is None:
            raise bad_request(f"Invalid num_parameters {text!r}: use min:0.1B,max:7B")
        bounds[name] = float(match[1]) * _UNITS[match[2].upper()]
    return bounds["min"], bounds["max"]


def select_page(models: Iterable[Model], query: ListQuery, *, size: int) -> tuple[Sequence[Model], str | None]:
    """The models after the query's cursor, best first, at most `size`; and the next page's cursor, None at the end."""
    if query.sort not in SORTS:
        raise bad_request(f'"sort" must be one of {", ".join(SORTS)}, not {query.sort!r}')
    rank = SORTS[query.sort]
    low, high = parse_parameter_range(query.num_parameters)
    ordered = sorted((model for model in models if query.accepts(model, low, high)), key=lambda model: model.repo.id)
    ordered.sort(key=rank, reverse=True)
    if query.cursor:
        last_rank, last_id = _read_cursor(query.cursor, query.sort)
        # Compared instead of looked up: the last model shown may have been deleted since.
        ordered = [model for model in ordered if (rank(model), last_id) < (last_rank, model.repo.id)]
    chosen = ordered[:size]
    if len(ordered) <= size:
        return chosen, None
    last = chosen[-1]
    return chosen, base64.urlsafe_b64encode(_CURSOR.dump_json((query.sort, rank(last), last.repo.id))).decode()


def _read_cursor(text: str, sort: str) -> tuple[Rank, str]:
    try:
        order, rank, id = _CURSOR.validate_json(base64.urlsafe_b64decode(text))
    except ValueError:
        raise bad_request(f"Invalid cursor {text[:100]!r}") from None
    if order != sort:
        raise bad_request("Invalid cursor: it belongs to another order")
    return rank, id
