"""Pictures as documents hold them: what every processor gets, and what is refused in one line."""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from pathlib import Path

import pytest
from PIL import Image

from evaluation.items import item_id, pictures_id
from evaluation.picture import (
    PictureError,
    encode_png,
    explain_picture,
    open_picture,
    picture_digest,
    read_picture,
    to_rgb,
)

SIZE = (8, 8)


def plain(mode: str, colour: object) -> Image.Image:
    return Image.new(mode, SIZE, colour)  # type: ignore[arg-type]


def saved(image: Image.Image, format: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)  # type: ignore[arg-type]
    return buffer.getvalue()


def enlarged(width: int, height: int) -> bytes:
    """A small PNG file that claims to hold a large picture."""
    png = saved(plain("L", 0), "PNG")
    head = b"IHDR" + struct.pack(">II", width, height) + png[24:29]
    return png[:12] + head + struct.pack(">I", zlib.crc32(head)) + png[33:]


@pytest.mark.parametrize(
    ("image", "colour"),
    [
        (plain("RGB", (10, 20, 30)), (10, 20, 30)),
        (plain("L", 77), (77, 77, 77)),
        (plain("1", 1), (255, 255, 255)),
        (plain("CMYK", (0, 255, 255, 0)), (255, 0, 0)),
        (plain("RGBA", (10, 20, 30, 255)), (10, 20, 30)),
        (plain("RGBA", (10, 20, 30, 0)), (255, 255, 255)),  # what stands behind nothing is white, not hidden colours
        (plain("RGBA", (0, 0, 0, 51)), (204, 204, 204)),
        (plain("LA", (0, 0)), (255, 255, 255)),
    ],
)
def test_every_picture_becomes_rgb_with_its_alpha_on_white(image: Image.Image, colour: tuple[int, int, int]) -> None:
    found = to_rgb(image)
    assert found.mode == "RGB" and found.getcolors() == [(64, colour)]


def test_a_palette_with_a_transparent_colour_becomes_rgb() -> None:
    image = plain("P", 1)
    image.putpalette([0, 0, 0, 200, 100, 50])
    assert read_picture(saved(image, "PNG"), None).getcolors() == [(64, (200, 100, 50))]
    assert read_picture(saved(image, "PNG", transparency=1), None).getcolors() == [(64, (255, 255, 255))]


def test_a_camera_s_picture_is_turned_and_its_preview_is_no_second_frame() -> None:
    image, exif = Image.new("RGB", (12, 8), (200, 0, 0)), Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    turned = read_picture(saved(image, "JPEG", exif=exif, icc_profile=b"where and who" * 9, comment=b"who"), None)
    assert turned.size == (8, 12)
    assert not Image.open(io.BytesIO(encode_png(turned))).info  # pixels alone are published
    phone = saved(image, "MPO", save_all=True, append_images=[image])
    assert Image.open(io.BytesIO(phone)).n_frames == 2  # type: ignore[attr-defined]
    assert read_picture(phone, None).size == (12, 8)


def test_a_picture_is_found_as_bytes_a_path_beside_the_task_or_a_row_of_datasets(tmp_path: Path) -> None:
    image = plain("RGB", (1, 2, 3))
    image.save(tmp_path / "one.png")
    data = (tmp_path / "one.png").read_bytes()
    ways = [image, data, "one.png", tmp_path / "one.png", {"bytes": data, "path": None}, {"path": "one.png"}]
    assert {picture_digest(read_picture(way, tmp_path)) for way in ways} == {picture_digest(image)}
    (tmp_path / "sub").mkdir()
    for way in ("../one.png", str(tmp_path / "one.png")):
        assert read_picture(way, tmp_path / "sub", [tmp_path]).getcolors() == image.getcolors()


def test_a_picture_outside_the_folders_is_refused_however_it_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("tasks", "elsewhere"):
        (tmp_path / name).mkdir()
        plain("RGB", 9).save(tmp_path / name / f"{name}.png")
    (tmp_path / "tasks" / "link.png").symlink_to(tmp_path / "elsewhere" / "elsewhere.png")
    for way in (str(tmp_path / "elsewhere" / "elsewhere.png"), "../elsewhere/elsewhere.png", "link.png"):
        for value in (way, {"path": way, "bytes": None}):
            with pytest.raises(PictureError, match=f"its picture {way} is outside the task folder and its data set"):
                open_picture(value, tmp_path / "tasks")
    monkeypatch.chdir(tmp_path / "elsewhere")
    for folder in (tmp_path / "tasks", None):
        with pytest.raises(PictureError, match=r"its picture elsewhere\.png is not there"):
            open_picture("elsewhere.png", folder)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (b"hello", "its picture is nothing that Pillow can read; replace it"),
        (
            saved(Image.effect_noise((64, 64), 99), "JPEG")[:-300],
            r"its picture cannot be read \(.*truncated.*\); replace it",
        ),
        (plain("RGB", 0).resize((1, 1)), "its picture has 1 × 1 pixels; use one of at least 5 a side"),
        (plain("RGB", 0).resize((40, 4)), "its picture has 40 × 4 pixels"),
        (enlarged(20_000, 20_000), r"its picture is too large \(.*400000000 pixels.*\); make it smaller"),
        (enlarged(20_000, 5_000), "its picture has 20000 × 5000 pixels; use one of at most 89,478,485"),
        (
            saved(plain("L", 0), "GIF", save_all=True, append_images=[plain("L", 9)]),
            "its picture has 2 frames; save the one that is meant by itself",
        ),
        (plain("I;16", 0), "its picture has pixels of Pillow's mode I;16; save it with 8 bits a channel"),
        ("x" * 5000 + ".png", r"its picture x{300}… is not there"),
        ("https://a.example/" + "x" * 5000, r"its picture is the address https://a\.example/x{282}…; download it"),
        ("missing.png", "its picture missing.png is not there; relative paths are looked up beside the task's file"),
        ("https://a.example/b.png", "its picture is the address https://a.example/b.png; download it"),
        (17, "doc_to_image gives a int; give a picture, a file's path or its bytes"),
        ({"path": None}, "doc_to_image gives a dict"),
    ],
)
def test_what_is_no_single_picture_is_refused_with_the_remedy(value: object, message: str, tmp_path: Path) -> None:
    with warnings.catch_warnings(), pytest.raises(PictureError, match=message):
        warnings.simplefilter("error")  # Pillow's warning of a decompression bomb is no second line
        read_picture(value, tmp_path)


def test_what_a_task_s_code_raises_is_quoted_in_part() -> None:
    assert explain_picture(ValueError("x" * 5000)) == f"doc_to_image gives no picture: ValueError: {'x' * 300}…"


def test_documents_are_told_apart_by_their_pixels_and_not_by_how_these_are_stored() -> None:
    red, blue = plain("RGB", (255, 0, 0)), plain("RGB", (0, 0, 255))
    png, webp = encode_png(red), saved(red, "WEBP", lossless=True)
    doc = {"question": "what?"}
    ids = {
        name: item_id(doc, [picture_digest(read_picture(way, None))])
        for name, way in {"png": png, "webp": webp}.items()
    }
    assert ids["png"] == ids["webp"] != item_id(doc, [picture_digest(blue)])
    assert item_id(doc) == item_id(doc, []) != ids["png"]
    assert item_id({**doc, "picture": open_picture(png)}) == item_id({**doc, "picture": open_picture(webp)})
    assert item_id({**doc, "picture": red}) != item_id({**doc, "picture": blue})
    turned = red.resize((4, 16))  # as many pixels of the same colour
    assert len({picture_digest(one) for one in (red, turned, red.convert("L"), blue)}) == 4
    assert pictures_id(["a", "b"]) != pictures_id(["b", "a"])
