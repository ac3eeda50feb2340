"""The size to which a processor scales pictures, set in its own files by whatever keys its image processor has for it.

Image processors bound a picture's edges or its area, under the same keys, and some cut it into tiles besides, whose
size their vision tower fixes. Which of these one does is asked of it with pictures made here: no family is known by
name.
"""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from merging.errors import MergingError
from merging.sources.json_object import parse_json_object
from merging.writing.companions import read_companions

if TYPE_CHECKING:
    from PIL.Image import Image

SMALLEST_SIZE, LARGEST_SIZE = 16, 4096
"""In pixels: fewer are no picture to any tower, and more than these fill the memory."""

_CONFIG = "config.json"
_FILES = ("processor_config.json", "preprocessor_config.json")
_INSIDE = "image_processor"
"""The key of the first of these files below which newer versions of transformers keep all that the second one has."""

_LONGEST, _SHORTEST = "longest_edge", "shortest_edge"
_PROBE = 256
"""In pixels: an edge of the picture that shows what an image processor bounds."""

Settings = Mapping[str, Any]


@contextmanager
def with_picture_size(folder: Path, pixels: int | None) -> Iterator[Path]:
    """A folder with a model's small files, whose processor scales pictures to a size; the model's own folder for None.

    pixels: the longest edge, or the root of the area where the processor bounds that.

    Raises:
        MergingError: a size that the processor or the vision tower cannot take.
    """
    if pixels is None:
        yield folder
        return
    if not SMALLEST_SIZE <= pixels <= LARGEST_SIZE:
        raise MergingError(f"a size of {pixels} pixels is not from {SMALLEST_SIZE} to {LARGEST_SIZE}")
    files = read_companions(folder) | {_CONFIG: (folder / _CONFIG).read_bytes()}
    with tempfile.TemporaryDirectory(prefix="shoal-") as name:
        changed = Path(name)
        for path, content in files.items():
            (changed / path).write_bytes(content)
        settings = choose_settings(_load(changed), pixels)
        for path in _FILES:
            if path in files:
                new = _change(parse_json_object(f"its {path}", files[path]), settings)
                (changed / path).write_text(json.dumps(new, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        again = _load(changed)
        if {key: dict(getattr(again, key)) for key in settings} != settings:
            raise MergingError(f"{type(again).__name__} does not take {settings} from its files; remove the key")
        yield changed


def choose_settings(image_processor: Any, pixels: int) -> Settings:
    """The settings with which an image processor scales pictures to a size, by the keys that it has for it.

    MergingError for a size that it or the vision tower cannot take.
    """
    name = type(image_processor).__name__
    size = dict(image_processor.size or {})
    if not (size and image_processor.do_resize):
        raise MergingError(f"{name} does not scale pictures; remove the key")
    power = 2 if _LONGEST in size and _bounds_area(image_processor, size) else 1
    most = size.get(_LONGEST)
    if most is not None and pixels**power > most:
        raise MergingError(f"{name} scales pictures to {math.floor(most ** (1 / power))} pixels; write at most that")
    settings: dict[str, Any] = {"size": _sized(size, pixels, power)}
    if getattr(image_processor, "do_center_crop", None) and image_processor.crop_size:
        settings["crop_size"] = dict.fromkeys(dict(image_processor.crop_size), pixels)
    _check_tiles(image_processor, settings, pixels)
    return settings


def _sized(size: Mapping[str, int], pixels: int, power: int) -> dict[str, int]:
    """A size's keys with other values. power: 1 where the longest edge is one, 2 where it is an area."""
    found = {}
    for key, value in size.items():
        bound = pixels ** (2 if key.endswith("_pixels") else power)
        is_least = key.startswith("min") or (key == _SHORTEST and _LONGEST in size)
        found[key] = min(value, bound) if is_least else bound
    return found


def _bounds_area(image_processor: Any, size: Mapping[str, int]) -> bool:
    """Whether an image processor's longest "edge" is an area: as an edge it would leave this picture as it is."""
    made = image_processor(_picture(_PROBE, _PROBE), size=_sized(size, _PROBE, 1), return_tensors="pt")
    values: int = made[image_processor.model_input_names[0]].numel()
    return values < 3 * (_PROBE // 2) ** 2


def _check_tiles(image_processor: Any, settings: Settings, pixels: int) -> None:
    """Refuse a size that changes tiles which are the same for all pictures: the vision tower has places for no other.

    A size without any effect on a large picture is refused, too, unless it is the processor's own.
    """
    name, pictures = type(image_processor).__name__, (_picture(2 * pixels, 2 * pixels), _picture(2 * pixels, pixels))
    own = [image_processor(one, return_tensors="pt") for one in pictures]
    try:
        new = [image_processor(one, **settings, return_tensors="pt") for one in pictures]
    except (ValueError, ZeroDivisionError) as error:
        raise MergingError(f"{name} does not take it: {' '.join(str(error).split())}; remove the key") from error
    key = image_processor.model_input_names[0]
    fixed, *others = {_tile(one[key]) for one in own}
    if not others and fixed is not None and {_tile(one[key]) for one in new} != {fixed}:
        height, width = fixed
        raise MergingError(f"its vision tower sees pictures of {width} × {height} pixels and no others; remove the key")
    same = own[0][key].shape == new[0][key].shape and bool((own[0][key] == new[0][key]).all())
    if same and settings["size"] != dict(image_processor.size):
        raise MergingError(f"{name} has a size, and scales pictures by other settings; remove the key")


def _tile(values: Any) -> tuple[int, int] | None:
    """Height and width of what an image processor makes; None where it gives patches instead of pictures."""
    return (values.shape[-2], values.shape[-1]) if values.ndim >= 4 else None


def _change(content: Mapping[str, object], settings: Settings) -> dict[str, object]:
    """The content of one of a processor's files with these settings; as it was, where it has none of pictures."""
    inside = content.get(_INSIDE)
    if isinstance(inside, Mapping):
        return {**content, _INSIDE: _change(inside, settings)}
    if not {"size", "image_processor_type", "do_resize"} & content.keys():
        return dict(content)
    size = settings["size"]
    # Older files of some families have their bounds apart, and these count more.
    older = {"max_pixels": size.get(_LONGEST), "min_pixels": size.get(_SHORTEST)}
    return {**content, **settings, **{key: value for key, value in older.items() if content.get(key) is not None}}


def _picture(width: int, height: int) -> Image:
    from PIL import Image

    return Image.linear_gradient("L").resize((width, height)).convert("RGB")


def _load(folder: Path) -> Any:
    """The image processor in a folder, as the kind loads it: with Pillow."""
    from transformers import AutoImageProcessor

    try:
        return AutoImageProcessor.from_pretrained(folder, backend="pil", trust_remote_code=False)
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise MergingError(f"its image processor cannot be read: {' '.join(str(error).split())}") from error
