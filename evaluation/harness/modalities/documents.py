"""Documents with pictures: opened when they are read, decoded only where something looks at the pixels."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from datasets import Dataset, Image

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

Doc = dict[str, object]


class DocumentRows:
    """The documents of one set by their place; a data set's own pictures are opened, and not decoded by `datasets`."""

    def __init__(self, rows: Iterable[Doc], open_picture: Callable[[object], Picture]) -> None:
        self._open = open_picture
        features = rows.features if isinstance(rows, Dataset) else {}
        self._columns = [name for name, feature in features.items() if isinstance(feature, Image) and feature.decode]
        found: Any = rows if isinstance(rows, Dataset) else list(rows)
        for name in self._columns:
            found = found.cast_column(name, Image(decode=False))
        self._rows = found

    def __len__(self) -> int:
        return len(self._rows)

    def read(self, place: int) -> Doc:
        """A document. Raises PictureError for a picture that cannot be opened."""
        doc: Doc = self._rows[place]
        opened = {name: self._open(doc[name]) for name in self._columns if doc[name] is not None}
        return {**doc, **opened}


class Documents(Mapping[str, Doc]):
    """Documents by item, read anew each time: the decoded pictures of a data set would fill the memory."""

    def __init__(self, rows: DocumentRows, places: Mapping[str, int]) -> None:
        self._rows = rows
        self._places = places

    def __getitem__(self, item: str) -> Doc:
        return self._rows.read(self._places[item])

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)
